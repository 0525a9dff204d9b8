"""Peak memory of training on overlapping patches, scanned in or before the network.

    python benchmarks/scan_memory.py [--units 16] [--batch-size 8]

Reads 200 images of 512 x 512 bytes in patches of 16 x 16 at stride 8, which gives 3,969
steps of 256 features. Each way runs in a process of its own. The peak is counted from
the moment when TensorFlow has been loaded and has run, and includes the images.
"""

import argparse
import subprocess
import sys
import time

import numpy as np

N, SIDE = 200, 512


def memory(name):
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith(name))
    return int(line.split()[1]) / 1024


def measure(inside, dtype, units, batch_size):
    from sklearn.pipeline import make_pipeline

    from sklstm import LSTMImageClassifier, PatchSequencer

    def model():
        sequencer = PatchSequencer(16, 8)
        params = dict(units=units, epochs=1, batch_size=batch_size, random_state=0)
        if inside:
            return LSTMImageClassifier(sequencer=sequencer, **params)
        return make_pipeline(sequencer, LSTMImageClassifier(**params))

    rng = np.random.default_rng(0)
    LSTMImageClassifier(epochs=1, units=units).fit(rng.random((8, 16, 16)), [0, 1] * 4)
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")  # This resets the peak, VmHWM.
    before = memory("VmRSS")
    X = rng.integers(0, 256, (N, SIDE, SIDE), dtype=np.uint8).astype(dtype)
    start = time.perf_counter()
    model().fit(X, np.arange(N) % 2)
    seconds = time.perf_counter() - start
    sequences = batch_size * 63 * 63 * 256 * 4 / 2**20
    needed = X.nbytes / 2**20 + sequences
    peak = memory("VmHWM") - before
    print(
        f"{'inside' if inside else 'before':8}{dtype:9}{units:5}"
        f"{X.nbytes / 2**20:8.0f}{sequences:10.0f}{peak:8.0f}{peak / needed:8.2f}"
        f"{seconds:9.0f} s"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=int, default=16, help="units per direction")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        measure(args.one[0] == "inside", args.one[1], args.units, args.batch_size)
        return
    print("MiB: the images, a batch of sequences, the peak, and the peak as a multiple")
    print(f"of the first two together; one epoch, batches of {args.batch_size}")
    print(f"{'scan':8}{'dtype':9}units  images sequences    peak   ratio     time")
    for where, dtype in (
        ("inside", "uint8"),
        ("inside", "float32"),
        ("before", "uint8"),
    ):
        command = [sys.executable, __file__, "--one", where, dtype]
        options = ["--units", str(args.units), "--batch-size", str(args.batch_size)]
        subprocess.run([*command, *options], check=True)


if __name__ == "__main__":
    main()
