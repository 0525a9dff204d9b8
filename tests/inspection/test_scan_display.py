import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklstm import (
    LSTMImageClassifier,
    PatchSequencer,
    RowSequencer,
    VolumeSequencer,
)
from sklstm.inspection import ScanDisplay


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture
def axes():
    return plt.subplots()[1]


IMAGE = np.arange(6 * 8, dtype=np.uint8).reshape(6, 8)


@pytest.mark.parametrize(
    "estimator",
    [
        PatchSequencer(4, 2, order="snake"),
        PatchSequencer(4, 2, order="snake").fit(IMAGE[None]),
        LSTMImageClassifier(sequencer=PatchSequencer(4, 2, order="snake")),
        make_pipeline(
            FunctionTransformer(lambda X: X),
            PatchSequencer(4, 2, order="snake"),
            LSTMImageClassifier(),
        ),
    ],
    ids=["sequencer", "fitted", "inside", "pipeline"],
)
def test_each_estimator_shows_its_own_scan(estimator, axes):
    expected = PatchSequencer(4, 2, order="snake").fit(IMAGE[None])
    before = set(vars(estimator))
    display = ScanDisplay.from_estimator(estimator, IMAGE, ax=axes)
    np.testing.assert_array_equal(display.index_map, expected.index_map_)
    np.testing.assert_array_equal(display.sequence, expected.transform(IMAGE[None])[0])
    np.testing.assert_array_equal(display.image, IMAGE)
    assert vars(estimator).keys() == before


def test_patches_are_joined_in_their_order(axes):
    ScanDisplay.from_estimator(PatchSequencer(4, 2, order="snake"), IMAGE, ax=axes)
    path = [c for c in axes.collections if isinstance(c, LineCollection)][-1]
    centers = np.array([[2, 2], [4, 2], [6, 2], [6, 4], [4, 4], [2, 4]])
    found = np.array(path.get_segments())
    np.testing.assert_array_equal(found[:, 0], centers[:-1])
    np.testing.assert_array_equal(found[:, 1], centers[1:])
    boxes = [p.get_bbox() for p in axes.patches if isinstance(p, Rectangle)]
    corners = [(box.x0, box.y0, box.x1, box.y1) for box in boxes]
    assert corners == [(0, 0, 4, 4), (2, 0, 6, 4), (0, 2, 4, 6)]
    # The first step is dark, the last one light.
    luminance = [np.mean(to_rgba(color)[:3]) for color in path.get_colors()]
    assert luminance[-1] > luminance[0]


def test_rows_have_the_colour_of_their_step(axes):
    display = ScanDisplay.from_estimator(RowSequencer(order="snake"), IMAGE, ax=axes)
    colors = axes.images[-1].get_array()
    np.testing.assert_array_equal(colors, np.arange(1, 7)[:, None] * np.ones(8))
    ends = [np.sign(np.diff(p.get_path().vertices[:2, 0]))[0] for p in axes.patches]
    assert ends == [1, -1, 1, -1, 1, -1]
    assert [t.get_text() for t in axes.get_yticklabels()] == list("123456")
    assert [bar.get_ylabel() for bar in display.figure_.axes[1:]] == ["step"]


def test_overlapping_rows_have_their_mean_step_and_outlines(axes):
    sequencer = RowSequencer(sequence_length=4)  # windows from rows 0, 1, 3, 4
    ScanDisplay.from_estimator(sequencer, IMAGE, ax=axes, windows=[1, 3])
    colors = np.asarray(axes.images[-1].get_array())
    np.testing.assert_allclose(colors[:, 0], [1, 1.5, 2, 3, 3.5, 4])
    boxes = [p.get_bbox() for p in axes.patches]
    assert [(box.y0, box.y1) for box in boxes] == [(1, 3), (4, 6)]


def test_sequence_beside_the_scan():
    image = np.stack([IMAGE, IMAGE, 2 * IMAGE], axis=-1)
    display = ScanDisplay.from_estimator(RowSequencer(axis="columns"), image)
    assert len(display.ax_) == 2
    drawn = np.asarray(display.ax_[1].images[0].get_array())
    assert drawn.shape == (18, 8)
    np.testing.assert_allclose(drawn * 94, display.sequence.T)
    assert display.ax_[1].get_title() == "8 steps of 18 values"


def test_flat_images_and_rows_of_a_network(axes):
    expected = ScanDisplay.from_estimator(RowSequencer(), IMAGE[:, :6], ax=axes)
    flat = ScanDisplay.from_estimator(RowSequencer(), IMAGE[:, :6].ravel(), ax=axes)
    rows = ScanDisplay.from_estimator(LSTMImageClassifier(), IMAGE[:, :6], ax=axes)
    for display in (flat, rows):
        np.testing.assert_array_equal(display.image, expected.image)
        np.testing.assert_array_equal(display.sequence, expected.sequence)


@pytest.mark.parametrize("axis", ["depth", "height", "width", None])
def test_volumes(axis, axes):
    volume = np.arange(4 * 4 * 4.0).reshape(4, 4, 4)
    sequencer = VolumeSequencer(axis, step_size=2)
    display = ScanDisplay.from_estimator(sequencer, volume, ax=axes)
    assert display.volume
    if axis is None:
        path = [c for c in axes.collections if isinstance(c, LineCollection)][-1]
        assert len(path.get_segments()) == 7
        # The cube behind the first one is drawn to its right and above it.
        first, behind = path.get_segments()[0][0], path.get_segments()[3][1]
        assert behind[0] > first[0]
        assert behind[1] < first[1]
        return
    assert [text.get_text() for text in sorted(axes.texts, key=str)] == ["1", "2"]
    drawn = [np.asarray(image.get_array()) for image in axes.images]
    place = ["depth", "height", "width"].index(axis)
    expected = [np.take(volume, i, axis=place) / 63 for i in (1, 3)]
    if axis != "width":  # the near slice covers the others: it comes last
        expected = expected[::-1]
    np.testing.assert_allclose(drawn, expected)


def test_what_cannot_be_drawn(axes):
    with pytest.raises(TypeError, match="A RandomForestClassifier does not read"):
        ScanDisplay.from_estimator(RandomForestClassifier(), IMAGE)
    with pytest.raises(TypeError, match="A LSTMImageClassifier does not read"):
        ScanDisplay.from_estimator(LSTMImageClassifier("cnn"), IMAGE)
    with pytest.raises(ValueError, match="names steps that do not exist"):
        ScanDisplay.from_estimator(RowSequencer(), IMAGE, windows=[6])
    with pytest.raises(ValueError, match="ax holds 3 axes"):
        ScanDisplay.from_estimator(RowSequencer(), IMAGE, ax=[axes] * 3)
    fitted = RowSequencer().fit(IMAGE[None])
    with pytest.raises(ValueError, match=r"fitted on images of \(6, 8\)"):
        ScanDisplay.from_estimator(fitted, IMAGE.T)
