"""FundusPreprocessor: the field of view, the results, and input that is refused."""

import mmap
import pickle
import subprocess
import sys
import warnings

import cv2
import numpy as np
import pytest
import skimage.data
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from sklstm import FundusPreprocessor, RowSequencer
from sklstm.preprocessing import fov_mask
from sklstm.preprocessing.fundus._enhancement import smoothed
from sklstm.preprocessing.fundus._vessels import _kernel, vesselness

OUTPUTS = {
    "enhanced": (np.uint8, ()),
    "graham": (np.uint8, ()),
    "vesselness": (np.float32, ()),
    "vessels": (np.bool_, ()),
    "stack": (np.uint8, (3,)),
}


def photograph(
    shape=(260, 300), center=(150.0, 128.0), radius=118.0, border=2, lines=True, seed=0
):
    """Draw a round field with shading, vessels and noise; return its masks too."""
    height, width = shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    distance = np.hypot(x - center[0], y - center[1])
    mask = distance <= radius
    shade = 1 - 0.5 * (distance / radius) ** 2 + 0.15 * (x - center[0]) / radius
    image = np.stack([190 * shade, 95 * shade, 40 * shade], axis=-1)
    truth = np.zeros(shape, np.uint8)
    if lines:
        for angle, thick in ((0.3, 3), (1.2, 2), (2.2, 3), (2.9, 2)):
            reach = 0.8 * radius * np.array([np.cos(angle), np.sin(angle)])
            ends = [
                tuple(np.round(np.array(center) + s * reach).astype(int))
                for s in (-1, 1)
            ]
            cv2.line(
                truth, tuple(map(int, ends[0])), tuple(map(int, ends[1])), 1, thick
            )
        image[truth > 0] *= (0.85, 0.7, 0.9)
    image += np.random.default_rng(seed).normal(0, 2, image.shape)
    image[~mask] = border
    return np.clip(image, 0, 255).astype(np.uint8), mask, truth.astype(bool)


def overlap(a, b):
    return (a & b).sum() / (a | b).sum()


# --- the field of view --------------------------------------------------------------

FRAMES = {
    "whole": {},
    "off centre": {"center": (125.0, 135.0), "shape": (280, 340)},
    "cut at the top and the bottom": {"shape": (190, 300), "center": (150.0, 95.0)},
    "cut at the left": {"center": (95.0, 128.0)},
    "bright border": {"border": 250},
    "grey border": {"border": 30},
    "small": {"shape": (70, 80), "center": (40.0, 35.0), "radius": 30.0},
}


@pytest.mark.parametrize("frame", FRAMES)
def test_field_of_view(frame):
    image, mask, _ = photograph(**FRAMES[frame])
    # Half a pixel is a large part of a small circle.
    least = min(0.97, 1 - 1.2 / FRAMES[frame].get("radius", 118))
    assert overlap(fov_mask(image), mask) > least
    assert overlap(fov_mask(image[..., 1]), mask) > least


def test_field_of_view_cut_by_bars_inside_the_frame():
    image, mask, _ = photograph()
    image[:45] = image[215:] = 2
    mask[:45] = mask[215:] = False
    assert overlap(fov_mask(image), mask) > 0.96


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((100, 100, 3), np.uint8),
        np.random.default_rng(0).integers(0, 256, (100, 120, 3), np.uint8),
        np.pad(np.full((60, 80), 150, np.uint8), 30),
    ],
    ids=["black", "noise", "rectangle"],
)
def test_no_field_of_view_is_said_once(image):
    with pytest.warns(UserWarning, match="No field of view was found: the mask is the"):
        mask = fov_mask(image)
    # The border around a photograph that is not round is not retina.
    truth = image > 0 if image.ndim == 2 else np.ones(mask.shape, bool)
    assert overlap(mask, truth) > 0.99
    preprocessor = FundusPreprocessor(size=64)
    good = photograph()[0]
    message = (
        r"No field of view was found in 2 of 3 photographs \(the first is X\[1\]\)"
    )
    colored = image if image.ndim == 3 else np.dstack([image] * 3)
    with pytest.warns(UserWarning, match=message) as told:
        out = preprocessor.transform([good, colored, colored])
    assert len(told) == 1
    assert told[0].filename == __file__
    assert out.shape == (3, 64, 64)


