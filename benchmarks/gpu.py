"""What a GPU gains, and what it lacks to bare cuDNN, on the present Keras backend.

    pip install -e ".[gpu]"      # or ".[gpu-jax]", or ".[torch]"
    KERAS_BACKEND=jax python benchmarks/gpu.py [--repeats 5] [--quick]

Prints, as medians:

- milliseconds of a training step of networks with one LSTM layer, and of the same
  networks in bare PyTorch, if it is installed: there, an LSTM is one call of cuDNN;
- the same step in mixed precision;
- images a second of "cnn_lstm", in training and prediction;
- seconds of five short fits, on the GPU and on the CPU;
- memory of the card that a cross-validation takes with one process and with two;
- with JAX, the output of benchmarks/stacking.py: many fits at once.

sklstm and PyTorch have a process each, and take turns. --quick only shows that the
command works. Without a GPU, all times are those of the CPU.
"""

import argparse
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

# Batch, steps, features, units, and batches of an epoch. Data of this size stay on the
# device for the whole fit.
SHAPES = [(128, 28, 28, 128, 100), (128, 64, 256, 512, 15)]
QUICK_SHAPES = [(16, 8, 8, 128, 2), (8, 4, 8, 512, 2)]
PACKAGES = ("keras", "tensorflow", "jax", "torch", "numpy")


# The two ways to train a network with one LSTM layer. Each returns a function that
# trains for some epochs and returns when each of them ended.
EPOCHS = 4


def with_sklstm(shape, both, policy):
    from sklstm import LSTMImageClassifier
    from sklstm.estimators import watch_epochs

    classifier = LSTMImageClassifier(
        units=shape[3],
        bidirectional=both,
        input_noise=0,
        dropout=0,
        clipvalue=None,
        batch_size=shape[0],
        epochs=EPOCHS,
        dtype_policy=policy,
    )

    def train():
        ends = []
        with watch_epochs(lambda *_: ends.append(time.perf_counter())):
            classifier.fit(*sequences(shape))
        return ends

    return train


