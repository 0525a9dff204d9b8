"""Fields of view of many shapes, compared with their known masks."""

import cv2
import numpy as np
import pytest

from sklstm import FundusPreprocessor
from sklstm.preprocessing import fov_mask
from sklstm.preprocessing.fundus._field_of_view import find_field
from sklstm.preprocessing.fundus._vessels import DIAMETER, _kernels

SIDES = ("top", "bottom", "left", "right")


def photograph(
    shape=(240, 280),
    center=(140.0, 120.0),
    radii=(100.0, 100.0),
    cuts=(),
    border=2,
    noise=1.0,
    scale=1,
):
    """Draw a shaded field with texture, lines and cuts at rows or columns."""
    height, width = (scale * n for n in shape)
    y, x = np.mgrid[:height, :width].astype(np.float32) / scale
    u, v = (x - center[0]) / radii[0], (y - center[1]) / radii[1]
    mask = u * u + v * v <= 1
    for side, at in cuts:
        outside = {"top": y < at, "bottom": y >= at, "left": x < at, "right": x >= at}
        mask &= ~outside[side]
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(
        rng.normal(0, 1, mask.shape).astype(np.float32), (0, 0), 5 * scale
    )
    shade = 1 - 0.5 * (u * u + v * v) + 0.15 * u + 0.04 * texture / texture.std()
    for place in (-0.5, -0.1, 0.4):
        shade -= 0.25 * np.exp(-(((u - place + 0.3 * v) / 0.02) ** 2))
    image = np.clip(shade, 0.25, None)[..., None] * np.array([180, 95, 40])
    image[~mask] = border
    image = cv2.GaussianBlur(image, (0, 0), 0.7 * scale)
    image += rng.normal(0, 1, image.shape) * np.where(mask, 2.0, noise)[..., None]
    return np.clip(image, 0, 255).astype(np.uint8), mask


def with_bar(image, mask, side, level, text=False):
    pads = [36 if side == name else 0 for name in SIDES]
    kind = cv2.BORDER_CONSTANT
    image = cv2.copyMakeBorder(image, *pads, kind, value=(level,) * 3)
    mask = cv2.copyMakeBorder(mask.view(np.uint8), *pads, kind, value=0).view(bool)
    if text:
        row = 24 if side == "top" else len(image) - 12
        color = (255 - level,) * 3
        cv2.putText(image, "OD 12.03. ID 4711", (5, row), 0, 0.7, color, 2)
    return image, mask


def squashed(pair, size):
    image, mask = pair
    return (
        cv2.resize(image, size, interpolation=cv2.INTER_AREA),
        cv2.resize(mask.view(np.uint8) * 255, size, interpolation=cv2.INTER_AREA) > 127,
    )


def overlap(a, b):
    return (a & b).sum() / (a | b).sum()


def cut_off(pair, rows, columns):
    return tuple(np.ascontiguousarray(values[rows, columns]) for values in pair)


DEEP = (("top", 45), ("bottom", 200))
FORMS = {
    "squashed to a square": lambda: squashed(photograph(), (256, 256)),
    "wide ellipse": lambda: photograph(radii=(125.0, 75.0)),
    "tall ellipse": lambda: photograph(radii=(60.0, 105.0)),
    "ellipse, two cuts": lambda: squashed(photograph(cuts=DEEP), (200, 300)),
    "quarter of the frame": lambda: photograph(
        shape=(300, 300), center=(100.0, 190.0), radii=(38.0, 38.0)
    ),
    "three cuts": lambda: photograph(cuts=(*DEEP, ("left", 60))),
    "four cuts": lambda: photograph(cuts=(*DEEP, ("left", 60), ("right", 220))),
    "three sides outside": lambda: cut_off(
        photograph(), slice(60, None), slice(80, 210)
    ),
    "one corner inside": lambda: cut_off(photograph(), slice(120), slice(140)),
    "only corners are border": lambda: photograph(
        shape=(240, 240), center=(120.0, 120.0), radii=(150.0, 150.0)
    ),
    "dark noise": lambda: photograph(border=15, noise=8.0),
    "grey border": lambda: photograph(border=30),
    "dark side": lambda: (
        (photograph()[0] * np.linspace(-0.3, 1, 280).clip(0.02)[:, None]).astype("u1"),
        photograph()[1],
    ),
    "padded on both sides": lambda: with_bar(
        *with_bar(*photograph(cuts=DEEP), "left", 0), "right", 0
    ),
}
for _side in SIDES:
    for _level in (0, 40, 128, 255):
        FORMS[f"{_level} bar, {_side}"] = lambda side=_side, level=_level: with_bar(
            *photograph(), side, level, side in ("top", "bottom")
        )


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_fields(form):
    image, mask = FORMS[form]()
    field = find_field(image)
    assert field.found == "ellipse"
    assert overlap(field.mask(mask.shape), mask) > 0.975
    gray = np.ascontiguousarray(image[..., 1])
    assert overlap(find_field(gray).mask(mask.shape), mask) > 0.975


def test_what_is_written_on_the_frame_is_no_field():
    image, mask = photograph()
    cv2.putText(image, "PATIENT 0815", (5, 230), 0, 0.9, (255, 255, 255), 2)
    image[:50, :70] = 230  # Draw a label in a corner.
    assert overlap(fov_mask(image), mask) > 0.98


