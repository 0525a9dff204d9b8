import pytest

from sklstm.networks import bilstm3d, cnn3d


@pytest.mark.parametrize("shape", [(28, 28, 28, 1), (3, 8, 8, 2)])
@pytest.mark.parametrize("params", [
    {},
    {"n_layers": 2, "units": 32},
    {"bidirectional": False, "ordinal": True},
    {"units": 128, "filters": 8},
])  # fmt: skip
def test_the_control_has_as_many_weights(shape, params):
    lstm = bilstm3d(shape, 4, **params)
    control = cnn3d(shape, 4, **params)
    assert control.count_params() == pytest.approx(lstm.count_params(), rel=0.05)
