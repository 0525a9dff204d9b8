"""Augmentation: random changes, their size, and when they apply."""

from sklstm._keras import keras

import numpy as np
import pytest

from sklstm.networks import (
    RandomMoves,
    RandomNoise,
    check_augmentation,
    split_augmentation,
)
from sklstm.networks.initialize import reseed
from sklstm.networks.layers._augmentation import SHORT_FORMS, make_augmentation

KINDS = {
    "rotation": {"rotation": 20},
    "translation": {"translation": 0.2},
    "zoom": {"zoom": 0.3},
    "contrast": {"contrast": 0.5},
    "noise": {"noise": 0.3},
    "erasing": {"erasing": 1.0},
    "flip": {"flip": "horizontal"},
    "shear": {"shear": 20},
    "crop": {"crop": 0.3},
    "turn": {"turn": 90},
    "brightness": {"brightness": 0.5},
    **{name: name for name in SHORT_FORMS},
    "all": {
        "rotation": 20,
        "translation": 0.2,
        "zoom": 0.3,
        "contrast": 0.5,
        "noise": 0.3,
        "erasing": 0.5,
        "flip": "both",
        "fill": "reflect",
    },
    "all at once": {
        "rotation": 20,
        "translation": 0.2,
        "zoom": 0.3,
        "shear": 10,
        "crop": 0.1,
        "turn": "auto",
        "flip": "both",
        "fill": "constant",
        "color": 0.3,
        "brightness": 0.3,
        "noise": 0.3,
    },
}


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def model_of(augmentation, shape, seed=0):
    inputs = keras.Input(shape)
    augment = make_augmentation(augmentation)
    model = keras.Model(inputs, augment(inputs) if augment else inputs)
    reseed(model, np.random.default_rng(seed))
    return model


def in_training(augmentation, images, seed=0):
    model = model_of(augmentation, images.shape[1:], seed)
    assert model.output_shape == model.input_shape
    return to_numpy(model(images, training=True))


def of(n, *shape, low=0.0, high=16.0):
    rng = np.random.default_rng(0)
    return rng.uniform(low, high, (n, *shape)).astype("float32")


def repeated(n, *shape):
    return np.repeat(of(1, *shape), n, axis=0)


# --- in training and outside --------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(8, 8, 2), (3, 8, 8, 1)], ids=["image", "volume"])
def test_nothing_changes_outside_training(kind, shape):
    images = of(4, *shape, low=-50, high=200)
    model = model_of(KINDS[kind], shape)
    np.testing.assert_array_equal(model.predict_on_batch(images), images)
    np.testing.assert_array_equal(to_numpy(model(images, training=False)), images)
    assert not np.array_equal(to_numpy(model(images, training=True)), images)


def test_a_bare_call_is_not_training():
    images = of(4, 8, 8, 1)
    model = model_of("light", (8, 8, 1))
    np.testing.assert_array_equal(to_numpy(model(images)), images)


@pytest.mark.parametrize("kind", sorted({*KINDS} - {"flip", "turn", "crop"}))
def test_every_image_gets_changes_of_its_own(kind):
    images = repeated(40, 12, 12, 1)
    changed = in_training(KINDS[kind], images).reshape(40, -1)
    assert len(np.unique(changed, axis=0)) >= 38
    if kind != "erasing":  # a rectangle can be smaller than a pixel
        assert (changed != images.reshape(40, -1)).any(axis=1).all()
    assert np.isfinite(changed).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides(kind):
    images = repeated(40, 8, 8, 1)
    model = model_of(KINDS[kind], (8, 8, 1), seed=3)
    first = to_numpy(model(images, training=True))
    assert not np.array_equal(to_numpy(model(images, training=True)), first)
    reseed(model, np.random.default_rng(3))
    np.testing.assert_array_equal(to_numpy(model(images, training=True)), first)
    # A second model with the same seed makes the same changes; another seed does not.
    np.testing.assert_array_equal(in_training(KINDS[kind], images, seed=3), first)
    assert not np.array_equal(in_training(KINDS[kind], images, seed=4), first)


