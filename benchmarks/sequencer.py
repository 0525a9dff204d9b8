"""Time of a training step of "sequencer" tiny, and the part of its LSTMs.

    python benchmarks/sequencer.py [--side 28] [--images 256] [--repeats 5]

All networks train on the same images of noise, in batches of 32, and have the same
shapes:

classifier          LSTMImageClassifier("sequencer"), with its input noise and dropout
plain Keras         the network in layers of Keras, with FusedLSTM, by Keras' fit
without LSTMs       the classifier, with the input of each pair of LSTMs as its output

The networks take turns, after a first fit that traces the graph. Prints the median
time of a step, its ratio to "classifier", and the part of the step that the LSTMs take:
the difference between "classifier" and "without LSTMs".
"""

import argparse
import os
import platform
import statistics
import time
from importlib.metadata import version
from unittest.mock import patch

from sklstm._keras import keras

import numpy as np

from sklstm import LSTMImageClassifier
from sklstm.networks import FusedLSTM, sequencer
from sklstm.networks._sequencer import PRESETS

BATCH = 32


def without_lstms(input_shape, n_classes, drop_path, patch_size, dropout, input_noise):
    with patch("sklstm.networks._sequencer.bilstm_2d", lambda x, **_: x):
        return sequencer(
            input_shape,
            n_classes,
            patch_size=patch_size,
            dropout=dropout,
            input_noise=input_noise,
        )


without_lstms.takes = "images"


def in_keras(side, patch_size):
    """Return "sequencer" tiny in layers of Keras."""
    layers = keras.layers
    sizes = PRESETS["tiny"]
    inputs = keras.Input((side, side, 1))
    x = layers.Rescaling(3.4, -1.7)(inputs)
    x = layers.GaussianNoise(0.2)(x)
    for i, (depth, width) in enumerate(zip(sizes.depths, sizes.widths, strict=True)):
        stride = patch_size if i == 0 else 2
        x = layers.Conv2D(width, stride, strides=stride, padding="same")(x)
        _, down, across, _ = x.shape

        def read(x, first, second, width=width):
            layer = FusedLSTM(width // 4, return_sequences=True)
            lines = keras.ops.reshape(x, (-1, second, width))
            y = layers.Bidirectional(layer)(lines)
            return keras.ops.reshape(y, (-1, first, second, width // 2))

        for _ in range(depth):
            y = layers.LayerNormalization(epsilon=1e-6)(x)
            rows = read(y, down, across)
            turned = layers.Permute((2, 1, 3))(y)
            columns = layers.Permute((2, 1, 3))(read(turned, across, down))
            y = layers.Dense(width)(layers.Concatenate()([rows, columns]))
            x = layers.Add()([x, y])
            y = layers.LayerNormalization(epsilon=1e-6)(x)
            y = layers.Dense(3 * width, activation="gelu")(y)
            x = layers.Add()([x, layers.Dense(width)(y)])
    x = layers.GlobalAveragePooling2D()(layers.LayerNormalization(epsilon=1e-6)(x))
    x = layers.Dense(10, activation="softmax")(layers.Dropout(0.3)(x))
    model = keras.Model(inputs, x)
    model.compile(
        keras.optimizers.Adam(3e-3, clipvalue=1.0),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=28)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    X = rng.random((args.images, args.side, args.side, 1), np.float32)
    y = np.arange(args.images) % 10
    size = -(-args.side // 16)

    def classifier(network):
        model = LSTMImageClassifier(
            network,
            patch_size=size,
            epochs=1,
            batch_size=BATCH,
            warm_start=True,  # keeps the graph of a network that is a function
            random_state=0,
        )
        return lambda: model.fit(X, y), lambda: model.model_

    def plain():
        model = in_keras(args.side, size)
        fit = {"batch_size": BATCH, "epochs": 1, "verbose": 0}
        return lambda: model.fit(X, y, **fit), lambda: model

    networks = {
        "classifier": classifier("sequencer"),
        "plain Keras": plain(),
        "without LSTMs": classifier(without_lstms),
    }
    steps = -(-args.images // BATCH)
    found: dict = {name: [] for name in networks}
    for repeat in range(args.repeats + 1):
        for name, (fit, _) in networks.items():
            start = time.perf_counter()
            fit()
            seconds = time.perf_counter() - start
            if repeat > 0:
                found[name].append(1000 * seconds / steps)
    milliseconds = {name: statistics.median(found[name]) for name in networks}
    whole = milliseconds["classifier"]
    print(f"{args.side} x {args.side}, patches of {size}, batches of {BATCH}")
    print(f"{'network':20}{'weights':>9}{'ms a step':>11}{'ratio':>7}")
    for name, (_, get_model) in networks.items():
        trainable = sum(v.value.numpy().size for v in get_model().trainable_variables)
        each = milliseconds[name]
        print(f"{name:20}{trainable:9,}{each:11.1f}{each / whole:7.2f}")
    print(f"part of the LSTMs: {1 - milliseconds['without LSTMs'] / whole:.2f}")
    versions = ", ".join(f"{name} {version(name)}" for name in ("keras", "tensorflow"))
    print(
        f"{keras.backend.backend()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, {versions}"
    )


if __name__ == "__main__":
    main()
