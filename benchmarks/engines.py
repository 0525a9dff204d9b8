"""Every backend of sklstm against skorch, bare PyTorch, scikeras and plain Keras.

    pip install -e ".[benchmarks]"
    python benchmarks/engines.py [--works folds,long,conv,one,memory,predict]
        [--peers tensorflow,jax,torch,skorch,pytorch,scikeras,keras] [--repeats 5]
        [--python jax=OTHER_ENVIRONMENT/bin/python] [--data FOLDER] [--json FILE]

The peers "tensorflow", "jax" and "torch" are sklstm on this backend, and "keras" is
`model.fit` on TensorFlow. Each peer has a process of its own, and the peers take turns
in every repeat. Peers that are not installed are left out. The works:

folds    five folds of 300 digits, BiLSTM(64), 10 epochs, batch 32; each repeat has a
         new process, which does them twice, after it has imported all that they import
long     fits of LSTM(128) of 20 batches of 128 sequences 28 x 28, two epochs; one
         direction and both
conv     an epoch of 2,000 images of 28 x 28, batch 32, of "cnn_lstm" and "cnn"; bare
         PyTorch and Keras have the same layers and number of weights
one      one image of 28 x 28 through `predict_proba`, of "lstm" and of "cnn_lstm";
         "pipeline" is "lstm" after a RowSequencer
memory   growth of memory over 300 fits of mixed parameters, after 60 others
predict  images predicted a second by "cnn_lstm" and "lstm"

The images are made, unless `--data` names the folder of mnist.npz. Prints medians,
spread, ratios, versions, and which targets are met. With `--cpu`, times are those that
the processor spends in all threads, which other programs disturb less.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import engine_peers
import numpy as np

BACKENDS = ("tensorflow", "jax", "torch")
PEERS = (*BACKENDS, "skorch", "pytorch", "scikeras", "keras")
WORKS = {
    "folds": ("first", "steady"),
    "long": ("one", "both"),
    "conv": ("cnn_lstm", "cnn"),
    "one": ("lstm", "pipeline", "cnn_lstm"),
    "memory": ("mixed",),
    "predict": ("cnn_lstm", "lstm"),
}
UNIT = {
    "folds": "s",
    "long": "ms a step",
    "conv": "s an epoch",
    "one": "ms",
    "memory": "MB",
    "predict": "images a second",
}
NAMES = (
    "numpy",
    "scikit-learn",
    "keras",
    "tensorflow",
    "jax",
    "torch",
    "skorch",
    "scikeras",
)
CALLS, N_IMAGES, WARM_UP, FITS = 200, 2000, 60, 300
ROOT = Path(__file__).resolve().parents[1]


# In the process of a peer.


def make_peer(name, n_images, folder):
    kinds = {
        "skorch": engine_peers.Skorch,
        "pytorch": engine_peers.PyTorch,
        "scikeras": engine_peers.Scikeras,
        "keras": engine_peers.Keras,
    }
    return kinds.get(name, engine_peers.Sklstm)(n_images, folder)


def serve(name, n_images, folder):
    """Do the works that come in a line each, and answer with a number each."""
    # Libraries may print. The answers keep the output for themselves.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    peer = make_peer(name, n_images, folder)
    needed = [*peer.modules, *({name} & set(BACKENDS))]
    missing = [m for m in needed if importlib.util.find_spec(m) is None]
    if not missing:
        for module in needed:
            importlib.import_module(module)
    found = {}
    for package in NAMES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    hello = {"missing": missing, "versions": found, "python": platform.python_version()}
    print(json.dumps(hello), file=answers)
    functions = {}
    for line in sys.stdin:
        job = json.loads(line)
        work, what = job["work"], job["what"]
        if work == "n_weights":
            result = peer.n_weights(what)
        elif work == "modules":
            result = list(sys.modules)
        elif work == "import":
            result = import_all(what)
        else:
            key = (work, "all" if work == "folds" else what)
            if key not in functions:
                functions[key] = peer.make(work, what)
            result = measure(work, functions[key], job)
        print(json.dumps(result), file=answers)


def import_all(names):
    for name in names:
        # Some modules are made by code, and no import finds them.
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def measure(work, run, job):
    """Return a figure in the unit of the work."""
    clock = time.process_time if job["cpu"] else time.perf_counter
    if work == "one":
        spent = [seconds(run, clock) for _ in range(job["calls"])]
        return 1e3 * statistics.median(spent)
    if work == "memory":
        return growth(run, job["warm_up"], job["fits"])
    spent = seconds(run, clock)
    if work == "long":
        return 1e3 * spent / (engine_peers.LONG_BATCHES * engine_peers.LONG_EPOCHS)
    return job["n_images"] / spent if work == "predict" else spent


def seconds(run, clock):
    start = clock()
    run()
    return clock() - start


def growth(run, warm_up, fits):
    """Return by how many MB memory grows, from the medians of several fits."""
    import psutil

    process = psutil.Process()
    used = []
    for _ in range(warm_up + fits):
        run()
        used.append(process.memory_info().rss / 1e6)
    n = max(1, fits // 15)
    before, after = used[warm_up : warm_up + n], used[-n:]
    return statistics.median(after) - statistics.median(before)


# In the process that was called.


class Process:
    """The process of a peer.

    Parameters
    ----------
    peer : str
        Name of the peer.
    arguments : argparse.Namespace
        Options of the command.
    """

    def __init__(self, peer, arguments):
        environment = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3")
        environment["KERAS_BACKEND"] = peer if peer in BACKENDS else "tensorflow"
        paths = [str(ROOT), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        python = arguments.python.get(peer, sys.executable)
        command = [python, __file__, "--serve", peer, "--images", str(arguments.images)]
        if arguments.data is not None:
            command += ["--data", arguments.data]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if arguments.verbose else subprocess.DEVNULL,
            env=environment,
            text=True,
        )
        self.peer = peer
        self.hello = self._answer()
        self.missing = self.hello["missing"]

    def _answer(self):
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(
                f"The process of {self.peer} ended: --verbose shows its messages."
            )
        return json.loads(line)

    def __call__(self, work, what, **options):
        job = {"work": work, "what": what, **options}
        print(json.dumps(job), file=self._process.stdin, flush=True)
        return self._answer()

    def close(self):
        self._process.stdin.close()
        self._process.wait()


def run_work(work, peers, arguments):
    """Return {what: {peer: list of figures}} of a work."""
    kinds = {peer: type(make_peer(peer, 0, None)) for peer in peers}
    peers = [peer for peer in peers if hasattr(kinds[peer], work)]
    figures = {what: {peer: [] for peer in peers} for what in WORKS[work]}
    options = {
        "calls": arguments.calls,
        "n_images": arguments.images,
        "warm_up": arguments.warm_up,
        "fits": arguments.fits,
        "cpu": arguments.cpu,
    }
    if work == "memory":
        for peer in peers:
            process = Process(peer, arguments)
            figures["mixed"][peer].append(process(work, "mixed", **options))
            process.close()
        return figures
    if work == "folds":
        # Libraries import parts of themselves in the first fit, such as Keras in sklstm
        # and the compiler in PyTorch. One process finds them for those that are timed.
        modules = {}
        for peer in peers:
            process = Process(peer, arguments)
            process(work, "first", **options)
            modules[peer] = process("modules", None)
            process.close()
        for _ in range(arguments.repeats):
            processes = [Process(peer, arguments) for peer in peers]
            for process in processes:
                process("import", modules[process.peer])
            for what in WORKS[work]:
                for process in processes:
                    found = process(work, what, **options)
                    figures[what][process.peer].append(found)
            for process in processes:
                process.close()
        return figures
    processes = [Process(peer, arguments) for peer in peers]
    for what in WORKS[work]:
        # Skorch and Keras have no scan before the network.
        able = [p for p in processes if what != "pipeline" or p.peer in BACKENDS]
        if work == "conv":
            counts = {p.peer: p("n_weights", what) for p in able}
            assert len(set(counts.values())) == 1, counts
        for process in able:
            process(work, what, **options)
        for _ in range(arguments.repeats):
            for process in able:
                figures[what][process.peer].append(process(work, what, **options))
    for process in processes:
        process.close()
    return {
        what: {peer: found for peer, found in row.items() if found}
        for what, row in figures.items()
    }


def show(work, figures):
    for what, row in figures.items():
        print(f"\n{work}, {what}: {UNIT[work]}")
        medians = {peer: statistics.median(found) for peer, found in row.items()}
        beside = [peer for peer in ("skorch", "pytorch") if peer in row]
        for peer, found in row.items():
            ratios = "".join(
                f"  {medians[peer] / medians[other]:6.2f} x {other}" for other in beside
            )
            print(
                f"{peer:10} {medians[peer]:9.3f}  ({min(found):.3f} - {max(found):.3f})"
                f"{ratios}"
            )


def targets(figures):
    """Yield a sentence, the figure and the largest one allowed, of every target."""

    def median(work, what, peer):
        found = figures.get(work, {}).get(what, {}).get(peer)
        return statistics.median(found) if found else float("nan")

    def best(work, what):
        found = [median(work, what, peer) for peer in BACKENDS]
        return np.nanmin(found) if np.isfinite(found).any() else float("nan")

    steady = best("folds", "steady")
    skorch = median("folds", "steady", "skorch")
    yield "folds, best backend / skorch", steady / skorch, 0.45
    scikeras = median("folds", "steady", "scikeras")
    yield "folds, best backend / scikeras", steady / scikeras, 1 / 30
    first = median("folds", "first", "tensorflow")
    skorch = median("folds", "first", "skorch")
    yield "folds, first call, tensorflow / skorch", first / skorch, 1.3
    for what in WORKS["long"]:
        ratio = median("long", what, "torch") / median("long", what, "skorch")
        yield f"long, {what}, torch / skorch", ratio, 1.05
    for what in WORKS["conv"]:
        ratio = best("conv", what) / median("conv", what, "pytorch")
        yield f"conv, {what}, best backend / bare PyTorch", ratio, 1.1
    # The convolutions of "cnn_lstm" alone take a core a millisecond.
    for what in ("lstm", "pipeline"):
        for peer in BACKENDS:
            yield f"one image, {what}, {peer}, ms", median("one", what, peer), 1.0
    for peer in BACKENDS:
        yield f"300 fits, {peer}, MB", median("memory", "mixed", peer), 20.0


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--works", default=",".join(WORKS))
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--python", action="append", default=[], help="PEER=PROGRAM for this peer"
    )
    parser.add_argument("--data", help="folder of mnist.npz")
    parser.add_argument("--json", help="write the figures to this file")
    parser.add_argument("--cpu", action="store_true", help="measure CPU time")
    parser.add_argument("--verbose", action="store_true", help="show messages of peers")
    parser.add_argument("--images", type=int, default=N_IMAGES)
    parser.add_argument("--calls", type=int, default=CALLS, help="of `one`")
    parser.add_argument("--warm-up", type=int, default=WARM_UP, help="of `memory`")
    parser.add_argument("--fits", type=int, default=FITS, help="of `memory`")
    parser.add_argument("--serve", choices=PEERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        return serve(arguments.serve, arguments.images, arguments.data)
    arguments.python = dict(pair.split("=", 1) for pair in arguments.python)
    peers, works = arguments.peers.split(","), arguments.works.split(",")
    for names, known in ((peers, PEERS), (works, WORKS), (arguments.python, PEERS)):
        if unknown := set(names) - set(known):
            parser.error(f"{', '.join(unknown)} is none of {', '.join(known)}")

    versions = {}
    for peer in list(peers):
        process = Process(peer, arguments)
        process.close()
        if process.missing:
            peers.remove(peer)
            print(f"{peer} is left out: {', '.join(process.missing)} is not installed")
        else:
            python = f"Python {process.hello['python']}"
            found = process.hello["versions"].items()
            line = ", ".join([python, *(f"{name} {number}" for name, number in found)])
            versions.setdefault(line, []).append(peer)
    figures = {}
    for work in works:
        figures[work] = run_work(work, peers, arguments)
        show(work, figures[work])
        if arguments.json:
            Path(arguments.json).write_text(json.dumps(figures))

    print("\nTargets")
    for name, found, most in targets(figures):
        if np.isfinite(found):
            word = "met" if found <= most else "missed"
            print(f"{word:7} {name}: {found:.3f}, at most {most:.3f}")
    print(f"\n{os.cpu_count()} cores, {'CPU' if arguments.cpu else 'wall'} time")
    for line, names in versions.items():
        print(f"{', '.join(names)}: {line}")
    return None


if __name__ == "__main__":
    main()