@pytest.mark.parametrize("name", SHORT_FORMS)
def test_short_forms_are_dicts(name):
    images = of(10, 8, 8, 1)
    np.testing.assert_array_equal(
        in_training(name, images), in_training(SHORT_FORMS[name], images)
    )


@pytest.mark.parametrize(
    "nothing",
    [
        None,
        {},
        {"rotation": 0, "noise": 0.0},
        {"resampling": "once", "fill": "reflect", "shear": 0},
    ],
)
def test_no_change_makes_no_layer(nothing):
    assert make_augmentation(nothing) is None


# --- how far each goes --------------------------------------------------------------

SIDE = 41


def spot(n=200):
    """Return n images with a bright spot 12 pixels to the right of the centre."""
    place = np.arange(SIDE)
    image = np.exp(-((place[:, None] - 20) ** 2 + (place - 32) ** 2) / 4.5)
    return np.repeat(image[None, ..., None], n, axis=0).astype("float32")


def where(images):
    """Return the distance of the spot from the centre, down and to the right."""
    place = np.arange(SIDE)
    mass = images.sum(axis=(1, 2, 3))
    down = images.sum(axis=(2, 3)) @ place / mass
    right = images.sum(axis=(1, 3)) @ place / mass
    return down - 20, right - 20


@pytest.mark.parametrize("most", [15, 60])
def test_rotation_is_by_at_most_the_angle(most):
    down, right = where(in_training({"rotation": most, "fill": "constant"}, spot()))
    angle = np.degrees(np.arctan2(down, right))
    # There are 200 uniform angles, and interpolation moves the spot a little.
    assert 0.9 * most < angle.max() < most + 0.1
    assert -most - 0.1 < angle.min() < -0.9 * most
    np.testing.assert_allclose(np.hypot(down, right), 12, atol=0.05)


def test_translation_is_by_at_most_the_fraction():
    down, right = where(in_training({"translation": 0.15, "fill": "constant"}, spot()))
    for shift in (down / SIDE, (right - 12) / SIDE):
        assert 0.13 < shift.max() < 0.151
        assert -0.151 < shift.min() < -0.13
    assert abs(np.corrcoef(down, right)[0, 1]) < 0.3  # the axes are independent


def test_zoom_is_by_at_most_the_fraction():
    down, right = where(in_training({"zoom": 0.2, "fill": "constant"}, spot()))
    shrunk = 12 / right  # Keras divides by the random factor
    assert 1.17 < shrunk.max() < 1.203
    assert 0.797 < shrunk.min() < 0.83
    np.testing.assert_allclose(down, 0, atol=1e-3)


def contrast_of(images, changed):
    """Return the factor of the distance to the mean, for each image."""
    mean = images.mean(axis=(1, 2, 3), keepdims=True, dtype="float64")
    before, after = (x.astype("float64") - mean for x in (images, changed))
    factor = (before * after).sum(axis=(1, 2, 3)) / (before**2).sum(axis=(1, 2, 3))
    # float32 represents a million to a sixteenth, and nothing is clipped.
    np.testing.assert_allclose(
        after,
        before * factor[:, None, None, None],
        atol=max(0.01, 5e-7 * images.max()),
    )
    return factor


@pytest.mark.parametrize("low", [0.0, -1000.0, 1e6])
def test_contrast_is_by_at_most_the_fraction(low):
    images = of(200, 6, 6, 1, low=low, high=low + 4000)
    changed = in_training({"contrast": 0.4}, images)
    assert changed.min() < low
    assert changed.max() > low + 4000
    factor = contrast_of(images, changed)
    assert factor.min() > 0.599
    assert 1.37 < factor.max() < 1.401


def test_contrast_shrinks_as_well():
    images = of(200, 6, 6, 1)
    factor = contrast_of(images, in_training({"contrast": 0.4}, images))
    assert 0.599 < factor.min() < 0.63


