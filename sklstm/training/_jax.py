"""The engine on JAX, which runs an epoch in one compiled loop.

In a small fit, `model.fit` spends most of the time between the steps. Here, an epoch is
one call of one compiled function. It gathers the batches by a shuffled index and runs
the training step on each. The variables stay on the device between the epochs.

XLA compiles a function anew for each size of its arrays. Folds of almost equal size
should share a compiled function. So the data are padded to one of few sizes, and the
last batch of an epoch is padded with samples that do not count. `_padding.py` tells
where this cannot change a result. Where it can, the last batch keeps its own size.
"""

import functools
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sklstm._keras import keras

import jax
import jax.numpy as jnp
import numpy as np

# These modules are private.
from keras.src.layers.convolutional.base_conv import BaseConv
from keras.src.layers.convolutional.base_depthwise_conv import BaseDepthwiseConv
from keras.src.layers.convolutional.base_separable_conv import BaseSeparableConv

from sklstm.networks import HarmonicConv2D
from sklstm.networks.layers._jax_lstm import for_vmap
from sklstm.training._masked_norm import masked_moments
from sklstm.training._metrics import to_floats
from sklstm.training._padding import (
    can_pad,
    padded_size,
    row_weights,
    split_metrics,
)
from sklstm.training._parts import fits_at_once, in_parts
from sklstm.training._spec import NetworkSpec

_CONVOLUTIONS = (BaseConv, BaseDepthwiseConv, BaseSeparableConv, HarmonicConv2D)


@dataclass
class _Loaded:
    """Samples, targets and weights on the device, padded with rows that nobody reads.

    Parameters
    ----------
    arrays : tuple of jax.Array
        The three arrays.
    n : int
        Number of samples.
    """

    arrays: tuple
    n: int

    def __len__(self) -> int:
        return self.n


class _Devices:
    """The devices of `keras.distribution`, between which each batch is divided.

    Without a distribution there is one device, and JAX chooses it.
    """

    def __init__(self) -> None:
        self._distribution = keras.distribution.distribution()
        self.whole = None  # a copy on each device
        if self._distribution is not None:
            mesh = self._layout((1,)).mesh
            self.whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())

    def _layout(self, shape: tuple) -> Any:
        """Return how samples of this shape are divided between the devices."""
        return self._distribution.get_data_layout(shape).backend_layout

    def load(self, arrays: tuple, size: int) -> _Loaded:
        """Copy arrays to the devices, with empty rows up to a number of rows."""
        n = len(arrays[0])
        padded = []
        for array in arrays:
            filled = np.zeros((size, *array.shape[1:]), array.dtype)
            filled[:n] = array[:]
            padded.append(jax.device_put(filled, self.whole))
        return _Loaded(tuple(padded), n)

    def split(self, x: np.ndarray) -> Any:
        """Divide samples between the devices, if they can be divided evenly."""
        if self._distribution is None:
            return x
        layout = self._layout(x.shape)
        return jax.device_put(x, layout) if len(x) % layout.mesh.size == 0 else x

    def constrain(self, batch: Any) -> Any:
        """Divide the samples of a batch inside a compiled function."""
        if self._distribution is None:
            return batch
        return jax.lax.with_sharding_constraint(batch, self._layout(batch.shape))

    def keep(self, variables: list, values: list) -> list:
        """Leave the values of variables where the variables are."""
        if self._distribution is None:
            return values
        return [
            jax.lax.with_sharding_constraint(value, variable.value.sharding)
            for variable, value in zip(variables, values, strict=True)
        ]


