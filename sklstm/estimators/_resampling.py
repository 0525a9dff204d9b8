"""Bootstrap resamples of rows. Loads no Keras."""

from typing import Any

import numpy as np

# Number of draws of groups of which one must hold all classes.
_MOST_DRAWS = 100


def draw_rows(
    samples: Any, rows: np.ndarray, seed: np.random.SeedSequence, at_least: int = 1
) -> np.ndarray:
    """Draw as many rows as there are, with replacement.

    Parameters
    ----------
    samples : object
        Has the class of each row, `codes`, and its group, `groups`, or None.
    rows : ndarray of int
        Rows to draw from.
    seed : numpy.random.SeedSequence
        Source of the draw.
    at_least : int
        Number of distinct rows, or groups if there are any, that each class must have
        in the draw if it has them at all. A member that holds samples out needs two.

    Returns
    -------
    ndarray of int
        Sorted rows, some of them repeated. Each class is drawn as often as it occurs.
        With groups, as many whole groups are drawn as there are. The draw is repeated
        until all classes occur.

    Raises
    ------
    ValueError
        If no draw has all classes.

    References
    ----------
    Breiman, L. (1996). Bagging predictors. Machine Learning 24.
    """
    rng = np.random.default_rng(seed)
    codes = samples.codes[rows]
    if samples.groups is None:
        drawn = [
            _draw_of_class(rows[codes == code], rng, at_least)
            for code in np.unique(codes)
        ]
        return np.sort(np.concatenate(drawn))
    names, places = np.unique(samples.groups[rows], return_inverse=True)
    of_class = [np.unique(places[codes == code]) for code in np.unique(codes)]
    for _ in range(_MOST_DRAWS):
        times = np.bincount(
            rng.integers(len(names), size=len(names)), minlength=len(names)
        )
        if all(
            np.count_nonzero(times[own]) >= min(at_least, len(own)) for own in of_class
        ):
            return np.repeat(rows, times[places])
    raise ValueError(
        f"bootstrap=True drew the {len(names)} groups {_MOST_DRAWS} times, and no draw "
        "had all classes: give more groups of the rare classes, or set "
        "bootstrap=False."
    )


def _draw_of_class(
    rows: np.ndarray, rng: np.random.Generator, at_least: int
) -> np.ndarray:
    """Draw the rows of one class."""
    drawn = rng.choice(rows, len(rows))
    # Of two rows, each second draw holds only one.
    while len(np.unique(drawn)) < min(at_least, len(rows)):
        drawn = rng.choice(rows, len(rows))
    return drawn
