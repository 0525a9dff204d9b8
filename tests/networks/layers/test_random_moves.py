"""RandomMoves: where the pixels of a result come from, on every backend."""

from sklstm._keras import keras

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from sklstm.networks import RandomMoves
from sklstm.networks.initialize import reseed

pytestmark = pytest.mark.backend

SIDE = 31  # An odd number, so that there is a pixel in the centre.
CENTER = SIDE // 2


def moved(images, seed=0, **moves):
    layer = RandomMoves(**moves)
    layer.build(images.shape)
    reseed(layer, np.random.default_rng(seed))
    return keras.ops.convert_to_numpy(layer(images, training=True))


def rulers(n, height=SIDE, width=SIDE):
    """Return n images whose two channels are the row and the column of each pixel."""
    image = np.stack(np.indices((height, width)), axis=-1)
    return np.repeat(image[None], n, axis=0).astype("float32")


def read_from(n=300, seed=0, **moves):
    """Return the matrices (n, 2, 2) of the moves and the places the centres are from.

    Linear interpolation of a ruler is exact, so a moved ruler shows where each of its
    pixels was read.
    """
    places = moved(rulers(n), seed, **moves)
    center = places[:, CENTER, CENTER]
    down = places[:, CENTER + 1, CENTER] - center
    right = places[:, CENTER, CENTER + 1] - center
    return np.stack([down, right], axis=-1), center - CENTER


def within(values, most):
    """Return whether values lie in -most..most and nearly reach both ends."""
    return (
        np.abs(values).max() < most * 1.001
        and values.min() < -0.95 * most
        and values.max() > 0.95 * most
    )


# --- how far each goes --------------------------------------------------------------


def test_rotation():
    matrix, center = read_from(rotation=40)
    angle = np.degrees(np.arctan2(matrix[:, 0, 1], matrix[:, 0, 0]))
    assert within(angle, 40)
    orthogonal = matrix @ matrix.transpose(0, 2, 1)
    np.testing.assert_allclose(orthogonal, np.repeat([np.eye(2)], 300, 0), atol=1e-4)
    assert (np.linalg.det(matrix) > 0).all()
    np.testing.assert_allclose(center, 0, atol=1e-4)


def test_zoom():
    matrix, center = read_from(zoom=0.2)
    size = matrix[:, 0, 0]
    assert within(size - 1, 0.2)
    np.testing.assert_allclose(matrix, size[:, None, None] * np.eye(2), atol=1e-4)
    np.testing.assert_allclose(center, 0, atol=1e-4)


def test_shear_slants_the_vertical():
    matrix, center = read_from(shear=20)
    assert within(np.degrees(np.arctan(matrix[:, 1, 0])), 20)
    matrix[:, 1, 0] = 0
    np.testing.assert_allclose(matrix, np.repeat([np.eye(2)], 300, 0), atol=1e-4)
    np.testing.assert_allclose(center, 0, atol=1e-4)


def test_translation():
    matrix, center = read_from(translation=0.2)
    np.testing.assert_allclose(matrix, np.repeat([np.eye(2)], 300, 0), atol=1e-4)
    for shift in center.T:
        assert within(shift, 0.2 * SIDE)
        assert len(np.unique(np.round(shift, 3))) > 250
    assert abs(np.corrcoef(center.T)[0, 1]) < 0.3  # the axes are independent


def test_crop_shifts_by_whole_pixels():
    matrix, center = read_from(crop=0.1)
    np.testing.assert_array_equal(matrix, np.repeat([np.eye(2)], 300, 0))
    shifts, counts = np.unique(center, axis=0, return_counts=True)
    expected = np.stack(np.meshgrid(range(-3, 4), range(-3, 4), indexing="ij"), -1)
    np.testing.assert_array_equal(shifts, expected.reshape(-1, 2))
    assert counts.max() < 25  # of 300 / 49 on average


def test_height_and_width_have_their_own_shifts():
    places = moved(rulers(300, 10, 40), translation=0.25)
    center = places[:, 5, 20] - [5, 20]
    assert within(center[:, 0], 2.5)
    assert within(center[:, 1], 10)


def test_all_moves_together_are_one_reading():
    moves = {"rotation": 180, "zoom": 0.1, "flip": ("vertical",), "turn": 90}
    matrix, center = read_from(**moves, translation=0.1)
    size = np.sqrt(np.abs(np.linalg.det(matrix)))
    assert within(size - 1, 0.1)
    assert 100 < (np.linalg.det(matrix) < 0).sum() < 200  # half are mirrored
    assert np.hypot(*center.T).max() < 1.1 * 0.1 * np.sqrt(2) * SIDE
    # Images without an angle are not blurred by the interpolation.
    images = np.random.default_rng(0).normal(size=(20, 6, 6, 2)).astype("float32")
    np.testing.assert_array_equal(
        moved(images, rotation=1e-30, flip=("vertical",), turn=90),
        moved(images, flip=("vertical",), turn=90),
    )


# --- flips and turns ----------------------------------------------------------------


def orientations(image):
    """Return the eight turned and mirrored images, by name."""
    found = {}
    for quarters in range(4):
        turned = np.rot90(image, quarters)
        found[f"turned {90 * quarters}"] = turned
        found[f"mirrored, turned {90 * quarters}"] = turned[:, ::-1]
    return found


