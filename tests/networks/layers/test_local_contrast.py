"""LocalContrast: pixels compared with their surroundings."""

from sklstm._keras import keras

import numpy as np

from sklstm.networks import LocalContrast


def test_contrast_does_not_depend_on_the_light():
    rng = np.random.default_rng(0)
    X = rng.normal(0, 1, (2, 40, 56, 3)).astype("float32")
    X[:, 10:14, 20:24] += 5
    shadow = np.linspace(-5, 5, 56, dtype="float32")[:, None]
    layer = LocalContrast((2, 5))
    found = keras.ops.convert_to_numpy(layer(X))
    assert found.shape == (2, 40, 56, 9) == layer.compute_output_shape(X.shape)
    brighter = keras.ops.convert_to_numpy(layer(3 * X + 7))
    # The floor of the standard deviation, 0.1, makes a difference of up to a tenth.
    np.testing.assert_allclose(brighter[..., :3], found[..., :3], rtol=0.1)
    shaded = keras.ops.convert_to_numpy(layer(X + shadow))
    near = np.s_[:, 8:-8, 8:-8]
    apart = [np.abs(shaded - found)[near][..., i : i + 3].mean() for i in (0, 3, 6)]
    assert apart[0] > 0.5
    assert max(apart[1:]) < 0.05
    # By definition, far from the borders, which cut windows.
    whole = (X - X.mean((1, 2), keepdims=True)) / (X.std((1, 2), keepdims=True) + 0.1)
    np.testing.assert_allclose(found[..., :3], whole, atol=1e-4)
    patch = X[0, 22 - 4 : 22 + 5, 30 - 4 : 30 + 5]
    expected = (X[0, 22, 30] - patch.mean((0, 1))) / (patch.std((0, 1)) + 0.1)
    np.testing.assert_allclose(found[0, 22, 30, 6:], expected, atol=0.25)
    line = keras.ops.convert_to_numpy(LocalContrast((2, 5))(X[:, :1]))
    assert np.isfinite(line).all()
    again = LocalContrast.from_config(layer.get_config())
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(again(X)), found)