def with_torch(shape, both, policy):
    import torch

    batch, _, features, units, _ = shape
    device = "cuda" if torch.cuda.is_available() else "cpu"
    x, y = (torch.tensor(array, device=device) for array in sequences(shape))
    lstm = torch.nn.LSTM(features, units, batch_first=True, bidirectional=both)
    dense = torch.nn.Linear(units * (1 + both), 10)
    lstm.to(device), dense.to(device)
    parameters = [*lstm.parameters(), *dense.parameters()]
    optimizer = torch.optim.Adam(parameters, 1e-3)

    def train():
        ends = []
        for _ in range(EPOCHS):
            total = torch.zeros((), device=device)
            for rows in torch.randperm(len(x), device=device).split(batch):
                inputs = (x[rows].float() - 128) / 74
                hidden = lstm(inputs)[1][0].transpose(0, 1).flatten(1)
                loss = torch.nn.functional.cross_entropy(dense(hidden), y[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.detach()
            total.item()  # waits for the device
            ends.append(time.perf_counter())
        return ends

    return train


def sequences(shape):
    batch, steps, features, _, n_batches = shape
    n = batch * n_batches
    x = np.random.default_rng(0).integers(0, 256, (n, steps, features))
    return x.astype("uint8"), np.arange(n) % 10


def worker(make, connection):
    """Send milliseconds of a training step of what is asked, until that is None."""
    known = {}
    while (asked := connection.recv()) is not None:
        if asked not in known:
            known[asked] = make(*asked)
            known[asked]()  # traces or compiles
        seconds = np.diff(known[asked]())
        connection.send(float(np.median(seconds)) / asked[0][4] * 1e3)


def start(make):
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=worker, args=(make, theirs), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def steps(shapes, repeats, on_gpu):
    """Print milliseconds of a training step."""
    makes = {"sklstm": with_sklstm}
    if find_spec("torch") is not None:
        makes["torch"] = with_torch
    peers = {name: start(make) for name, make in makes.items()}
    policies = [None, "mixed_float16", "mixed_bfloat16"] if on_gpu else [None]
    print(
        "\nms of a training step             sklstm    torch    ratio  float16 bfloat16"
    )
    for shape in shapes:
        for both in (False, True):
            jobs = [("sklstm", policy) for policy in policies]
            if "torch" in peers:
                jobs.insert(1, ("torch", None))
            times = {job: [] for job in jobs}
            for _ in range(repeats):
                for name, policy in jobs:
                    peers[name][1].send((shape, both, policy))
                    times[name, policy].append(peers[name][1].recv())
            found = {job: statistics.median(values) for job, values in times.items()}
            own, bare = found["sklstm", None], found.get(("torch", None))
            name = f"{shape[:4]} {'both' if both else 'one'}"
            line = f"{name:34} {own:8.2f} "
            line += f"{bare:8.2f} {own / bare:8.2f}" if bare else f"{'-':>8} {'-':>8}"
            for policy in policies[1:]:
                line += f" {found['sklstm', policy]:8.2f}"
            print(line, flush=True)
    for process, connection in peers.values():
        connection.send(None)
        process.join()


IMAGES = """
import statistics, sys, time
import numpy as np
from sklstm import LSTMImageClassifier
n, repeats, policy = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
X = np.random.default_rng(0).integers(0, 256, (n, 28, 28)).astype("uint8")
classifier = LSTMImageClassifier("cnn_lstm", batch_size=128, dtype_policy=policy)
trained, predicted = [], []
for _ in range(repeats + 1):
    start = time.perf_counter()
    classifier.partial_fit(X, np.arange(n) % 10)
    trained.append(n / (time.perf_counter() - start))
    start = time.perf_counter()
    classifier.predict_proba(X)
    predicted.append(n / (time.perf_counter() - start))
print(*(f"{statistics.median(v[1:]):.0f}" for v in (trained, predicted)))
"""

FOLDS = """
import statistics, sys, time
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score
from sklstm import LSTMImageClassifier
repeats, epochs, n_jobs = map(int, sys.argv[1:4])
digits = load_digits()
X, y = digits.images[:300], digits.target[:300]
classifier = LSTMImageClassifier(epochs=epochs, random_state=0)
seconds = []
for _ in range(repeats + 1):
    start = time.perf_counter()
    cross_val_score(classifier, X, y, cv=5, n_jobs=n_jobs)
    seconds.append(time.perf_counter() - start)
print(f"{seconds[0]:.2f} {statistics.median(seconds[1:]):.2f}")
if len(sys.argv) > 4:
    import subprocess
    print(subprocess.run(
        ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"],
        capture_output=True, text=True, check=True,
    ).stdout)
"""


def run(code, *arguments, **environment):
    """Run code in a process of its own; return the words that it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.split()


def used_memory():
    done = subprocess.run(
        ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"],
        capture_output=True,
        text=True,
        check=True,
    )
    return sum(map(float, done.stdout.split()))


DEVICES = """
from sklstm._keras import keras
from sklstm.training._devices import list_devices
print(keras.backend.backend(), *list_devices())
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    repeats = 1 if arguments.quick else arguments.repeats

    backend, *devices = run(DEVICES)
    on_gpu = any(name.startswith("GPU") for name in devices)
    print(f"backend {backend}, devices {', '.join(devices)}")
    if not on_gpu:
        print("no GPU: these are times of the CPU")

    shapes = QUICK_SHAPES if arguments.quick else SHAPES
    steps(shapes, repeats, on_gpu)

    print('\nimages a second, "cnn_lstm", 28 x 28     training  prediction')
    n = 128 if arguments.quick else 12_800 if on_gpu else 1_280
    for policy in ("float32", "mixed_float16") if on_gpu else ("float32",):
        print(f"{policy:39} {'{:>9} {:>11}'.format(*run(IMAGES, n, repeats, policy))}")

    epochs = 2 if arguments.quick else 10
    print(f"\nfive folds of 300 digits, {epochs} epochs     first, s   then, s")
    places = {"GPU": {}} if on_gpu else {}
    places["CPU"] = {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}
    for place, environment in places.items():
        found = run(FOLDS, repeats, epochs, 1, **environment)
        print(f"{place:36} {'{:>10} {:>9}'.format(*found)}", flush=True)

    if on_gpu:
        print("\nMiB of the card that the same folds take")
        for n_jobs in (1, 2):
            before = used_memory()
            _, _, *after = run(FOLDS, 1, epochs, n_jobs, "memory")
            print(
                f"n_jobs={n_jobs}  {sum(map(float, after)) - before:8.0f}", flush=True
            )

    stacking = Path(__file__).with_name("stacking.py")
    if backend == "jax" and stacking.exists():
        print("\nbenchmarks/stacking.py", flush=True)
        quick = ["--fits", "1", "2", "--repeats", "1"] if arguments.quick else []
        subprocess.run([sys.executable, stacking, *quick], check=True)

    print(f"\n{os.cpu_count()} cores, Python {platform.python_version()}", end="")
    for package in PACKAGES:
        try:
            print(f", {package} {version(package)}", end="")
        except PackageNotFoundError:
            continue
    print()


if __name__ == "__main__":
    main()