@pytest.mark.data
def test_field_of_view_on_drive(drive):
    images, _, masks = drive
    found = [overlap(fov_mask(i), m) for i, m in zip(images, masks, strict=True)]
    assert min(found) > 0.98  # The measured minimum is .988.


# --- results ------------------------------------------------------------------------


@pytest.mark.parametrize("output", OUTPUTS)
def test_shapes_types_and_the_frame(output):
    dtype, channels = OUTPUTS[output]
    image, mask, _ = photograph()
    other = photograph(shape=(240, 280), center=(140.0, 120.0), radius=100.0)[0]
    whole = FundusPreprocessor(output, crop=False).transform([image])
    assert whole.shape == (1, 260, 300, *channels)
    assert whole.dtype == dtype
    outside = whole[0][~cv2.dilate(mask.view(np.uint8), np.ones((7, 7))).view(bool)]
    empty = {"graham": 128, "stack": np.array([0, 128, 0])}.get(output, 0)
    assert (outside == empty).all()
    out, inside = FundusPreprocessor(output, size=160).transform_with_masks(
        [image, other]
    )
    assert out.shape == (2, 160, 160, *channels)
    assert inside.shape == (2, 160, 160)
    assert inside.dtype == bool
    # The circle fills the square for all diameters.
    np.testing.assert_allclose(inside.mean(axis=(1, 2)), np.pi / 4, atol=0.02)
    with pytest.raises(ValueError, match=r"different sizes, .* set size="):
        FundusPreprocessor(output).transform([image, other])


def test_one_a_batch_a_list_and_paths_are_the_same(tmp_path):
    images = [photograph(seed=seed)[0] for seed in range(3)]
    preprocessor = FundusPreprocessor(size=100)
    expected = preprocessor.fit(images).transform(images)
    np.testing.assert_array_equal(preprocessor.transform(np.stack(images)), expected)
    np.testing.assert_array_equal(preprocessor.transform(images[1]), expected[1])
    paths = []
    for i, image in enumerate(images):
        paths.append(tmp_path / f"{i}.png")
        cv2.imwrite(str(paths[-1]), image[..., ::-1])
    np.testing.assert_array_equal(preprocessor.transform(paths), expected)
    alpha = np.dstack([images[0], np.full(images[0].shape[:2], 255, np.uint8)])
    deep = images[0].astype(np.uint16) * 257
    unit = images[0] / 255
    for same in (alpha, deep, unit):
        np.testing.assert_array_equal(preprocessor.transform([same])[0], expected[0])
    again = pickle.loads(pickle.dumps(clone(preprocessor)))
    np.testing.assert_array_equal(again.transform(images), expected)
    assert make_pipeline(preprocessor, RowSequencer()).fit_transform(images).shape == (
        3,
        100,
        100,
    )


def test_channels_are_red_green_blue():
    image = photograph(lines=False)[0]
    # Each channel has a mark.
    for channel, place in enumerate((90, 140, 190)):
        image[110:130, place : place + 20, channel] //= 2
    kept = FundusPreprocessor(crop=False)
    for values in (kept.transform([image])[0], kept.transform([image[..., 1]])[0]):
        marks = [values[113:127, x + 3 : x + 17].mean() for x in (90, 140, 190)]
        assert marks[1] < min(marks[0], marks[2]) - 40
    colors = FundusPreprocessor(color="rgb", crop=False).transform([image])[0]
    inside = colors[photograph()[1]].mean(axis=0)
    assert inside[0] > inside[1] > inside[2]  # A retina is red.


def test_illumination_is_evened_and_vessels_stay():
    image, mask, truth = photograph()
    inner = cv2.erode(mask.view(np.uint8), np.ones((21, 21))).view(bool)
    left, right = inner.copy(), inner.copy()
    left[:, 110:] = right[:, :190] = False

    def slope(values):
        values = values.astype(float)
        return abs(values[left & ~truth].mean() - values[right & ~truth].mean())

    def contrast(values):
        values = values.astype(float)
        return (values[inner & ~truth].mean() - values[inner & truth].mean()) / values[
            inner & ~truth
        ].std()

    enhanced = FundusPreprocessor(crop=False).transform([image])[0]
    green = image[..., 1]
    assert slope(enhanced) < 0.5 * slope(green)
    assert contrast(enhanced) > 1.5 * contrast(green)
    rough = FundusPreprocessor(crop=False, denoise=False).transform([image])[0]
    assert contrast(enhanced) > contrast(rough)


