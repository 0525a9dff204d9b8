import pytest

from sklstm.networks import bilstm3d, cnn3d


@pytest.mark.parametrize("shape", [(28, 28, 28, 1), (3, 8, 8, 2)])
@pytest.mark.parametrize("params", [
    {},
    {"n_layers": 2, "units": 32},
    {"bidirectional": False, "ordinal": True},
    {"units": 128, "patch_size": 7, "filters": 8},
])  # fmt: skip
def test_the_control_has_as_many_weights(shape, params):
    lstm = bilstm3d(shape, 4, **{k: v for k, v in params.items() if k != "filters"})
    control = cnn3d(shape, 4, **params)
    assert control.count_params() == pytest.approx(lstm.count_params(), rel=0.05)


def test_strides_halve_the_volume():
    model = cnn3d((28, 20, 3, 1), 3, filters=2, units=8)
    sizes = [model.get_layer(f"stem_{i}").output.shape[1:] for i in range(3)]
    assert sizes == [(28, 20, 3, 2), (14, 10, 2, 4), (7, 5, 1, 8)]
    assert model.get_layer("body_1").output.shape[1:4] == (7, 5, 1)
