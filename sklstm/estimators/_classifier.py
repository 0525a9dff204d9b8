"""LSTMImageClassifier: an image, or a sequence made of one, to a class."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from sklstm._compat import with_callbacks
from sklstm.estimators._base import KerasEstimator
from sklstm.estimators._labels import (
    check_classes,
    check_groups,
    check_labels,
    encode,
    stratified_split,
)
from sklstm.estimators._samples import (
    check_new_samples,
    check_samples,
    fit_sequencer,
)
from sklstm.estimators._weights import (
    check_sample_weight,
    class_weights,
    mean_weight,
    multiply,
    rescale,
)
from sklstm.training._data import Data, take_rows


class LSTMImageClassifier(ClassifierMixin, KerasEstimator):
    """Classify images by an LSTM that reads them as sequences.

    A scikit-learn classifier over a Keras network. Inputs are standardized inside the
    network, by one mean and one standard deviation of the training data, so that pixels
    of 0..1, 0..16 and 0..255 train alike.

    Parameters
    ----------
    network : str or callable, default="lstm"
        "lstm" or "lstm_transformer" for sequences; "cnn_lstm" or "cnn" for images;
        "conv_lstm" for volumes and videos. Or a function ``(input_shape, n_classes,
        **params)`` that returns a new `keras.Model`, not compiled, whose output is
        (n, n_classes) probabilities, or a subclass of `keras.Model` that is made in
        this way. ``input_shape`` is ``(None, n_features)``, or that of an image or
        volume, channels last, if the function has an attribute ``takes = "images"`` or
        ``takes = "volumes"``. Of the parameters below that shape the network it gets
        those it names, and all of ``network__*``.
    sequencer : RowSequencer, PatchSequencer, VolumeSequencer or None, default=None
        Makes sequences of images inside the network, batch by batch: X then holds
        images, and overlapping patches take no memory but a batch's.
        ``sequencer__stride`` and the like can be set and searched. None: X holds
        sequences, or is read by rows.
    augmentation : {"light", "medium"}, dict, keras.layers.Layer or None, default=None
        Changes images at random, in training only, before they are scanned. "light"
        turns by up to 15 degrees, shifts and zooms by up to a tenth; "medium" turns by
        30, shifts by .15, zooms and changes the contrast by a fifth, and erases a
        rectangle of one image in ten. The keys of a dict are "rotation" (degrees),
        "translation", "zoom", "contrast", "erasing" (fractions), "noise" (in standard
        deviations of the image), "flip" ("horizontal", "vertical", "both") and "fill"
        ("constant", "nearest", "reflect"). Needs images: a network that takes them, or
        a `sequencer`.
    units : int, default=64
        Hidden units per LSTM layer and direction.
    n_layers : int, default=1
        LSTM layers, one on the other.
    bidirectional : bool, default=True
        Read the sequence in both directions.
    embedding : {"dense", "pixel"} or None, default=None
        "dense" projects every step linearly, to `units` features or to
        ``network__embedding_units``, before the first LSTM. "pixel" gives each of 256
        grey levels a vector of 4, or ``network__embedding_units``, numbers; a step is
        the vectors of its pixels.
    attention : {"self", "multihead", "multiscale", "additive"} or None, default=None
        Attention over the steps, after the LSTM: every step looks at every step
        ("self"; "multihead" in ``network__n_heads=4`` ways), or at those of its window,
        of the sizes ``network__windows=(4, 16, 64)`` ("multiscale"); or a mean of the
        steps with learned weights takes the place of `pooling` ("additive").
    pooling : {"last", "mean", "max", "attention"} or None, default=None
        How the steps become one vector: the last one each direction reads, the mean,
        the maximum, or a mean with learned weights. None for the network's own: "max"
        of image networks, "last" of the others.
    input_noise : float or None, default=None
        Standard deviation of Gaussian noise that training adds to the standardized
        input, in standard deviations of the pixels [3]_. It keeps a small image set
        from being learned by heart. 0 for none; None is 0.5 for networks that read
        sequences and 0.2 for those that read images or volumes.
    dropout : float, default=0.3
        Rate after every LSTM layer, in [0, 1).
    l2 : float, default=0.0
        Strength of the penalty on the squares of all kernels.
    batch_norm : bool, default=False
        Batch normalization after every LSTM layer.
    ordinal : bool, default=False
        The classes are ordered, as grades are: the network ends in one score and
        thresholds that all samples share, a cumulative-link model [4]_, which keeps
        P(class > k) falling in k and has fewer weights than a softmax. Labels must be
        numbers; only their order counts.
    optimizer : str, class or keras.optimizers.Optimizer, default="adam"
        "adamw", "sgd", ...; ``optimizer__beta_1`` and the like go to it. An instance
        is copied, and keeps its own learning rate, clipping and accumulation. If its
        learning rate is a schedule of Keras, it follows that and not `lr_schedule`.
    learning_rate : float, default=3e-3
        Learning rate at the start.
    lr_schedule : {"cosine", "constant"} or keras schedule, default="cosine"
        "cosine" lets the learning rate fall to zero by the last update of training
        (Loshchilov and Hutter, 2017). A `LearningRateSchedule` of Keras takes the
        place of `learning_rate`. Callbacks can set the learning rate only with
        "constant"; otherwise they are refused.
    clipvalue : float or None, default=1.0
        Bound on every element of the gradient. None to clip by norm, with
        ``optimizer__clipnorm`` or ``optimizer__global_clipnorm``, or not at all.
    gradient_accumulation_steps : int, default=1
        Batches whose mean gradient makes one update.
    batch_size : int, default=32
        Samples per batch; the last one of an epoch may be smaller.
    epochs : int or "auto", default="auto"
        Passes over the training data, at most. "auto" is 60, or of fewer samples as
        many as make 1,200 updates of the weights, 400 at most: few images need more
        passes, not fewer updates.
    early_stopping : bool, default=False
        Stop when the validation loss has not fallen for `patience` epochs, on
        ``X_val, y_val`` of `fit` or else on a stratified part of the training data.
        The weights of the best epoch are kept. With the cosine schedule, training
        goes back to them and leads the learning rate to zero over ``patience / 2``
        further epochs, so that the schedule ends when training ends.
    patience : int, default=10
        Epochs to wait for a better one.
    validation_fraction : float, default=0.1
        Part of the training data held out for early stopping.
    class_weight : dict, "balanced" or None, default=None
        Labels to weights. A dict that names some of the classes leaves the others at
        1; one that names all may name more. "balanced" gives all classes the same
        total weight.
    loss : str, class, function or keras.losses.Loss, default=None
        None for the cross-entropy. Any loss without "sparse" in its name is given
        one-hot targets. ``loss__*`` goes to a class.
    metrics : list, default=None
        Metrics in `history_` besides loss and accuracy: names, classes, instances or
        functions. A metric of Keras is given the targets that it is made for, whatever
        the loss is given. One of your own is given one-hot targets, or class numbers
        if "sparse" is in its name or it cannot compute with one-hot targets.
    callbacks : list or keras.callbacks.Callback, default=None
        Classes or instances; ``callbacks__*`` goes to classes, as in scikeras. One
        that listens to single batches makes training run through Keras' own `fit`,
        which is slower.
    dtype_policy : {"float32", "mixed_float16", "mixed_bfloat16"}, default=None
        "mixed_float16" or "mixed_bfloat16" compute in half precision where the
        hardware gains by it; weights and probabilities stay float32. None for the
        policy that Keras has.
    warm_start : bool, default=False
        Go on from the weights of the last fit, and with its standardization, instead
        of from new ones.
    op_determinism : bool, default=False
        Let only deterministic kernels run while training. Slower, and needed only
        for identical results on a GPU.
    random_state : int, RandomState instance or None, default=None
        Determines weights, order, dropout and split. None draws from the system;
        nobody's global generator is read or moved.
    verbose : int, default=0
        1 prints a line per epoch.
    **routed
        Parameters with the prefixes ``network__``, ``optimizer__``, ``loss__``,
        ``metrics__`` and ``callbacks__``, as in scikeras.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    model_ : keras.Model
        The trained network.
    history_ : dict of str to list of float
        A value per epoch of loss, accuracy, gradient_norm (mean over the batches of
        the norm of the whole gradient, before clipping), learning_rate (at the
        epoch's last batch) and, in epochs with validation, val_loss and val_accuracy.
    n_iter_ : int
        Epochs run.
    best_epoch_ : int
        Epochs after which the kept weights were reached.
    sequencer_ : estimator
        The fitted sequencer, where `sequencer` was given.
    n_features_in_ : int
        Values per sample.
    image_shape_ : tuple
        Shape of one sample.
    feature_names_in_ : ndarray of str
        Names of the columns, where X was a table whose columns have strings as names.

    See Also
    --------
    RowSequencer : Images to sequences of rows or columns.
    PatchSequencer : Images to sequences of patches.

    References
    ----------
    .. [1] S. Hochreiter and J. Schmidhuber, "Long short-term memory", Neural
       Computation 9(8), 1997.
    .. [2] I. Loshchilov and F. Hutter, "SGDR: stochastic gradient descent with warm
       restarts", ICLR 2017.
    .. [3] C. M. Bishop, "Training with noise is equivalent to Tikhonov
       regularization", Neural Computation 7(1), 1995.
    .. [4] P. McCullagh, "Regression models for ordinal data", Journal of the Royal
       Statistical Society B 42(2), 1980.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklstm import LSTMImageClassifier
    >>> digits = load_digits(n_class=3)
    >>> classifier = LSTMImageClassifier(units=16, epochs=20, random_state=0)
    >>> classifier.fit(digits.images[:200], digits.target[:200])
    LSTMImageClassifier(epochs=20, random_state=0, units=16)
    >>> bool(classifier.score(digits.images[200:], digits.target[200:]) > 0.9)
    True
    """

    _parameter_constraints: dict = {
        "metrics": "no_validation",
        "warm_start": ["boolean"],
    }

    def __init__(
        self,
        network: Any = "lstm",
        *,
        sequencer: Any = None,
        augmentation: Any = None,
        units: int = 64,
        n_layers: int = 1,
        bidirectional: bool = True,
        embedding: str | None = None,
        attention: str | None = None,
        pooling: str | None = None,
        input_noise: float | None = None,
        dropout: float = 0.3,
        l2: float = 0.0,
        batch_norm: bool = False,
        ordinal: bool = False,
        optimizer: Any = "adam",
        learning_rate: float = 3e-3,
        lr_schedule: Any = "cosine",
        clipvalue: float | None = 1.0,
        gradient_accumulation_steps: int = 1,
        batch_size: int = 32,
        epochs: int | str = "auto",
        early_stopping: bool = False,
        patience: int = 10,
        validation_fraction: float = 0.1,
        class_weight: Any = None,
        loss: Any = None,
        metrics: Any = None,
        callbacks: Any = None,
        dtype_policy: str | None = None,
        warm_start: bool = False,
        op_determinism: bool = False,
        random_state: Any = None,
        verbose: int = 0,
        **routed: Any,
    ) -> None:
        self.network = network
        self.sequencer = sequencer
        self.augmentation = augmentation
        self.units = units
        self.n_layers = n_layers
        self.bidirectional = bidirectional
        self.embedding = embedding
        self.attention = attention
        self.pooling = pooling
        self.input_noise = input_noise
        self.dropout = dropout
        self.l2 = l2
        self.batch_norm = batch_norm
        self.ordinal = ordinal
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.lr_schedule = lr_schedule
        self.clipvalue = clipvalue
        self.gradient_accumulation_steps = gradient_accumulation_steps
        self.batch_size = batch_size
        self.epochs = epochs
        self.early_stopping = early_stopping
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.class_weight = class_weight
        self.loss = loss
        self.metrics = metrics
        self.callbacks = callbacks
        self.dtype_policy = dtype_policy
        self.warm_start = warm_start
        self.op_determinism = op_determinism
        self.random_state = random_state
        self.verbose = verbose
        self._set_routed(routed)

    @with_callbacks
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        groups: Any = None,
    ) -> LSTMImageClassifier:
        """Train on sequences or images and their classes.

        Parameters
        ----------
        X : array-like
            Sequences (n, n_steps, n_features). Images (n, height, width) or
            (n, height, width, channels) are read by `sequencer`, by the network as they
            are, or else by rows; flat ones (n, n_pixels) too, as square images, or as
            (n_pixels, 1) where they are not square. Volumes and videos are
            (n, depth, height, width) or (n, depth, height, width, channels). uint8 is
            kept as bytes, all else becomes float32.
        y : array-like of shape (n,)
            Classes: whole numbers, strings or bool, all of one kind and none missing.
        sample_weight : array-like of shape (n,), default=None
            Weight of each sample's loss, not negative. Only proportions count: weights
            are divided by their mean. Samples of weight zero are left out.
        X_val, y_val : array-like, default=None
            Samples to watch and, with ``early_stopping``, to stop by; their losses are
            weighted by `class_weight`. None: with ``early_stopping``, a stratified part
            of the training data, with its own weights.
        groups : array-like of shape (n,), default=None
            Samples of one group, a patient's photographs, stay together in that split.

        Returns
        -------
        self : LSTMImageClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter, X or y cannot be used; the estimator stays as it was.
        FloatingPointError
            If the loss becomes NaN or infinite.
        """
        self._validate_params()
        epochs = self._plan_epochs(X)
        context = self._init_callback_context(max_subtasks=epochs)
        seen = _as_callbacks_see(X, y, sample_weight)
        context.call_on_fit_task_begin(estimator=self, **seen)
        continues = self.warm_start and self._is_fitted()
        with self._all_or_nothing(continues):
            self._fit(
                X,
                y,
                sample_weight,
                None if X_val is None and y_val is None else (X_val, y_val),
                context=context,
                seen=seen,
                continues=continues,
                epochs=epochs,
                groups=groups,
            )
        context.call_on_fit_task_end(
            estimator=self, **seen, reconstruction_attributes=self._snapshot
        )
        return self

    @with_callbacks
    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None
    ) -> LSTMImageClassifier:
        """Train one more epoch, at a constant learning rate.

        The first call settles classes and standardization.

        Parameters
        ----------
        X : array-like
            As in `fit`.
        y : array-like of shape (n,)
            Classes; not all need be present.
        classes : array-like, default=None
            All classes there will be. Needed at the first call if `y` lacks some.
        sample_weight : array-like of shape (n,), default=None
            As in `fit`, but divided by the mean of the first call in all later ones.

        Returns
        -------
        self : LSTMImageClassifier
            The fitted estimator.
        """
        self._validate_params()
        context = self._init_callback_context(max_subtasks=1)
        seen = _as_callbacks_see(X, y, sample_weight)
        context.call_on_fit_task_begin(estimator=self, **seen)
        continues = self._is_fitted()
        with self._all_or_nothing(continues):
            self._fit(
                X,
                y,
                sample_weight,
                None,
                context=context,
                seen=seen,
                continues=continues,
                epochs=1,
                one_epoch=True,
                classes=classes,
            )
        context.call_on_fit_task_end(
            estimator=self, **seen, reconstruction_attributes=self._snapshot
        )
        return self

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation: tuple | None,
        *,
        context: Any,
        seen: dict[str, Any],
        continues: bool,
        epochs: int,
        one_epoch: bool = False,
        classes: Any = None,
        groups: Any = None,
    ) -> None:
        # Here and not above: this loads Keras.
        from sklstm.estimators._fitting import start_network, train_network

        x = check_samples(self, X, reset=not continues)
        fit_sequencer(self, x)
        codes = self._classes_of(y, len(x), continues, classes)
        if one_epoch and self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' needs all samples at once, which partial_fit "
                "does not have: give a dict of weights."
            )
        if groups is not None:
            groups = check_groups(groups, len(x))
        own = check_sample_weight(sample_weight, len(x))
        per_class = class_weights(self.class_weight, self.classes_, codes, own)
        weights = multiply(own, per_class[codes])
        # Later calls of partial_fit keep to the scale of the first.
        mean = getattr(self, "_mean_weight", None) if one_epoch and continues else None
        used = rescale(weights, mean) > 0
        if not used.all():
            x = take_rows(x, np.flatnonzero(used))
            codes, weights = codes[used], weights[used]
            groups = groups if groups is None else groups[used]
        if not one_epoch and len(np.unique(codes)) < 2:
            raise ValueError(
                f"y has one class, {self.classes_.tolist()[codes[0]]!r}, among samples "
                "of weight above zero: a classifier needs at least two."
            )

        seeds = self._seed_sequence().spawn(3)
        if not continues:
            self._shuffle_seed = int(seeds[1].generate_state(1)[0])
            self.history_ = {}
        watched: tuple | None = None
        if validation is not None:
            watched = self._given_validation(validation, per_class)
        elif self.early_stopping and not one_epoch:
            rows, kept = stratified_split(
                codes, self.validation_fraction, seeds[2], groups
            )
            watched = take_rows(x, kept), codes[kept], weights[kept]
            x, codes, weights = take_rows(x, rows), codes[rows], weights[rows]
        self._mean_weight = mean_weight(weights) if mean is None else mean
        to_watch = None
        if watched is not None:
            x_val, codes_val, weights_val = watched
            if x_val.dtype != x.dtype:
                x, x_val = x.astype("float32"), x_val.astype("float32")
            to_watch = Data(x_val, self._targets(codes_val), rescale(weights_val))

        reading = {}
        if self.sequencer is not None:
            reading["index_map"] = self.sequencer_.index_map_
        if self.augmentation is not None:
            reading["augmentation"] = self.augmentation
        start_network(
            self,
            x,
            seeds[0],
            continues,
            n_outputs=len(self.classes_),
            compile_params={
                "loss": self.loss or "sparse_categorical_crossentropy",
                "metrics": self.metrics,
                **self._routed_to("loss", "metrics"),
            },
            one_hot=self._one_hot(),
            reading_params=reading,
        )
        result = train_network(
            self,
            Data(x, self._targets(codes), rescale(weights, self._mean_weight)),
            to_watch,
            epochs=epochs,
            context=context,
            constant_rate=one_epoch,
            seen=seen,
        )
        self.n_iter_ = len(self.history_["loss"])
        self.best_epoch_ = self.n_iter_ - result.n_epochs + result.best_epoch

    def _classes_of(
        self, y: Any, n_samples: int, continues: bool, classes: Any
    ) -> np.ndarray:
        """Set `classes_` and return the place of each label in it."""
        y = check_labels(y, n_samples)
        if self.ordinal and y.dtype.kind not in "buif":
            raise ValueError(
                "ordinal=True takes the order of the classes from their labels, which "
                f"must be numbers; y has {y.tolist()[0]!r}: give the grades as 0, 1, "
                "2, ..."
            )
        if not continues:
            self.classes_ = np.unique(y) if classes is None else check_classes(classes)
            if len(self.classes_) < 2:
                raise ValueError(
                    f"{'y' if classes is None else 'classes'} has one class, "
                    f"{self.classes_.tolist()[0]!r}: a classifier needs at least two."
                )
        elif classes is not None and not np.array_equal(
            check_classes(classes), self.classes_
        ):
            raise ValueError(
                f"classes={classes!r} differ from those of the first call, "
                f"{self.classes_.tolist()}."
            )
        return encode(y, self.classes_)

    def _given_validation(self, validation: tuple, per_class: np.ndarray) -> tuple:
        """Return samples, classes and weights to watch."""
        X_val, y_val = validation
        if X_val is None or y_val is None:
            given, missing = ("y_val", "X_val") if X_val is None else ("X_val", "y_val")
            raise ValueError(
                f"{given} is given without {missing}: give both, or neither."
            )
        try:
            x_val = check_samples(self, X_val, reset=False)
        except (TypeError, ValueError) as error:
            # It speaks of X, as every check of images does.
            reason = str(error)
            if "was fitted on" in reason:
                reason = (reason.rpartition(";")[0] or reason).removeprefix("X ")
                reason = f"it {reason}"
                reason += (
                    "; bring X_val to the form of X (in a Pipeline, "
                    "transform_input=['X_val'] leads it through the same steps)."
                )
            raise type(error)(f"X_val cannot be used: {reason}") from None
        labels = check_labels(y_val, len(x_val), "y_val", "X_val")
        codes = encode(labels, self.classes_, "y_val")
        weights = per_class[codes]
        used = weights > 0
        if not used.any():
            raise ValueError(
                "class_weight gives every class in y_val the weight zero: nothing is "
                "left to watch."
            )
        if not used.all():
            x_val = take_rows(x_val, np.flatnonzero(used))
        return x_val, codes[used], weights[used]

    def _one_hot(self) -> bool:
        """Tell whether the loss wants rows of zeros and a one."""
        if self.loss is None:
            return False
        kind = self.loss if isinstance(self.loss, type) else type(self.loss)
        names = [getattr(self.loss, "name", None), getattr(self.loss, "__name__", None)]
        names += [self.loss, *(parent.__name__ for parent in kind.__mro__)]
        return not any("sparse" in str(name).lower() for name in names)

    def _targets(self, codes: np.ndarray) -> np.ndarray:
        if self._one_hot():
            return np.eye(len(self.classes_), dtype=np.float32)[codes]
        return codes

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of every class.

        Parameters
        ----------
        X : array-like
            As in `fit`, of the same shape per sample.

        Returns
        -------
        ndarray of shape (n, n_classes), float32
            In the order of `classes_`; every row sums to one.
        """
        check_is_fitted(self)
        return self._fitted_network.compiled.predict(check_new_samples(self, X))

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the logarithm of the probability of every class.

        Parameters
        ----------
        X : array-like
            As in `fit`, of the same shape per sample.

        Returns
        -------
        ndarray of shape (n, n_classes), float32
            In the order of `classes_`; -inf where a probability is 0.
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class.

        Parameters
        ----------
        X : array-like
            As in `fit`, of the same shape per sample.

        Returns
        -------
        ndarray of shape (n,)
            Labels, of the kind seen in `fit`.
        """
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]

    def attention_map(self, X: Any, per: str = "step") -> np.ndarray:
        """Return how much the network looks at each step, or at each pixel.

        Needs a network with `attention`, or ``pooling="attention"``; of a network of
        your own, one that ends in an `AttentionPooling`. The weight of step k is the
        sum over all steps q of (how much the pooling takes of q) times (how much q
        looks at k). A mean takes of all steps alike, and a maximum counts as one;
        "last" takes half of the last step and half of the first, at which the way back
        ends, or all of the last.

        Parameters
        ----------
        X : array-like
            As in `fit`, of the same shape per sample.
        per : {"step", "pixel"}, default="step"
            "pixel" paints the weight of each step on the pixels it reads, averaged
            where several read one; it needs `sequencer`. In a Pipeline, the
            sequencer's own ``steps_to_image`` does it.

        Returns
        -------
        ndarray of shape (n, n_steps) or (n, height, width), float32
            Over the steps, weights sum to one. Of volumes (n, depth, height, width).

        Raises
        ------
        ValueError
            If the network has no attention over steps, or no `sequencer` for pixels.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklstm import LSTMImageClassifier, PatchSequencer
        >>> digits = load_digits(n_class=3)
        >>> classifier = LSTMImageClassifier(
        ...     sequencer=PatchSequencer(4, 2), attention="additive", units=8, epochs=2
        ... ).fit(digits.images, digits.target)
        >>> classifier.attention_map(digits.images[:5]).shape
        (5, 9)
        >>> classifier.attention_map(digits.images[:5], per="pixel").shape
        (5, 8, 8)
        """
        check_is_fitted(self)
        # Here and not above: this loads Keras.
        from sklstm.training._attention_map import has_attention, step_weights

        if per not in ("step", "pixel"):
            raise ValueError(f"per={per!r} must be 'step' or 'pixel'.")
        if per == "pixel" and not hasattr(self, "sequencer_"):
            raise ValueError(
                "per='pixel' needs a sequencer inside the classifier: set sequencer=, "
                "or give the weights per step to steps_to_image of the one before it."
            )
        compiled = self._fitted_network.compiled
        if not has_attention(compiled.model, self._fitted_network.spec):
            raise ValueError(
                "The network does not weigh its steps: of the named ones, 'lstm' and "
                "'lstm_transformer' do, with attention='additive', 'self', "
                "'multihead' or 'multiscale', or pooling='attention'."
            )
        x = check_new_samples(self, X)
        weights = step_weights(
            compiled.model, x, compiled.predict_batch(x), self._fitted_network.spec
        )
        return weights if per == "step" else self.sequencer_.steps_to_image(weights)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


def _as_callbacks_see(X: Any, y: Any, sample_weight: Any) -> dict[str, Any]:
    """Return what scikit-learn's callbacks are shown: the data as `fit` was given it.

    They score it by the estimator's own methods, which take nothing else.
    """
    metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
    return {"X": X, "y": y, "metadata": metadata}