def names(images, changed):
    """Return the name of the orientation of each changed image."""
    found = []
    for image, one in zip(images, changed, strict=True):
        (name,) = (k for k, v in orientations(image).items() if np.array_equal(v, one))
        found.append(name)
    return found


TURNS = {f"turned {90 * quarters}" for quarters in range(4)}
HALF_TURNS = {"turned 0", "turned 180"}


@pytest.mark.parametrize(
    ("moves", "expected"),
    [
        ({"turn": 90}, TURNS),
        ({"turn": "auto"}, TURNS),
        ({"turn": 180}, HALF_TURNS),
        ({"flip": ("horizontal",)}, {"turned 0", "mirrored, turned 0"}),
        ({"flip": ("vertical",)}, {"turned 0", "mirrored, turned 180"}),
        (
            {"flip": ("horizontal", "vertical"), "turn": 90},
            {*TURNS, *(f"mirrored, {turn}" for turn in TURNS)},
        ),
    ],
    ids=["90", "auto", "180", "horizontal", "vertical", "all"],
)
def test_flips_and_turns_are_exact(moves, expected):
    images = np.random.default_rng(0).normal(size=(200, 6, 6, 2)).astype("float32")
    found = names(images, moved(images, **moves))
    assert set(found) == expected
    counts = [found.count(name) for name in expected]
    assert min(counts) > 0.4 * 200 / len(expected)


@pytest.mark.parametrize("turn", [180, "auto"])
def test_images_that_are_not_square_turn_by_180(turn):
    images = np.random.default_rng(0).normal(size=(50, 5, 8, 1)).astype("float32")
    changed = moved(images, turn=turn)
    assert changed.shape == images.shape
    assert set(names(images, changed)) == HALF_TURNS


def test_a_quarter_turn_needs_square_images():
    with pytest.raises(ValueError, match=r"needs square .* have 5 x 8 pixels: use 180"):
        RandomMoves(turn=90).build((None, 5, 8, 1))


# --- the border ---------------------------------------------------------------------


@pytest.mark.parametrize("fill", ["constant", "nearest", "reflect"])
@pytest.mark.parametrize(
    "moves",
    [{"crop": 0.4}, {"translation": 0.4, "zoom": 0.3, "shear": 30}],
    ids=["whole pixels", "interpolated"],
)
def test_the_border_is_filled_as_in_scipy(fill, moves):
    n, height, width = 20, 9, 14
    images = np.random.default_rng(0).uniform(1, 9, (n, height, width, 1))
    images = images.astype("float32")
    mode = {"constant": "grid-constant"}.get(fill, fill)
    layer = RandomMoves(**moves, fill=fill)
    reseed(layer, np.random.default_rng(1))
    changed = keras.ops.convert_to_numpy(layer(images, training=True))
    reseed(layer, np.random.default_rng(1))
    places = [keras.ops.convert_to_numpy(p) for p in layer._sources(n, height, width)]
    places = np.stack(np.broadcast_arrays(*places), axis=1)
    for image, one, place in zip(images[..., 0], changed[..., 0], places, strict=True):
        expected = map_coordinates(image, place, order=1, mode=mode)
        np.testing.assert_allclose(one, expected, atol=1e-4)
    assert places.min() < -2
    assert places.max() > width + 1


# --- what it does to a batch --------------------------------------------------------

MOVES = {
    "interpolated": {"rotation": 20, "zoom": 0.1, "shear": 5, "translation": 0.1},
    "exact": {"crop": 0.4, "flip": ("horizontal", "vertical"), "turn": 90},
}


@pytest.mark.parametrize("kind", MOVES)
def test_every_image_moves_in_its_own_way_and_the_seed_decides(kind):
    images = np.random.default_rng(0).normal(size=(1, 10, 10, 2)).astype("float32")
    images = np.repeat(images, 40, axis=0)
    changed = moved(images, seed=3, **MOVES[kind])
    assert len(np.unique(changed.reshape(40, -1), axis=0)) >= 37
    np.testing.assert_array_equal(moved(images, seed=3, **MOVES[kind]), changed)
    assert not np.array_equal(moved(images, seed=4, **MOVES[kind]), changed)


@pytest.mark.parametrize("kind", MOVES)
def test_nothing_moves_outside_training(kind):
    images = np.random.default_rng(0).normal(size=(4, 10, 10, 2)).astype("float32")
    for arguments in ({}, {"training": False}):
        same = RandomMoves(**MOVES[kind])(images, **arguments)
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(same), images)


def test_images_of_one_row():
    images = np.random.default_rng(0).normal(size=(40, 1, 8, 1)).astype("float32")
    changed = moved(images, rotation=20, flip=("horizontal",), fill="reflect")
    assert np.isfinite(changed).all()
    changed = moved(images, flip=("horizontal",))
    mirrored = (changed == images[:, :, ::-1]).all(axis=(1, 2, 3))
    np.testing.assert_array_equal(changed[~mirrored], images[~mirrored])
    assert 5 < mirrored.sum() < 35


def test_it_has_a_config():
    layer = RandomMoves(rotation=3, crop=0.1, flip=("vertical",), turn=180, name="m")
    again = RandomMoves.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert (again.rotation, again.crop, again.turn, again.name) == (3, 0.1, 180, "m")
    assert layer.compute_output_shape((None, 4, 4, 1)) == (None, 4, 4, 1)
