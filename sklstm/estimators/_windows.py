"""Windows of the defect detector: their grid, what is said of them, the threshold."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

THRESHOLDS = np.linspace(0.02, 0.98, 49)


def is_window_labels(Y: Any) -> bool:
    """Whether Y is a label for every window, (n, n_steps), and not masks."""
    return isinstance(Y, np.ndarray) and Y.dtype != object and Y.ndim == 2


def check_window_labels(Y: np.ndarray, n: int, n_steps: int, name: str) -> np.ndarray:
    """Return the labels of windows as 0 and 255, uint8."""
    if Y.shape != (n, n_steps):
        raise ValueError(
            f"{name} has the shape {Y.shape}: labels of windows must be ({n}, "
            f"{n_steps}), one for each that the sequencer reads; masks are (n, height, "
            "width)."
        )
    found = np.unique(Y)
    if not np.isin(found, (0, 1)).all():
        some = ", ".join(map(str, found[:4].tolist()))
        raise ValueError(f"{name} has the values {some}: labels are 0 and 1.")
    return Y.astype(np.uint8) * 255


def window_grid(index_map: np.ndarray, width: int) -> tuple[int, int]:
    """Return how many windows there are (down, across).

    Raises
    ------
    ValueError
        If they do not lie on a grid, or are not read row by row.
    """
    tops, lefts = np.divmod(index_map[:, 0], width)
    down, across = len(np.unique(tops)), len(np.unique(lefts))
    if down * across == len(index_map):
        grid = np.lexsort((lefts, tops)).reshape(down, across)
        if np.array_equal(grid.ravel(), np.arange(len(index_map))):
            return down, across
    raise ValueError(
        "sequencer must read windows on a grid, row by row: PatchSequencer with "
        "order='raster', or RowSequencer with order='forward'."
    )


def stem_windows(
    index_map: np.ndarray, shape: tuple[int, ...], multiple: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return sides and strides of windows that a stem of convolutions can cut.

    Parameters
    ----------
    index_map : ndarray of int, shape (n_steps, n_pixels_per_step)
        The windows.
    shape : tuple of int
        (height, width, ...) of the image.
    multiple : int
        What sides and strides must be multiples of.

    Returns
    -------
    sides, strides : tuple of int
        (down, across).

    Raises
    ------
    ValueError
        If the windows are no such.
    """
    places = np.divmod(index_map, shape[1])
    sides = tuple(int(np.ptp(place[0])) + 1 for place in places)
    starts = [np.unique(place[:, 0]) for place in places]
    steps = [np.unique(np.diff(start)) for start in starts]
    strides = tuple(
        int(step[0]) if len(step) else side
        for step, side in zip(steps, sides, strict=True)
    )
    multiples = all(side % multiple == 0 for side in sides)
    if multiples and any(len(step) > 1 for step in steps):
        raise ValueError(
            f"stem=True needs windows that fill the image evenly, and those of "
            f"{sides[0]} x {sides[1]} do not fill {shape[0]} x {shape[1]} pixels: make "
            "size a multiple of them, or set stem=False."
        )
    if not multiples or any(stride % multiple for stride in strides):
        raise ValueError(
            f"stem=True needs windows whose sides and strides are multiples of "
            f"{multiple}; they are {sides[0]} x {sides[1]} at strides of {strides[0]} "
            f"and {strides[1]}: change sequencer, or set stem=False."
        )
    return sides, strides


