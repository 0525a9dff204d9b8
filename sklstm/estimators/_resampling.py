"""Bootstrap resamples of rows. Loads no Keras."""

from typing import Any

import numpy as np

# Number of draws of groups of which one must hold all classes.
_MOST_DRAWS = 100


def draw_rows(
    samples: Any, rows: np.ndarray, seed: np.random.SeedSequence
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

    Returns
    -------
    ndarray of int
        Sorted rows, some of them repeated. Each class is drawn as often as it occurs.
        With groups, as many whole groups are drawn as there are, until all classes
        occur.

    Raises
    ------
    ValueError
        If no draw of groups has all classes.

    References
    ----------
    Breiman, L. (1996). Bagging predictors. Machine Learning 24.
    """
    rng = np.random.default_rng(seed)
    codes = samples.codes[rows]
    if samples.groups is None:
        drawn = [
            rng.choice(rows[codes == code], np.count_nonzero(codes == code))
            for code in np.unique(codes)
        ]
        return np.sort(np.concatenate(drawn))
    names, places = np.unique(samples.groups[rows], return_inverse=True)
    n_classes = len(np.unique(codes))
    for _ in range(_MOST_DRAWS):
        times = np.bincount(
            rng.integers(len(names), size=len(names)), minlength=len(names)
        )
        if len(np.unique(codes[times[places] > 0])) == n_classes:
            return np.repeat(rows, times[places])
    raise ValueError(
        f"bootstrap=True drew the {len(names)} groups {_MOST_DRAWS} times, and no draw "
        "had all classes: give more groups of the rare classes, or set "
        "bootstrap=False."
    )
