from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sklstm.images._validate import is_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sklstm.model_selection._leakage import Leakage

_SIDE, _GAP, _TEXT = 64, 4, 20


class LeakageDisplay:
    """Plot of near-duplicate images side by side.

    Use `from_leakage`, or the method ``plot`` of a `Leakage`, to create it. The images
    are gray and stretched to a square, as they were compared. Above each pair are the
    rows of its images and their similarity.

    Parameters
    ----------
    leakage : Leakage
        Result of `sklstm.model_selection.check_leakage`.
    n_pairs : int, default=6
        Number of pairs, at most 10.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes of the plot.
    figure_ : matplotlib.figure.Figure
        Figure that contains the axes.

    See Also
    --------
    sklstm.model_selection.check_leakage : Find near duplicates.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from sklstm.inspection import LeakageDisplay
    >>> from sklstm.model_selection import check_leakage
    >>> X = np.random.default_rng(0).uniform(size=(30, 16, 16)).repeat(2, axis=0)
    >>> display = LeakageDisplay.from_leakage(check_leakage(X), n_pairs=4)
    >>> [text.get_text() for text in display.ax_.texts][0]
    '0 and 1: 1.00'
    >>> plt.close("all")
    """

    def __init__(self, leakage: Leakage, *, n_pairs: int = 6) -> None:
        self.leakage = leakage
        self.n_pairs = n_pairs

    @classmethod
    def from_leakage(
        cls, leakage: Leakage, *, n_pairs: int = 6, ax: Any = None
    ) -> LeakageDisplay:
        """Create the display and plot it.

        Parameters
        ----------
        leakage : Leakage
            Result of `sklstm.model_selection.check_leakage`.
        n_pairs : int, default=6
            Number of pairs, at most 10.
        ax : matplotlib.axes.Axes, default=None
            Axes to plot on. If None, create a figure.

        Returns
        -------
        LeakageDisplay
            The display.
        """
        return cls(leakage, n_pairs=n_pairs).plot(ax=ax)

    def plot(self, ax: Any = None) -> LeakageDisplay:
        """Plot the pairs.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to plot on. If None, create a figure.

        Returns
        -------
        LeakageDisplay
            The display.

        Raises
        ------
        ValueError
            If `n_pairs` is not a number from 1 to 10, or if there are no pairs.
        """
        if not is_count(self.n_pairs) or self.n_pairs > 10:
            raise ValueError(
                f"n_pairs={self.n_pairs!r} must be a whole number from 1 to 10."
            )
        found = self.leakage
        n = min(self.n_pairs, len(found.pairs))
        if n == 0:
            raise ValueError("There are no near duplicates to plot.")
        # matplotlib is optional.
        import matplotlib.pyplot as plt

        axes: Axes = plt.subplots(layout="constrained")[1] if ax is None else ax
        n_columns = min(n, 3 if n > 4 else 2)
        width, height = 2 * _SIDE + 4 * _GAP, _SIDE + _TEXT
        canvas = np.full((-(-n // n_columns) * height, n_columns * width), np.nan)
        for place, (pair, similarity) in enumerate(
            zip(found.pairs[:n].tolist(), found.similarities, strict=False)
        ):
            top, left = place // n_columns * height, place % n_columns * width
            for number, row in enumerate(pair):
                start = left + _GAP + number * (_SIDE + _GAP)
                canvas[top + _TEXT : top + height, start : start + _SIDE] = _stretched(
                    found.thumbnails[row]
                )
            axes.text(
                left + _GAP,
                top + _TEXT - 5,
                f"{pair[0]} and {pair[1]}: {similarity:.2f}",
                fontsize="small",
            )
        axes.imshow(canvas, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_axis_off()
        axes.set_title(f"{n} of {len(found.pairs)} near-duplicate pairs")
        self.ax_ = axes
        self.figure_: Figure | Any = axes.figure
        return self


def _stretched(image: np.ndarray) -> np.ndarray:
    """Return an image whose darkest and brightest hundredths are 0 and 1."""
    low, high = np.percentile(image, [1, 99])
    return np.clip((image - low) / max(high - low, 1e-6), 0, 1)