class ScanEngine:
    """Runs a compiled model epoch by epoch.

    Parameters
    ----------
    model : keras.Model
        Compiled model whose optimizer is built.
    spec : NetworkSpec
        Specification of the model.
    joint_augmentation : JointAugmentation, Mixing or None
        Changes samples and targets alike, in training.
    """

    def __init__(
        self,
        model: keras.Model,
        spec: NetworkSpec,
        joint_augmentation: Any = None,
    ) -> None:
        _build_metrics(model, spec)
        self._pads = can_pad(model, spec) and _draws_by_position()
        self._devices = _Devices()
        self._model = model
        self._augment = joint_augmentation
        self._metrics = model.metrics_variables
        self._network = [model.trainable_variables, model.non_trainable_variables]
        seeds = [] if joint_augmentation is None else joint_augmentation.variables
        self._trained = [*self._network, model.optimizer.variables, seeds]
        # XLA prepares convolutions for the fast kernels of a CPU, but not those inside
        # of a loop: their gradients take 100 times as long there. A step with
        # convolutions takes long enough to be a call of its own.
        self._one_by_one = jax.default_backend() == "cpu" and any(
            isinstance(layer, _CONVOLUTIONS) for layer in model._flatten_layers()
        )
        self._train = jax.jit(
            self._train_batches, static_argnames="size", donate_argnums=0
        )
        self._train_stacked = jax.jit(
            self._train_stacked_batches,
            static_argnames=("size", "shared"),
            donate_argnums=0,
        )
        self._test = jax.jit(self._test_batches, static_argnames="size")
        self._output = jax.jit(self._outputs)
        self._fresh_metrics = jax.jit(
            self._reset_metrics, out_shardings=self._devices.whole
        )

    def release(self) -> None:
        """Delete the compiled functions, and what JAX has traced for them."""
        for function in (
            self._train,
            self._train_stacked,
            self._test,
            self._output,
            self._fresh_metrics,
        ):
            function.clear_cache()
        # JAX remembers some traces for as long as they exist, and this cache holds
        # them. It only saves JAX from wrapping a trace again. It is private.
        partial_eval = sys.modules.get("jax._src.interpreters.partial_eval")
        wrapped: Any = getattr(partial_eval, "close_jaxpr", None)
        if hasattr(wrapped, "cache_clear"):
            wrapped.cache_clear()

    def load(self, x: np.ndarray, y: np.ndarray, w: np.ndarray) -> Any:
        """Copy data to the device, once per fit, unless there is much."""
        arrays = (x, y, w)
        if not fits_at_once(x):
            return arrays
        return self._devices.load(arrays, padded_size(len(x)))

    def train_epoch(self, data: Any, order: np.ndarray, batch_size: int) -> dict:
        """Train on the samples in the given order; return the metrics."""
        return self._run(self._train_part, data, order, batch_size)

    def evaluate(self, data: Any, batch_size: int) -> dict:
        """Return loss and metrics on the data."""
        n = len(data) if isinstance(data, _Loaded) else len(data[0])
        order = np.arange(n, dtype=np.int32)
        return self._run(self._test_part, data, order, batch_size)

    def predict(self, x: np.ndarray, batch_size: int) -> np.ndarray:
        """Return the network's output, (n, ...)."""
        state = [[v.value for v in part] for part in self._network]
        outputs = []
        for i in range(0, len(x), batch_size):
            part = x[i : i + batch_size].astype("float32", copy=False)
            # XLA multiplies a single row in another way, with larger differences.
            size = min(batch_size, max(2, 1 << (len(part) - 1).bit_length()))
            filling = np.repeat(part[-1:], size - len(part), axis=0)
            filled = np.concatenate([part, filling]) if len(filling) else part
            found = np.array(self._output(state, self._devices.split(filled)))
            outputs.append(found[: len(part)])
        return outputs[0] if len(outputs) == 1 else np.concatenate(outputs)

    def get_values(self) -> list:
        """Return copies of all values that training changes, for `train_together`."""
        return [[jnp.copy(v.value) for v in part] for part in self._trained]

    def set_values(self, values: list) -> None:
        """Give the network the values of one fit of `train_together`."""
        for part, found in zip(self._trained, values, strict=True):
            _put(part, found)

    def train_together(
        self, values: Any, data: Any, orders: list[np.ndarray], batch_size: int
    ) -> tuple[Any, list[dict]]:
        """Train several fits of the network for an epoch, as one stacked program.

        On a GPU, `FusedLSTM` then runs Keras' loop, because cuDNN has no stacked LSTM.
        A user's own `keras.layers.LSTM` needs ``use_cudnn=False``.

        Parameters
        ----------
        values : list
            Results of `get_values`, stacked: each array has the fits as its first axis.
            They are donated.
        data : Any or list
            Result of `load` that all fits share, or a list of one for each fit, of
            equal sizes. All data must be on the device.
        orders : list of ndarray of int
            Rows of each fit. The lengths may differ if the network can be padded.
        batch_size : int
            Number of samples in a batch.

        Returns
        -------
        values : list
            Stacked values after the epoch.
        logs : list of dict
            Metrics of each fit.
        """
        longest = max(map(len, orders))
        if not self._pads and len(set(map(len, orders))) > 1:
            raise ValueError("This network cannot be padded: give equal lengths.")
        size = min(batch_size, padded_size(longest)) if self._pads else batch_size
        given = data if isinstance(data, list) else [data]
        if not all(isinstance(one, _Loaded) for one in given):
            raise ValueError("The data are too large for fits that train together.")
        arrays: Any = getattr(data, "arrays", None)
        if arrays is None:
            arrays = tuple(map(jnp.stack, zip(*(d.arrays for d in data), strict=True)))
        filled = np.stack([_fill(order, size, longest) for order in orders])
        k = len(orders)
        metrics: Any = [jnp.stack([v] * k) for v in self._fresh_metrics()]
        for start, stop, length in self._loops(longest, size):
            stops = [min(stop, len(order)) for order in orders]
            n_batches = [-(-(end - start) // length) for end in stops]
            same = len(set(n_batches)) == 1
            values, metrics, logs = self._train_stacked(
                (values, metrics),
                arrays,
                filled,
                np.int32(start),
                np.array(stops, np.int32),
                np.array(n_batches[0] if same else n_batches, np.int32),
                size=length,
                shared=hasattr(data, "arrays"),
            )
        found = jax.device_get(logs)
        return values, [
            to_floats(jax.tree.map(lambda log, i=i: log[i], found)) for i in range(k)
        ]

    def _run(
        self, run_part: Any, data: Any, order: np.ndarray, batch_size: int
    ) -> dict:
        """Go through the samples in the given order; return the metrics."""
        size = batch_size
        if self._pads:
            # A few samples do not need a large batch, which would be mostly padding.
            size = min(size, padded_size(len(order)))
        metrics: Any = self._fresh_metrics()
        logs: dict = {}
        for part, own_order in self._parts(data, order, size):
            padded = _fill(own_order, size)
            for start, stop, length in self._loops(len(own_order), size):
                rows = (padded, start, stop)
                metrics, logs = run_part(metrics, part.arrays, *rows, size=length)
        _put(self._metrics, metrics)
        return to_floats(jax.device_get(logs))

    def _parts(self, data: Any, order: np.ndarray, size: int) -> Iterable[tuple]:
        """Return data on the device, with the rows to use in their order."""
        if isinstance(data, _Loaded):
            return [(data, order)]
        return self._load_parts(data, order, size)

    def _load_parts(self, data: tuple, order: np.ndarray, size: int) -> Iterator[tuple]:
        most = 0
        for part in in_parts(data, order, size):
            n = len(part[0])
            most = max(most, padded_size(n))  # all parts get the size of the first one
            yield self._devices.load(part, most), np.arange(n, dtype=np.int32)

    def _loops(self, n: int, size: int) -> list[tuple[int, int, int]]:
        """Return first row, end and batch size of the loops of an epoch."""
        whole = n - n % size
        if self._pads or whole == n:
            return [(0, n, size)]
        rest = (whole, n, n - whole)
        return [(0, whole, size), rest] if whole else [rest]

    def _train_part(
        self,
        metrics: list,
        data: tuple,
        order: np.ndarray,
        start: int,
        stop: int,
        size: int,
    ) -> tuple:
        state = [[_to_donate(v) for v in part] for part in self._trained]
        n_batches: Any = np.int32(-(-(stop - start) // size))
        starts = [start]
        if self._one_by_one:
            n_batches, starts = None, list(range(start, stop, size))
        try:
            for first in starts:
                rows = (order, np.int32(first), np.int32(stop), n_batches)
                donated = (state, metrics)
                state, metrics, logs = self._train(donated, data, *rows, size=size)
        finally:
            # After an interrupt too, since the arrays from before are donated.
            self.set_values(state)
        return metrics, logs

    def _test_part(
        self,
        metrics: list,
        data: tuple,
        order: np.ndarray,
        start: int,
        stop: int,
        size: int,
    ) -> tuple:
        state = [[v.value for v in part] for part in self._network]
        numbers = map(np.int32, (start, stop, -(-(stop - start) // size)))
        return self._test(state, metrics, data, order, *numbers, size=size)

    # The methods below are compiled.

    def _train_batches(
        self,
        state: tuple,
        data: tuple,
        order: Any,
        start: Any,
        stop: Any,
        n_batches: Any,
        size: int,
    ) -> tuple:
        step = self._padded_step if self._pads else self._step

        def body(i: Any, state: tuple) -> tuple:
            return step(state, *self._gather(data, order, start + i * size, stop, size))

        if n_batches is None:
            trained, metrics = body(0, state)
        else:
            trained, metrics = jax.lax.fori_loop(0, n_batches, body, state)
        trained = list(map(self._devices.keep, self._trained, trained))
        return trained, metrics, self._results(metrics)

    def _train_stacked_batches(
        self,
        state: tuple,
        data: tuple,
        orders: Any,
        start: Any,
        stops: Any,
        n_batches: Any,
        size: int,
        shared: bool,
    ) -> tuple:
        train = functools.partial(self._train_batches, size=size)
        own_number = None if n_batches.ndim == 0 else 0
        axes = (0, None if shared else 0, 0, None, 0, own_number)
        with for_vmap():
            return jax.vmap(train, axes)(state, data, orders, start, stops, n_batches)

    def _test_batches(
        self,
        state: list,
        metrics: list,
        data: tuple,
        order: Any,
        start: Any,
        stop: Any,
        n_batches: Any,
        size: int,
    ) -> tuple:
        step = self._padded_test if self._pads else self._test_step

        def body(i: Any, metrics: list) -> list:
            batch = self._gather(data, order, start + i * size, stop, size)
            return step(state, metrics, *batch)

        metrics = jax.lax.fori_loop(0, n_batches, body, metrics)
        return metrics, self._results(metrics)

    def _gather(
        self, data: tuple, order: Any, start: Any, stop: Any, size: int
    ) -> tuple:
        """Return a batch, and a mask of its rows that are samples."""
        rows = jax.lax.dynamic_slice(order, (start,), (size,))
        mask = start + jnp.arange(size) < stop
        # The other rows repeat a sample of the batch, so that their results are finite.
        rows = jnp.where(mask, rows, rows[0])
        x, y, w = (self._devices.constrain(array[rows]) for array in data)
        return (x.astype("float32"), y, w), mask

    def _outputs(self, state: list, x: Any) -> Any:
        return self._model.stateless_call(*state, x, training=False)[0]

    def _reset_metrics(self) -> list:
        with keras.StatelessScope() as scope:
            self._model.reset_metrics()
        return [jnp.asarray(scope.get_current_value(v), v.dtype) for v in self._metrics]

    def _results(self, metrics: list) -> dict:
        with _values(self._metrics, metrics):
            return self._model.get_metrics_result()

    def _step(self, state: tuple, batch: tuple, mask: Any) -> tuple:
        (trainable, others, optimizer, seeds), metrics = state
        batch, seeds = self._augmented(batch, seeds, None)
        _, new = self._model.train_step((trainable, others, optimizer, metrics), batch)
        return [*new[:3], seeds], new[3]

    def _test_step(self, state: list, metrics: list, batch: tuple, mask: Any) -> list:
        _, new = self._model.test_step((*state, metrics), batch)
        return new[2]

    def _padded_step(self, state: tuple, batch: tuple, mask: Any) -> tuple:
        """Do what Keras' `train_step` does, with the rows that the mask has."""
        (trainable, others, optimizer, seeds), metrics = state
        (x, y, w), seeds = self._augmented(batch, seeds, mask.sum())
        model = self._model
        differentiate = jax.value_and_grad(model.compute_loss_and_updates, has_aux=True)
        with masked_moments(model, mask):
            (_, found), gradients = differentiate(
                trainable,
                others,
                metrics,
                x,
                y,
                row_weights(model.loss, w, mask),
                training=True,
                optimizer_variables=optimizer,
            )
        loss, outputs, others, metrics = found
        trainable, optimizer = model.optimizer.stateless_apply(
            optimizer, gradients, trainable
        )
        metrics = self._counted(metrics, loss, y, outputs, mask)
        return [trainable, others, optimizer, seeds], metrics

    def _padded_test(self, state: list, metrics: list, batch: tuple, mask: Any) -> list:
        x, y, w = batch
        model = self._model
        weights = row_weights(model.loss, w, mask)
        _, (loss, outputs, _, metrics) = model.compute_loss_and_updates(
            *state, metrics, x, y, weights, training=False
        )
        return self._counted(metrics, loss, y, outputs, mask)

    def _counted(
        self, metrics: list, loss: Any, y: Any, outputs: Any, mask: Any
    ) -> list:
        """Return the metrics after a batch, of which the rows of the mask count."""
        rows = mask.astype("float32")
        with _values(self._metrics, metrics) as scope:
            mean_loss, own = split_metrics(self._model)
            mean_loss.update_state(loss, sample_weight=rows.sum())
            for metric in own:
                metric.update_state(y, outputs, sample_weight=rows)
        return _current(scope, self._metrics, metrics)

    def _augmented(self, batch: tuple, seeds: list, n: Any) -> tuple[tuple, list]:
        if self._augment is None:
            return batch, seeds
        variables = self._trained[3]
        with _values(variables, seeds) as scope:
            batch = self._augment(*batch, n)
        return batch, _current(scope, variables, seeds)


def _build_metrics(model: keras.Model, spec: NetworkSpec) -> None:
    """Let the metrics make their variables, which they do at first use."""
    shape, dtype = spec.target()
    # The number of steps may be open. Any number will do here.
    sides = [8 if side is None else side for side in model.inputs[0].shape[1:]]
    x, y = np.zeros((1, *sides), "float32"), np.zeros((1, *shape), dtype)
    model._symbolic_build(data_batch=(x, y, np.ones(1, "float32")))


def _draws_by_position() -> bool:
    """Return whether random numbers for a batch begin with those for a smaller one."""
    return bool(
        jax.config.jax_threefry_partitionable
        and jax.config.jax_default_prng_impl == "threefry2x32"
    )


def _fill(order: np.ndarray, size: int, n: int = 0) -> np.ndarray:
    """Return an order with room for whole batches, of at least `n` rows in all."""
    n_batches = -(-padded_size(max(n, len(order))) // size)
    filled = np.zeros(n_batches * size, np.int32)
    filled[: len(order)] = order
    return filled


def _to_donate(variable: keras.Variable) -> Any:
    """Return the array of a variable, or a copy if anyone else holds the array."""
    value = variable.value
    held = sys.getrefcount(value) > _references_of_nobody()
    return jnp.copy(value) if held else value


@functools.cache
def _references_of_nobody() -> int:
    """Return the count of `_to_donate` for an array that only its variable holds.

    It depends on the version of Python.
    """
    variable = keras.Variable(np.zeros(1, "float32"))
    variable.assign(jnp.ones(1))
    value = variable.value
    return sys.getrefcount(value)


def _values(variables: list, values: list) -> Any:
    """Return a scope in which variables have these values."""
    pairs = list(zip(variables, values, strict=True))
    return keras.StatelessScope(state_mapping=pairs)


def _current(scope: Any, variables: list, values: list) -> list:
    """Return the values of variables at the end of a scope."""
    found = map(scope.get_current_value, variables)
    return [old if new is None else new for new, old in zip(found, values, strict=True)]


def _put(variables: list, values: list) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable._direct_assign(value)
