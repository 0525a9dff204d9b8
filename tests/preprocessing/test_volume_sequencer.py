import numpy as np
import pytest

from sklstm import VolumeSequencer

VOLUME = np.arange(24).reshape(1, 2, 3, 4)


def read(**params):
    return VolumeSequencer(**params).fit_transform(VOLUME)[0]


@pytest.mark.parametrize(("axis", "place"), [("depth", 0), ("height", 1), ("width", 2)])
def test_slices_along_each_axis(axis, place):
    slices = np.moveaxis(VOLUME[0], place, 0)
    expected = slices.reshape(len(slices), -1)
    np.testing.assert_array_equal(read(axis=axis), expected)
    np.testing.assert_array_equal(read(axis=axis, order="backward"), expected[::-1])


def test_several_slices_a_step():
    columns = np.moveaxis(VOLUME[0], 2, 0)
    expected = [columns[i : i + 2].ravel() for i in (0, 1, 2)]
    np.testing.assert_array_equal(read(axis="width", step_size=2, stride=1), expected)
    # The last step is aligned to the far side.
    expected = [columns[i : i + 3].ravel() for i in (0, 1)]
    np.testing.assert_array_equal(read(axis="width", step_size=3), expected)


def test_cubes():
    cubes = read(axis=None, step_size=2)
    assert cubes[:, 0].tolist() == [0, 2, 4, 6]
    np.testing.assert_array_equal(cubes[0], VOLUME[0, :2, :2, :2].ravel())
    cubes = read(axis=None, step_size=(1, 2, 2), order="snake")
    assert cubes[:, 0].tolist() == [0, 2, 6, 4, 16, 18, 14, 12]
    cubes = read(axis=None, step_size=(1, 2, 2), order="backward")
    assert cubes[:, 0].tolist() == [18, 16, 14, 12, 6, 4, 2, 0]


def test_colour_video():
    video = np.arange(2 * 3 * 4 * 5 * 3).reshape(2, 3, 4, 5, 3)
    sequencer = VolumeSequencer()
    sequences = sequencer.fit_transform(video)
    np.testing.assert_array_equal(sequences, video.reshape(2, 3, -1))
    assert sequencer.image_shape_ == (3, 4, 5, 3)
    assert sequencer.steps_to_image(np.ones((2, 3))).shape == (2, 3, 4, 5)
    flat = VolumeSequencer(volume_shape=(3, 4, 5, 3)).fit_transform(
        video.reshape(2, -1)
    )
    np.testing.assert_array_equal(flat, sequences)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"step_size": 3},
            r"step_size=3 is larger than the depth of the volumes, which are "
            r"\(2, 3, 4\); it must fit into them",
        ),
        ({"axis": None, "step_size": (2, 4, 4)}, "is larger than the height"),
        (
            {"step_size": 1, "stride": 2},
            "stride=2 is larger than step_size=1 and would leave voxels unread",
        ),
        (
            {"step_size": (1, 1, 1)},
            r"step_size must be a whole number of at least 1 along one axis; got "
            r"\(1, 1, 1\)",
        ),
        ({"stride": 0}, "stride must be a whole number of at least 1 along one axis"),
        (
            {"axis": None, "step_size": (1, 1)},
            r"step_size must be a whole number of at least 1, or \(depth, height, "
            r"width\) of such; got \(1, 1\)",
        ),
        ({"order": "snake"}, r'order="snake" is for cubes \(axis=None\)'),
        ({"order": "raster"}, "order must be one of 'forward', 'backward', 'snake'"),
        ({"axis": "time"}, "axis must be one of 'depth', 'height', 'width', None"),
        (
            {"volume_shape": (2, 3)},
            r"volume_shape must be \(depth, height, width\) or .* got \(2, 3\)",
        ),
        ({"volume_shape": (4, 3, 2)}, r"volume_shape=\(4, 3, 2\) does not fit X"),
    ],
)
def test_bad_parameters(params, message):
    sequencer = VolumeSequencer(**params)
    with pytest.raises(ValueError, match=message):
        sequencer.fit(VOLUME)
    assert not hasattr(sequencer, "n_features_in_")


def test_images_are_not_volumes():
    with pytest.raises(
        ValueError, match=r"X must be volumes of \(n, depth, height, width\) or "
    ):
        VolumeSequencer().fit(np.zeros((2, 3, 4)))