@pytest.mark.parametrize("scale", [1, 4])
@pytest.mark.parametrize("crop", [True, False])
def test_a_cut_ends_the_mask_and_is_no_vessel(scale, crop):
    cuts = [("top", 41), ("bottom", 203), ("left", 77), ("right", 231)]
    image, _ = photograph(cuts=cuts, scale=scale)
    field = find_field(image)
    for side, at in cuts:
        assert abs(getattr(field, side) - at * scale) <= 1
    vessels, inside = FundusPreprocessor("vessels", crop=crop).transform_with_masks(
        image
    )
    assert not vessels[~inside].any()
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    for lines, edges in ((vessels, rows), (vessels.T, columns)):
        for line in [*lines[edges[:9]], *lines[edges[-9:]]]:
            assert line.mean() < 0.2


# --- other outlines, and none ---------------------------------------------------------


def detail():
    """Return a photograph of the middle of a field, without border."""
    return photograph(shape=(150, 190), center=(95.0, 75.0), radii=(260.0, 260.0))[0]


@pytest.mark.parametrize("level", [0, 90, 255])
def test_the_outline_of_a_photograph_that_is_not_round(level):
    image = cv2.copyMakeBorder(
        detail(), 30, 40, 50, 20, cv2.BORDER_CONSTANT, value=(level,) * 3
    )
    truth = np.zeros(image.shape[:2], bool)
    truth[30:-40, 50:-20] = True
    with pytest.warns(UserWarning, match="the mask is the outline of what is not bord"):
        assert overlap(fov_mask(image), truth) > 0.98
    # The shape is neither a circle, an upright ellipse nor a rectangle.
    corners = np.array([[60, 40], [210, 20], [230, 150], [90, 190]], np.int32)
    truth = cv2.fillPoly(np.zeros(image.shape[:2], np.uint8), [corners], 1).view(bool)
    image = cv2.resize(detail(), truth.shape[::-1])
    image[~truth] = level
    with pytest.warns(UserWarning, match="the mask is the outline of what is not bord"):
        assert overlap(fov_mask(image), truth) > 0.95


def test_no_field_where_there_is_no_border():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:200, :220]
    far = (x - 110.0) ** 2 + (y - 100.0) ** 2
    waves = cv2.GaussianBlur(rng.normal(0, 1, (200, 220)).astype("f4"), (0, 0), 15)
    for image in (
        detail(),
        rng.integers(0, 256, (200, 220, 3), np.uint8),
        (200 * (1 - 0.9 * far / far.max())).astype(np.uint8),  # The corners are dark.
        (220 * np.exp(-far / 5000)).astype(np.uint8),  # The middle is bright.
        (128 + 40 * waves / waves.std()).clip(0, 255).astype(np.uint8),
        np.full((100, 120), 77, np.uint8),
    ):
        field = find_field(image)
        assert field.found == "nothing"
        assert field.mask(image.shape[:2]).all()


# --- the preprocessor -----------------------------------------------------------------


@pytest.mark.parametrize("output", ["enhanced", "graham", "vesselness", "stack"])
@pytest.mark.parametrize("size", [None, 128])
@pytest.mark.filterwarnings("ignore:No field of view was found")
def test_padding_is_outside_the_mask_and_black(output, size):
    padded = cv2.copyMakeBorder(detail(), 30, 30, 0, 0, cv2.BORDER_CONSTANT)
    for image, share in ((detail(), 150 / 190), (padded, 150 / 190)):
        out, inside = FundusPreprocessor(output, size=size).transform_with_masks(image)
        assert out.shape[:2] == inside.shape == ((size or 190),) * 2
        assert inside.mean() == pytest.approx(share, abs=0.02)
        assert inside.any(axis=0).all()
        empty = {"graham": 128, "stack": np.array([0, 128, 0])}.get(output, 0)
        assert (out[~inside] == empty).all()


@pytest.mark.filterwarnings("ignore:No field of view was found")
def test_no_vessel_where_there_is_none():
    y, x = np.mgrid[:200, :300]
    even = np.dstack([160 + x * 0.1, 80 + y * 0.05, 40 + 0 * x]).astype(np.uint8)
    assert not FundusPreprocessor("vessels").transform(even).any()


def test_a_squashed_photograph_is_worked_on_as_before_it_was_squashed():
    round_one = photograph(scale=2)[0]
    flat = cv2.resize(round_one, (560, 300), interpolation=cv2.INTER_AREA)
    for output in ("enhanced", "vesselness"):
        preprocessor = FundusPreprocessor(output, size=180)
        expected, inside = preprocessor.transform_with_masks(round_one)
        found, also_inside = preprocessor.transform_with_masks(flat)
        assert overlap(inside, also_inside) > 0.98
        both = inside & also_inside
        assert np.corrcoef(found[both], expected[both])[0, 1] > 0.93
    # Without cropping, widths differ across and down.
    kept = FundusPreprocessor("vesselness", crop=False)
    found, inside = kept.transform_with_masks(flat)
    assert found.shape == flat.shape[:2]
    expected = cv2.resize(kept.transform(round_one), (560, 300))
    assert np.corrcoef(found[inside], expected[inside])[0, 1] > 0.93
    sized = FundusPreprocessor(size=180, crop=False).transform_with_masks(flat)[1]
    rows, columns = np.flatnonzero(sized.any(1)), np.flatnonzero(sized.any(0))
    assert abs(np.ptp(rows) - np.ptp(columns)) <= 1


def test_the_kernels_of_one_shape_take_little_memory():
    side = DIAMETER + 66
    total = sum(
        kernels.nbytes
        for kind, sizes, shape in (
            ("bar", ((1.0, 4.0),) * 3, (side, side)),
            ("bar", ((1.0, 4.0),) * 5, (side // 2, side // 2)),
            ("line", ((1.0, 2.8),) * 2, (side, side)),
        )
        for kernels in _kernels.__wrapped__(shape, kind, sizes)
    )
    assert total < 36e6
    assert _kernels.cache_info().maxsize <= 6
