import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    ShuffleSplit,
    StratifiedKFold,
)

from sklstm.inspection import LeakageDisplay
from sklstm.model_selection import check_leakage

cv2 = pytest.importorskip("cv2")
N = 24


def textures(n=N, side=40, seed=0):
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(n, side, side)).astype(np.float32)
    smooth = np.stack([cv2.GaussianBlur(one, (0, 0), 1.5) for one in noise])
    return np.clip(128 + 150 * smooth, 0, 255).astype(np.uint8)


def as_jpeg(image, quality=60):
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(data, cv2.IMREAD_UNCHANGED)


def moved(image, y, x):
    matrix = np.array([[1, 0, x], [0, 1, y]], np.float32)
    return cv2.warpAffine(
        image, matrix, image.shape[::-1], borderMode=cv2.BORDER_REFLECT
    )


def darker(image):
    """Return the image in a light that falls off to the right."""
    light = np.linspace(0.7, 0.3, image.shape[1])
    return (image * light).astype(np.uint8)


CHANGES = {
    "equal": np.copy,
    "jpeg": as_jpeg,
    "brighter": lambda image: cv2.add(image, 20),
    "darker": darker,
    "shifted": lambda image: moved(image, 2, -3),
    "cropped": lambda image: image[2:-1, 1:-2],
    "larger": lambda image: cv2.resize(image, (90, 90)),
}


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def planted():
    """Images of several sizes, and the pairs that are near duplicates."""
    images = list(textures())
    pairs = set()
    for place, change in enumerate(CHANGES.values()):
        pairs.add((place, len(images)))
        images.append(change(images[place]))
    return images, pairs


def test_planted_duplicates_are_found_and_nothing_else(planted):
    images, pairs = planted
    found = check_leakage(images)
    assert set(map(tuple, found.pairs.tolist())) == pairs
    assert found.n_equal == 1
    assert found.similarities[0] == 1
    assert (np.diff(found.similarities) <= 0).all()
    assert found.groups_.tolist() == [*range(N), *range(len(CHANGES))]
    assert str(found) == (
        "7 near-duplicate pairs, 1 of equal images, join 14 of 31 images to 7 groups."
    )


def test_any_layout_gives_the_same_pairs(planted):
    images = textures()
    images = np.concatenate([images, [as_jpeg(one) for one in images[:5]]])
    expected = [[place, N + place] for place in range(5)]
    for X in (
        images,
        images.astype(np.float32) * 1e30,
        images[..., None].repeat(3, axis=3),
        images.reshape(len(images), -1),
        list(images),
    ):
        assert sorted(check_leakage(X).pairs.tolist()) == expected
    wide = images[:, :20].reshape(len(images), -1)
    found = check_leakage(wide, image_shape=(20, 40))
    assert sorted(found.pairs.tolist()) == expected


def test_different_images_of_one_class_are_no_duplicates():
    digits = load_digits()
    ones = digits.images[digits.target == 1][:90]
    found = check_leakage(np.concatenate([ones, ones[:3] * 0.8]))
    n = len(ones)
    assert sorted(found.pairs.tolist()) == [[0, n], [1, n + 1], [2, n + 2]]


def test_large_groups_are_joined():
    """Eight groups of an eighth of the images each."""
    rng = np.random.default_rng(0)
    images = textures(8).repeat(10, axis=0)
    noisy = np.clip(images + rng.normal(0, 12, images.shape), 0, 255)
    found = check_leakage(noisy.astype(np.uint8))
    np.testing.assert_array_equal(found.groups_, np.arange(8).repeat(10))


def test_images_of_one_color_are_named_and_not_compared():
    images = np.concatenate([textures(30), np.full((3, 40, 40), 7, np.uint8)])
    found = check_leakage(images)
    assert found.blank.tolist() == [30, 31, 32]
    assert len(found.pairs) == 0
    assert len(np.unique(found.groups_)) == 33
    assert "3 images of one color were not compared, such as X[30]." in str(found)
    nothing = check_leakage(np.zeros((4, 8, 8)))
    assert "No near duplicates are among 4 images. 4 images of one" in str(nothing)


def test_few_images():
    images = textures(6)
    images = np.concatenate([images, images[:1], [as_jpeg(images[1])]])
    found = check_leakage(images)
    assert found.pairs.tolist() == [[0, 6]]
    assert "With fewer than 20 images, only equal images are found" in str(found)
    found = check_leakage(images, min_similarity=0.8)
    assert found.pairs.tolist() == [[0, 6], [1, 7]]
    assert "fewer" not in str(found)


def test_splits_that_duplicates_cross():
    images = textures(20).repeat(2, axis=0)
    images[1::2] = [as_jpeg(one) for one in images[1::2]]
    folds = [
        (np.arange(10, 40), np.arange(10)),
        # Rows 10 and 39 lose their partners.
        (np.r_[0:10, 11:39], np.r_[10, 39]),
    ]
    found = check_leakage(images, cv=folds)
    assert [len(one.pairs) for one in found.crossing] == [0, 2]
    assert found.crossing[1].test_rows.tolist() == [10, 39]
    crossing = found.pairs[found.crossing[1].pairs]
    assert sorted(crossing.tolist()) == [[10, 11], [38, 39]]
    assert found.n_leaking_splits == 1
    assert (
        "Near duplicates are on both sides of 1 of 2 splits: of up to 2 of 2 test "
        "images, one is in the training part. Split by groups=found.groups_"
        in str(found)
    )
    table = found.to_frame()
    rows = table if isinstance(table, list) else table.to_dict("records")
    assert {row["first"] for row in rows if row["n_splits"]} == {10, 38}
    # The guessed groups keep them together.
    again = check_leakage(images, found.groups_, GroupKFold(4))
    assert again.n_leaking_splits == 0
    assert "No groups are on both sides of the 4 splits." in str(again)


