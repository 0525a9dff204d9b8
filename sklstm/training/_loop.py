"""The training of one compiled network, by an engine or by Keras' `fit`."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sklstm._keras import keras

import numpy as np

from sklstm.training._averaging import AverageWeights
from sklstm.training._callbacks import (
    BestWeights,
    EpochHooks,
    EpochRecorder,
    RateGuard,
    let_go,
    refuse_rate_setters,
    remember_training,
    wants_batches,
)
from sklstm.training._data import Data
from sklstm.training._optimizer import own_optimizer
from sklstm.training._settings import own_settings


@dataclass
class TrainingPlan:
    """The settings of one training.

    Parameters
    ----------
    epochs, batch_size : int
        Number of epochs, and of samples in a batch.
    shuffle_seed : int
        Seed that determines the order of each epoch, with the number of the epoch.
    peak : float
        Learning rate at the start.
    cosine : bool
        If True, the learning rate falls to zero until the last update, unless the
        optimizer follows its own schedule.
    warmup : float
        Part of the updates in which the learning rate rises to its peak, in [0, 1).
    weight_decay : float
        Strength of the decay of an optimizer that `decays`.
    backbone_rate, backbone_warmup : float
        Learning rate of the backbone as a part of that of the network, and the part of
        the updates in which it waits, if the optimizer `slows` it.
    average_epochs : int
        Number of last epochs whose weights are averaged. 1 for no mean.
    accumulation : int
        Number of batches per update.
    patience : int or None
        Number of epochs to wait for a lower validation loss. If None, train for all
        epochs and keep the last weights.
    chances : ndarray of shape (n,) or None
        Probability of each sample to be drawn. An epoch draws as many samples as there
        are. If None, an epoch uses each sample once.
    verbose : int
        If 1, print a line per epoch.
    callbacks : list of keras.callbacks.Callback
        Callbacks of the user.
    epoch_begin, epoch_end : callable or None
        See `EpochHooks`.
    """

    epochs: int
    batch_size: int
    shuffle_seed: int
    peak: float
    cosine: bool
    warmup: float = 0.0
    weight_decay: float = 0.0
    backbone_rate: float = 1.0
    backbone_warmup: float = 0.0
    average_epochs: int = 1
    accumulation: int = 1
    patience: int | None = None
    chances: np.ndarray | None = None
    verbose: int = 0
    callbacks: list = field(default_factory=list)
    epoch_begin: Callable[[int], Any] | None = None
    epoch_end: Callable[[int, dict], bool] | None = None


@dataclass
class TrainingResult:
    """The result of one training besides the weights.

    Parameters
    ----------
    n_epochs : int
        Number of epochs run.
    best_epoch : int
        Number of epochs after which the kept weights were reached.
    """

    n_epochs: int
    best_epoch: int


@own_settings()
def train(
    compiled: Any,
    data: Data,
    validation: Data | None,
    plan: TrainingPlan,
    history: dict[str, list[float]],
) -> TrainingResult:
    """Train a compiled network.

    Parameters
    ----------
    compiled : CompiledNetwork
        Network to train. Its weights change.
    data, validation : Data
        Training data and validation data.
    plan : TrainingPlan
        Settings.
    history : dict of lists
        Lists of metrics. Each epoch appends to them.

    Returns
    -------
    TrainingResult
        Number of epochs run, and the best one.
    """
    model = compiled.model
    remember_training(model)
    n_batches = math.ceil(len(data) / plan.batch_size)
    updates = plan.epochs * n_batches // plan.accumulation
    if updates == 0:
        raise ValueError(
            f"gradient_accumulation_steps={plan.accumulation} batches make one update, "
            f"but training has {plan.epochs * n_batches}: lower it, or batch_size."
        )
    optimizer = own_optimizer(model)
    cosine = plan.cosine and not optimizer.follows_schedule()
    n_warmup = round(plan.warmup * updates)
    n_waits = 0
    if optimizer.slows:
        n_waits = round(plan.backbone_warmup * updates)
        if plan.backbone_warmup < 1:
            n_waits = min(n_waits, updates - 1)
        optimizer.start_backbone(plan.backbone_rate, n_waits)
    if optimizer.decays:
        optimizer.decay_strength.assign(plan.weight_decay)
    if optimizer.follows_schedule():
        refuse_rate_setters(plan.callbacks, "a schedule of Keras")
    elif cosine:
        refuse_rate_setters(plan.callbacks, "lr_schedule='cosine'")
        optimizer.start_cosine(plan.peak, updates, n_warmup)
    else:
        optimizer.keep_constant(plan.peak, n_warmup)
    optimizer.take_gradient_norm()

    recorder = EpochRecorder(history, plan.verbose)
    callbacks = [recorder, *plan.callbacks]
    if cosine and plan.callbacks:
        guard = RateGuard("lr_schedule='cosine'")
        callbacks = [recorder, guard.first, *plan.callbacks, guard.last]
    if plan.average_epochs > 1:
        callbacks.insert(0, AverageWeights(plan.average_epochs))
    best = None
    if plan.patience is not None and validation is not None:
        anneal = math.ceil(plan.patience / 2) if cosine else 0
        per_epoch = n_batches / plan.accumulation
        first = math.ceil(n_waits / per_epoch)
        best = BestWeights(plan.patience, anneal, per_epoch, first)
        callbacks.append(best)
    if plan.epoch_begin is not None and plan.epoch_end is not None:
        callbacks.append(EpochHooks(plan.epoch_begin, plan.epoch_end))

    first = len(history.get("loss", []))
    order = _Order(len(data), plan.shuffle_seed, first, plan.chances)
    with_keras = any(map(wants_batches, plan.callbacks))
    fit = _fit_with_keras if with_keras else _fit_with_engine
    optimizer.in_training = True
    try:
        fit(compiled, data, validation, plan, order, callbacks)
    finally:
        optimizer.in_training = False
        # Callbacks in reference cycles would hold the model for long.
        let_go(callbacks)
    n_epochs = recorder.n_epochs
    return TrainingResult(n_epochs, n_epochs if best is None else best.best_epoch + 1)


class _Order:
    """The order of the samples in each epoch, a function of seed and epoch."""

    def __init__(
        self,
        n: int,
        seed: int,
        first_epoch: int,
        chances: np.ndarray | None = None,
    ) -> None:
        self.n = n
        self.seed = seed
        self.first_epoch = first_epoch
        self.chances = chances

    def __call__(self, epoch: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, self.first_epoch + epoch])
        if self.chances is not None:
            return rng.choice(self.n, self.n, p=self.chances).astype(np.int32)
        return rng.permutation(self.n).astype(np.int32)


def _fit_with_engine(
    compiled: Any,
    data: Data,
    validation: Data | None,
    plan: TrainingPlan,
    order: _Order,
    callbacks: list,
) -> None:
    engine, model = compiled.engine, compiled.model
    loaded = engine.load(data.x, data.y, data.w)
    watched = None
    if validation is not None:
        watched = engine.load(validation.x, validation.y, validation.w)
    hooks = keras.callbacks.CallbackList(
        callbacks, model=model, epochs=plan.epochs, verbose=0
    )
    model.stop_training = False
    hooks.on_train_begin()
    logs: dict = {}
    for epoch in range(plan.epochs):
        hooks.on_epoch_begin(epoch)
        logs = engine.train_epoch(loaded, order(epoch), plan.batch_size)
        if watched is not None:
            hooks.on_test_begin()
            seen = engine.evaluate(watched, plan.batch_size)
            hooks.on_test_end(seen)
            logs.update({f"val_{name}": value for name, value in seen.items()})
        hooks.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    # Keras does this last as well. With `use_ema`, the averages become the weights.
    model.optimizer.finalize_variable_values(model.trainable_weights)
    hooks.on_train_end(logs)


class _Batches(keras.utils.PyDataset):
    """The batches of the engine, for `model.fit`."""

    def __init__(
        self, data: Data, batch_size: int, joint_augmentation: Any = None
    ) -> None:
        super().__init__()
        self.data = data
        self.batch_size = batch_size
        self.joint_augmentation = joint_augmentation
        self.order = np.arange(len(data))

    def __len__(self) -> int:
        return math.ceil(len(self.data) / self.batch_size)

    def __getitem__(self, i: int) -> tuple:
        rows = self.order[i * self.batch_size : (i + 1) * self.batch_size]
        batch = self.data.x[rows], self.data.y[rows], self.data.w[rows]
        if self.joint_augmentation is not None:
            changed = self.joint_augmentation(*batch)
            batch = tuple(map(keras.ops.convert_to_numpy, changed))
        return batch


class _Shuffle(keras.callbacks.Callback):
    def __init__(self, batches: _Batches, order: _Order) -> None:
        super().__init__()
        self.batches = batches
        self.epoch_order = order

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.batches.order = self.epoch_order(epoch)


def _fit_with_keras(
    compiled: Any,
    data: Data,
    validation: Data | None,
    plan: TrainingPlan,
    order: _Order,
    callbacks: list,
) -> None:
    batches = _Batches(data, plan.batch_size, compiled.joint_augmentation)
    watched = None if validation is None else _Batches(validation, plan.batch_size)
    with compiled.own_references():
        compiled.model.make_train_function()
        if watched is not None:
            compiled.model.make_test_function()
    compiled.model.fit(
        batches,
        validation_data=watched,
        epochs=plan.epochs,
        shuffle=False,
        verbose=0,
        callbacks=[_Shuffle(batches, order), *callbacks],
    )
    compiled.model.history = None