@pytest.mark.parametrize("low", [0.5, -1000.0])
def test_erasing_leaves_a_rectangle_of_zeros(low):
    images = of(300, 16, 16, 2, low=low, high=low + 400)
    assert not (images == 0).any()
    changed = in_training({"erasing": 0.5}, images)
    erased = (changed == 0).all(axis=3)
    np.testing.assert_array_equal(changed[~erased], images[~erased])
    for one in erased[erased.any(axis=(1, 2))]:
        rows, columns = one.any(axis=1), one.any(axis=0)
        assert one.sum() == rows.sum() * columns.sum()
        for side in (rows, columns):
            assert np.ptp(np.flatnonzero(side)) + 1 == side.sum()
    # The tolerance is six standard deviations of 300 draws.
    assert abs(erased.any(axis=(1, 2)).mean() - 0.5) < 0.18


@pytest.mark.parametrize("stddev", [0.2, 2.0])
def test_noise_is_measured_by_the_image(stddev):
    images = of(5, 50, 50, 2)
    images *= np.array([1, 10, 0.1, 1000, 0])[:, None, None, None]
    images = (images + np.array([0, 5, -5, 0, 3])[:, None, None, None]).astype("f")
    noise = in_training({"noise": stddev}, images) - images
    expected = stddev * images.std(axis=(1, 2, 3))
    got, size = noise.std(axis=(1, 2, 3)), noise[0].size
    assert expected[4] == got[4] == 0  # a uniform image stays uniform
    # The tolerances are six standard errors for 5,000 normal numbers.
    np.testing.assert_allclose(got[:4], expected[:4], rtol=6 / np.sqrt(2 * size))
    assert np.all(np.abs(noise.mean(axis=(1, 2, 3))) <= 6 * expected / np.sqrt(size))
    flat = noise[:4].reshape(4, -1)
    assert np.abs(np.corrcoef(flat) - np.eye(4)).max() < 0.1


def test_noise_layer_has_a_config():
    layer = RandomNoise(0.25, name="grain")
    again = RandomNoise.from_config(layer.get_config())
    assert (again.stddev, again.name) == (0.25, "grain")
    assert layer.compute_output_shape((None, 4, 4, 1)) == (None, 4, 4, 1)


FLIPS = {
    "horizontal": {"none", "horizontal"},
    "vertical": {"none", "vertical"},
    "both": {"none", "horizontal", "vertical", "horizontal and vertical"},
}


def flips_of(image, changed):
    """Return the names of the flips that turn `image` into exactly `changed`."""
    candidates = {
        "none": image,
        "horizontal": image[:, ::-1],
        "vertical": image[::-1],
        "horizontal and vertical": image[::-1, ::-1],
    }
    return [name for name, one in candidates.items() if np.array_equal(one, changed)]


@pytest.mark.parametrize("flip", FLIPS)
def test_flips_are_exact(flip):
    images = repeated(60, 5, 6, 2)
    found = [
        name
        for image, changed in zip(
            images, in_training({"flip": flip}, images), strict=True
        )
        for name in flips_of(image, changed)
    ]
    assert len(found) == 60  # each image matches exactly one of them
    assert set(found) <= FLIPS[flip]
    assert len(set(found)) > 1
    assert 5 < found.count("none") < 55


def test_both_flips_are_drawn_independently():
    images = repeated(60, 5, 6, 1)
    changed = in_training({"flip": "both"}, images)
    found = {flips_of(*pair)[0] for pair in zip(images, changed, strict=True)}
    assert found == FLIPS["both"]


def test_fill_beyond_the_border():
    images = np.full((50, 9, 9, 1), 5.0, "float32")
    for fill in ("nearest", "reflect"):
        changed = in_training({"translation": 0.3, "zoom": 0.3, "fill": fill}, images)
        np.testing.assert_allclose(changed, images, rtol=1e-5)
    changed = in_training({"translation": 0.3, "fill": "constant"}, images)
    assert ((changed == 0) | (changed == 5)).mean() > 0.5
    assert (changed == 0).any(axis=(1, 2, 3)).mean() > 0.8
    # A repeated border differs from a mirrored one.
    images = of(20, 9, 9, 1)
    nearest, reflected = (
        in_training({"translation": 0.3, "fill": fill}, images)
        for fill in ("nearest", "reflect")
    )
    assert not np.allclose(nearest, reflected)