def test_known_groups_that_cross():
    images = textures(40)
    groups = np.array(["a", "b", "c", "d"]).repeat(10)
    found = check_leakage(images, groups, KFold(4))
    assert found.n_leaking_splits == 0
    found = check_leakage(images, groups, KFold(5))
    assert [one.groups.tolist() for one in found.crossing] == [
        ["a"], ["a", "b"], ["b", "c"], ["c", "d"], ["d"],
    ]  # fmt: skip
    assert found.crossing[0].test_rows.tolist() == list(range(8))
    assert "Groups are on both sides of 5 of 5 splits, up to 2 at once." in str(found)
    assert found.groups_.tolist() == np.arange(4).repeat(10).tolist()


def test_duplicates_join_known_groups():
    images = np.concatenate([textures(30), textures(30)[:1]])
    groups = np.r_[np.arange(30) // 3, 99]
    found = check_leakage(images, groups)
    assert found.different_groups.tolist() == [0]
    assert found.groups_[30] == found.groups_[2] == 0
    assert len(np.unique(found.groups_)) == 10
    assert "1 of these pairs are in different groups, such as X[0] and" in str(found)


def test_different_labels_and_splitters_that_need_them():
    images = np.concatenate([textures(40), textures(40)[:2]])
    y = np.r_[np.arange(40) % 2, 0, 0]
    found = check_leakage(images, cv=StratifiedKFold(3), y=y)
    pair = found.pairs[found.different_labels]
    assert pair.tolist() == [[1, 41]]
    assert "1 of these pairs have different labels, such as X[1] and X[41]" in str(
        found
    )
    # An int is stratified if there are labels.
    by_number = check_leakage(images, cv=3, y=np.sort(y))
    for _, test in by_number.splits:
        assert 5 <= np.sort(y)[test].sum() <= 8
    with pytest.raises(
        ValueError, match="cannot split without classes: give them as y"
    ):
        check_leakage(images, cv=StratifiedKFold(3))


def test_the_same_images_give_the_same_result_and_the_seed_stays(planted):
    images, _ = planted
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    one, two = check_leakage(images), check_leakage(images)
    np.testing.assert_array_equal(one.similarities, two.similarities)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_plot_and_html(planted):
    images, _ = planted
    found = check_leakage(images)
    display = found.plot(n_pairs=5)
    assert isinstance(display, LeakageDisplay)
    labels = [text.get_text() for text in display.ax_.texts]
    assert labels[0] == "0 and 24: 1.00"
    assert len(labels) == 5
    axes = plt.subplots()[1]
    assert found.plot(ax=axes).ax_ is axes
    (image,) = axes.get_images()
    # Each image of a pair is drawn: the pixels without one are NaN.
    drawn = np.isfinite(np.ma.filled(image.get_array(), np.nan)).sum()
    assert drawn == 6 * 2 * 64 * 64
    text = found._repr_html_()
    assert "<td>0</td><td>24</td><td>1.000</td>" in text
    assert "7 near-duplicate pairs" in text
    with pytest.raises(ValueError, match="n_pairs=0 must be a whole number from 1"):
        found.plot(n_pairs=0)
    with pytest.raises(ValueError, match="There are no near duplicates to plot"):
        check_leakage(images[:20]).plot()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"flip": "left"}, "flip='left' must be None, 'horizontal'"),
        ({"expected_false": 0}, "expected_false=0 must be a number above 0"),
        ({"min_similarity": 1.5}, "min_similarity=1.5 must be None, or a correlation"),
        ({"cv": "five"}, "cv='five' must be a number of folds"),
        ({"cv": 2.5}, "cv=2.5 must be a number of folds"),
        ({"cv": [(np.arange(3), np.array([99]))]}, "rows from 0 to 7"),
        ({"cv": []}, "cv makes no test part"),
        ({"groups": [1, 2]}, "groups has 2 entries, but X has 8"),
        ({"y": [1, 2]}, "inconsistent numbers of samples"),
        ({"X": np.zeros(5)}, "X must be images"),
        ({"X": ["a.png", "b.png"]}, "ImageReader"),
        ({"X": np.full((4, 8, 8), np.nan)}, "NaN"),
    ],
)
def test_what_is_refused(params, message):
    with pytest.raises(ValueError, match=message):
        check_leakage(**{"X": textures(8), **params})


def test_a_splitter_of_any_kind():
    images = textures(24)
    images = np.concatenate([images, images])
    found = check_leakage(images, cv=ShuffleSplit(3, random_state=0))
    assert len(found.crossing) == 3
    assert found.n_leaking_splits == 3
    masks = [(np.arange(48) < 24, np.arange(48) >= 24)]
    assert len(check_leakage(images, cv=masks).crossing[0].test_rows) == 24
