"""Draw docs/images/leakage.png: near duplicates among parts of two photographs.

Run ``python docs/plot_leakage.py``. The copies are shifted, darker on one side, or
saved as JPEG.
"""

from pathlib import Path

import cv2
import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_images

from sklstm.model_selection import check_leakage

OUTPUT = Path(__file__).parent / "images" / "leakage.png"
SIDE = 56


def main():
    """Cut photographs into parts, plant copies, and draw what is found."""
    photographs = load_sample_images().images
    corners = [(y, x) for y in range(6, 360, 60) for x in range(6, 570, 60)]
    parts = [p[y : y + SIDE, x : x + SIDE] for p in photographs for y, x in corners]
    copies = [
        photographs[0][y + 3 : y + 3 + SIDE, x + 4 : x + 4 + SIDE]
        for y, x in (corners[23], corners[36])
    ]
    light = np.linspace(1, 0.4, SIDE)[:, None]
    copies += [(parts[k] * light).astype(np.uint8) for k in (22, 75)]
    for k in (31, 94):
        _, data = cv2.imencode(".jpg", parts[k], [cv2.IMWRITE_JPEG_QUALITY, 40])
        copies.append(cv2.imdecode(data, cv2.IMREAD_UNCHANGED))
    found = check_leakage(np.array([*parts, *copies]))
    print(found)
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    found.plot(ax=axes)
    figure.savefig(OUTPUT, dpi=110)


if __name__ == "__main__":
    main()
