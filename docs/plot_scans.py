"""Draw docs/images/scans.png: the order in which each scan reads an image.

Run ``python docs/plot_scans.py``. `sklstm.inspection.ScanDisplay` draws all of it from
the index maps of the sequencers.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from sklstm import PatchSequencer, RowSequencer, VolumeSequencer
from sklstm.inspection import ScanDisplay

OUTPUT = Path(__file__).parent / "images" / "scans.png"
SIDE = 8


def main():
    """Draw all scans and save the figure."""
    figure, axes = plt.subplots(3, 4, figsize=(11, 8.4), layout="constrained")
    scans = {
        "rows": RowSequencer(),
        'rows, order="backward"': RowSequencer(order="backward"),
        'rows, order="snake"': RowSequencer(order="snake"),
        "columns": RowSequencer(axis="columns"),
        "sequence_length=6 of 8 rows": RowSequencer(sequence_length=6),
        'patches, order="raster"': PatchSequencer(2, 1),
        'patches, order="snake"': PatchSequencer(2, 1, order="snake"),
        'patches, order="hilbert"': PatchSequencer(2, 1, order="hilbert"),
        "patch 4, stride 3": PatchSequencer(4, 3),
        'volume, axis="depth"': VolumeSequencer(),
        'volume, axis="height"': VolumeSequencer(axis="height"),
        'cubes, order="snake"': VolumeSequencer(axis=None, step_size=2, order="snake"),
    }
    for ax, (title, sequencer) in zip(axes.flat, scans.items(), strict=True):
        image = np.zeros((SIDE, SIDE))
        if isinstance(sequencer, VolumeSequencer):
            side = 6 if sequencer.axis is None else 5
            image = np.zeros((side, side, side))
        elif isinstance(sequencer, PatchSequencer) and sequencer.patch_size == 2:
            # The Hilbert curve of 8 x 8 patches is the one that is well known.
            image = np.zeros((SIDE + 1, SIDE + 1))
        windows = 0 if image.shape[0] == SIDE + 1 else 3
        ScanDisplay.from_estimator(
            sequencer, image, windows=windows, colorbar=False, ax=ax
        )
        ax.set_title(title, fontsize=10)
    figure.savefig(OUTPUT, dpi=110)


if __name__ == "__main__":
    OUTPUT.parent.mkdir(exist_ok=True)
    main()
