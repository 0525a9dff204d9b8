"""Time of 1, 5, 20 and 100 fits on JAX: stacked into one program, and one by one.

    pip install -e ".[jax]"
    KERAS_BACKEND=jax python benchmarks/stacking.py [--fits 1 5 20 100] [--repeats 5]

Each fit is a fold of 240 of 300 digits with the network of small_folds.py: a
bidirectional LSTM of 64 units, dropout and a dense layer, batches of 32, 10 epochs.
Both ways take turns. Times are without compilation. Prints medians and ratios.
"""

import argparse
import platform
import statistics
import time
from importlib.metadata import version

from sklstm._keras import keras

import numpy as np

N_IMAGES, N_TRAINED, EPOCHS, BATCH, UNITS = 300, 240, 10, 32, 64


def network():
    from sklstm.training._compiled import CompiledNetwork
    from sklstm.training._spec import NetworkSpec

    params = {"units": UNITS, "dropout": 0.2, "input_noise": 0.0}
    loss = {"loss": "sparse_categorical_crossentropy", "metrics": None}
    spec = NetworkSpec(
        "lstm", (None, 8), 10, "float32", network_params=params, compile_params=loss
    )
    return CompiledNetwork(spec)


def starting_values(compiled, n_fits):
    values = []
    for i in range(n_fits):
        compiled.start(np.random.SeedSequence(i))
        compiled.configure({"dropout": 0.2, "input_noise": 0.0, "l2": 0.0})
        compiled.model.optimizer.keep_constant(1e-3)
        values.append(compiled.engine.get_values())
    return values


def main():
    import jax
    import jax.numpy as jnp
    from sklearn.datasets import load_digits

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fits", type=int, nargs="+", default=[1, 5, 20, 100])
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()

    digits = load_digits()
    x = digits.images[:N_IMAGES].astype("float32")
    y = digits.target[:N_IMAGES].astype("int32")
    compiled = network()
    compiled.standardize(x)
    engine = compiled.engine
    data = engine.load(x, y, np.ones(N_IMAGES, "float32"))
    rng = np.random.default_rng(0)

    def separate(starts, orders):
        ends = []
        for start, own in zip(starts, zip(*orders, strict=True), strict=True):
            engine.set_values(jax.tree.map(jnp.copy, start))
            for order in own:
                engine.train_epoch(data, order, BATCH)
            ends.append(engine.get_values())
        return jax.block_until_ready(ends)

    def stacked(starts, orders):
        values = jax.tree.map(lambda *fits: jnp.stack(fits), *starts)
        for order in orders:
            values, _ = engine.train_together(values, data, order, BATCH)
        return jax.block_until_ready(values)

    print(f"{'fits':>5} {'one by one s':>13} {'stacked s':>10} {'ratio':>6}")
    for n_fits in arguments.fits:
        starts = starting_values(compiled, n_fits)
        folds = [rng.permutation(N_IMAGES)[:N_TRAINED] for _ in range(n_fits)]
        orders = [
            [rng.permutation(fold).astype("int32") for fold in folds]
            for _ in range(EPOCHS)
        ]
        times = {separate: [], stacked: []}
        for _ in range(1 + arguments.repeats):
            for way, found in times.items():
                start = time.perf_counter()
                way(starts, orders)
                found.append(time.perf_counter() - start)
        alone, together = (statistics.median(found[1:]) for found in times.values())
        print(f"{n_fits:5} {alone:13.3f} {together:10.3f} {alone / together:6.2f}")
    print(
        f"\n{jax.devices()[0].device_kind}, Python {platform.python_version()}, "
        f"keras {keras.__version__}, "
        + ", ".join(f"{name} {version(name)}" for name in ("jax", "numpy"))
    )


if __name__ == "__main__":
    main()