# --- volumes ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", sorted({*KINDS} - {"noise", "turn", "all", "all at once"})
)
def test_all_slices_get_the_same_changes(kind):
    slices = of(30, 1, 9, 8, 2)
    volumes = np.repeat(slices, 4, axis=1)
    changed = in_training(KINDS[kind], volumes)
    assert changed.shape == volumes.shape
    for i in range(1, 4):
        np.testing.assert_allclose(changed[:, i], changed[:, 0], atol=1e-5)
    assert len({volume.tobytes() for volume in changed[:, 0]}) == 30
    assert not np.array_equal(changed, volumes)


def test_slices_keep_their_order_and_channels():
    volumes = of(40, 3, 5, 4, 2)
    changed = in_training({"flip": "horizontal"}, volumes)
    flipped = 0
    for volume, one in zip(volumes, changed, strict=True):
        as_it_was = np.array_equal(one, volume)
        assert as_it_was or np.array_equal(one, volume[:, :, ::-1])
        flipped += not as_it_was
    assert 5 < flipped < 35


def test_noise_of_a_volume_is_measured_by_the_volume():
    volumes = of(2, 4, 20, 20, 1)
    volumes[:, 0] = 0  # an empty slice gets as much noise as the others
    noise = in_training({"noise": 0.5}, volumes) - volumes
    spread = volumes.std(axis=(1, 2, 3, 4))
    for i in range(4):
        got = noise[:, i].std(axis=(1, 2, 3))
        np.testing.assert_allclose(got, 0.5 * spread, rtol=6 / np.sqrt(2 * 400))


def test_colours_of_a_volume_are_those_of_its_slices():
    volumes = np.repeat(of(30, 1, 6, 5, 3), 4, axis=1)
    changed = in_training({"color": 0.3}, volumes)
    for i in range(1, 4):
        np.testing.assert_allclose(changed[:, i], changed[:, 0], rtol=1e-5)
    assert (np.abs(changed - volumes) > 0.01).any(axis=(1, 2, 3, 4)).all()
    # Three slices are no colours.
    gray = of(4, 3, 6, 5, 1)
    np.testing.assert_array_equal(in_training({"color": 0.3}, gray), gray)


# --- kinds of images ----------------------------------------------------------------


def rulers(n, side=31):
    """Return images whose two channels are the row and the column of each pixel."""
    image = np.stack(np.indices((side, side)), axis=-1)
    return np.repeat(image[None], n, axis=0).astype("float32")


def matrices_of(name, n=400):
    """Return how a kind of image moves: matrices from a result to the image.

    Erasing and the changes of values are left out.
    """
    moves, _ = split_augmentation(name)
    changed = in_training(moves, rulers(n))
    center = changed[:, 15, 15]
    return np.stack(
        [changed[:, 16, 15] - center, changed[:, 15, 16] - center], axis=-1
    ), center - 15


def as_angles(matrices):
    """Return the angle of each matrix in degrees, and whether it mirrors."""
    angle = np.degrees(np.arctan2(matrices[:, 0, 1], matrices[:, 0, 0]))
    return angle, np.linalg.det(matrices) < 0


@pytest.mark.backend
def test_characters_are_never_flipped_or_upturned():
    matrices, center = matrices_of("characters")
    angle, mirrored = as_angles(matrices)
    assert not mirrored.any()
    assert 14 < np.abs(angle).max() < 15.1
    assert np.hypot(*center.T).max() < 1.3 * np.sqrt(2) * 0.1 * 31
    # The second row leans from the perpendicular of the first.
    slant = (matrices[:, 0] * matrices[:, 1]).sum(axis=1) / np.linalg.det(matrices)
    slant = np.degrees(np.arctan(slant))
    assert 9 < slant.max() < 10.1
    assert -10.1 < slant.min() < -9


