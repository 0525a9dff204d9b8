"""Size, accuracy and speed of exported files.

    pip install -e ".[export]"
    python benchmarks/export.py networks
    python benchmarks/export.py mnist --data FOLDER [--epochs 3] [--repeats 5]
    python benchmarks/export.py detector

"networks" fits each named network on noise for one epoch, and exports it to ONNX and
LiteRT in float and int8. "mnist" trains a Pipeline of RowSequencer and a bidirectional
LSTM(128) on raw bytes, and compares its files with Keras on the 10,000 test images.
Each file predicts in a process of its own, in turn with Keras on the same cores. The
memory is the peak of that process. "detector" fits LSTMDefectDetector for one epoch on
images of 256 x 256 with darker squares. Its files predict one image at a time, on one
thread.
"""

import argparse
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

FILES = {
    "onnx": {},
    "onnx int8": {"quantize": "int8"},
    "litert": {"format": "litert"},
    "litert int8": {"format": "litert", "quantize": "int8"},
}
NETWORKS = {
    "lstm": ("lstm", {}),
    "lstm, 2 layers, one way": ("lstm", {"n_layers": 2, "bidirectional": False}),
    "lstm, pixel embedding": ("lstm", {"embedding": "pixel"}),
    "lstm, additive attention": ("lstm", {"attention": "additive"}),
    "lstm, self attention": ("lstm", {"attention": "self"}),
    "lstm, multihead attention": ("lstm", {"attention": "multihead"}),
    "lstm, multiscale attention": ("lstm", {"attention": "multiscale"}),
    "lstm_transformer": ("lstm_transformer", {}),
    "cnn_lstm": ("cnn_lstm", {}),
    "cnn": ("cnn", {}),
    "vil": ("vil", {}),
    "sequencer": ("sequencer", {}),
    "conv_lstm, 8 frames": ("conv_lstm", {}),
    "bilstm3d, 8 frames": ("bilstm3d", {}),
    "cnn3d, 8 frames": ("cnn3d", {}),
}
FUSED = ("LSTM", "DynamicQuantizeLSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM")
LOOPS = ("Loop", "WHILE")
PACKAGES = ("keras", "tensorflow", "onnx", "onnxruntime", "tf2onnx", "ai-edge-litert")


def networks(folder):
    """Print a row for each network and file, or the reason why there is no file."""
    from sklstm import LSTMImageClassifier, export

    rng = np.random.default_rng(0)
    print(f"{'network':28}{'file':18}{'bytes':>9}  share  difference  ms      LSTMs")
    for name, (network, params) in NETWORKS.items():
        shape = (64, 8, 28, 28) if "frames" in name else (64, 28, 28)
        X = rng.random(shape, np.float32)
        classifier = LSTMImageClassifier(network, epochs=1, random_state=0, **params)
        classifier.fit(X, np.arange(64) % 10)
        calibrated = {**FILES["litert int8"], "calibration": X}
        sizes = {}
        for kind, how in {**FILES, "litert calibrated": calibrated}.items():
            try:
                report = export(classifier, folder / "file", X=X, **how)
            except RuntimeError as error:
                print(f"{name:28}{kind:18}{str(error)[:90]}")
                continue
            sizes[kind] = report.size_after
            share = report.size_after / sizes[kind.split()[0]]
            operators = report.operators
            fused = sum(operators.get(operator, 0) for operator in FUSED)
            loops = sum(operators.get(operator, 0) for operator in LOOPS)
            print(
                f"{name:28}{kind:18}{report.size_after:9,}  {share:.3f}  "
                f"{report.largest_difference:.1e}     {report.latency_ms:5.2f}  "
                f"{fused} operators, {loops} loops",
                flush=True,
            )


def predict_alone(path, images, connection):
    """Predict on request, in a process that has loaded only the file."""
    from sklstm import load_exported

    predictor = load_exported(path)
    while (n := connection.recv()) is not None:
        start = time.perf_counter()
        probabilities = predictor.predict_proba(images[:n])
        seconds = time.perf_counter() - start
        connection.send((seconds, probabilities if n == len(images) else None))
    # ru_maxrss would start from the peak of the parent process.
    status = Path("/proc/self/status")  # This file exists on Linux only.
    peak = float("nan")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        peak = int(lines["VmHWM"].split()[0]) / 1e3
    connection.send(peak)


