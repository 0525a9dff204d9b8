"""WindowLoss: labels from masks, weights, chains, and invalid targets."""

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm import PatchSequencer
from sklstm.networks import WindowLoss, log_likelihood, split_outputs


def test_loss_by_its_definition():
    loss = WindowLoss((1, 2), coverage=0.5, positive_weight=3.0)
    labels = np.array([[0, 255]], "uint8")
    score = np.array([0.3, -0.2], "float32").reshape(1, 1, 2, 1)
    expected = (np.log1p(np.exp(0.3)) + 3 * np.log1p(np.exp(0.2))) / 2
    assert float(loss.call(labels, score)[0]) == pytest.approx(expected, abs=1e-6)
    again = WindowLoss.from_config(loss.get_config())
    assert again.get_config() == loss.get_config()


def test_invalid_targets_are_refused():
    import tensorflow as tf

    scores = np.zeros((2, 1, 2, 1), "float32")
    loss = WindowLoss((1, 2))
    graph = tf.function(loss.call, reduce_retracing=True)
    for wrong in (256.0, -1.0, np.nan):
        targets = np.array([[0, 255], [0, wrong]], "float32")
        with pytest.raises(ValueError, match=r"y_true\[1\] has values that are not"):
            loss.call(targets, scores)
        with pytest.raises(
            tf.errors.InvalidArgumentError, match="y_true must be from 0 to 255"
        ):
            graph(tf.constant(targets), scores)
    with pytest.raises(ValueError, match=r"shape \(2, 4\) must be labels of 1 x 2 win"):
        loss.call(np.zeros((2, 4)), scores)
    of_masks = WindowLoss((1, 2), PatchSequencer(2, 2).get_index_map((2, 4)))
    with pytest.raises(ValueError, match="must be masks"):
        of_masks.call(np.zeros((2, 1, 4)), scores)


def test_balanced_weights_depend_on_the_image():
    loss = WindowLoss((2, 5), positive_weight="balanced")
    labels = np.zeros((3, 10), "uint8")
    labels[0, 4] = 255  # nine other windows for this one: a weight of 3
    labels[1, :] = 255  # no other windows: a weight of 1
    score = np.zeros((3, 2, 5, 1), "float32")
    found = keras.ops.convert_to_numpy(loss.call(labels, score))
    np.testing.assert_allclose(found, np.log(2) * np.array([1.2, 1, 1]), rtol=1e-5)
    # With chains, a line that contains a defect has the weight of its defects.
    chains = np.zeros((3, 2, 5, 9), "float32")
    found = keras.ops.convert_to_numpy(loss.call(labels, chains))
    rows, columns = np.log(2) * np.array([[2, 1.4], [1, 1], [1, 1]]).T
    plain = np.log(2) * np.array([1.2, 1, 1])
    np.testing.assert_allclose(found, plain + (rows + columns) / 2, rtol=1e-5)
    halved = WindowLoss((2, 5), positive_weight=0.5).call(labels, chains)
    rows, columns = np.log(2) * np.array([[0.75, 0.9], [0.5, 0.5], [1, 1]]).T
    plain = np.log(2) * np.array([0.95, 0.5, 1])
    halved = keras.ops.convert_to_numpy(halved)
    np.testing.assert_allclose(halved, plain + (rows + columns) / 2, rtol=1e-5)
    again = WindowLoss.from_config(loss.get_config())
    assert again.get_config() == loss.get_config()


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_and_its_gradient(gamma):
    import tensorflow as tf

    loss = WindowLoss((1, 4), gamma=gamma)
    score = tf.constant([-1.0, 20.0, 0.5, -40.0], shape=(1, 1, 4, 1))
    labels = np.array([[0, 255, 255, 0]], "uint8")
    with tf.GradientTape() as tape:
        tape.watch(score)
        found = loss.call(labels, score)
    right = 1 / (1 + np.exp(-np.array([1, 20, 0.5, 40])))
    expected = np.mean(-np.log(right) * (1 - right) ** gamma)
    assert float(found[0]) == pytest.approx(expected, rel=1e-4)
    assert np.isfinite(tape.gradient(found, score)).all()


