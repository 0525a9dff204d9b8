"""Speed and memory of the sequencers, compared with NumPy and scikit-learn.

    python benchmarks/sequencers.py [--repeats 9]

All candidates take turns in each round. Prints medians and their ratios, which depend
little on the machine. The candidates are:

- "view": ``numpy.lib.stride_tricks.sliding_window_view``, copied once into a contiguous
  array (n, steps, features). Windows of rows that are not evenly spaced take a fancy
  index instead.
- "patches_2d": ``sklearn.feature_extraction.image.extract_patches_2d``, which takes one
  image at a time and reads every patch at stride 1. The patches of the case are kept.
  It is slow, so it is timed on some of the images and scaled up.

The sequencers refuse NaN and infinity, which costs one more pass over floating input.
The candidates check nothing.

The memory is what NumPy allocates at its peak during ``transform``, output included, as
traced by tracemalloc. The input exists before. The last column says whether the case
meets the targets: at least 0.9 of the view's speed, and a memory ratio of at most 1.10.
The last table has scans for which NumPy has no counterpart. They are compared with a
strided copy of the same number of values.
"""

import argparse
import itertools
import platform
import statistics
import time
import tracemalloc
from functools import partial

import numpy as np
import sklearn
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.feature_extraction.image import extract_patches_2d

import sklstm
from sklstm import PatchSequencer, RowSequencer

DTYPES = ("uint8", "float32")
# extract_patches_2d is timed on this many images, by the side of the images.
N_PATCHES_2D = {28: 1000, 512: 4}
# The targets for both ratios, which `compare` computes.
MIN_SPEED = 0.9
MAX_MEMORY = 1.10


def make_images(n, side, dtype):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, side, side), dtype=np.uint8).astype(dtype)


def view_of_rows(images):
    n, height, width = images.shape
    rows = sliding_window_view(images, (1, width), axis=(1, 2))
    return np.ascontiguousarray(rows.reshape(n, height, width)).copy()


def view_of_windows(images):
    starts = RowSequencer(sequence_length=16).get_index_map((28, 28))[:, 0] // 28
    windows = sliding_window_view(images, (2, 28), axis=(1, 2))[:, starts, 0]
    return np.ascontiguousarray(windows).reshape(len(images), 16, 56)


def view_of_patches(images):
    patches = sliding_window_view(images, (16, 16), axis=(1, 2))[:, ::8, ::8]
    return np.ascontiguousarray(patches).reshape(len(images), -1, 256)


def patches_2d(images, shape, starts):
    """Return the patches at `starts`, flat indices into the grid of all patches."""
    return np.stack(
        [extract_patches_2d(image, shape)[starts] for image in images]
    ).reshape(len(images), len(starts), -1)


def grid_places(side, patch, rows, columns):
    """Return the flat indices of a case's patches in the grid of all patches."""
    across = side - patch[1] + 1
    return (np.asarray(rows)[:, None] * across + np.asarray(columns)).ravel()


def cases():
    window_starts = RowSequencer(sequence_length=16).get_index_map((28, 28))[:, 0] // 28
    steps = np.arange(0, 497, 8)
    return {
        "10,000 of 28x28, rows": (
            (10_000, 28),
            RowSequencer(),
            view_of_rows,
            ((1, 28), grid_places(28, (1, 28), range(28), [0])),
        ),
        "10,000 of 28x28, 16 windows of rows": (
            (10_000, 28),
            RowSequencer(sequence_length=16),
            view_of_windows,
            ((2, 28), grid_places(28, (2, 28), window_starts, [0])),
        ),
        "200 of 512x512, patches of 16 at stride 8": (
            (200, 512),
            PatchSequencer(patch_size=16, stride=8),
            view_of_patches,
            ((16, 16), grid_places(512, (16, 16), steps, steps)),
        ),
    }


def medians(candidates, repeats):
    """Return the median seconds of each candidate; all take turns in each round."""
    seconds = {name: [] for name in candidates}
    # The order changes, because a candidate after the largest finds a colder cache.
    orders = itertools.cycle(itertools.permutations(candidates))
    for _, order in zip(range(repeats + 1), orders, strict=False):
        for name in order:
            function, images = candidates[name]
            start = time.perf_counter()
            result = function(images)
            seconds[name].append(time.perf_counter() - start)
            del result
    # The first round warms up.
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}


