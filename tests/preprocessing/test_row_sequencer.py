import numpy as np
import pytest

from sklstm import RowSequencer

IMAGE = np.arange(12).reshape(1, 4, 3)


def read(**params):
    return RowSequencer(**params).fit_transform(IMAGE)[0].tolist()


def test_rows():
    assert read() == IMAGE[0].tolist()
    assert read(order="backward") == IMAGE[0, ::-1].tolist()
    assert read(order="snake") == [[0, 1, 2], [5, 4, 3], [6, 7, 8], [11, 10, 9]]


def test_columns():
    assert read(axis="columns") == IMAGE[0].T.tolist()
    assert read(axis="columns", order="snake") == [
        [0, 3, 6, 9], [10, 7, 4, 1], [2, 5, 8, 11]
    ]  # fmt: skip


def test_windows():
    assert read(sequence_length=1) == [list(range(12))]
    assert read(sequence_length=2) == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    # Three windows of two rows share the middle rows.
    assert read(sequence_length=3) == [
        [0, 1, 2, 3, 4, 5], [3, 4, 5, 6, 7, 8], [6, 7, 8, 9, 10, 11]
    ]  # fmt: skip
    # A window of columns is read column by column.
    assert read(sequence_length=2, axis="columns") == [
        [0, 3, 6, 9, 1, 4, 7, 10], [1, 4, 7, 10, 2, 5, 8, 11]
    ]  # fmt: skip


def test_more_steps_than_rows_repeats_rows():
    rows = np.array(read(sequence_length=8))[:, 0] // 3
    assert rows.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("length", range(16, 33))
def test_lengths_that_are_searched_on_mnist(length):
    images = np.arange(28 * 28).reshape(1, 28, 28)
    sequencer = RowSequencer(sequence_length=length)
    sequences = sequencer.fit_transform(images)
    assert sequences.shape == (1, length, 28 if length >= 28 else 56)
    np.testing.assert_array_equal(np.unique(sequences), np.arange(28 * 28))


def test_parameters_as_numpy_gives_them():
    # A parameter grid may be an array, whose elements are NumPy scalars.
    sequencer = RowSequencer(np.int64(2), np.array(["columns"])[0], image_shape=[4, 3])
    assert sequencer.fit(IMAGE).n_steps_ == 2


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"sequence_length": 0},
            "sequence_length must be None or a whole number of at least 1; got 0",
        ),
        ({"sequence_length": 2.0}, "sequence_length must be None or .* got 2.0"),
        ({"sequence_length": True}, "sequence_length must be None or .* got True"),
        (
            {"axis": "depth"},
            "axis must be one of 'rows', 'columns'; got 'depth'",
        ),
        ({"axis": np.array([0])}, "axis must be one of"),
        (
            {"order": "hilbert"},
            "order must be one of 'forward', 'backward', 'snake'; got 'hilbert'",
        ),
        (
            {"image_shape": (3, 4)},
            r"image_shape=\(3, 4\) does not fit X, whose images are \(4, 3\)",
        ),
        ({"image_shape": 12}, r"image_shape must be \(height, width\) or .* got 12"),
        ({"image_shape": (4, 0)}, r"in positive whole numbers; got \(4, 0\)"),
        ({"image_shape": (4, 3.0)}, r"in positive whole numbers; got \(4, 3.0\)"),
    ],
)
def test_bad_parameters(params, message):
    sequencer = RowSequencer(**params)
    with pytest.raises(ValueError, match=message):
        sequencer.fit(IMAGE)
    assert not hasattr(sequencer, "n_features_in_")