@pytest.mark.parametrize(
    "grid",
    [
        # JAX compiles each of them for ten seconds.
        pytest.param((2, 4), marks=pytest.mark.backend),
        (1, 3),
        (4, 1),
        pytest.param((3, 3), marks=pytest.mark.slow),
    ],
)
def test_chains_count_per_line_and_axis(grid):
    down, across = grid
    lengths = [n for n in (across, down) if n > 1]
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (5, *grid))
    labels[0] = 0
    outputs = rng.normal(size=(5, *grid, 1 + 4 * len(lengths))).astype("float32")
    loss = WindowLoss(grid, positive_weight=3.0, reduction=None)
    targets = 255 * labels.reshape(5, -1)
    chains = loss(targets, outputs) - loss(targets, outputs[..., :1])

    expected = np.zeros(5)
    _, potentials = split_outputs(keras.ops.convert_to_tensor(outputs), grid)
    for axis, of_axis in potentials.items():
        lines = labels if axis == "rows" else labels.transpose(0, 2, 1)
        n_steps = lines.shape[2]
        likelihoods = log_likelihood(of_axis, lines.reshape(-1, n_steps))
        likelihoods = keras.ops.convert_to_numpy(likelihoods).reshape(5, -1)
        weights = np.where(lines.any(axis=2), 3.0, 1.0)
        expected += (weights * -likelihoods / n_steps).mean(axis=1) / len(lengths)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(chains), expected, rtol=1e-5, atol=1e-6
    )


def test_labels_of_masks():
    index_map = PatchSequencer(2, 2).get_index_map((2, 4))
    mask = np.zeros((1, 2, 4), "uint8")
    mask[0, 0, 0] = mask[0, :, 2:] = 255  # a quarter of the first window
    for coverage, expected in ((0.25, [1, 1]), (0.3, [0, 1])):
        loss = WindowLoss((1, 2), index_map, coverage=coverage)
        found = keras.ops.convert_to_numpy(loss.labels(mask))
        assert found.ravel().tolist() == expected


def test_the_loss_of_pixels_by_its_definition():
    index_map = PatchSequencer(2, 2).get_index_map((2, 4))
    plain = WindowLoss((1, 2), index_map, positive_weight=3.0)
    loss = WindowLoss((1, 2), index_map, positive_weight=3.0, sides=(2, 2))
    again = WindowLoss.from_config(loss.get_config())
    assert again.get_config() == loss.get_config()
    masks = np.zeros((3, 2, 4), "uint8")
    masks[0, 0, 1:3] = 255, 200
    masks[0, 1, 1] = 120  # less than half of it is defective
    masks[2, 1, 0] = 60  # no pixel of this image has more
    rng = np.random.default_rng(0)
    pixels = rng.normal(size=(3, 2, 4)).astype("float32")
    windows = rng.normal(size=(3, 1, 2, 1)).astype("float32")
    packed = pixels.reshape(3, 2, 2, 2).transpose(0, 2, 1, 3).reshape(3, 1, 2, 4)
    outputs = np.concatenate([windows, packed], axis=-1)
    labels = np.zeros((3, 2, 4), bool)
    labels[0, 0, 1:3] = labels[2, 1, 0] = True
    p = 1 / (1 + np.exp(-pixels.astype(float)))
    losses = -np.log(np.where(labels, p, 1 - p)) * np.where(labels, 3, 1)
    expected = losses.mean(axis=(1, 2))
    for i in (0, 2):  # images with a defect
        expected[i] += 1 - 2 * p[i][labels[i]].sum() / (labels[i].sum() + p[i].sum())
    both = [
        keras.ops.convert_to_numpy(one.call(masks, given))
        for one, given in ((loss, outputs), (plain, windows))
    ]
    np.testing.assert_allclose(both[0] - both[1], expected, rtol=1e-5)
    with pytest.raises(ValueError, match="sides is given, but index_map is None"):
        WindowLoss((1, 2), sides=(2, 2))