def peak_memory(function, images):
    tracemalloc.start()
    result = function(images)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak, result.nbytes


def compare(repeats):
    print(
        f"{'case':43}{'dtype':9}{'sklstm':>10}{'view':>10}{'patches_2d':>12}"
        f"{'view/':>8}{'p_2d/':>8}{'memory':>9}{'targets':>9}"
    )
    print(f"{'':52}{'ms':>10}{'ms':>10}{'ms':>12}{'sklstm':>8}{'sklstm':>8}")
    for name, ((n, side), sequencer, view, (shape, places)) in cases().items():
        for dtype in DTYPES:
            images = make_images(n, side, dtype)
            few = images[: N_PATCHES_2D[side]]
            sequencer.fit(images[:2])
            expected = sequencer.transform(few)
            np.testing.assert_array_equal(view(few), expected)
            np.testing.assert_array_equal(patches_2d(few, shape, places), expected)
            took = medians(
                {
                    "sklstm": (sequencer.transform, images),
                    "view": (view, images),
                    "patches_2d": (
                        partial(patches_2d, shape=shape, starts=places),
                        few,
                    ),
                },
                repeats,
            )
            took["patches_2d"] *= n / len(few)
            peak, output = peak_memory(sequencer.transform, images)
            share = (images.nbytes + peak) / (images.nbytes + output)
            speed = took["view"] / took["sklstm"]
            met = speed >= MIN_SPEED and share <= MAX_MEMORY
            print(
                f"{name:43}{dtype:9}{took['sklstm'] * 1e3:10.2f}"
                f"{took['view'] * 1e3:10.2f}{took['patches_2d'] * 1e3:12.1f}"
                f"{speed:8.2f}"
                f"{took['patches_2d'] / took['sklstm']:8.1f}{share:9.3f}"
                f"{'ok' if met else 'missed':>9}"
            )
    print(
        "memory: (input + peak) / (input + output)\n"
        f"targets: view/sklstm >= {MIN_SPEED}, memory <= {MAX_MEMORY:.2f}\n"
    )


def other_orders(repeats):
    print(
        f"{'scan of 200 images of 256x256':43}{'dtype':9}{'ms':>10}{'view/sklstm':>13}"
    )
    scans = {
        "patches of 16 at stride 8, raster": PatchSequencer(),
        "the same, snake": PatchSequencer(order="snake"),
        "the same, hilbert": PatchSequencer(order="hilbert"),
        "patches of 16 at stride 7, raster": PatchSequencer(stride=7),
        "the same, in hilbert order": PatchSequencer(stride=7, order="hilbert"),
        "rows": RowSequencer(),
        "rows, backward": RowSequencer(order="backward"),
        "rows, snake": RowSequencer(order="snake"),
        "columns": RowSequencer(axis="columns"),
    }
    for name, sequencer in scans.items():
        for dtype in DTYPES:
            images = make_images(200, 256, dtype)
            sequencer.fit(images[:2])
            view = view_of_rows
            if isinstance(sequencer, PatchSequencer):
                stride = sequencer.stride

                def view(x, stride=stride):
                    windows = sliding_window_view(x, (16, 16), axis=(1, 2))
                    return np.ascontiguousarray(windows[:, ::stride, ::stride])

            took = medians(
                {"sklstm": (sequencer.transform, images), "view": (view, images)},
                repeats,
            )
            print(
                f"{name:43}{dtype:9}{took['sklstm'] * 1e3:10.2f}"
                f"{took['view'] / took['sklstm']:13.2f}"
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=9, help="rounds (default: 9)")
    repeats = parser.parse_args().repeats
    print(
        f"sklstm {sklstm.__version__}, numpy {np.__version__}, scikit-learn "
        f"{sklearn.__version__}, Python {platform.python_version()}, "
        f"{platform.machine()}; medians of {repeats} rounds, seed 0\n"
    )
    compare(repeats)
    other_orders(repeats)


if __name__ == "__main__":
    main()
