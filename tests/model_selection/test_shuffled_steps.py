import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from sklstm import LSTMImageClassifier, PatchSequencer, RowSequencer
from sklstm.model_selection._shuffled_steps import StepShuffler, without_order

IMAGES = np.arange(3 * 9 * 8, dtype=np.uint8).reshape(3, 9, 8)


def test_steps_have_another_order_in_each_sample():
    found = StepShuffler(random_state=0).fit_transform(IMAGES)
    assert found.dtype == np.uint8
    orders = [[int(row[0]) % 72 // 8 for row in image] for image in found]
    assert all(sorted(order) == list(range(9)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    for image, own, order in zip(found, IMAGES, orders, strict=True):
        np.testing.assert_array_equal(image, own[order])
    again = StepShuffler(random_state=0).fit_transform(IMAGES)
    np.testing.assert_array_equal(found, again)


def test_flat_samples_are_read_as_the_classifier_reads_them():
    flat = np.arange(32).reshape(2, 16)
    assert StepShuffler(random_state=0).fit_transform(flat).shape == (2, 4, 4)
    assert StepShuffler().fit_transform(flat[:, :15]).shape == (2, 15, 1)


@pytest.mark.parametrize("channels", [(), (3,)])
def test_blocks_of_images(channels):
    X = np.random.default_rng(0).normal(size=(4, 9, 8, *channels))
    found = StepShuffler("blocks", random_state=0).fit_transform(X)
    assert found.shape == X.shape
    # The row that no block holds stays.
    np.testing.assert_array_equal(found[:, 8], X[:, 8])

    def blocks(image):
        cut = image[:8].reshape(4, 2, 4, 2, -1).swapaxes(1, 2).reshape(16, -1)
        return sorted(map(tuple, cut))

    for one, own in zip(found, X, strict=True):
        assert blocks(one) == blocks(own)
        assert not np.array_equal(one, own)
    whole = StepShuffler("blocks", block=8, random_state=0).fit_transform(X)
    np.testing.assert_array_equal(whole, X)


def test_where_the_shuffler_stands():
    pipeline = make_pipeline(RowSequencer(), LSTMImageClassifier(units=7))
    shuffled, ordered, unit = without_order(pipeline, {})
    assert [name for name, _ in shuffled.steps] == [
        "rowsequencer",
        "shuffler",
        "network",
    ]
    assert (shuffled[-1].units, ordered, unit) == (7, None, "steps")
    inside = LSTMImageClassifier(sequencer=PatchSequencer(4, 2))
    shuffled, ordered, unit = without_order(inside, {})
    assert [name for name, _ in shuffled.steps] == ["scan", "shuffler", "network"]
    assert shuffled[-1].sequencer is None
    assert (ordered, unit) == (None, "steps of the scan")
    # Without images there is no augmentation, so what it is compared with has none.
    shuffled, ordered, _ = without_order(inside.set_params(augmentation="light"), {})
    assert shuffled[-1].augmentation is None
    assert [name for name, _ in ordered.steps] == ["scan", "network"]
    assert ordered[-1].augmentation is None
    assert inside.augmentation == "light"


@pytest.mark.parametrize(
    ("network", "unit", "what"),
    [
        (LSTMImageClassifier("cnn_lstm"), "blocks", "blocks of the image"),
        (LSTMImageClassifier("vil", patch_size=2), "blocks", "blocks of 2 x 2 pixels"),
        (LSTMImageClassifier("conv_lstm"), "steps", "slices"),
        (LSTMImageClassifier("auto"), "blocks", "blocks of the image"),
    ],
)
def test_what_is_shuffled(network, unit, what):
    recipe = {"network": "cnn"} if network.network == "auto" else {}
    shuffled, _, words = without_order(network, recipe)
    assert shuffled["shuffler"].unit == unit
    assert words == what


def test_an_estimator_without_steps():
    assert without_order(SVC(), {})[0] is None