@pytest.mark.parametrize("radius", [60, 118, pytest.param(300, marks=pytest.mark.slow)])
def test_vessels_are_found_at_any_diameter(radius):
    factor = radius / 118
    image, _, truth = photograph()
    size = round(300 * factor), round(260 * factor)
    kind = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    image = cv2.resize(image, size, interpolation=kind)
    truth = cv2.resize(truth.view(np.uint8), size) > 0
    likely = FundusPreprocessor("vesselness", crop=False).transform([image])[0]
    assert likely.min() >= 0
    assert likely.max() <= 1
    assert roc_auc_score(truth.ravel(), likely.ravel()) > 0.93
    decided = FundusPreprocessor("vessels", crop=False).transform([image])[0]
    assert decided[truth].mean() > 0.6
    assert decided[~truth].mean() < 0.06


@pytest.mark.filterwarnings("ignore:No field of view was found")
def test_microaneurysms_survive():
    # The image is a green detail of 102 x 102 pixels. Lesions are dark dots that are
    # four pixels wide.
    image = skimage.data.microaneurysms()
    lesions = [(23, 17), (71, 49)]

    def depth(values, row, column):
        around = values[row - 7 : row + 8, column - 7 : column + 8].astype(float)
        y, x = np.mgrid[-7:8, -7:8]
        ring = np.hypot(x, y) > 5
        return np.median(around[ring]) - around[6:9, 6:9].mean()

    def noise(values):
        even = values[28:44, 30:90].astype(float)  # There is no vessel.
        return (even - cv2.GaussianBlur(even, (0, 0), 3)).std()

    kept = smoothed(image)
    enhanced = FundusPreprocessor(crop=False).transform(image)
    # The median smooths as much, but does not keep edges.
    median = cv2.medianBlur(image, 5)
    assert noise(kept) < 0.7 * noise(image)
    for place in lesions:
        before = depth(image, *place)
        assert depth(kept, *place) > 0.85 * before
        assert depth(kept, *place) > depth(median, *place)
        assert depth(enhanced, *place) > before


def test_a_bar_answers_no_even_ground():
    for kind, total in (("bar", 0.0), ("line", 1.0)):
        for angle in (0.0, 0.7):
            kernel = _kernel(kind, 1.5, 5.0, angle)
            assert kernel.dtype == np.float32
            assert kernel.sum() == pytest.approx(total, abs=1e-5)
    nothing = vesselness(np.full((80, 90), 50, np.uint8), np.ones((80, 90), bool))
    assert nothing.max() < 0.01


@pytest.mark.slow
@pytest.mark.data
def test_vessels_of_drive(drive):
    images, vessels, masks = drive
    likely = FundusPreprocessor("vesselness", crop=False).transform(images[20:24])
    scores, truth = (a[masks[20:24]] for a in (likely, vessels[20:24]))
    assert roc_auc_score(truth, scores) > 0.95  # All 20 give .9642.
    decided = FundusPreprocessor("vessels", crop=False).transform(images[20:24])
    chosen = decided[masks[20:24]]
    f1 = 2 * (chosen & truth).sum() / (chosen.sum() + truth.sum())
    assert f1 > 0.77  # All 20 give .788.


@pytest.fixture(scope="module")
def drive(data_dir):
    """Photographs, vessels and fields of view of DRIVE, the training half first."""
    path = data_dir / "drive.npz"
    if not path.is_file():
        pytest.skip(f"no drive.npz in {data_dir}")
    with np.load(path) as data:
        order = np.argsort(data["split"] == "test", kind="stable")
        return [data[name][order] for name in ("images", "vessels", "fov")]


