"""Draw two pictures of displays.

Run ``python docs/plot_seeing.py``. docs/images/scan_display.png is how patches of a
photograph are read. docs/images/reliability.png is how often an LSTM is right about
digits, against its probabilities, before and after a temperature.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits, load_sample_image
from sklearn.model_selection import train_test_split

from sklstm import LSTMImageClassifier, PatchSequencer
from sklstm.inspection import ReliabilityDisplay, ScanDisplay

IMAGES = Path(__file__).parent / "images"


def draw_scan():
    """Draw the patches of a photograph, in the order of a Hilbert curve."""
    photograph = load_sample_image("china.jpg")[40:296:2, 200:520:2]
    sequencer = PatchSequencer(32, 16, order="hilbert")
    display = ScanDisplay.from_estimator(sequencer, photograph)
    display.figure_.savefig(IMAGES / "scan_display.png", dpi=110)


def draw_reliability():
    """Draw the accuracy of an LSTM in bins of its probability."""
    X, y = load_digits(return_X_y=True)
    train, test, y_train, y_test = train_test_split(
        X.reshape(-1, 8, 8), y, train_size=500, stratify=y, random_state=0
    )
    calibrated = LSTMImageClassifier(
        calibration="temperature",
        validation_fraction=0.3,
        label_smoothing=0.2,
        epochs=30,
        random_state=0,
    ).fit(train, y_train)
    figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, model in (
        ("before", calibrated.estimators_[0]),
        (f"after, temperature {calibrated.temperature_:.2f}", calibrated),
    ):
        ReliabilityDisplay.from_estimator(model, test, y_test, name=name, ax=ax)
    ax.legend(loc="lower right", bbox_to_anchor=(1, 0.25), fontsize="small")
    figure.savefig(IMAGES / "reliability.png", dpi=110)


if __name__ == "__main__":
    draw_scan()
    draw_reliability()
