"""LSTMDefectDetector: masks of the defects in images."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from sklstm._compat import with_callbacks
from sklstm.estimators._base import KerasEstimator
from sklstm.estimators._batches_in_memory import batches_in_memory
from sklstm.estimators._ensemble import begin_fit, fit_members, is_ensemble
from sklstm.estimators._labels import (
    check_both_given,
    check_groups,
    hold_out_defective,
)
from sklstm.estimators._masks import (
    check_masks,
    pixel_f1,
    resize_masks,
    warn_if_inverted,
)
from sklstm.estimators._samples import MaskedImages
from sklstm.estimators._threshold import (
    OF_PIXELS,
    THRESHOLDS,
    best_threshold,
    mean_threshold,
)
from sklstm.estimators._uncertainty import Uncertainty, decompose
from sklstm.estimators._watch import Shown
from sklstm.estimators._windows import (
    check_window_labels,
    filling_sides,
    is_window_labels,
    window_grid,
)
from sklstm.images._ragged import check_images, resize_images
from sklstm.images._resize import resize
from sklstm.images._validate import check_image_shape
from sklstm.preprocessing import PatchSequencer
from sklstm.preprocessing._base import BaseSequencer
from sklstm.training._data import Data, take_rows

if TYPE_CHECKING:
    from sklstm.estimators._window_outputs import MeanWindowOutputs, WindowOutputs


class LSTMDefectDetector(KerasEstimator):
    """Detector of defects in images, trained on masks.

    The detector cuts an image into windows on a grid. LSTMs with attention read each
    row and each column of windows, and the network labels each window. Linear-chain
    CRFs [1]_ along rows and columns make the labels of neighbours agree. A decoder
    draws the outline of what they find to the pixel.

    Parameters
    ----------
    size : int or tuple of int, default=256
        Size (height, width) in pixels that each image is resized to for the network. A
        number stands for both. Masks and probabilities have the size of the image.
    sequencer : PatchSequencer or RowSequencer, default=None
        The windows. They must lie on a grid and be read row by row. If None, use
        ``PatchSequencer(8, 8)``.
    stem : bool, default=True
        If True, convolutions make the features of a window from the window and its
        surroundings. They have ``network__filters=16`` filters in the first layer.
        Sides and strides of the windows must be multiples of 4. If False, the features
        are the pixels of the window.
    contrast : tuple of int or None, default=(4, 16)
        Surroundings that the network compares each pixel with, besides the whole image.
        A number n is a square whose side is the n-th part of the shorter side of the
        image. The network reads the difference of the pixel from the mean of each
        surrounding, in standard deviations there. This removes differences in
        lighting. If None, the network reads the pixels.
    crf : bool, default=True
        If True, chains along rows and columns decide together. They are trained on
        their likelihood and on the cross-entropy of the windows. If False, each window
        is decided alone.
    decoder : bool or None, default=None
        If True, a decoder [3]_ labels each pixel by the features of the windows and of
        the stem. The probability of a pixel is the geometric mean of what the decoder
        says and what the windows around it say. If False, all pixels of a window have
        its label. If None, there is a decoder if `stem` is True, each pixel is in one
        window, and `Y` holds masks.
    units : int, default=16
        Number of hidden units of each LSTM layer in each direction.
    n_layers : int, default=1
        Number of stacked LSTM layers.
    bidirectional : bool, default=True
        If True, read rows and columns in both directions.
    attention : {"multihead", "self"} or None, default="multihead"
        Attention between the windows of a row or column. "multihead" has
        ``network__n_heads=4``.
    augmentation : str, dict or None, default=None
        As in `LSTMImageClassifier`, but without erasing. What moves pixels also moves
        the mask.
    coverage : float, default=0.1
        Smallest part of a window that must be defective for training to call the window
        defective. A defect that is smaller in all its windows counts in the window that
        holds most of it.
    positive_weight : float or "balanced", default="balanced"
        Weight of defective windows and, with `crf`, of the rows and columns that hold
        them. "balanced" is the square root of how many times rarer they are in their
        image, but at most 10. Small defects then count next to large ones.
    focal_gamma : float, default=0.0
        Exponent of the focal loss [2]_, which gives less weight to windows that are
        already right. 0 is the cross-entropy.
    sampling : "balanced" or None, default=None
        If "balanced", each epoch draws images with and without defects equally often,
        as many as there are in total. If None, each epoch uses each image once.
    synthetic_defects : float, dict or None, default=None
        Number of synthetic images with defects that `fit` adds, as a share of the
        images that it trains on. ``{"paste": 0.5, "noise": 0.5}`` sets the share of
        each kind, and a number is the share of both together. "paste" cuts a defect
        out of a training image and blends it into another one [4]_. "noise" draws
        shapes of Perlin noise, filled with other textures or brightness [5]_. Images
        that are held out are neither changed nor cut from. It needs masks.
    input_noise : float, default=0.0
        Standard deviation of the Gaussian noise that training adds to the input.
    dropout : float, default=0.2
        Dropout rate after each LSTM layer, in [0, 1).
    l2 : float, default=0.0
        Strength of the L2 penalty on all kernels.
    batch_norm : bool, default=False
        If True, normalize batches after each LSTM layer.
    optimizer : str, class or keras.optimizers.Optimizer, default="adam"
        As in `LSTMImageClassifier`.
    learning_rate : float, default=4e-3
        Learning rate at the start of training.
    lr_schedule : {"cosine", "constant"} or keras schedule, default="cosine"
        As in `LSTMImageClassifier`.
    warmup : float, default=0.0
        Part of the updates in which the learning rate rises. As in
        `LSTMImageClassifier`.
    weight_decay : float or None, default=None
        Strength of the decoupled weight decay. As in `LSTMImageClassifier`.
    clipvalue : float or None, default=1.0
        Bound on each element of the gradient. As in `LSTMImageClassifier`.
    gradient_accumulation_steps : int, default=1
        Number of batches whose mean gradient makes one update.
    batch_size : int or "auto", default=16
        Number of images in a batch. "auto" begins with 16, and halves it if memory runs
        out. As in `LSTMImageClassifier`.
    epochs : int, default=30
        Maximum number of passes over the training data.
    average_epochs : int, default=1
        Number of last epochs whose weights are averaged. As in `LSTMImageClassifier`.
    early_stopping : bool, default=False
        If True, stop when the loss on the images held out for the threshold has not
        fallen for `patience` epochs, and keep the weights of the best epoch.
    patience : int, default=10
        Number of epochs to wait for a lower validation loss.
    validation_fraction : float, default=0.15
        Fraction of the training images that is held out to choose `threshold_`.
    callbacks : list or keras.callbacks.Callback, default=None
        Keras callbacks, as classes or instances. ``callbacks__*`` parameters go to
        classes.
    dtype_policy : {"float32", "mixed_float16", "mixed_bfloat16"}, default=None
        Keras dtype policy of the network. If None, use the global policy of Keras.
    n_estimators : int, default=1
        Number of networks, each trained from a seed of its own. Their probabilities and
        the margins of their decisions are averaged. They share one compiled graph.
    bootstrap : bool, default=False
        If True, train each network on a bootstrap resample of the images, with as many
        defective images as `X`. With ``groups`` in `fit`, it has as many whole groups
        as `X`.
    op_determinism : bool, default=False
        If True, run only deterministic kernels during training.
    random_state : int, RandomState instance or None, default=None
        Seed for initial weights, order of the images, dropout, augmentation and the
        split. Pass an int for reproducible results.
    verbose : int, default=0
        If 1, print a line per epoch.
    **routed
        Parameters with the prefixes ``network__``, ``optimizer__`` and
        ``callbacks__``.

    Attributes
    ----------
    threshold_ : float
        Probability from which a pixel, or a window if there is no decoder, is called
        defective. It gives `predict` the highest F1 over the pixels held out, at
        `size`, averaged over resamples of the images, but is at least .15 for pixels.
        An ensemble chooses it by ``X_val, Y_val``. Without these, each of its members
        holds images out, and the log-odds of their thresholds are averaged.
    model_ : keras.Model
        The trained network. An ensemble has one in each of its `estimators_`.
    estimators_ : list of LSTMDefectDetector
        The fitted members of the ensemble. Without an ensemble, this estimator. A clone
        of a member predicts the same if it is fitted on the rows of
        `estimators_samples_`, with their groups and the same ``X_val, Y_val``. With
        `bootstrap` and no groups, the rows are the groups.
    estimators_samples_ : list of ndarray of int
        Rows of `X` that each member of an ensemble was fitted on.
    sequencer_ : estimator
        The fitted sequencer.
    grid_ : tuple of int
        Number of windows (down, across).
    decoder_ : bool
        Whether the network has a decoder.
    image_shape_ : tuple
        Shape (height, width, channels) of what the network reads.
    classes_ : ndarray of int
        Indices along the second axis of `Y`: rows of a mask, or windows if `Y` was
        labels of windows. scikit-learn has one entry for each output of a multi-output
        target, and its `cross_val_predict` needs this attribute.
    history_ : dict of str to list of float
        As in `LSTMImageClassifier`, without accuracies.
    n_iter_, best_epoch_ : int
        As in `LSTMImageClassifier`.
    batch_size_, gradient_accumulation_steps_ : int
        What training took, if ``batch_size="auto"``.

    See Also
    --------
    LSTMImageClassifier : Predict one label for an image.

    References
    ----------
    .. [1] J. Lafferty, A. McCallum and F. Pereira, "Conditional random fields:
       probabilistic models for segmenting and labeling sequence data", ICML 2001.
    .. [2] T.-Y. Lin et al., "Focal loss for dense object detection", ICCV 2017.
    .. [3] O. Ronneberger, P. Fischer and T. Brox, "U-Net: convolutional networks for
       biomedical image segmentation", MICCAI 2015.
    .. [4] G. Ghiasi et al., "Simple copy-paste is a strong data augmentation method
       for instance segmentation", CVPR 2021.
    .. [5] V. Zavrtanik, M. Kristan and D. Skocaj, "DRAEM: a discriminatively trained
       reconstruction embedding for surface anomaly detection", ICCV 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from sklstm import LSTMDefectDetector
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(100, 5, (40, 32, 32))
    >>> Y = np.zeros((40, 32, 32), bool)
    >>> for image, mask in zip(X[::2], Y[::2]):
    ...     row, column = rng.integers(0, 24, 2)
    ...     mask[row : row + 8, column : column + 8] = True
    ...     image[mask] -= 40
    >>> detector = LSTMDefectDetector(size=32, units=8, epochs=30, random_state=0)
    >>> detector.fit(X[:30], Y[:30]).predict(X[30:]).shape
    (10, 32, 32)
    >>> detector.decision_function(X[30:]).shape
    (10,)
    """

    _parameter_constraints: dict = {"size": "no_validation"}
    _routes = ("network", "optimizer", "callbacks")
    network = "window_lstm"

    def __init__(
        self,
        size: int | tuple[int, int] = 256,
        *,
        sequencer: Any = None,
        stem: bool = True,
        contrast: tuple[int, ...] | None = (4, 16),
        crf: bool = True,
        decoder: bool | None = None,
        units: int = 16,
        n_layers: int = 1,
        bidirectional: bool = True,
        attention: str | None = "multihead",
        augmentation: Any = None,
        coverage: float = 0.1,
        positive_weight: float | str = "balanced",
        focal_gamma: float = 0.0,
        sampling: str | None = None,
        synthetic_defects: Any = None,
        input_noise: float = 0.0,
        dropout: float = 0.2,
        l2: float = 0.0,
        batch_norm: bool = False,
        optimizer: Any = "adam",
        learning_rate: float = 4e-3,
        lr_schedule: Any = "cosine",
        warmup: float = 0.0,
        weight_decay: float | None = None,
        clipvalue: float | None = 1.0,
        gradient_accumulation_steps: int = 1,
        batch_size: int | str = 16,
        epochs: int = 30,
        average_epochs: int = 1,
        early_stopping: bool = False,
        patience: int = 10,
        validation_fraction: float = 0.15,
        callbacks: Any = None,
        dtype_policy: str | None = None,
        n_estimators: int = 1,
        bootstrap: bool = False,
        op_determinism: bool = False,
        random_state: Any = None,
        verbose: int = 0,
        **routed: Any,
    ) -> None:
        self.size = size
        self.sequencer = sequencer
        self.stem = stem
        self.contrast = contrast
        self.crf = crf
        self.decoder = decoder
        self.units = units
        self.n_layers = n_layers
        self.bidirectional = bidirectional
        self.attention = attention
        self.augmentation = augmentation
        self.coverage = coverage
        self.positive_weight = positive_weight
        self.focal_gamma = focal_gamma
        self.sampling = sampling
        self.synthetic_defects = synthetic_defects
        self.input_noise = input_noise
        self.dropout = dropout
        self.l2 = l2
        self.batch_norm = batch_norm
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.lr_schedule = lr_schedule
        self.warmup = warmup
        self.weight_decay = weight_decay
        self.clipvalue = clipvalue
        self.gradient_accumulation_steps = gradient_accumulation_steps
        self.batch_size = batch_size
        self.epochs = epochs
        self.average_epochs = average_epochs
        self.early_stopping = early_stopping
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.callbacks = callbacks
        self.dtype_policy = dtype_policy
        self.n_estimators = n_estimators
        self.bootstrap = bootstrap
        self.op_determinism = op_determinism
        self.random_state = random_state
        self.verbose = verbose
        self._set_routed(routed)

    @with_callbacks
    def fit(
        self,
        X: Any,
        Y: Any,
        X_val: Any = None,
        Y_val: Any = None,
        groups: Any = None,
    ) -> LSTMDefectDetector:
        """Train on images and masks, and choose the threshold.

        Parameters
        ----------
        X : array-like
            Images (n, height, width[, channels]), or a list of images that may differ
            in size. They have any number of channels. uint8 is kept as bytes. All
            other dtypes become float32.
        Y : array-like
            Masks of 0 and 1 or of bool. Each image has a mask of its height and width.
            A mask may have three equal channels, as colour files have. None in place
            of a mask stands for an image without defects. `Y` can also hold labels of
            windows, as an array (n, n_steps).
        X_val, Y_val : array-like, default=None
            Validation data, which determine the threshold and which `early_stopping`
            uses. If None, `fit` holds out a part of the training data, with and without
            defects in the same proportion.
        groups : array-like of shape (n,), default=None
            Groups of the images, such as workpieces. The split for validation, and
            resamples, keep the images of a group together.

        Returns
        -------
        self : LSTMDefectDetector
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter, X or Y cannot be used. The estimator does not change.
        FloatingPointError
            If the loss becomes NaN or infinite.
        MemoryError
            If memory runs out. The message says what to set.

        Warns
        -----
        UserWarning
            If most images are defective in most pixels, as with inverted masks.
        """
        self._validate_params()
        n_tasks = self.n_estimators if is_ensemble(self) else self.epochs
        # If training begins again, the number of epochs is not known before.
        n_known = None if self.batch_size == "auto" else n_tasks
        context = self._init_callback_context(max_subtasks=n_known)
        context.call_on_fit_task_begin(estimator=self, X=X, y=Y)

        def train() -> None:
            with self._all_or_nothing(continues=False):
                self._fit(X, Y, X_val, Y_val, groups, context)

        with batches_in_memory(self, continues=False) as within_memory:
            within_memory(train)
        context.call_on_fit_task_end(
            estimator=self, X=X, y=Y, reconstruction_attributes=self._snapshot
        )
        return self

    def _fit(
        self, X: Any, Y: Any, X_val: Any, Y_val: Any, groups: Any, context: Any
    ) -> None:
        # Here and not above: these load Keras and OpenCV.
        from sklstm.estimators._fitting import stacklevel_of_caller
        from sklstm.estimators._synthetic_defects import check_synthetic_defects
        from sklstm.estimators._window_network import split_for_masks

        begin_fit(self, continues=False)
        self._check_contrast()
        images = check_images(X)
        x = resize_images(images, self._working_size())
        self.image_shape_ = x.shape[1:]
        self._fit_windows(x)
        by_window = is_window_labels(Y)
        # It counts from a function that this one calls, and `_targets` from this one.
        level = stacklevel_of_caller() - 1
        y = self._targets(Y, images, "Y", stacklevel=level)
        self.classes_ = np.arange(y.shape[1] if by_window else len(images[0]))
        self.decoder_ = self._wants_decoder(by_window)
        if not y.any():
            raise ValueError(
                "Y has no positive pixel in any of "
                f"{len(y)} images: at least one must show what a defect is."
            )
        if groups is not None:
            groups = check_groups(groups, len(x))
        moves, _ = split_for_masks(self.augmentation)
        if by_window and moves:
            raise ValueError(
                f"augmentation moves pixels ({', '.join(moves)}), and labels of "
                "windows cannot follow: give masks, or what only changes values."
            )
        if check_synthetic_defects(self.synthetic_defects) and by_window:
            raise ValueError(
                f"synthetic_defects={self.synthetic_defects!r} makes masks, and Y has "
                "labels of windows: give masks, or set synthetic_defects=None."
            )

        samples = MaskedImages(x, y, by_window, groups)
        given = None
        if X_val is not None or Y_val is not None:
            given = self._given_validation(X_val, Y_val, by_window)
        how: dict[str, Any] = {
            "context": context,
            "seen": {"X": X, "y": Y, "metadata": {}},  # what `score` takes
            "continues": False,
        }
        if not is_ensemble(self):
            self._train(samples, given, epochs=self.epochs, **how)
            return
        self.threshold_ = 0.5  # for a search that scores the epochs
        rows, holds_out = np.arange(len(samples)), given is None
        fit_members(self, samples, given, rows=rows, holds_out=holds_out, **how)
        if given is None:
            self.threshold_ = mean_threshold([m.threshold_ for m in self._members])
        else:
            x_val, y_val = given
            self.threshold_ = self._best_threshold(x_val, y_val, by_window)

    def _train(
        self,
        samples: MaskedImages,
        given: tuple | None,
        *,
        context: Any,
        seen: dict[str, Any],
        epochs: int,
        continues: bool,
        shown: Shown | None = None,
    ) -> None:
        """Train the one network of this estimator, and choose the threshold."""
        # Here and not above: these load Keras and OpenCV.
        from sklstm.estimators._fitting import start_network, train_network
        from sklstm.estimators._synthetic_defects import add_synthetic_defects
        from sklstm.estimators._window_network import split_for_masks, window_params
        from sklstm.networks import WindowLoss

        x, y, by_window = samples.x, samples.y, samples.by_window
        defective = samples.codes > 0
        moves, changes = split_for_masks(self.augmentation)
        seeds = self._seed_sequence().spawn(4)
        self._shuffle_seed = int(seeds[1].generate_state(1)[0])
        self.history_ = {}
        if given is not None:
            x_val, y_val = given
        else:
            rows, kept = hold_out_defective(
                defective, self.validation_fraction, seeds[2], samples.groups
            )
            x_val, y_val = take_rows(x, kept), y[kept]
            x, y, defective = take_rows(x, rows), y[rows], defective[rows]
        if self.synthetic_defects:
            x, y = add_synthetic_defects(x, y, self.synthetic_defects, seeds[3])
            defective = MaskedImages(x, y, by_window, None).codes > 0
        if x_val.dtype != x.dtype:
            x, x_val = x.astype("float32"), x_val.astype("float32")

        loss = WindowLoss(
            self.grid_,
            None if by_window else self.sequencer_.index_map_,
            coverage=self.coverage,
            positive_weight=self.positive_weight,
            gamma=self.focal_gamma,
            sides=self._sides() if self.decoder_ else None,
        )
        start_network(
            self,
            x,
            seeds[0],
            continues,
            n_outputs=1,
            compile_params={"loss": loss, "metrics": None},
            network_params=window_params(
                self.grid_,
                self.sequencer_.index_map_,
                self.stem,
                self.image_shape_,
                self.decoder_,
            ),
            reading_params={"augmentation": changes} if changes else {},
            target_shape=y.shape[1:],
            joint_augmentation=moves,
        )
        chances = None
        if self.sampling == "balanced" and 0 < defective.mean() < 1:
            share = np.where(defective, defective.mean(), 1 - defective.mean())
            chances = 1 / (2 * len(x) * share)
        self.threshold_ = 0.5  # for a search that scores the epochs
        watched = Data(x_val, y_val, np.ones(len(y_val), np.float32))
        result = train_network(
            self,
            Data(x, y, np.ones(len(y), np.float32)),
            watched if self.early_stopping or given is not None else None,
            epochs=epochs,
            context=context,
            chances=chances,
            seen=seen,
            shown=shown,
        )
        self.n_iter_ = result.n_epochs
        self.best_epoch_ = result.best_epoch
        self.threshold_ = self._best_threshold(x_val, y_val, by_window)

    def _best_threshold(self, x: Any, y: np.ndarray, by_window: bool) -> float:
        """Return the threshold at which `predict` would have had the highest F1."""
        outputs = self._read(x[:])
        truth = y.astype(np.float32) / 255
        if self._has_decoder():
            found = outputs.pixel_probabilities()
            decisions = (found >= t for t in OF_PIXELS)
            return best_threshold(list(truth), decisions, thresholds=OF_PIXELS)
        index_map, n_pixels = self.sequencer_.index_map_, truth[0].size
        # Where each pixel is in one window, windows are counted instead of pixels.
        apart = np.array_equal(np.sort(index_map, axis=None), np.arange(n_pixels))
        if apart and not by_window:
            truth = truth.reshape(len(y), -1)[:, index_map].mean(axis=2)

        def decide(margins: np.ndarray) -> Any:
            if apart or by_window:
                return margins.reshape(len(y), -1) > 0
            return self._decided(margins) > 0

        return best_threshold(list(truth), map(decide, outputs.margins_at(THRESHOLDS)))

    def _working_size(self) -> tuple[int, int]:
        size = (self.size, self.size) if isinstance(self.size, Integral) else self.size
        height, width = check_image_shape("size", size)[:2]
        return height, width

    def _fit_windows(self, x: np.ndarray) -> None:
        """Set `sequencer_` and `grid_`."""
        sequencer = PatchSequencer(8, 8) if self.sequencer is None else self.sequencer
        if not isinstance(sequencer, BaseSequencer) or sequencer._n_axes != 2:
            raise TypeError(
                f"sequencer={sequencer!r} reads no windows: give PatchSequencer(), "
                "RowSequencer() or None."
            )
        self.sequencer_ = clone(sequencer).fit(x[:1])
        self.grid_ = window_grid(self.sequencer_.index_map_, x.shape[2])

    def _sides(self) -> tuple[int, int]:
        """Return the size of windows that fill the image."""
        height, width = (
            n // k for n, k in zip(self.image_shape_, self.grid_, strict=False)
        )
        return height, width

    def _wants_decoder(self, by_window: bool) -> bool:
        """Return whether the network gets a decoder."""
        # Here and not above: this loads Keras.
        from sklstm.networks.windows._window_lstm import STEM_STRIDE

        index_map, shape = self.sequencer_.index_map_, self.image_shape_
        reason = None
        if by_window:
            reason = "Y holds labels of windows: give masks"
        elif not self.stem:
            reason = "stem is False: set stem=True"
        elif filling_sides(index_map, shape, STEM_STRIDE) is None:
            reason = (
                "the windows overlap, leave pixels out, or have sides that are not "
                f"multiples of {STEM_STRIDE}: change sequencer or size"
            )
        if self.decoder and reason:
            raise ValueError(
                "decoder=True needs a stem, masks, and windows that fill the image, "
                f"but {reason}, or set decoder=None."
            )
        return self.decoder is not False and reason is None

    def _has_decoder(self) -> bool:
        # Detectors in files of version 0.1 have none.
        return getattr(self, "decoder_", False)

    def _check_contrast(self) -> None:
        if self.contrast is not None and not (
            self.contrast
            and all(isinstance(n, Integral) and n > 0 for n in self.contrast)
        ):
            raise ValueError(
                f"contrast={self.contrast!r} must be None or a tuple of whole numbers "
                "above 0, such as (4, 16): a fourth and a sixteenth of a side."
            )

    def _targets(
        self,
        Y: Any,
        images: list[np.ndarray],
        name: str,
        stacklevel: int | None = None,
    ) -> np.ndarray:
        """Return the targets, from 0 to 255. See `check_masks` for `stacklevel`."""
        below = None if stacklevel is None else stacklevel + 1
        if not is_window_labels(Y):
            masks = check_masks(Y, images, name, below)
            return resize_masks(masks, self.image_shape_[:2])
        labels = check_window_labels(Y, len(images), self.sequencer_.n_steps_, name)
        if below is not None:
            warn_if_inverted(list(labels.mean(axis=1) / 255), name, "windows", below)
        return labels

    def _given_validation(self, X_val: Any, Y_val: Any, by_window: bool) -> tuple:
        check_both_given(X_val=X_val, Y_val=Y_val)
        if is_window_labels(Y_val) != by_window:
            raise ValueError(
                "Y_val must be what Y is: masks, or labels of windows, both times."
            )
        images = check_images(X_val, "X_val")
        y = self._targets(Y_val, images, "Y_val")
        if not y.any():
            raise ValueError(
                f"Y_val has no positive pixel in any of {len(y)} images: no threshold "
                "can be chosen by them."
            )
        return self._resized(images, "X_val"), y

    def _resized(self, images: list[np.ndarray], name: str = "X") -> np.ndarray:
        channels = images[0].shape[2]
        if channels != self.image_shape_[2]:
            raise ValueError(
                f"{name} holds images of {channels} channels, but "
                f"{type(self).__name__} was fitted on images of {self.image_shape_[2]}."
            )
        return resize_images(images, self.image_shape_[:2])

    def _to_pixels(self, values: np.ndarray) -> np.ndarray:
        """Give the value of each window to its pixels."""
        return self.sequencer_.steps_to_image(values.reshape(len(values), -1))

    def _decided(self, margins: np.ndarray) -> np.ndarray:
        """Give the margins to the pixels. Above 0, a pixel is defective."""
        # A pixel that several windows hold gets their mean. One very clear window
        # must not outvote the others.
        return self._to_pixels(np.clip(margins, -1, 1))

    def _pixel_probabilities(
        self, outputs: WindowOutputs | MeanWindowOutputs
    ) -> np.ndarray:
        if self._has_decoder():
            return outputs.pixel_probabilities()
        return self._to_pixels(outputs.probabilities())

    def _read(self, x: np.ndarray) -> WindowOutputs | MeanWindowOutputs:
        """Return the outputs of the networks for images that have their size."""
        # Here and not above: this loads Keras.
        from sklstm.estimators._window_outputs import MeanWindowOutputs, WindowOutputs

        sides = self._sides() if self._has_decoder() else None
        outputs = [
            WindowOutputs(network.predict(x), self.grid_, sides)
            for network in self._networks()
        ]
        return outputs[0] if len(outputs) == 1 else MeanWindowOutputs(outputs)

    def _outputs(
        self, X: Any
    ) -> tuple[list[np.ndarray], WindowOutputs | MeanWindowOutputs]:
        """Return the checked images and the outputs of the network."""
        check_is_fitted(self)
        images = check_images(X)
        return images, self._read(self._resized(images))

    def _own_sizes(self, images: list[np.ndarray], maps: np.ndarray) -> list:
        return [
            resize(one, image.shape[:2])
            for one, image in zip(maps, images, strict=True)
        ]

    def predict_proba(self, X: Any) -> Any:
        """Return the probability of a defect for each pixel.

        Parameters
        ----------
        X : array-like
            As in `fit`.

        Returns
        -------
        ndarray of shape (n, height, width), float32, or list of ndarray
            A list if the images differ in size. With `crf`, the probabilities of
            windows are marginals of the chains. With a decoder, the probability of a
            pixel is the geometric mean of that of the decoder and that of the windows
            around it, interpolated.
        """
        images, outputs = self._outputs(X)
        return _joined(self._own_sizes(images, self._pixel_probabilities(outputs)))

    def predict(self, X: Any) -> Any:
        """Return masks of the defects.

        Parameters
        ----------
        X : array-like
            As in `fit`.

        Returns
        -------
        ndarray of shape (n, height, width), bool, or list of ndarray
            A list if the images differ in size. With a decoder, a pixel is defective if
            its probability is `threshold_` or more. Without a decoder but with `crf`,
            the decision on a window compares the best labels of its row and its column
            with and without a defect in this window, at `threshold_`.
        """
        images, outputs = self._outputs(X)
        if self._has_decoder():
            maps = self._own_sizes(images, outputs.pixel_probabilities())
            return _joined([one >= self.threshold_ for one in maps])
        maps = self._own_sizes(images, self._decided(outputs.margins(self.threshold_)))
        return _joined([one > 0 for one in maps])

    def predict_uncertainty(self, X: Any) -> Uncertainty:
        """Return the uncertainty of each pixel and its two parts, in nats.

        The total is the entropy of `predict_proba`. Its data part is the mean entropy
        of the members of an ensemble, and its model part is how far they disagree [1]_.
        With one network, the model part is zero.

        Parameters
        ----------
        X : array-like
            As in `fit`.

        Returns
        -------
        Uncertainty
            A named tuple of ``total``, ``data`` and ``model``, each an ndarray of shape
            (n, height, width), float64, or a list of ndarray if the images differ in
            size. The last two add up to the total, which is at most the logarithm
            of 2.

        References
        ----------
        .. [1] S. Depeweg et al., "Decomposition of uncertainty in Bayesian deep
           learning for efficient and risk-sensitive learning", ICML 2018.
        """
        images, outputs = self._outputs(X)
        members = getattr(outputs, "members", [outputs])
        maps = np.stack([self._pixel_probabilities(one) for one in members])
        found = []
        for k, image in enumerate(images):
            own = np.stack([resize(one[k], image.shape[:2]) for one in maps])
            found.append(decompose(np.stack([1 - own, own], axis=-1)))
        return Uncertainty(*(_joined(list(part)) for part in zip(*found, strict=True)))

    def decision_function(self, X: Any) -> np.ndarray:
        """Return a score for each image. The higher it is, the likelier a defect.

        Parameters
        ----------
        X : array-like
            As in `fit`.

        Returns
        -------
        ndarray of shape (n,), float32
            Mean of the log-odds of the two windows that are most likely defective.
        """
        _, outputs = self._outputs(X)
        odds = outputs.log_odds().reshape(len(outputs), -1)
        return np.sort(odds, axis=1)[:, -2:].mean(axis=1)

    def predict_windows(self, X: Any) -> np.ndarray:
        """Return the probability of a defect for each window.

        Parameters
        ----------
        X : array-like
            As in `fit`.

        Returns
        -------
        ndarray of shape (n, n_steps), float32
            In the order of `sequencer_`.
        """
        _, outputs = self._outputs(X)
        return outputs.probabilities().reshape(len(outputs), -1)

    def score(self, X: Any, Y: Any) -> float:
        """Return the F1 over all pixels of all images.

        Parameters
        ----------
        X : array-like
            As in `fit`.
        Y : array-like
            Masks, or labels of windows, (n, n_steps).

        Returns
        -------
        float
            F1 score. It is 1 if no pixel is defective and none is predicted to be.
        """
        images = check_images(X)
        if is_window_labels(Y):
            check_is_fitted(self)
            n_steps = self.sequencer_.n_steps_
            truth = check_window_labels(Y, len(images), n_steps, "Y") > 127
            _, outputs = self._outputs(images)
            margins = outputs.margins(self.threshold_)
            return pixel_f1(list(truth), list(margins.reshape(truth.shape) > 0))
        return pixel_f1(check_masks(Y, images), list(self.predict(images)))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.two_d_array = False
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        return tags


def _joined(maps: list[np.ndarray]) -> Any:
    """Return one array if all maps have one shape, or else the list."""
    same = len({one.shape for one in maps}) == 1
    return np.stack(maps) if same else maps
