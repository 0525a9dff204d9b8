"""HarmonicConv2D and CosineTransform against SciPy's DCT."""

from sklstm._keras import keras

import numpy as np
import pytest
from scipy.fft import dctn

from sklstm.networks import CosineTransform, HarmonicConv2D
from sklstm.networks.initialize import initialize
from sklstm.networks.layers._harmonic import cosine_basis

pytestmark = pytest.mark.backend


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def images(shape=(2, 6, 5, 2)):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def waves(x, size):
    """Return the DCT of the patch around each pixel, (n, h, w, channels, size**2)."""
    half = size // 2
    padded = np.pad(x, [(0, 0), (half, half), (half, half), (0, 0)])
    patches = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (1, 2))
    found = dctn(patches, axes=(-2, -1), norm="ortho")
    return found.reshape(*found.shape[:-2], -1)


def built(**params):
    layer = HarmonicConv2D(4, **params)
    layer.build((None, 6, 5, 2))
    values = np.random.default_rng(1).normal(size=layer.coefficients.shape)
    layer.coefficients.assign(values.astype("float32"))
    return layer


@pytest.mark.parametrize("size", [3, 5])
def test_the_transform_is_that_of_each_patch(size):
    layer = CosineTransform(size)
    found = to_numpy(layer(images()))
    assert layer.compute_output_shape((None, 6, 5, 2)) == (None, 6, 5, 2 * size**2)
    expected = waves(images(), size)
    np.testing.assert_allclose(found, expected.reshape(found.shape), atol=1e-5)
    assert layer.weights == []


@pytest.mark.parametrize("size", [3, 5])
def test_a_convolution_combines_the_frequencies_of_each_patch(size):
    layer = built(kernel_size=size)
    coefficients = to_numpy(layer.coefficients)
    expected = np.einsum("nhwcf,fco->nhwo", waves(images(), size), coefficients)
    np.testing.assert_allclose(to_numpy(layer(images())), expected, atol=1e-4)


@pytest.mark.parametrize("strides", [1, 2])
def test_a_convolution_is_keras_own_with_its_kernel(strides):
    layer = built(strides=strides)
    plain = keras.layers.Conv2D(
        4, 3, strides, "same", data_format="channels_last", use_bias=False
    )
    plain.build((None, 6, 5, 2))
    plain.kernel.assign(layer.make_kernel())
    found = to_numpy(layer(images()))
    assert layer.compute_output_shape((None, 6, 5, 2)) == (None, *found.shape[1:])
    np.testing.assert_allclose(found, to_numpy(plain(images())), atol=1e-5)


def test_gradients_are_those_of_the_kernel_in_the_basis():
    layer = built()
    upstream = np.random.default_rng(2).normal(size=(2, 6, 5, 4)).astype("float32")
    x = images()
    expected = np.einsum("nhwcf,nhwo->fco", waves(x, 3), upstream)
    np.testing.assert_allclose(gradient(layer, x, upstream), expected, atol=1e-4)


def gradient(layer, x, upstream):
    """Return the gradient of the sum of the outputs times `upstream`."""
    backend = keras.backend.backend()
    weight = layer.coefficients

    def loss():
        return keras.ops.sum(layer(x) * keras.ops.convert_to_tensor(upstream))

    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            value = loss()
        return tape.gradient(value, weight.value).numpy()
    if backend == "torch":
        import torch

        return torch.autograd.grad(loss(), weight.value)[0].numpy()
    import jax

    def of_value(value):
        with keras.StatelessScope(state_mapping=[(weight, value)]):
            return loss()

    return np.asarray(jax.grad(of_value)(weight.value))


@pytest.mark.parametrize("kind", ["harmonic", "plain"])
def test_kernels_start_with_glorots_limits(kind):
    """`initialize` and Keras give both layers kernels of the same variance."""
    if kind == "harmonic":
        layer = HarmonicConv2D(24)
    else:
        layer = keras.layers.Conv2D(24, 3, use_bias=False, data_format="channels_last")
    model = keras.Sequential([keras.Input((8, 8, 16)), layer])
    variance = 2 / (9 * (16 + 24))
    for seed in (None, 0):
        if seed is not None:
            initialize(model, np.random.SeedSequence(seed))
        kernel = to_numpy(layer.make_kernel() if kind == "harmonic" else layer.kernel)
        # Every place has this variance: 24 * 16 numbers each, within five errors.
        np.testing.assert_allclose(kernel.var(axis=(2, 3)), variance, rtol=0.36)
        assert kernel.var() == pytest.approx(variance, rel=0.1)


def test_penalty_on_the_coefficients_is_that_on_the_kernels():
    layer = built(kernel_regularizer=keras.regularizers.L2(0.1))
    kernel = to_numpy(layer.make_kernel())
    penalty = to_numpy(sum(layer.losses))
    assert float(penalty) == pytest.approx(0.1 * np.sum(kernel**2), rel=1e-5)


def test_the_basis_is_orthonormal_and_cannot_be_changed():
    basis = cosine_basis(3)
    np.testing.assert_allclose(basis @ basis.T, np.eye(9), atol=1e-6)
    with pytest.raises(ValueError, match="read-only"):
        basis[0] = 0
    np.testing.assert_allclose(basis[0], 1 / 3, rtol=1e-6)


def test_a_saved_network_keeps_the_layers(tmp_path):
    inputs = keras.Input((6, 5, 2))
    x = CosineTransform(3)(inputs)
    x = HarmonicConv2D(4, 3, 2, kernel_regularizer=keras.regularizers.L2(0.1))(x)
    model = keras.Model(inputs, x)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(to_numpy(loaded(images())), to_numpy(model(images())))
    assert [type(layer) for layer in loaded.layers[1:]] == [
        CosineTransform,
        HarmonicConv2D,
    ]
    assert to_numpy(sum(loaded.losses)) == pytest.approx(to_numpy(sum(model.losses)))
