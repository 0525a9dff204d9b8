"""Time that augmentation takes of a training step, on the Keras backend in use.

    KERAS_BACKEND=jax python benchmarks/augmentation_speed.py [--side 32]

Each batch has 32 images in RGB. "light, once" makes the same moves as "light" in one
interpolation. The last line is one training step of "cnn_lstm" without augmentation, in
a fit of 20 steps. Medians of 30 calls, in milliseconds. Set OMP_NUM_THREADS=1,
TF_NUM_INTRAOP_THREADS=1 and TF_NUM_INTEROP_THREADS=1 to measure one core.
"""

import argparse
import time

import keras
import numpy as np

from sklstm import LSTMImageClassifier
from sklstm.networks.layers._augmentation import SHORT_FORMS, make_augmentation

KINDS = {
    **{name: name for name in SHORT_FORMS},
    "light, once": {**SHORT_FORMS["light"], "resampling": "once"},
}


def compiled(function):
    """Return the function as the engines run it."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function)
    if keras.backend.backend() == "jax":
        import jax

        run = jax.jit(function)
        return lambda x: run(x).block_until_ready()
    return function


def milliseconds(function, *args):
    """Return the median time of 30 calls, after two that compile."""
    times = []
    for _ in range(32):
        start = time.perf_counter()
        function(*args)
        times.append(time.perf_counter() - start)
    return 1e3 * np.median(times[2:])


def main():
    """Print the time of each kind and of a training step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=32, help="pixels of a side")
    side = parser.parse_args().side
    rng = np.random.default_rng(0)
    pixels = rng.uniform(0, 255, (32, side, side, 3)).astype("float32")
    images = keras.ops.convert_to_tensor(pixels)
    print(f"{keras.backend.backend()}, Keras {keras.version()}, {side} x {side} pixels")
    for name, amounts in KINDS.items():
        layer = make_augmentation(amounts)
        layer.build(images.shape)
        run = compiled(lambda x, layer=layer: layer(x, training=True))
        print(f"{name:14s} {milliseconds(run, images):8.2f}", flush=True)
    # The second fit takes the compiled network of the first one.
    classifier = LSTMImageClassifier("cnn_lstm", epochs=2, batch_size=32)
    X, y = np.repeat(pixels, 10, axis=0), np.arange(320) % 10
    for _ in range(2):
        start = time.perf_counter()
        classifier.fit(X, y)
        step = 1e3 * (time.perf_counter() - start) / 20
    print(f"{'training step':14s} {step:8.2f}")


if __name__ == "__main__":
    main()
