from sklstm._keras import keras

import numpy as np
import pytest

from sklstm.networks import DropPath, MatrixLSTM, vil
from sklstm.networks.initialize import initialize


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def silu(x):
    return x / (1 + np.exp(-x))


def normalized(x):
    """A layer normalization as it starts, with Keras' epsilon."""
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + 1e-3)


@pytest.mark.parametrize(("bidirectional", "pooling"), [
    (True, "last"), (False, "last"), (True, "mean"),
])  # fmt: skip
def test_the_network_by_its_definition(bidirectional, pooling):
    model = vil(
        (10, 7, 2), 3, units=8, patch_size=3, n_heads=2, n_blocks=3,
        bidirectional=bidirectional, pooling=pooling,
    )  # fmt: skip
    initialize(model, np.random.SeedSequence(0))
    images = np.random.default_rng(0).normal(size=(4, 10, 7, 2)).astype("float32")

    def layer(name, *inputs):
        return to_numpy(model.get_layer(name)(*inputs))

    # 4 x 3 patches; zeros fill the last ones.
    filled = np.pad(images, ((0, 0), (0, 2), (0, 2), (0, 0)))
    patches = filled.reshape(4, 4, 3, 3, 3, 2).transpose(0, 1, 3, 2, 4, 5)
    x = layer("embedding", patches.reshape(4, 12, 18))
    x = x + to_numpy(model.get_layer("positions").positions)
    for i in range(3):
        y = normalized(x)
        values = layer(f"block_{i}_up", y)
        gate = y @ to_numpy(model.get_layer(f"block_{i}_gate").kernel)
        read = silu(layer(f"block_{i}_conv", values))
        reader = model.get_layer(f"block_{i}_mlstm")
        assert (reader.n_heads, reader.reverse) == (2, bidirectional and i == 1)
        y = layer(f"block_{i}_mlstm", read, values) * silu(gate)
        x = x + layer(f"block_{i}_down", y)
    x = normalized(x)
    if pooling == "mean":
        x = x.mean(axis=1)
    elif bidirectional:
        x = np.concatenate([x[:, -1], x[:, 0]], axis=1)
    else:
        x = x[:, -1]
    expected = layer("probabilities", x)
    np.testing.assert_allclose(
        to_numpy(model(images, training=False)), expected, atol=1e-5
    )


@pytest.mark.parametrize(("shape", "n_tokens"), [
    ((8, 8, 1), 64), ((28, 28, 1), 49), ((64, 64, 3), 64), ((40, 20, 1), 50),
])  # fmt: skip
def test_about_eight_patches_a_side(shape, n_tokens):
    model = vil(shape, 3, units=4, n_heads=1, n_blocks=1)
    assert model.get_layer("positions").output.shape == (None, n_tokens, 4)


def test_later_blocks_are_left_out_more_often():
    model = vil((8, 8, 1), 3, units=4, n_blocks=4, drop_path=0.2)
    shares = [one.share for one in model.layers if isinstance(one, DropPath)]
    assert shares == [0.25, 0.5, 0.75, 1.0]


def test_the_penalty_counts_all_kernels():
    model = vil((8, 8, 1), 3, units=4, n_blocks=1, l2=0.1)
    kernels = [w for w in model.trainable_weights if "kernel" in w.name]
    # Embedding and head; up, gate and down; convolution; three and the gates.
    assert len(kernels) == 2 + 3 + 1 + 4
    expected = 0.1 * sum(np.square(to_numpy(kernel)).sum() for kernel in kernels)
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)


def test_options_survive_the_configuration():
    model = vil((8, 8, 1), 3, units=4, n_heads=2, n_blocks=2)
    again = keras.Model.from_config(model.get_config())
    found = [one for one in again.layers if isinstance(one, MatrixLSTM)]
    assert [(one.n_heads, one.reverse) for one in found] == [(2, False), (2, True)]


@pytest.mark.parametrize(("params", "message"), [
    ({"n_blocks": 0}, "n_blocks=0 must be at least 1"),
    ({"n_heads": 0}, "n_heads=0 must be at least 1"),
    ({"units": 9}, "units=9 gives a block 18 features, which must be a multiple of f"),
    ({"n_heads": 3}, "multiple of four and of n_heads=3: change units or network__n_h"),
    ({"patch_size": 9}, "patch_size=9 is larger than the images, which are 8 x 8"),
    ({"pooling": "attention"}, "'attention' is none of 'max', 'mean' and 'last'"),
])  # fmt: skip
def test_options_that_do_not_exist(params, message):
    with pytest.raises(ValueError, match=message):
        vil((8, 8, 1), 3, **{"units": 8, **params})
