"""LSTMImageClassifier: the class of an image or of a sequence."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from sklstm._compat import with_callbacks
from sklstm.estimators._auto import recipe_in_place
from sklstm.estimators._base import KerasEstimator
from sklstm.estimators._batches_in_memory import batches_in_memory
from sklstm.estimators._calibration import (
    calibrate,
    rows_to_train_on,
    with_temperature,
)
from sklstm.estimators._ensemble import (
    begin_fit,
    fit_members,
    is_ensemble,
    mean_of_members,
    n_members,
)
from sklstm.estimators._labels import (
    check_classes,
    check_groups,
    check_labels,
    encode,
    stratified_split,
)
from sklstm.estimators._samples import (
    LabelledSamples,
    check_new_samples,
    check_samples,
    describe_backbone,
    fit_backbone,
    fit_sequencer,
)
from sklstm.estimators._targets import loss_of, make_targets, one_hot
from sklstm.estimators._uncertainty import Uncertainty, decompose
from sklstm.estimators._validation import checked_validation, weighted_validation
from sklstm.estimators._watch import Shown
from sklstm.estimators._weights import (
    check_sample_weight,
    class_weights,
    mean_weight,
    multiply,
    rescale,
)
from sklstm.training._data import Data, take_rows


class LSTMImageClassifier(ClassifierMixin, KerasEstimator):
    """Image classifier that reads an image as a sequence with an LSTM.

    This estimator trains a Keras network. The network standardizes its input by the
    mean and the standard deviation of all training pixels. Pixels in 0..1, 0..16 and
    0..255 therefore give the same results.

    Parameters
    ----------
    network : str or callable, default="lstm"
        The network to train:

        - "lstm" and "lstm_transformer" read sequences;
        - "cnn_lstm" and "cnn" read images by convolutions first;
        - "bilstm2d", "renet", "sequencer" and "vil" read images without convolutions,
          in two directions;
        - "conv_lstm" reads volumes and videos, "bilstm3d" and "cnn3d" read volumes;
        - "auto" chooses one of them, and how it is trained, by the number, the size and
          the kind of the training images. It chooses `augmentation`, `stem_kernels`,
          `weight_decay` and `n_estimators` where these are None, and `epochs` where it
          is "auto". What you set is kept. ``augmentation={}`` is no augmentation.
          ``verbose=1`` prints the reasons;
        - a function ``build(input_shape, n_classes, **params)`` returns a new
          `keras.Model` that is not compiled and that outputs (n, n_classes)
          probabilities. A subclass of `keras.Model` that takes these arguments works
          as well. ``input_shape`` is ``(None, n_features)``. If the function has the
          attribute ``takes = "images"`` or ``takes = "volumes"``, it is the shape of
          one image or volume with its channels last. The function receives those of
          the parameters below that it names, and all ``network__*`` parameters.
    sequencer : RowSequencer, PatchSequencer, VolumeSequencer or None, default=None
        Scan that turns images into sequences inside the network, batch by batch. X
        then holds images, and overlapping patches need memory for one batch only. Its
        parameters can be set and searched, for example ``sequencer__stride``. If None,
        X holds sequences, and the rows of an image are its steps.
    augmentation : str, dict, keras.layers.Layer or None, default=None
        Random changes of the images during training, before the scan:

        - "light" rotates by up to 15 degrees, and shifts and zooms by up to 10 %;
        - "medium" rotates by up to 30 degrees, shifts by up to 15 %, zooms and changes
          the contrast by up to 20 %, and erases a rectangle in 10 % of the images;
        - "characters" is for digits and letters. It rotates, shifts, zooms and slants,
          but never flips;
        - "photo" is for photographs of objects and scenes. It flips left and right,
          shifts with a reflected border, changes brightness, contrast and colours, and
          erases a rectangle in 25 % of the images;
        - "surface" is for surfaces without a direction. It flips and turns by multiples
          of 90 degrees (180 if images are not square), shifts with a reflected border,
          and changes brightness and contrast;
        - "fundus" is for photographs through a round lens with a black border, such as
          a retina. It turns by any angle, flips, zooms, and changes brightness and
          contrast a little. A left eye can become a right one;
        - "fundus_sided" is the same if left and right matter. It rotates by up to 20
          degrees, and flips only up and down;
        - a dict has the keys "rotation" and "shear" (degrees), "translation", "crop"
          (a shift by whole pixels), "zoom", "contrast", "color" and "erasing"
          (fractions), "brightness" and "noise" (in standard deviations of the image),
          "flip" ("horizontal", "vertical" or "both"), "turn" (90, 180 or "auto"),
          "fill" ("constant", "nearest" or "reflect") and "resampling" ("each" or
          "once").

        Augmentation needs images: a network that reads images, or a `sequencer`.
    units : int, default=64
        Number of hidden units of each LSTM layer in each direction. In "vil", number of
        features of a patch.
    n_layers : int, default=1
        Number of stacked LSTM layers.
    bidirectional : bool, default=True
        If True, read the sequence in both directions. In "vil", every second block then
        reads backwards.
    patch_size : int or None, default=None
        Side, in pixels, of the patches that "bilstm2d", "renet", "sequencer" and "vil"
        read. They do not overlap. If None, the network chooses it by the size of the
        images: "bilstm2d" and "renet" take 1 for 8 x 8 pixels, 2 for 28 x 28 and 4 for
        64 x 64.
    embedding : {"dense", "pixel"} or None, default=None
        Embedding of the steps before the first LSTM layer. "dense" projects each step
        linearly to `units` features, or to ``network__embedding_units``. "pixel"
        replaces each pixel by a learned vector for its grey level, one of 256. The
        vector has 4 numbers, or ``network__embedding_units``.
    attention : {"self", "multihead", "multiscale", "additive"} or None, default=None
        Attention over the steps after the LSTM layers:

        - "self": each step attends to all steps;
        - "multihead": the same with several heads, ``network__n_heads=4``;
        - "multiscale": each step attends to the steps of its window, for several
          window sizes, ``network__windows=(4, 16, 64)``;
        - "additive": a weighted mean of the steps with learned weights. It replaces
          `pooling`.
    pooling : {"last", "mean", "max", "attention", "flatten"} or None, default=None
        How the steps become one vector. "last" takes the last step that each direction
        reads, "mean" and "max" are taken over the steps, and "attention" is a weighted
        mean with learned weights. "flatten" keeps all positions of a grid side by side.
        Only "renet", and "bilstm2d" with ``scan="positions"``, have it. "renet" has no
        "last", and ``scan="lines"`` has no "attention". If None, "renet" uses
        "flatten", "bilstm2d", "cnn_lstm" and "cnn" use "max", "vil" uses "mean", and
        the other networks use "last".
    scan : {"lines", "positions"} or None, default=None
        How "bilstm2d" reads an image, and "cnn_lstm" its feature map, in two
        directions. With "lines", a step is a whole row or a whole column. With
        "positions", every row and every column is a sequence of its own, whose steps
        are patches or positions of the map, and the outputs along both are joined at
        each position. "cnn" then has as many weights as that "cnn_lstm". If None, it is
        "lines".
    input_noise : float or None, default=None
        Standard deviation of the Gaussian noise that training adds to the standardized
        input [3]_, in standard deviations of the pixels. It keeps the network from
        memorizing a small image set. If None, it is 0.5 for networks that read
        sequences, for "bilstm2d" and for "renet", and 0.2 for the others. 0 adds no
        noise.
    dropout : float, default=0.3
        Dropout rate after each LSTM layer, in [0, 1).
    l2 : float, default=0.0
        Strength of the L2 penalty on all kernels.
    batch_norm : bool, default=False
        If True, normalize batches after each LSTM layer.
    ordinal : bool, default=False
        If True, the classes are ordered, as grades are. The network then ends in one
        score and in thresholds that all samples share, a cumulative-link model [4]_. It
        has fewer weights than a softmax. Labels must be numbers. Only their order
        counts.
    stem_kernels : {"plain", "harmonic"} or None, default=None
        How the convolutional stem of "cnn_lstm" and "cnn" learns its kernels.
        "harmonic" learns combinations of cosine waves [5]_, and the first layer reads
        the normalized frequencies of the image. If None, it is "plain".
    stem_blocks : {"plain", "residual"}, default="plain"
        Blocks of the stem of "cnn_lstm" and "cnn": "plain" convolutions, or "residual"
        blocks of two convolutions each, as in a wide residual network [6]_. The number
        of filters is ``network__filters=32``, and up to four times as many after
        halvings.
    stem_depth : int or None, default=None
        Number of blocks of the stem before each halving of the image and after the last
        one. If None, there are at least two convolutions each, and four or more in all.
    stem_size : int, default=8
        The stem halves the image until its shorter side has at most this many pixels.
    stem_dropout : float, default=0.0
        Dropout rate between the two convolutions of a residual block, in [0, 1).
    drop_path : float, default=0.0
        Probability, in [0, 1), that training leaves out the last residual block of the
        stem, or the last block of "sequencer" or "vil", for a sample [7]_. It grows
        linearly with the number of the block.
    backbone : keras.Model, FeatureSequencer or None, default=None
        Pretrained model in place of the stem of "cnn_lstm" or "cnn". Its feature map is
        read in their way. Its last layers train along. Your model does not change, and
        clones share it. With a model, X must be uint8. A `FeatureSequencer` gives its
        layer, the size and the values of the images. There is no standardization and no
        `input_noise` then.
    backbone_layers : int, default=10
        Number of layers of the backbone that train, counted from the feature map. Batch
        normalizations and layers without weights do not count, and never train. With 0,
        the features stay as they are.
    backbone_warmup : float, default=0.3
        Part of the updates, in [0, 1), in which the rest of the network trains alone.
        In `partial_fit`, this is the first call.
    backbone_rate : float, default=0.1
        Learning rate of the backbone, as a part of the learning rate.
    optimizer : str, class or keras.optimizers.Optimizer, default="adam"
        Name, class or instance of a Keras optimizer. Parameters of a name or a class
        are routed, for example ``optimizer__beta_1``. An instance is copied, and keeps
        its own learning rate, clipping and accumulation. If its learning rate is a
        Keras schedule, `lr_schedule` has no effect.
    learning_rate : float, default=3e-3
        Learning rate at the start of training.
    lr_schedule : {"cosine", "constant"} or keras schedule, default="cosine"
        Schedule of the learning rate. "cosine" lets it fall to zero along half a cosine
        [2]_ until the last update. A Keras `LearningRateSchedule` replaces
        `learning_rate`. Callbacks can set the learning rate only with "constant"; with
        the others they are refused.
    warmup : float, default=0.0
        Part of the updates, in [0, 1), in which the learning rate rises in equal steps
        to `learning_rate`, before the schedule begins [8]_.
    weight_decay : float or None, default=None
        Strength of the decoupled weight decay [9]_. Each update multiplies the
        kernels by ``1 - learning_rate * weight_decay``. Biases and the weights of
        normalizations do not decay. If None, the optimizer decides: "adam" has no
        decay, and Keras' "adamw" multiplies all weights by ``1 - learning_rate *
        0.004``.
    clipvalue : float or None, default=1.0
        Bound on each element of the gradient. Set it to None to clip by norm with
        ``optimizer__clipnorm`` or ``optimizer__global_clipnorm``, or not to clip.
    gradient_accumulation_steps : int, default=1
        Number of batches whose mean gradient makes one update.
    batch_size : int or "auto", default=32
        Number of samples in a batch. The last batch of an epoch may be smaller. "auto"
        begins with 32. If memory runs out, training begins again with half of it and
        twice as many `gradient_accumulation_steps`, and a warning says so. An update
        then sees as many samples, but batch normalization sees smaller batches.
    epochs : int or "auto", default="auto"
        Maximum number of passes over the training data. If "auto", train for 60 epochs.
        On small data sets train longer, until the weights have been updated 1,200
        times, but never for more than 400 epochs.
    average_epochs : int, default=1
        Number of epochs whose weights are averaged [10]_. The network gets the mean of
        the weights after each of the last `average_epochs` epochs. During training,
        the validation and callbacks see this mean. 1 keeps the weights of the last
        epoch.
    early_stopping : bool, default=False
        If True, stop when the validation loss has not fallen for `patience` epochs, and
        keep the weights of the best epoch. The validation data are ``X_val, y_val`` of
        `fit`, or else a stratified part of the training data. With the cosine schedule,
        training goes back to the best weights first, and lowers the learning rate to
        zero over ``patience / 2`` further epochs.
    patience : int, default=10
        Number of epochs to wait for a lower validation loss.
    validation_fraction : float, default=0.1
        Fraction of the training data that is held out for early stopping. `calibration`
        holds out the same fraction, before that of early stopping.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes. Classes that a dict does not name have the weight 1. A
        dict that names all classes may name others as well. "balanced" gives all
        classes the same total weight.
    label_smoothing : float, default=0.0
        Part of the target, in [0, 1), that is spread evenly over all classes [11]_.
    mixup : float, default=0.0
        If above 0, train on weighted means of two images and of their targets [12]_. It
        is the parameter of the symmetric beta distribution of the weight: 0.2 rarely
        mixes two images evenly, and with 1 all weights are equally probable.
    cutmix : float, default=0.0
        If above 0, paste a box of another image into each image, and mix the targets by
        the area [13]_. It is the parameter of the symmetric beta distribution of the
        area. If `mixup` is above 0 too, each image takes one of the two at random. Both
        come after `augmentation`. In a sequence, the box is a span of steps.
    loss : str, class, function or keras.losses.Loss, default=None
        Loss to minimize. If None, use the cross-entropy. A loss with "sparse" in its
        name receives class numbers, and any other loss receives one-hot targets.
        ``loss__*`` parameters go to a class.
    metrics : list, default=None
        Further metrics for `history_`: names, classes, instances or functions. A Keras
        metric receives the targets that it is made for, whatever the loss receives. A
        metric of your own receives one-hot targets. It receives class numbers if
        "sparse" is in its name, or if it cannot use one-hot targets.
    callbacks : list or keras.callbacks.Callback, default=None
        Keras callbacks, as classes or instances. ``callbacks__*`` parameters go to
        classes, as in scikeras. A callback that listens to single batches makes
        training run through Keras' own `fit`, which is slower.
    dtype_policy : {"float32", "mixed_float16", "mixed_bfloat16"}, default=None
        Keras dtype policy of the network. The mixed policies compute in half precision,
        which is faster on some hardware. Weights and probabilities stay float32. If
        None, use the global policy of Keras.
    warm_start : bool, default=False
        If True, continue from the weights and the standardization of the last fit.
    n_estimators : int or None, default=None
        Number of networks. If more than one, they form a deep ensemble [14]_: each is
        trained from a seed of its own, and their probabilities are averaged. Training
        takes as many times as long. The networks share one compiled graph. If None, it
        is 1.
    bootstrap : bool, default=False
        If True, train each network on a bootstrap resample of the samples [15]_. The
        resample has as many samples of each class as `X`. With ``groups`` in `fit`, it
        has as many whole groups as `X`.
    calibration : {"temperature"} or None, default=None
        If "temperature", divide the logarithms of the mean probabilities by
        `temperature_` [16]_, which is fitted on samples that were not trained on. With
        `bootstrap`, each sample is predicted by the networks whose resample lacks it.
        Otherwise the samples are ``X_val, y_val`` of `fit`, or else a stratified part
        of the training data, `validation_fraction`, on which no network is trained.
        The most probable class does not change.
    op_determinism : bool, default=False
        If True, run only deterministic kernels during training. This is slower, and
        identical results need it only on a GPU.
    random_state : int, RandomState instance or None, default=None
        Seed for initial weights, order of the samples, dropout and the split. Pass an
        int for reproducible results. Global generators are neither read nor changed.
    verbose : int, default=0
        If 1, print a line per epoch.
    **routed
        Parameters with the prefixes ``network__``, ``optimizer__``, ``loss__``,
        ``metrics__`` and ``callbacks__``, as in scikeras.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted labels.
    model_ : keras.Model
        The trained network. That of an ensemble returns the mean of its networks, and
        is made at first use.
    estimators_ : list of LSTMImageClassifier
        The fitted members of the ensemble. Without an ensemble, this estimator. A clone
        of a member predicts the same if it is fitted on the same samples: the rows of
        `estimators_samples_`, with their weights and groups, and the same ``X_val,
        y_val``. With `bootstrap` and no groups, the rows are the groups.
    estimators_samples_ : list of ndarray of int
        Rows of `X` that each member of an ensemble was fitted on.
    temperature_ : float
        The temperature, if `calibration` is set. Above 1, the probabilities were too
        close to 0 and 1.
    network_ : str
        The network that "auto" chose.
    recipe_ : dict of str to object
        The parameters that "auto" chose. ``set_params(**recipe_)`` on a clone gives the
        same predictions.
    history_ : dict of str to list of float
        Values per epoch: loss, accuracy, gradient_norm (mean over the batches of the
        norm of the whole gradient before clipping), learning_rate (of the last batch)
        and, in epochs with validation, val_loss and val_accuracy. For an ensemble, the
        means over the members that ran the epoch.
    n_iter_ : int
        Number of epochs run; for an ensemble, the largest.
    best_epoch_ : int
        Number of epochs after which the kept weights were reached; for an ensemble, the
        median.
    batch_size_, gradient_accumulation_steps_ : int
        What training took, if ``batch_size="auto"``.
    sequencer_ : estimator
        The fitted `sequencer`, if one was given.
    n_features_in_ : int
        Number of values per sample.
    image_shape_ : tuple
        Shape of one sample.
    feature_names_in_ : ndarray of str
        Names of the columns, if X was a table whose column names are strings.

    See Also
    --------
    RowSequencer : Read images by rows or columns.
    PatchSequencer : Read images by patches.

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
    .. [5] M. Ulicny, V. A. Krylov and R. Dahyot, "Harmonic convolutional networks based
       on discrete cosine transform", Pattern Recognition 129, 2022.
    .. [6] S. Zagoruyko and N. Komodakis, "Wide residual networks", BMVC 2016.
    .. [7] G. Huang, Y. Sun, Z. Liu, D. Sedra and K. Q. Weinberger, "Deep networks with
       stochastic depth", ECCV 2016.
    .. [8] P. Goyal et al., "Accurate, large minibatch SGD: training ImageNet in 1
       hour", arXiv 1706.02677, 2017.
    .. [9] I. Loshchilov and F. Hutter, "Decoupled weight decay regularization", ICLR
       2019.
    .. [10] J. Kaddour, "Stop wasting my time! Saving days of ImageNet and BERT training
       with latest weight averaging", arXiv 2209.14981, 2022.
    .. [11] C. Szegedy et al., "Rethinking the Inception architecture for computer
       vision", CVPR 2016.
    .. [12] H. Zhang et al., "mixup: beyond empirical risk minimization", ICLR 2018.
    .. [13] S. Yun et al., "CutMix: regularization strategy to train strong classifiers
       with localizable features", ICCV 2019.
    .. [14] B. Lakshminarayanan, A. Pritzel and C. Blundell, "Simple and scalable
       predictive uncertainty estimation using deep ensembles", NeurIPS 2017.
    .. [15] L. Breiman, "Bagging predictors", Machine Learning 24, 1996.
    .. [16] C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On calibration of modern
       neural networks", ICML 2017.

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
    _averages_outputs = True

    def __init__(
        self,
        network: Any = "lstm",
        *,
        sequencer: Any = None,
        augmentation: Any = None,
        units: int = 64,
        n_layers: int = 1,
        bidirectional: bool = True,
        patch_size: int | None = None,
        embedding: str | None = None,
        attention: str | None = None,
        pooling: str | None = None,
        scan: str | None = None,
        input_noise: float | None = None,
        dropout: float = 0.3,
        l2: float = 0.0,
        batch_norm: bool = False,
        ordinal: bool = False,
        stem_kernels: str | None = None,
        stem_blocks: str = "plain",
        stem_depth: int | None = None,
        stem_size: int = 8,
        stem_dropout: float = 0.0,
        drop_path: float = 0.0,
        backbone: Any = None,
        backbone_layers: int = 10,
        backbone_warmup: float = 0.3,
        backbone_rate: float = 0.1,
        optimizer: Any = "adam",
        learning_rate: float = 3e-3,
        lr_schedule: Any = "cosine",
        warmup: float = 0.0,
        weight_decay: float | None = None,
        clipvalue: float | None = 1.0,
        gradient_accumulation_steps: int = 1,
        batch_size: int | str = 32,
        epochs: int | str = "auto",
        average_epochs: int = 1,
        early_stopping: bool = False,
        patience: int = 10,
        validation_fraction: float = 0.1,
        class_weight: Any = None,
        label_smoothing: float = 0.0,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        loss: Any = None,
        metrics: Any = None,
        callbacks: Any = None,
        dtype_policy: str | None = None,
        warm_start: bool = False,
        n_estimators: int | None = None,
        bootstrap: bool = False,
        calibration: str | None = None,
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
        self.patch_size = patch_size
        self.embedding = embedding
        self.attention = attention
        self.pooling = pooling
        self.scan = scan
        self.input_noise = input_noise
        self.dropout = dropout
        self.l2 = l2
        self.batch_norm = batch_norm
        self.ordinal = ordinal
        self.stem_kernels = stem_kernels
        self.stem_blocks = stem_blocks
        self.stem_depth = stem_depth
        self.stem_size = stem_size
        self.stem_dropout = stem_dropout
        self.drop_path = drop_path
        self.backbone = backbone
        self.backbone_layers = backbone_layers
        self.backbone_warmup = backbone_warmup
        self.backbone_rate = backbone_rate
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
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing
        self.mixup = mixup
        self.cutmix = cutmix
        self.loss = loss
        self.metrics = metrics
        self.callbacks = callbacks
        self.dtype_policy = dtype_policy
        self.warm_start = warm_start
        self.n_estimators = n_estimators
        self.bootstrap = bootstrap
        self.calibration = calibration
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
            Sequences (n, n_steps, n_features), images (n, height, width) or
            (n, height, width, channels), or volumes and videos (n, depth, height,
            width) or (n, depth, height, width, channels). If `sequencer` is set, it
            reads the images. Otherwise networks for images take them as they are, and
            networks for sequences read them by rows. Flat images (n, n_pixels) become
            square images if n_pixels is a perfect square, and images (n_pixels, 1) if
            not. uint8 is kept as bytes. All other dtypes become float32.
        y : array-like of shape (n,)
            Classes: whole numbers, strings or bool. All labels are of one kind, and
            none is missing.
        sample_weight : array-like of shape (n,), default=None
            Weights of the losses of the samples, not negative. Only their proportions
            count, because they are divided by their mean. Samples of weight zero are
            left out.
        X_val, y_val : array-like, default=None
            Validation data, which `early_stopping` uses if it is set. Their losses are
            weighted by `class_weight`. If None, `early_stopping` holds out a stratified
            part of the training data with its weights.
        groups : array-like of shape (n,), default=None
            Groups of the samples, such as patients. The splits for validation and
            calibration, and resamples, keep the samples of a group together.

        Returns
        -------
        self : LSTMImageClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter, X or y cannot be used. The estimator does not change.
        FloatingPointError
            If the loss becomes NaN or infinite.
        MemoryError
            If memory runs out. The message says what to set.
        """
        self._validate_params()
        continues = self.warm_start and self._is_fitted()
        repeats = self.batch_size == "auto"
        with (
            batches_in_memory(self, continues) as within_memory,
            recipe_in_place(self, X, continues),
        ):
            epochs = self._plan_epochs(X)
            n_tasks = n_members(self) if is_ensemble(self) else epochs
            # If training begins again, the number of epochs is not known before.
            n_known = None if repeats else n_tasks
            context = self._init_callback_context(max_subtasks=n_known)
            seen = _as_callbacks_see(X, y, sample_weight)
            context.call_on_fit_task_begin(estimator=self, **seen)

            def train() -> None:
                with self._all_or_nothing(continues):
                    self._fit(
                        X,
                        y,
                        sample_weight,
                        None if X_val is None and y_val is None else (X_val, y_val),
                        context=context,
                        seen=seen,
                        continues=continues,
                        # Smaller batches make more updates.
                        epochs=self._plan_epochs(X),
                        groups=groups,
                    )

            within_memory(train)
            context.call_on_fit_task_end(
                estimator=self, **seen, reconstruction_attributes=self._snapshot
            )
        return self

    @with_callbacks
    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None
    ) -> LSTMImageClassifier:
        """Train for one more epoch, at a constant learning rate.

        The first call determines the classes and the standardization. `warmup` and
        `average_epochs` have no effect on one epoch.

        Parameters
        ----------
        X : array-like
            As in `fit`.
        y : array-like of shape (n,)
            Classes. Not all of them have to occur.
        classes : array-like, default=None
            All classes that will occur. The first call needs them if `y` lacks some.
        sample_weight : array-like of shape (n,), default=None
            As in `fit`. Later calls divide by the mean of the first call.

        Returns
        -------
        self : LSTMImageClassifier
            The fitted estimator.
        """
        self._validate_params()
        continues = self._is_fitted()
        repeats = self.batch_size == "auto"
        with (
            batches_in_memory(self, continues) as within_memory,
            recipe_in_place(self, X, continues),
        ):
            n_known = None if repeats else n_members(self)
            context = self._init_callback_context(max_subtasks=n_known)
            seen = _as_callbacks_see(X, y, sample_weight)
            context.call_on_fit_task_begin(estimator=self, **seen)

            def train() -> None:
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

            within_memory(train)
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
        begin_fit(self, continues)
        x = check_samples(self, X, reset=not continues)
        fit_sequencer(self, x)
        fit_backbone(self, x)
        codes = self._classes_of(y, len(x), continues, classes)
        if one_epoch:
            self._check_partial_fit()
        if groups is not None:
            groups = check_groups(groups, len(x))
        weights = check_sample_weight(sample_weight, len(x))
        samples = LabelledSamples(x, codes, weights, groups)
        watched = None
        if validation is not None:
            watched = checked_validation(self, *validation)
        how: dict[str, Any] = {
            "context": context,
            "seen": seen,
            "continues": continues,
            "one_epoch": one_epoch,
        }
        if not is_ensemble(self):
            self._train(samples, watched, epochs=epochs, **how)
            return
        rows, held_out = rows_to_train_on(self, samples, watched)
        holds_out = self.early_stopping and watched is None and not one_epoch
        fit_members(self, samples, watched, rows=rows, holds_out=holds_out, **how)
        if held_out is not None:
            calibrate(self, held_out)

    def _check_partial_fit(self) -> None:
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' needs all samples at once, which partial_fit "
                "does not have: give a dict of weights."
            )
        if self.calibration is not None:
            raise ValueError(
                f"calibration={self.calibration!r} needs samples that are never "
                "trained on, and partial_fit trains on all: leave it out."
            )

    def _train(
        self,
        samples: LabelledSamples,
        given: tuple | None,
        *,
        context: Any,
        seen: dict[str, Any],
        continues: bool,
        epochs: int,
        one_epoch: bool = False,
        shown: Shown | None = None,
    ) -> None:
        """Train the one network of this estimator on checked samples."""
        # Here and not above: this loads Keras.
        from sklstm.estimators._fitting import start_network, train_network

        x, codes, groups = samples.x, samples.codes, samples.groups
        per_class = class_weights(
            self.class_weight, self.classes_, codes, samples.weights
        )
        weights = multiply(samples.weights, per_class[codes])
        # Later calls of partial_fit keep the scale of the first call.
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
        if given is not None:
            watched = weighted_validation(given[0], given[1], per_class)
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
            to_watch = Data(x_val, make_targets(self, codes_val), rescale(weights_val))

        reading: dict[str, Any] = {}
        pretrained = None
        if self.backbone is not None:
            reading["backbone"], pretrained = describe_backbone(self, x)
        if self.sequencer is not None:
            reading["index_map"] = self.sequencer_.index_map_
        mixing = None
        if self.mixup > 0 or self.cutmix > 0:
            mixing = {"mixup": self.mixup, "cutmix": self.cutmix}
        if self.augmentation is not None:
            # The area of a pasted box counts, so images change before they are mixed.
            place = reading if mixing is None else mixing
            place["augmentation"] = self.augmentation
        start_network(
            self,
            x,
            seeds[0],
            continues,
            n_outputs=len(self.classes_),
            compile_params={
                "loss": loss_of(self),
                "metrics": self.metrics,
                **self._routed_to("loss", "metrics"),
            },
            one_hot=one_hot(self),
            reading_params=reading,
            mixing=mixing,
            pretrained=pretrained,
        )
        targets = make_targets(self, codes, self.label_smoothing)
        result = train_network(
            self,
            Data(x, targets, rescale(weights, self._mean_weight)),
            to_watch,
            epochs=epochs,
            context=context,
            constant_rate=one_epoch,
            seen=seen,
            shown=shown,
        )
        self.n_iter_ = len(self.history_["loss"])
        self.best_epoch_ = self.n_iter_ - result.n_epochs + result.best_epoch

    def _classes_of(
        self, y: Any, n_samples: int, continues: bool, classes: Any
    ) -> np.ndarray:
        """Set `classes_` and return the index of each label in it."""
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
        return self._probabilities(check_new_samples(self, X))

    def _probabilities(self, x: np.ndarray) -> np.ndarray:
        """Return the probabilities of checked samples."""
        mean = mean_of_members(self, lambda network: network.predict(x))
        temperature = getattr(self, "temperature_", None)
        return mean if temperature is None else with_temperature(mean, temperature)

    def predict_uncertainty(self, X: Any) -> Uncertainty:
        """Return the uncertainty of each prediction and its two parts, in nats.

        The total is the entropy of the mean probabilities of the members of an ensemble
        [1]_. Its data part is the mean entropy of the members, and its model part is
        how far they disagree. More training data reduce the model part, and images of
        another kind raise it. With one network, the model part is zero. `temperature_`
        does not enter.

        Parameters
        ----------
        X : array-like
            As in `fit`, of the same shape per sample.

        Returns
        -------
        Uncertainty
            A named tuple of ``total``, ``data`` and ``model``, each an ndarray of shape
            (n,), float64. The last two add up to the total, which is at most the
            logarithm of the number of classes.

        See Also
        --------
        sklstm.inspection.RiskCoverageDisplay : Error without uncertain predictions.

        References
        ----------
        .. [1] S. Depeweg et al., "Decomposition of uncertainty in Bayesian deep
           learning for efficient and risk-sensitive learning", ICML 2018.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklstm import LSTMImageClassifier
        >>> digits = load_digits(n_class=3)
        >>> ensemble = LSTMImageClassifier(n_estimators=2, units=8, epochs=2)
        >>> ensemble.fit(digits.images, digits.target)
        LSTMImageClassifier(epochs=2, n_estimators=2, units=8)
        >>> total, data, model = ensemble.predict_uncertainty(digits.images)
        >>> bool((model >= 0).all())
        True
        """
        check_is_fitted(self)
        x = check_new_samples(self, X)
        return decompose(np.stack([one.predict(x) for one in self._networks()]))

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
        """Return the attention of the network to each step or each pixel.

        The network needs `attention` or ``pooling="attention"``. A network of your own
        must end in an `AttentionPooling`. The weight of step k sums the attention that
        each step q pays to k, weighted by the contribution of q to the pooled vector.
        "mean" pooling weights all steps equally, and "max" pooling counts as a mean.
        With "last" pooling, the last step contributes everything. If the network is
        bidirectional, the last and the first step contribute half each, because the
        backward direction ends at the first step. For an ensemble, this is the mean of
        the members.

        Parameters
        ----------
        X : array-like
            As in `fit`, of the same shape per sample.
        per : {"step", "pixel"}, default="step"
            "pixel" gives the weight of each step to the pixels that it reads, and the
            mean to pixels that several steps read. It needs `sequencer`, or a network
            that pools the positions of a grid. If the sequencer is a step of a
            Pipeline, use its method ``steps_to_image``.

        Returns
        -------
        ndarray of shape (n, n_steps) or (n, height, width), float32
            Weights, which sum to one over the steps. (n, depth, height, width) for
            volumes.

        Raises
        ------
        ValueError
            If the network has no attention over the steps, or if `per` is "pixel" and
            there is no `sequencer` and no grid.

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
        from sklstm.training._attention_map import (
            has_attention,
            step_weights,
            steps_of_pixels,
        )

        if per not in ("step", "pixel"):
            raise ValueError(f"per={per!r} must be 'step' or 'pixel'.")
        network = self._networks()[0]
        with network.in_use() as compiled:
            followed = has_attention(compiled.model, network.spec)
            grid = steps_of_pixels(compiled.model, network.spec)
        if not followed:
            raise ValueError(
                "The network does not weigh its steps: of the named ones, 'lstm' and "
                "'lstm_transformer' do, with attention='additive', 'self', "
                "'multihead' or 'multiscale', or pooling='attention', and so do "
                "'renet', and 'bilstm2d' and 'cnn_lstm' with scan='positions', with "
                "pooling='attention'."
            )
        if per == "pixel" and not hasattr(self, "sequencer_") and grid is None:
            raise ValueError(
                "per='pixel' needs a sequencer inside the classifier: set sequencer=, "
                "or give the weights per step to steps_to_image of the one before it."
            )
        x = check_new_samples(self, X)

        def weights_of(network: Any) -> np.ndarray:
            with network.in_use() as compiled:
                batch_size = compiled.predict_batch(x)
                return step_weights(compiled.model, x, batch_size, network.spec)

        weights = mean_of_members(self, weights_of)
        if per == "step":
            return weights
        if grid is not None:
            return weights[:, grid]
        return self.sequencer_.steps_to_image(weights)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


def _as_callbacks_see(X: Any, y: Any, sample_weight: Any) -> dict[str, Any]:
    """Return the data for scikit-learn's callbacks, as the caller gave them to `fit`.

    The callbacks score them by the methods of the estimator, which take such data.
    """
    metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
    return {"X": X, "y": y, "metadata": metadata}
