"""Photographs per second through FundusPreprocessor, compared with plain OpenCV.

    python benchmarks/fundus.py --data FOLDER

FOLDER holds drive.npz, with 40 photographs of 584 x 565. The peer is a loop of plain
OpenCV that takes the same steps on the green channel without a field of view: bilateral
filter, subtraction of the background (computed at a ninth of the size, as here) and
CLAHE. All take turns. Prints medians of five rounds after a first.
"""

import argparse
import os
import time
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np

from sklstm import FundusPreprocessor


def plain(images):
    for image in images:
        green = cv2.bilateralFilter(image[..., 1].copy(), 5, 12, 1.5)
        size = green.shape[1] // 9, green.shape[0] // 9
        small = cv2.resize(green.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), 5)
        background = cv2.resize(small, green.shape[::-1])
        even = np.clip(green.astype(np.float32) - background + 128, 0, 255)
        cv2.createCLAHE(2.0, (8, 8)).apply(even.astype(np.uint8))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("SKLSTM_DATA"))
    args = parser.parse_args()
    if not args.data:
        parser.error("give --data FOLDER, the folder that holds drive.npz")
    with np.load(Path(args.data) / "drive.npz") as data:
        images = data["images"]
    ways = {"plain OpenCV": plain}
    for output in ("enhanced", "graham", "vesselness", "vessels", "stack"):
        preprocessor = FundusPreprocessor(output, crop=False)
        ways[output] = preprocessor.transform
    seconds: dict = {name: [] for name in ways}
    for _ in range(6):
        for name, way in ways.items():
            start = time.perf_counter()
            way(images)
            seconds[name].append(time.perf_counter() - start)
    for name, taken in seconds.items():
        rates = len(images) / np.array(taken[1:])
        print(
            f"{name:14}{np.median(rates):8.1f} a second"
            f" ({rates.min():.1f} to {rates.max():.1f})"
        )
    packages = ("numpy", "scipy", "opencv-python-headless")
    print(", ".join(f"{name} {version(name)}" for name in packages))


if __name__ == "__main__":
    main()