@pytest.mark.backend
def test_photographs_stay_upright():
    matrices, center = matrices_of("photo")
    assert {tuple(m.ravel()) for m in matrices} == {(1, 0, 0, 1), (1, 0, 0, -1)}
    np.testing.assert_array_equal(center, np.round(center))
    assert np.abs(center).max() == round(0.125 * 31)


@pytest.mark.backend
def test_surfaces_have_all_eight_orientations_without_interpolation():
    matrices, center = matrices_of("surface")
    assert len({tuple(m.ravel()) for m in matrices}) == 8
    assert set(np.unique(matrices)) == {-1, 0, 1}
    np.testing.assert_array_equal(center, np.round(center))
    oblong = of(40, 5, 8, 1)
    assert in_training("surface", oblong).shape == oblong.shape


@pytest.mark.backend
def test_a_retina_turns_by_any_angle():
    matrices, center = matrices_of("fundus")
    angle, mirrored = as_angles(matrices)
    assert 0.4 < mirrored.mean() < 0.6
    for some in (angle[mirrored], angle[~mirrored]):
        assert np.histogram(some, 8, (-180, 180))[0].min() > 10
    np.testing.assert_allclose(center, 0, atol=1e-4)


@pytest.mark.backend
def test_left_stays_left_where_it_matters():
    matrices, _ = matrices_of("fundus_sided")
    assert (matrices[:, 1, 1] > 0.8).all()  # right is read from the right
    assert 0.4 < (matrices[:, 0, 0] < 0).mean() < 0.6  # up and down may change
    # A bright spot where the optic disc of a left eye is.
    left = spot(400)[:, :, ::-1]
    rows = np.argmax(
        in_training("fundus_sided", np.ascontiguousarray(left)).reshape(400, -1), axis=1
    )
    down, right = np.divmod(rows, SIDE)
    assert right.max() < SIDE // 2 - 5
    assert down.min() < SIDE // 2 - 2
    assert down.max() > SIDE // 2 + 2


@pytest.mark.backend
@pytest.mark.parametrize("name", sorted({*SHORT_FORMS} - {"light", "medium"}))
@pytest.mark.parametrize("shape", [(12, 12, 3), (2, 12, 12, 1), (12, 12, 1)])
def test_each_kind_changes_images_on_every_backend(name, shape):
    images = repeated(20, *shape)
    model = model_of(name, shape)
    changed = to_numpy(model(images, training=True))
    assert changed.dtype == np.float32
    assert np.isfinite(changed).all()
    assert len(np.unique(changed.reshape(20, -1), axis=0)) == 20
    np.testing.assert_array_equal(in_training(name, images), changed)
    np.testing.assert_array_equal(to_numpy(model(images)), images)


@pytest.mark.backend
@pytest.mark.parametrize("name", ["characters", "photo", "surface"])
@pytest.mark.parametrize(("scale", "low"), [(1 / 16, 0), (100, -1000)])
def test_values_may_have_any_range(name, scale, low):
    amounts = {k: v for k, v in SHORT_FORMS[name].items() if k != "erasing"}
    images = of(10, 8, 8, 3)
    usual = in_training(amounts, images)
    scaled = in_training(amounts, (images * scale + low).astype("float32"))
    np.testing.assert_allclose((scaled - low) / scale, usual, atol=2e-3)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_all_changes_are_computed_in_single_precision(policy):
    images = of(10, 8, 8, 3, high=4000)
    usual = in_training(KINDS["all at once"], images)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        changed = in_training(KINDS["all at once"], images)
    finally:
        keras.config.set_dtype_policy(before)
    assert changed.dtype == np.float32
    np.testing.assert_array_equal(changed, usual)


