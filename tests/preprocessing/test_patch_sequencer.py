import numpy as np
import pytest

from sklstm import PatchSequencer


def corners(sequencer, shape):
    """Return row and column of the first pixel of each patch."""
    first = sequencer.get_index_map(shape)[:, 0]
    return list(zip(*np.unravel_index(first, shape), strict=True))


def test_patches_row_by_row():
    image = np.arange(16).reshape(1, 4, 4)
    sequences = PatchSequencer(patch_size=2, stride=2).fit_transform(image)
    assert sequences[0].tolist() == [
        [0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]
    ]  # fmt: skip


def test_orders():
    def order(name):
        return corners(PatchSequencer(2, 2, name), (4, 4))

    assert order("raster") == [(0, 0), (0, 2), (2, 0), (2, 2)]
    assert order("snake") == [(0, 0), (0, 2), (2, 2), (2, 0)]
    assert order("hilbert") == [(0, 0), (2, 0), (2, 2), (0, 2)]


def test_last_patch_is_aligned_to_the_border():
    assert corners(PatchSequencer((4, 3), (3, 3)), (9, 7)) == [
        (y, x) for y in (0, 3, 5) for x in (0, 3, 4)
    ]


@pytest.mark.parametrize("order", ["snake", "hilbert"])
@pytest.mark.parametrize("shape", [(16, 16), (17, 40), (40, 17), (64, 31), (100, 64)])
def test_each_patch_is_next_to_the_one_before(order, shape):
    grid = PatchSequencer(8, 4).get_index_map(shape)[:, 0]
    rows, columns = np.unique(grid // shape[1]), np.unique(grid % shape[1])
    places = corners(PatchSequencer(8, 4, order), shape)
    y = np.searchsorted(rows, [y for y, _ in places])
    x = np.searchsorted(columns, [x for _, x in places])
    assert (np.abs(np.diff(y)) + np.abs(np.diff(x)) == 1).all()


def test_patch_as_large_as_the_image():
    image = np.arange(12).reshape(1, 3, 4)
    assert PatchSequencer((3, 4), 1).fit_transform(image).shape == (1, 1, 12)


def test_default_patch_takes_rows_of_a_few_values_whole():
    # scikit-learn's checks of default parameters need this exception.
    for n_features in (1, 9, 10, 15):
        sequences = PatchSequencer().fit_transform(np.zeros((2, n_features)))
        assert sequences.shape == (2, 1, n_features)


@pytest.mark.parametrize(
    ("params", "n_features", "shape"),
    [
        ({"patch_size": 32}, 64, r"\(8, 8\)"),
        ({}, 64, r"\(8, 8\)"),
        ({}, 16, r"\(4, 4\)"),
        ({}, 20, r"\(20, 1\)"),
        ({"patch_size": 4, "stride": 2}, 9, r"\(3, 3\)"),
        ({"image_shape": (3, 3)}, 9, r"\(3, 3\)"),
    ],
)
def test_patch_larger_than_the_guessed_image(params, n_features, shape):
    sequencer = PatchSequencer(**params)
    message = rf"larger than the images, which are {shape}; it must fit into them"
    with pytest.raises(ValueError, match=message):
        sequencer.fit(np.zeros((6, n_features)))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"patch_size": 9},
            r"patch_size=9 is larger than the images, which are \(8, 10\)",
        ),
        ({"patch_size": (8, 11)}, r"patch_size=\(8, 11\) is larger than the images"),
        (
            {"patch_size": 4, "stride": 5},
            "stride=5 is larger than patch_size=4 and would leave pixels unread; it "
            "must be at most the patch size",
        ),
        ({"patch_size": (4, 2), "stride": (2, 3)}, r"stride=\(2, 3\) is larger than"),
        (
            {"patch_size": 0},
            r"patch_size must be a whole number of at least 1, or \(height, width\) of "
            "such; got 0",
        ),
        ({"patch_size": (4, 4, 4)}, r"patch_size must be .* got \(4, 4, 4\)"),
        ({"patch_size": "4"}, "patch_size must be .* got '4'"),
        ({"stride": 2.5}, "stride must be .* got 2.5"),
        ({"stride": True}, "stride must be .* got True"),
        (
            {"patch_size": 4, "stride": 2, "order": "forward"},
            "order must be one of 'raster', 'snake', 'hilbert'; got 'forward'",
        ),
    ],
)
def test_bad_parameters(params, message):
    sequencer = PatchSequencer(**params)
    with pytest.raises(ValueError, match=message):
        sequencer.fit(np.zeros((2, 8, 10)))
    assert not hasattr(sequencer, "n_features_in_")
