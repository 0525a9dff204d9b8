"""Time of training from a disk, and of decoding files, with and without threads.

    python benchmarks/on_disk.py [--folder /tmp] [--repeats 5] [--works decoding]

Training reads images of 512 x 512 bytes from a file that is mapped into memory.
Before a cold epoch, the pages of the file are dropped from memory, as if it were larger
than that (Linux only). "ahead" reads the next part in a thread while a part is trained.
"in turn" reads and trains in turn, as with images in memory. Fits of both take turns.

Decoding reads 200 JPEG files of 1,024 x 1,024 with `ImageReader`, with one thread or
one for each core, and with OpenCV's own threads on and off. The backend is that of
KERAS_BACKEND.
"""

import argparse
import mmap
import os
import platform
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from unittest import mock

import numpy as np

SIDE, N_FILES, FILE_SIDE = 512, 200, 1024


def random_images(n, side):
    """Yield images that are smooth, as photographs are, and noisy."""
    import cv2

    rng = np.random.default_rng(0)
    for _ in range(n):
        coarse = rng.integers(0, 256, (side // 32, side // 32, 3), dtype=np.uint8)
        smooth = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
        yield cv2.add(smooth, rng.integers(0, 16, smooth.shape, dtype=np.uint8))


def report(name, times, reference=None):
    median = statistics.median(times)
    ratio = "" if reference is None else f"  {median / reference:.2f}"
    span = f"({min(times):.2f} - {max(times):.2f})"
    print(f"{name:24} {median:6.2f} {span}{ratio}", flush=True)
    return median


def training(folder, repeats, n):
    from sklstm._keras import keras

    from sklstm import LSTMImageClassifier, PatchSequencer
    from sklstm.training import _parts

    file = tempfile.NamedTemporaryFile(dir=folder)  # noqa: SIM115
    X = np.memmap(file.name, np.uint8, "w+", shape=(n, SIDE, SIDE))
    for i, image in enumerate(random_images(n, SIDE)):
        X[i] = image[..., 0]
    X.flush()
    y = np.arange(n) % 2

    class Epochs(keras.callbacks.Callback):
        def __init__(self, cold):
            super().__init__()
            self.cold = cold
            self.times = []

        def on_epoch_begin(self, epoch, logs=None):
            if self.cold:
                X._mmap.madvise(mmap.MADV_DONTNEED)
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            self.start = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            self.times.append(time.perf_counter() - self.start)

    def epochs(params, cold):
        watch = Epochs(cold)
        sequencer = PatchSequencer(64)
        fixed = dict(epochs=2, batch_size=8, callbacks=[watch], random_state=0)
        LSTMImageClassifier(sequencer=sequencer, **params, **fixed).fit(X, y)
        return watch.times

    ways = {"in turn": lambda x: False, "ahead": _parts.is_mapped}
    for params in ({"units": 16}, {"units": 2, "input_noise": 0}):
        print(f"\nSeconds of an epoch on {n} images of {SIDE} x {SIDE} bytes, {params}")
        for cold in (True, False) if hasattr(os, "posix_fadvise") else (False,):
            times = {name: [] for name in ways}
            for repeat in range(1 + repeats):
                for name, is_mapped in ways.items():
                    with mock.patch.object(_parts, "is_mapped", is_mapped):
                        found = epochs(params, cold)
                    times[name] += found if repeat else []
            reference = None
            for name, found in times.items():
                title = f"{'cold' if cold else 'warm'}, {name}"
                median = report(title, found, reference)
                reference = reference or median


def decoding(folder, repeats):
    import cv2
    import joblib

    from sklstm import ImageReader

    default = cv2.getNumThreads()
    with tempfile.TemporaryDirectory(dir=folder) as files:
        paths = [str(Path(files) / f"{i}.jpg") for i in range(N_FILES)]
        for path, image in zip(paths, random_images(N_FILES, FILE_SIDE), strict=True):
            cv2.imwrite(path, image)
        print(
            f"\nSeconds to decode {N_FILES} JPEG files of {FILE_SIDE} x {FILE_SIDE} "
            "in colour and to resize them to 256 x 256"
        )
        ways = [(1, 1), (1, default), (joblib.cpu_count(), 1)]
        ways.append((joblib.cpu_count(), default))
        times = {way: [] for way in ways}
        for repeat in range(1 + repeats):
            for n_threads, of_opencv in ways:
                cv2.setNumThreads(of_opencv)
                reader = ImageReader(size=256, color="rgb")
                start = time.perf_counter()
                with mock.patch("joblib.cpu_count", lambda n=n_threads: n):
                    reader.fit_transform(paths)
                if repeat:
                    seconds = time.perf_counter() - start
                    times[n_threads, of_opencv].append(seconds)
        cv2.setNumThreads(default)
        reference = None
        for (n_threads, of_opencv), found in times.items():
            name = f"{n_threads} threads, OpenCV {of_opencv}"
            median = report(name, found, reference)
            reference = reference or median


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", help="folder for the files; see tempfile")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--works", default="decoding,training")
    parser.add_argument("--images", type=int, default=1200, help="to train on")
    arguments = parser.parse_args()
    print("medians (min - max), and ratio to the first line")
    works = arguments.works.split(",")
    if "decoding" in works:
        decoding(arguments.folder, arguments.repeats)
    if "training" in works:
        training(arguments.folder, arguments.repeats, arguments.images)
    names = ["numpy", "opencv-python-headless", "keras", "tensorflow"]
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    names += [] if backend in names else [backend]
    print(
        f"\n{os.cpu_count()} cores, Python {platform.python_version()}, {backend}, "
        + ", ".join(f"{name} {version(name)}" for name in names)
    )


if __name__ == "__main__":
    main()