# --- input that is refused ----------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "X", "message"),
    [
        ({"output": "veins"}, None, "output must be one of 'enhanced', 'graham'"),
        ({"color": "bgr"}, None, "color must be one of 'green', 'rgb'; got 'bgr'"),
        ({"size": 8}, None, "size must be None or a whole number of at least 32"),
        ({"on_disk": "nowhere"}, None, "on_disk must be None or a folder that exists"),
        ({"clip_limit": 0}, None, "clip_limit must be a number above 0; got 0"),
        ({"tile_grid_size": (8, 0)}, None, "tile_grid_size must be a whole number"),
        (
            {"output": "stack", "color": "rgb"},
            None,
            "color='rgb' is for output='enhanced' and 'graham'; 'stack' is made of",
        ),
        ({"color": "rgb"}, [photograph()[0][..., 1]], r"colour, but X\[0\] is grey"),
        ({}, [photograph()[0], np.zeros((40, 90, 3), np.uint8)], r"X\[1\] is 40 x 90"),
        (
            {},
            [photograph()[0].astype(float)],
            r"X\[0\] is float64 from 2.0 to .*uint8,",
        ),
        ({}, [photograph()[0] / np.nan], r"X\[0\] is float64 from nan to nan"),
        ({}, [np.zeros((90, 90, 2), np.uint8)], r"X\[0\] has the shape \(90, 90, 2\)"),
        (
            {},
            np.zeros((2, 2, 90, 90, 3), np.uint8),
            "X must hold photographs, .* shape",
        ),
        ({}, [], "X holds no photographs"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value", "ignore:divide by zero")
def test_what_cannot_be_used(params, X, message):
    preprocessor = FundusPreprocessor(**params)
    with pytest.raises(ValueError, match=message) as error:
        preprocessor.transform([photograph()[0]] if X is None else X)
    assert "\n" not in str(error.value)


def test_a_file_that_is_missing():
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        FundusPreprocessor().transform(["gone.png"])


HUGE = """
import resource, sys
import numpy as np
from sklstm import FundusPreprocessor
y, x = np.ogrid[:4000, :4000]
inside = (x - 2000) ** 2 + (y - 2000) ** 2 < 1900**2
photograph = np.where(inside[..., None], np.array([180, 90, 40], np.uint8), np.uint8(0))
FundusPreprocessor("stack", size=64).transform(photograph[::10, ::10])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
FundusPreprocessor(sys.argv[1], crop=False).transform(photograph)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
@pytest.mark.parametrize(
    "output", ["enhanced", pytest.param("vesselness", marks=pytest.mark.slow)]
)
def test_memory_of_a_huge_photograph(output):
    done = subprocess.run(
        [sys.executable, "-c", HUGE, output], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) / 1024 < 320  # The class documents 300 MB.


def test_results_on_disk_are_the_same(tmp_path):
    images = [photograph(seed=seed)[0] for seed in range(3)]
    expected = FundusPreprocessor("stack", size=64).transform_with_masks(images)
    on_disk = FundusPreprocessor("stack", size=64, on_disk=tmp_path)
    for found, in_memory in zip(
        on_disk.transform_with_masks(images), expected, strict=True
    ):
        assert isinstance(found.base.base.obj, mmap.mmap)
        np.testing.assert_array_equal(found, in_memory)
    assert list(tmp_path.iterdir()) == []


# scikit-learn's common checks use flat numbers, which this transformer refuses.
def test_is_an_estimator():
    params = {"output": "stack", "size": 99, "tile_grid_size": [4, 4], "denoise": 0}
    preprocessor = FundusPreprocessor(**params)
    given = preprocessor.get_params()
    assert all(given[name] is value for name, value in params.items())
    assert clone(preprocessor).get_params() == given
    assert repr(clone(preprocessor)) == repr(preprocessor)
    preprocessor.fit([photograph()[0]])
    assert preprocessor.get_params() == given
    check_is_fitted(preprocessor)
    check_is_fitted(FundusPreprocessor())  # fit learns nothing.
    assert not hasattr(preprocessor, "set_output")
    tags = get_tags(preprocessor)
    assert tags.input_tags.string
    assert not tags.input_tags.two_d_array
    assert not tags.requires_fit


def test_the_photographs_are_not_changed():
    image, _, _ = photograph()
    before = image.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for output in OUTPUTS:
            FundusPreprocessor(output).transform([image])
    np.testing.assert_array_equal(image, before)