def mnist(folder, data, epochs, repeats):
    """Print a row for Keras and for each file."""
    from sklearn.pipeline import make_pipeline

    from sklstm import LSTMImageClassifier, RowSequencer, export

    with np.load(data / "mnist.npz") as file:
        X, y, images, labels = (
            file[name] for name in ("x_train", "y_train", "x_test", "y_test")
        )
    pipeline = make_pipeline(
        RowSequencer(),
        LSTMImageClassifier(units=128, epochs=epochs, batch_size=128, random_state=0),
    )
    start = time.perf_counter()
    pipeline.fit(X, y)
    print(f"{epochs} epochs in {time.perf_counter() - start:.0f} s")
    calibrated = {**FILES["litert int8"], "calibration": X[:200]}
    files = {**FILES, "litert calibrated": calibrated}
    reports = {}
    for i, (kind, how) in enumerate(files.items()):
        reports[kind] = export(pipeline, folder / str(i), X=images, y=labels, **how)
        print(f"\n{reports[kind]}", flush=True)

    model = pipeline[-1].model_
    sequences = images.astype("float32")
    peers = {
        "keras predict, 32": lambda n: model.predict(sequences[:n], verbose=0),
        "keras predict, 512": lambda n: model.predict(
            sequences[:n], batch_size=512, verbose=0
        ),
        "estimator": lambda n: pipeline.predict_proba(images[:n]),
    }
    expected = pipeline.predict_proba(images)
    found = dict.fromkeys(peers, expected)
    # A forked process would start with all that this process has loaded.
    spawn = multiprocessing.get_context("spawn")
    pipes = {}
    for kind, report in reports.items():
        ours, theirs = spawn.Pipe()
        spawn.Process(
            target=predict_alone, args=(report.path, images, theirs), daemon=True
        ).start()
        pipes[kind] = ours
    seconds = {name: {1: [], len(images): []} for name in (*peers, *pipes)}
    # One image takes milliseconds, so it is timed more often than all images.
    for n, times in ((1, 100), (len(images), 1 + repeats)):
        for i in range(times):
            for name, peer in peers.items():
                start = time.perf_counter()
                peer(n)
                seconds[name][n].append(time.perf_counter() - start)
            for name, pipe in pipes.items():
                if n > 1 and i > 1 and "litert" in name:
                    continue  # LiteRT predicts image by image, for up to 30 s.
                pipe.send(n)
                taken, probabilities = pipe.recv()
                seconds[name][n].append(taken)
                if probabilities is not None:
                    found[name] = probabilities
    memory = {}
    for name, pipe in pipes.items():
        pipe.send(None)
        memory[name] = pipe.recv()

    print(
        f"\n{'':20}{'bytes':>8}  share  difference  accuracy  ms, one image  "
        f"images/s  times keras  MB"
    )
    rates = {
        name: len(images) / statistics.median(times[len(images)][1:])
        for name, times in seconds.items()
    }
    for name, times in seconds.items():
        size, share, peak = " " * 8, " " * 5, ""
        if name in reports:
            bytes_ = reports[name].size_after
            size = f"{bytes_:8,}"
            share = f"{bytes_ / reports[name.split()[0]].size_after:.3f}"
            peak = f"{memory[name]:.0f}"
        difference = np.abs(found[name] - expected).max()
        accuracy = np.mean(found[name].argmax(axis=1) == labels)
        print(
            f"{name:20}{size}  {share}  {difference:.1e}     {accuracy:.4f}    "
            f"{1e3 * statistics.median(times[1][10:]):9.2f}      {rates[name]:8.0f}  "
            f"{rates[name] / rates['keras predict, 32']:9.1f}    {peak}"
        )


def detector(folder):
    """Print a row for each file of a detector of 256 x 256 pixels."""
    from sklstm import LSTMDefectDetector, export, load_exported

    rng = np.random.default_rng(0)
    X = rng.normal(100, 5, (32, 256, 256)).astype(np.float32)
    Y = np.zeros(X.shape, bool)
    for image, mask in zip(X[::2], Y[::2], strict=True):
        row, column = rng.integers(0, 216, 2)
        mask[row : row + 40, column : column + 40] = True
        image[mask] -= 20
    fitted = LSTMDefectDetector(epochs=1, random_state=0).fit(X, Y)
    print(f"{'file':18}{'bytes':>9}  difference  other pixels  ms, one image (fastest)")
    masks = fitted.predict(X)
    for kind, how in FILES.items():
        report = export(fitted, folder / "file", X=X, **how)
        exported = load_exported(folder / "file", n_threads=1)
        others = np.mean(exported.predict(X) != masks)
        times = []
        for i in range(110):
            start = time.perf_counter()
            exported.outputs(X[i % len(X)][None])
            times.append(1e3 * (time.perf_counter() - start))
        median = statistics.median(times[10:])
        print(
            f"{kind:18}{report.size_after:9,}  {report.largest_difference:.1e}     "
            f"{others:.1e}       {median:.2f} ({min(times):.2f})",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["networks", "mnist", "detector"])
    parser.add_argument("--data", default=os.environ.get("SKLSTM_DATA"))
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.what == "networks":
            networks(Path(folder))
        elif arguments.what == "detector":
            detector(Path(folder))
        elif arguments.data is None:
            parser.error("give --data FOLDER, the folder that holds mnist.npz")
        else:
            mnist(
                Path(folder), Path(arguments.data), arguments.epochs, arguments.repeats
            )
    print(
        f"\n{os.cpu_count()} cores, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    )


if __name__ == "__main__":
    main()
