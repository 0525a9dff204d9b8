"""Number of weights, training time and prediction time of each network.

    python benchmarks/networks.py

The networks have default parameters and batches of 32. They read 1,024 images of noise
of 28 x 28, or 128 videos of 8 such frames. The training time is that of a fit of three
epochs, divided by three. It is the median of three such fits, in which the networks
take turns, after a first fit that traces the graph.
"""

import time
from importlib.metadata import version

import numpy as np

from sklstm import LSTMImageClassifier, PatchSequencer, RowSequencer, VolumeSequencer
from sklstm.estimators import set_pool_size

N = 1024
IMAGES = {"sequencer": RowSequencer()}
NETWORKS = {
    "lstm, rows": ("lstm", IMAGES),
    "lstm, rows, light augmentation": ("lstm", {**IMAGES, "augmentation": "light"}),
    "lstm, patches of 7 at stride 3": ("lstm", {"sequencer": PatchSequencer(7, 3)}),
    "lstm, additive attention": ("lstm", {**IMAGES, "attention": "additive"}),
    "lstm, multihead attention": ("lstm", {**IMAGES, "attention": "multihead"}),
    "lstm, multiscale attention": ("lstm", {**IMAGES, "attention": "multiscale"}),
    "lstm, pixel embedding": ("lstm", {**IMAGES, "embedding": "pixel"}),
    "lstm_transformer": ("lstm_transformer", IMAGES),
    "bilstm2d": ("bilstm2d", {}),
    "bilstm2d, positions": ("bilstm2d", {"scan": "positions"}),
    "renet": ("renet", {}),
    "cnn_lstm": ("cnn_lstm", {}),
    "cnn_lstm, positions": ("cnn_lstm", {"scan": "positions"}),
    "cnn": ("cnn", {}),
    "vil": ("vil", {}),
    "sequencer": ("sequencer", {}),
    "lstm, 8 frames": ("lstm", {"sequencer": VolumeSequencer()}),
    "conv_lstm, 8 frames": ("conv_lstm", {}),
    "bilstm3d, 8 frames": ("bilstm3d", {}),
    "cnn3d, 8 frames": ("cnn3d", {}),
}


def main():
    set_pool_size(len(NETWORKS))
    rng = np.random.default_rng(0)
    images = rng.random((N, 28, 28), np.float32)
    videos = rng.random((N // 8, 8, 28, 28), np.float32)
    y = np.arange(N) % 10
    epochs: dict = {name: [] for name in NETWORKS}
    images_per_second: dict = {name: [] for name in NETWORKS}
    weights = {}
    for repeat in range(4):
        for name, (network, params) in NETWORKS.items():
            X = videos if "frames" in name else images
            model = LSTMImageClassifier(network, **params, epochs=3, random_state=0)
            start = time.perf_counter()
            model.fit(X, y[: len(X)])
            seconds = (time.perf_counter() - start) / 3
            model.predict(X)
            start = time.perf_counter()
            model.predict(X)
            rate = len(X) / (time.perf_counter() - start)
            if repeat > 0:
                epochs[name].append(seconds / len(X) * 1000)
                images_per_second[name].append(rate)
            weights[name] = model._fitted_network.compiled.model.count_params()
    print(f"{'network':32}{'weights':>9}{'s / 1,000 trained':>19}{'predicted / s':>15}")
    for name in NETWORKS:
        print(
            f"{name:32}{weights[name]:9,}{np.median(epochs[name]):19.2f}"
            f"{np.median(images_per_second[name]):15,.0f}"
        )
    packages = ("scikit-learn", "keras", "tensorflow")
    print(", ".join(f"{name} {version(name)}" for name in packages))


if __name__ == "__main__":
    main()