def window_log_odds(outputs: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Return the log-odds of a defect of every window.

    Parameters
    ----------
    outputs : ndarray of shape (n, down, across, 1 or more)
        Of `window_lstm`.
    grid : tuple of int
        (down, across).

    Returns
    -------
    ndarray of shape (n, down, across), float32
        Marginals where there are chains, those of rows and of columns joined by the
        mean of their log-odds.
    """
    from sklstm.networks import marginals

    def odds(potentials: Any) -> Any:
        return np.log(_numpy(marginals(potentials)) + np.float32(1e-12))

    return _over_lines(outputs, grid, odds)


def window_probabilities(outputs: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Return the probability of a defect of every window; see `window_log_odds`."""
    odds = np.clip(window_log_odds(outputs, grid), -60, 60)
    return (1 / (1 + np.exp(-odds))).astype(np.float32)


def window_margins(
    outputs: np.ndarray, grid: tuple[int, int], threshold: float
) -> np.ndarray:
    """Return how far the decision on every window is from the other one.

    Parameters
    ----------
    outputs, grid
        As in `window_probabilities`.
    threshold : float
        Probability from which a window is called defective. Chains are decoded with
        the odds shifted by it: what Viterbi's algorithm decides at .5.

    Returns
    -------
    ndarray of shape (n, down, across), float32
        Above 0 the window is defective. With chains it is by how much the best
        labelling with this window defective is better than the best one without, the
        mean of rows and columns.
    """
    from sklstm.networks import max_marginals, shift_labels

    shift = np.array([0.0, -np.log(threshold / (1 - threshold))], "float32")

    def best(potentials: Any) -> Any:
        return _numpy(max_marginals(shift_labels(potentials, shift)))

    return _over_lines(outputs, grid, best, shift[1])


def _over_lines(
    outputs: np.ndarray, grid: tuple[int, int], says: Any, shift: Any = 0.0
) -> np.ndarray:
    """Return what `says` finds for label 1 beside 0, the mean of rows and columns."""
    from sklstm._keras import keras

    from sklstm.networks import split_outputs

    score, chains = split_outputs(keras.ops.convert_to_tensor(outputs), grid)
    if not chains:
        return _numpy(score) + np.float32(shift)
    total = np.zeros(outputs.shape[:3], np.float32)
    for axis, potentials in chains.items():
        labels = says(potentials)
        lines = labels[..., 1] - labels[..., 0]
        total += _from_lines(lines, axis, grid) / np.float32(len(chains))
    return total


def _numpy(tensor: Any) -> np.ndarray:
    from sklstm._keras import keras

    return keras.ops.convert_to_numpy(tensor)


def _from_lines(lines: np.ndarray, axis: str, grid: tuple[int, int]) -> np.ndarray:
    if axis == "rows":
        return lines.reshape(-1, *grid)
    return lines.reshape(-1, grid[1], grid[0]).transpose(0, 2, 1)


def best_threshold(
    truth: Sequence[np.ndarray],
    decide: Callable[[float], Sequence[np.ndarray]],
    n_draws: int = 200,
) -> float:
    """Return the threshold whose decisions have the best F1, from .02 to .98.

    The F1 is the mean over resamples of the images: with few held out, the one with
    the largest defect would decide alone.

    Parameters
    ----------
    truth : sequence of ndarray
        What is defective, image by image: 1, 0, or what part of a pixel or window.
    decide : callable
        Gives, for a threshold, what is called defective: bool, of the same shapes.
    n_draws : int
        Resamples beside the images themselves.

    Returns
    -------
    float
        In the middle of the best, where several are.
    """
    hits, chosen = np.empty((2, len(truth), len(THRESHOLDS)))
    for k, threshold in enumerate(THRESHOLDS):
        for i, (mask, found) in enumerate(zip(truth, decide(threshold), strict=True)):
            hits[i, k] = mask[found].sum()
            chosen[i, k] = np.count_nonzero(found)
    positive = np.array([mask.sum() for mask in truth], float)
    # Dirichlet weights (Rubin, 1981): no image is ever left out whole.
    draws = np.random.default_rng(0).exponential(size=(n_draws, len(positive)))
    draws = np.concatenate([np.ones((1, len(positive))), draws])
    f1 = 2 * draws @ hits / (draws @ chosen + (draws @ positive)[:, None] + 1e-9)
    f1 = f1.mean(axis=0)
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    return float(THRESHOLDS[best[len(best) // 2]])
