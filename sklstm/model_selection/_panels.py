"""Axes for displays that have several panels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def axes_for(
    n_panels: int,
    n_columns: int,
    ax: Any,
    panel: tuple[float, float] = (4.2, 2.9),
    fill: bool = True,
) -> list[Any]:
    """Return axes for the panels of a display.

    Parameters
    ----------
    n_panels : int
        Number of panels.
    n_columns : int
        Largest number of panels side by side.
    ax : matplotlib.axes.Axes, array-like of them, or None
        Axes for the panels. If there are several panels and one axes, the panels share
        its place. If None, a figure is made.
    panel : tuple of float
        Width and height of one of several panels in a new figure, in inches.
    fill : bool
        Whether the last panel fills its row.

    Raises
    ------
    ValueError
        If `ax` does not hold one axes or one for each panel.
    """
    # matplotlib is optional.
    import matplotlib.pyplot as plt

    n_columns = min(n_panels, n_columns)
    n_rows = math.ceil(n_panels / n_columns)
    if ax is None:
        size = (6.4, 4.2)
        if n_panels > 1:
            size = (panel[0] * n_columns, panel[1] * n_rows)
        figure = plt.figure(figsize=size, layout="constrained")
        grid: Any = figure.add_gridspec(n_rows, n_columns)
    else:
        given = list(np.atleast_1d(np.asarray(ax, dtype=object)).ravel())
        if len(given) == n_panels:
            return given
        if len(given) > 1:
            raise ValueError(
                f"ax holds {len(given)} axes, but there are {n_panels} panels: give "
                "one axes, or one for each panel."
            )
        # As in the displays of partial dependence, one axes is the frame of several.
        figure = given[0].figure
        given[0].set_axis_off()
        space = given[0].get_subplotspec()
        if space is None:
            raise ValueError(
                "ax has no place in a grid that several panels could share: make it "
                "by plt.subplots, or give one axes for each panel."
            )
        # A layout engine makes room by itself.
        room = {} if figure.get_layout_engine() else {"wspace": 0.35, "hspace": 0.7}
        grid = space.subgridspec(n_rows, n_columns, **room)
    places = [grid[k // n_columns, k % n_columns] for k in range(n_panels)]
    if fill and n_panels % n_columns:
        places[-1] = grid[n_rows - 1, (n_panels - 1) % n_columns :]
    return [figure.add_subplot(place) for place in places]