def test_one_layer_moves_pixels_only_where_a_dict_asks_for_it():
    def kinds(amounts):
        return [type(change).__name__ for change in make_augmentation(amounts).changes]

    each = ["RandomRotation", "RandomZoom", "RandomTranslation"]
    assert kinds("light") == each
    assert kinds("medium") == [*each, "RandomContrast", "RandomErasing"]
    assert kinds({"rotation": 5, "shear": 0, "brightness": 1}) == [
        "RandomRotation",
        "RandomBrightness",
    ]
    assert kinds({**SHORT_FORMS["light"], "resampling": "each"}) == each
    assert kinds({**SHORT_FORMS["light"], "resampling": "once"}) == ["RandomMoves"]
    (layer,) = make_augmentation({"rotation": 5, "crop": 0.1, "flip": "both"}).changes
    assert isinstance(layer, RandomMoves)
    assert (layer.rotation, layer.crop) == (5, 0.1)


def test_a_quarter_turn_of_an_oblong_image_is_refused():
    with pytest.raises(ValueError, match=r"\['turn'\]=90 needs square images, and"):
        model_of({"turn": 90}, (8, 6, 1))


# --- Keras' own layers --------------------------------------------------------------


def states(layer):
    return [v.numpy().tolist() for v in layer.variables]


@pytest.mark.parametrize("shape", [(8, 8, 1), (2, 8, 8, 1)], ids=["image", "volume"])
def test_a_layer_is_copied(shape):
    own = keras.layers.RandomFlip("vertical", seed=3, name="mine")
    before = states(own)
    (copy,) = make_augmentation(own).changes
    assert copy is not own
    assert copy.get_config() == own.get_config()
    images = of(20, *shape)
    changed = in_training(own, images)
    assert not np.array_equal(changed, images)
    assert states(own) == before
    assert not own.built


def test_several_layers_in_one():
    own = keras.Sequential(
        [keras.layers.RandomFlip("vertical"), keras.layers.RandomBrightness(0.3)]
    )
    images = of(20, 8, 8, 1)
    model = model_of(own, (8, 8, 1), seed=5)
    first = to_numpy(model(images, training=True))
    assert not np.array_equal(first, images)
    np.testing.assert_array_equal(in_training(own, images, seed=5), first)
    np.testing.assert_array_equal(to_numpy(model(images, training=False)), images)
    assert not own.built


# --- what is refused ----------------------------------------------------------------


@pytest.mark.parametrize(
    "augmentation",
    [
        None,
        "light",
        "medium",
        "fundus_sided",
        {},
        KINDS["all"],
        {"rotation": 180, "translation": 1, "zoom": 0.99, "contrast": 1.0},
        {"rotation": 0, "noise": 7, "erasing": 0.0},
        {"rotation": np.float64(12.5)},
        {"shear": 45, "crop": 1, "turn": "auto", "brightness": 3, "color": 1},
        {"resampling": "each", "turn": 180},
        keras.layers.GaussianNoise(0.1),
    ],
)
def test_valid_augmentation_is_accepted(augmentation):
    check_augmentation(augmentation)
    make_augmentation(augmentation)


@pytest.mark.parametrize("number", [np.float32(10), np.int64(10)])
def test_any_type_of_number_is_accepted(number):
    check_augmentation({"rotation": number})


NAMES = "'light', 'medium', 'characters', 'photo', 'surface', 'fundus', 'fundus_sided'"


