"""Claims about LSTMs on images, tested again.

    python benchmarks/evidence.py --data FOLDER [--claims NAMES] [--images 1250]
        [--folds 5] [--seed 0] [--store FOLDER] [--epochs N]

The claims are those of the article that this package grew from. Each is a row: what is
claimed, what was measured with a 95 % interval, and the verdict.

table      On MNIST, a row LSTM reaches .975, a tuned one .980, and a CNN .982.
shift      A row LSTM suffers less from shifts than a CNN.
rotation   A row LSTM suffers less from rotations than a CNN.
few        With 10 % of the images, a row LSTM loses 12 % less accuracy than a CNN.
length     Sequences of 16 to 32 steps are best.
start      Orthogonal recurrent weights at the start are better than Glorot's.
hybrid     A CNN with LSTMs beats a CNN by .017. CIFAR-10.
int8       int8 weights make the file 75 % smaller.
fused      A fused LSTM trains 3 to 5 times as fast as a loop over the steps. On a CPU,
           Keras' layer is the loop; on a GPU, benchmarks/gpu.py measures it.

The scores are those of `sklstm.model_selection.compare`: the same folds of `--images`
images, intervals corrected for their overlap. The article trained on 60,000 images, so
the order of the classifiers counts here, and not their accuracy. With `--store`, the
scores are kept in a folder, and a run goes on where the last one stopped.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from _fits import versions
from _image_sets import choose, cifar10, grey_digits

CLAIMS = (
    "table",
    "shift",
    "rotation",
    "few",
    "length",
    "start",
    "hybrid",
    "int8",
    "fused",
)
LENGTHS = (7, 14, 20, 28)


def first_row(table):
    """Return the first row of a list of dicts, or of a DataFrame."""
    return table[0] if isinstance(table, list) else table.to_dict("records")[0]


def plain_lstm(input_shape, n_classes, start):
    """Build a row LSTM whose recurrent weights start in one way or another."""
    import keras

    from sklstm.networks import Standardize

    return keras.Sequential(
        [
            keras.Input(input_shape),
            Standardize(),
            keras.layers.LSTM(64, recurrent_initializer=start),
            keras.layers.Dense(n_classes, activation="softmax"),
        ]
    )


class Evidence:
    """The tests of the claims, with what they share."""

    def __init__(self, arguments):
        self.folder = arguments.data
        self.store = arguments.store
        self.n_images = arguments.images
        self.folds = arguments.folds
        self.seed = arguments.seed
        self.own = {} if arguments.epochs is None else {"epochs": arguments.epochs}

    def mnist(self):
        X, y, *_ = grey_digits(self.folder, "mnist")
        return self.few_of(X, y)

    def few_of(self, X, y):
        rng = np.random.default_rng(self.seed)
        n_each = self.n_images // len(np.unique(y))
        rows = rng.permutation(choose(y, n_each, rng, np.arange(len(y))))
        return X[rows], y[rows]

    def classifier(self, network="lstm", **params):
        from sklstm import LSTMImageClassifier

        return LSTMImageClassifier(network, **self.own, **params)

    def plain(self):
        """A row LSTM without what this package adds to it."""
        return self.classifier(bidirectional=False, input_noise=0, dropout=0)

    def compare(self, name, estimators, data, **how):
        from sklstm.model_selection import compare

        store = None if self.store is None else self.store / f"{name}.jsonl"
        return compare(
            estimators,
            *data,
            cv=self.folds,
            n_repeats=1,
            controls=None,
            random_state=self.seed,
            store=store,
            **how,
        )

    def table(self):
        names = {"plain row LSTM": 0.975, "tuned row LSTM": 0.980, "CNN": 0.982}
        models = (self.plain(), self.classifier(), self.classifier("cnn"))
        named = dict(zip(names, models, strict=True))
        found = self.compare("table", named, self.mnist())
        cells = []
        for i, name in enumerate(names):
            mean = found.mean_of(i, -1)
            low, high = mean.interval()
            cells.append(f"{name} {mean.value:.3f} ({low:.3f} to {high:.3f})")
        claimed = ", ".join(f"{name} {value:.3f}" for name, value in names.items())
        return claimed, "; ".join(cells), " ".join(found.verdicts())

    def changed(self, change):
        from sklstm.model_selection import robustness

        named = {"row LSTM": self.classifier(), "CNN": self.classifier("cnn")}
        X, y = self.mnist()
        areas = {}
        for name, model in named.items():
            found = robustness(
                model, X, y, changes=change, cv=self.folds, random_state=self.seed
            )
            areas[name] = first_row(found.areas())
        lstm, cnn = areas["row LSTM"], areas["CNN"]
        measured = "; ".join(
            f"{name}: area {one['area']:.3f} ({one['low']:.3f} to {one['high']:.3f})"
            for name, one in areas.items()
        )
        verdict = "the intervals overlap"
        if lstm["low"] > cnn["high"]:
            verdict = "the row LSTM suffers less"
        elif cnn["low"] > lstm["high"]:
            verdict = "the CNN suffers less"
        return f"a row LSTM suffers less from {change}", measured, verdict

    def shift(self):
        return self.changed("shift")

    def rotation(self):
        return self.changed("rotation")

    def few(self):
        named = {"row LSTM": self.classifier(), "CNN": self.classifier("cnn")}
        found = self.compare("few", named, self.mnist(), train_sizes=[0.1, 1.0])
        by_split = found.scores.mean(axis=3)
        losses = by_split[:, 1] - by_split[:, 0]
        from sklstm.model_selection._statistics import corrected_mean

        less = corrected_mean(losses[1] - losses[0], found.ratio, found.resolution)
        low, high = less.interval()
        measured = (
            f"the row LSTM loses {losses[0].mean():.3f}, the CNN "
            f"{losses[1].mean():.3f}; the LSTM loses {less.value:+.3f} less "
            f"({low:+.3f} to {high:+.3f})"
        )
        verdict = "cannot be told"
        if low > 0:
            verdict = "the row LSTM loses less"
        elif high < 0:
            verdict = "the row LSTM loses more"
        return "a row LSTM loses .12 less with a tenth of the images", measured, verdict

    def length(self):
        from sklearn.pipeline import make_pipeline

        from sklstm import RowSequencer

        named = {
            f"{n} steps": make_pipeline(
                RowSequencer(sequence_length=n), self.classifier()
            )
            for n in LENGTHS
        }
        found = self.compare("length", named, self.mnist())
        means = [found.mean_of(i, -1) for i in range(len(LENGTHS))]
        measured = "; ".join(
            "{} steps {:.3f} ({:.3f} to {:.3f})".format(n, m.value, *m.interval())
            for n, m in zip(LENGTHS, means, strict=True)
        )
        best = LENGTHS[int(np.argmax([mean.value for mean in means]))]
        return "16 to 32 steps are best", measured, f"the best mean has {best} steps"

    def start(self):
        named = {
            name: self.classifier(plain_lstm, network__start=start)
            for name, start in (
                ("orthogonal", "orthogonal"),
                ("Glorot", "glorot_uniform"),
            )
        }
        found = self.compare("start", named, self.mnist())
        return "orthogonal is better", *self.difference(found)

    def hybrid(self):
        X, y, *_ = cifar10(self.folder)
        named = {
            "cnn_lstm": self.classifier("cnn_lstm", augmentation="photo"),
            "cnn": self.classifier("cnn", augmentation="photo"),
        }
        found = self.compare("hybrid", named, self.few_of(X, y))
        return "the hybrid is .017 better", *self.difference(found)

    def difference(self, found):
        row = first_row(found.pairs())
        return (
            f"{row['a']} minus {row['b']}: {row['difference']:+.3f} "
            f"({row['low']:+.3f} to {row['high']:+.3f})"
        ), row["verdict"]

    def int8(self):
        from sklstm import export

        X, y = self.mnist()
        model = self.classifier(units=128, random_state=self.seed)
        model.set_params(epochs=1).fit(X[:200], y[:200])
        with tempfile.TemporaryDirectory() as folder:
            sizes = []
            for name, how in (("float", {}), ("int8", {"quantize": "int8"})):
                path = Path(folder) / f"{name}.onnx"
                export(model, path, **how)
                sizes.append(path.stat().st_size)
        share = 1 - sizes[1] / sizes[0]
        return (
            "the file is 75 % smaller",
            f"{share:.1%} smaller",
            ("holds" if share >= 0.75 else "does not hold"),
        )

    def fused(self):
        import tensorflow as tf
        from lstm_layers import stepper

        shape = (32, 28, 28, 128)
        runs = {kind: stepper(shape, True, kind) for kind in ("keras", "fused")}
        seconds = {kind: [] for kind in runs}
        for run in runs.values():
            run(tf.constant(3))
        for _ in range(5):
            for kind, run in runs.items():
                start = time.perf_counter()
                run(tf.constant(20))
                seconds[kind].append(time.perf_counter() - start)
        ratios = sorted(
            a / b for a, b in zip(seconds["keras"], seconds["fused"], strict=True)
        )
        ratio = statistics.median(ratios)
        return (
            "3 to 5 times as fast",
            f"{ratio:.1f} times on this CPU ({ratios[0]:.1f} to {ratios[-1]:.1f})",
            "holds" if ratio >= 3 else "does not hold on this CPU",
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("SKLSTM_DATA"))
    parser.add_argument("--claims", default=",".join(CLAIMS))
    parser.add_argument("--images", type=int, default=1250)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, help="in place of 'auto'")
    parser.add_argument("--store", type=Path)
    arguments = parser.parse_args()
    claims = arguments.claims.split(",")
    for name in claims:
        if name not in CLAIMS:
            parser.error(f"no claim {name!r}: {', '.join(CLAIMS)}")
    if arguments.data is None and set(claims) - {"fused"}:
        parser.error("give --data FOLDER, the folder that holds the sets")
    if arguments.store is not None:
        arguments.store.mkdir(exist_ok=True)
    evidence = Evidence(arguments)
    for name in claims:
        start = time.perf_counter()
        claimed, measured, verdict = getattr(evidence, name)()
        print(f"\n{name}\n  claimed:  {claimed}\n  measured: {measured}")
        print(
            f"  verdict:  {verdict} ({time.perf_counter() - start:.0f} s)", flush=True
        )
    print(f"\n{versions()}, seed {arguments.seed}, {arguments.images} images")


if __name__ == "__main__":
    main()