@pytest.mark.parametrize(
    ("augmentation", "error", "message"),
    [
        ("heavy", ValueError, f"'heavy' is not known: use {NAMES}, a dict such as"),
        (15, TypeError, f"augmentation=15 must be {NAMES}, a dict such as"),
        ([{"rotation": 5}], TypeError, f"must be {NAMES}, a dict such as"),
        (keras.layers.RandomFlip, TypeError, "a Keras layer or None"),
        ({"rotate": 5}, ValueError, r"knows rotation, .* fill and resampling\."),
        ({"rotation": 181}, ValueError, "=181 must be degrees, from 0 to 180"),
        ({"rotation": -5}, ValueError, r"\['rotation'\]=-5 must be degrees"),
        ({"rotation": "15"}, ValueError, "='15' must be degrees"),
        ({"rotation": True}, ValueError, "=True must be degrees"),
        ({"rotation": None}, ValueError, "=None must be degrees"),
        ({"rotation": (-5, 5)}, ValueError, r"=\(-5, 5\) must be degrees"),
        ({"rotation": float("nan")}, ValueError, "=nan must be degrees"),
        ({"translation": 1.5}, ValueError, "=1.5 must be a fraction of height and wi"),
        ({"zoom": 1}, ValueError, r"\['zoom'\]=1 must be a fraction, from 0 to 0.99"),
        ({"contrast": 2}, ValueError, r"\['contrast'\]=2 must be a fraction, from 0"),
        ({"noise": -1}, ValueError, "=-1 must be standard deviations of the image's"),
        ({"erasing": 1.1}, ValueError, "=1.1 must be a probability, from 0 to 1"),
        ({"flip": "sideways"}, ValueError, "one of 'horizontal', 'vertical', 'both'"),
        ({"shear": 60}, ValueError, "=60 must be degrees, from 0 to 45"),
        ({"crop": 4}, ValueError, r"\['crop'\]=4 must be a fraction of height and wi"),
        ({"color": 2}, ValueError, r"\['color'\]=2 must be a fraction, from 0 to 1"),
        ({"brightness": -1}, ValueError, "=-1 must be standard deviations of the im"),
        ({"turn": 45}, ValueError, r"\['turn'\]=45 must be one of 90, 180, 'auto'"),
        ({"turn": True}, ValueError, r"\['turn'\]=True must be one of 90, 180"),
        ({"resampling": 1}, ValueError, "=1 must be one of 'each', 'once'"),
        ({"flip": True}, ValueError, r"\['flip'\]=True must be one of 'horizontal'"),
        ({"fill": "wrap"}, ValueError, "one of 'constant', 'nearest', 'reflect'"),
        ({"rotation": 5, "fill": 0}, ValueError, r"\['fill'\]=0 must be one of"),
    ],
)
def test_invalid_augmentation_is_refused(augmentation, error, message):
    with pytest.raises(error, match=message):
        check_augmentation(augmentation)
    with pytest.raises(error, match=message):
        make_augmentation(augmentation)


def test_a_layer_that_changes_the_shape_is_refused():
    with pytest.raises(
        ValueError, match=r"shape \(4, 4, 1\) of .* must keep the shape"
    ):
        model_of(keras.layers.Resizing(4, 4), (8, 8, 1))


@keras.saving.register_keras_serializable("tests")
class Zeros(keras.layers.Layer):
    """A layer without the argument `training` and without an output shape."""

    def call(self, images):
        return images * 0


def test_a_layer_without_the_argument_training():
    images = of(4, 8, 8, 1)
    model = model_of(Zeros(), (8, 8, 1))
    np.testing.assert_array_equal(to_numpy(model(images, training=False)), images)
    assert not to_numpy(model(images, training=True)).any()


def test_a_pipeline_of_keras():
    images = of(20, 8, 8, 1)
    pipeline = keras.layers.Pipeline([keras.layers.RandomFlip("vertical")])
    changed = in_training(pipeline, images)
    found = {flips_of(*pair)[0] for pair in zip(images, changed, strict=True)}
    assert found == FLIPS["vertical"]


class Unknown(keras.layers.Layer):
    """A layer whose configuration lacks its parameters."""

    def get_config(self):
        raise NotImplementedError("no configuration")

    def call(self, images):
        return images


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda: keras.layers.MixUp(), "augmentation=MixUp mixes images of different"),
        (
            lambda: keras.Sequential([keras.layers.CutMix()]),
            "augmentation=CutMix mixes images of different classes",
        ),
        (lambda: keras.layers.Normalization(), "has weights .* give a layer without"),
        (lambda: Unknown(name="mine"), "augmentation='mine' cannot be copied"),
    ],
    ids=["MixUp", "CutMix", "weights", "unknown"],
)
def test_invalid_layers_are_refused(layer, message):
    with pytest.raises(ValueError, match=message):
        model_of(layer(), (8, 8, 1))
