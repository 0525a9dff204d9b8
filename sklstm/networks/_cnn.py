"""The network "cnn": convolutions with as many weights as "cnn_lstm"."""

from typing import Any

from sklstm._keras import keras

from sklstm.networks._blocks import (
    add_dropout,
    classifier_model,
    count_head_weights,
    matching_width,
)
from sklstm.networks._cnn_lstm import count_lstm_weights
from sklstm.networks._convolutions import conv_block
from sklstm.networks._feature_map import feature_map
from sklstm.networks._reading import takes
from sklstm.networks._scan_2d import check_scan, pool_positions


@takes("images")
def cnn(
    input_shape: tuple[int, ...],
    n_classes: int,
    *,
    units: int = 64,
    n_layers: int = 1,
    bidirectional: bool = True,
    filters: int = 32,
    stem_kernels: str = "plain",
    stem_blocks: str = "plain",
    stem_depth: int | None = None,
    stem_size: int = 8,
    stem_dropout: float = 0.0,
    drop_path: float = 0.0,
    squeezed_filters: int = 16,
    scan: str = "lines",
    pooling: str = "max",
    input_noise: float = 0.2,
    dropout: float = 0.3,
    l2: float = 0.0,
    augmentation: Any = None,
    ordinal: bool = False,
    backbone: Any = None,
) -> keras.Model:
    """Build a convolutional network with as many weights as `cnn_lstm`, as its control.

    The stem is that of `cnn_lstm`. Two 3 x 3 convolutions replace each LSTM layer. The
    number of their filters is chosen so that the network has the number of weights that
    `cnn_lstm` has with the same parameters.

    Parameters
    ----------
    input_shape : tuple
        Shape (height, width, channels) of an image.
    n_classes : int
        Number of classes.
    units, n_layers : int
        Parameters of the `cnn_lstm` whose number of weights is matched.
    bidirectional : bool
        Parameter of the `cnn_lstm` whose number of weights is matched.
    filters : int
        Number of filters of the stem; see `cnn_lstm`.
    stem_kernels, stem_blocks : str
        Kinds of kernels and blocks of the stem; see `cnn_lstm`.
    stem_depth : int or None
        Number of blocks before each halving; see `cnn_lstm`.
    stem_size : int
        Size of the feature map; see `cnn_lstm`.
    stem_dropout, drop_path : float
        Dropout and stochastic depth of residual blocks; see `cnn_lstm`.
    squeezed_filters : int
        Parameter of the `cnn_lstm` whose number of weights is matched.
    scan : {"lines", "positions"}
        Parameter of the `cnn_lstm` whose number of weights is matched.
    pooling : {"max", "mean", "last", "attention"}
        How to pool over all positions. Convolutions have no last step, so "last" means
        "mean". "attention" is an `AttentionPooling`.
    input_noise : float
        See `lstm`.
    dropout : float
        Dropout rate before the head.
    l2 : float
        See `lstm`.
    augmentation : None, str, dict or keras.layers.Layer
        See `lstm`.
    ordinal : bool
        See `lstm`.
    backbone : dict or None
        See `cnn_lstm`.

    Returns
    -------
    keras.Model
        Network, not compiled. Its output has the shape (n, n_classes) and contains
        probabilities, float32.

    Raises
    ------
    ValueError
        If `augmentation`, `scan` or an option of the stem is invalid, if `scan` does
        not have this `pooling`, if `stem_dropout` or `drop_path` is given for plain
        blocks, or if an option of the stem is given with a backbone.

    Examples
    --------
    >>> from sklstm.networks import cnn
    >>> cnn((28, 28, 1), n_classes=10).output_shape
    (None, 10)
    """
    check_scan(scan, pooling)
    inputs, x, regularizer = feature_map(
        input_shape,
        augmentation=augmentation,
        input_noise=input_noise,
        l2=l2,
        backbone=backbone,
        filters=filters,
        stem_kernels=stem_kernels,
        stem_blocks=stem_blocks,
        stem_depth=stem_depth,
        stem_size=stem_size,
        stem_dropout=stem_dropout,
        drop_path=drop_path,
    )
    depth = x.shape[-1]
    directions = 2 if bidirectional else 1

    def n_end(n_features: int) -> int:
        n_pooling = n_features * (n_features + 2) if pooling == "attention" else 0
        return n_pooling + count_head_weights(n_features, n_classes, ordinal)

    target = n_end(2 * directions * units) + count_lstm_weights(
        x.shape[1:],
        units=units,
        n_layers=n_layers,
        bidirectional=bidirectional,
        squeezed_filters=squeezed_filters,
        scan=scan,
    )

    def n_weights(width: int) -> int:
        n_kernels = 9 * width * (depth + (2 * n_layers - 1) * width)
        return n_kernels + 2 * n_layers * 2 * width + n_end(width)

    width = matching_width(n_weights, target)
    for i in range(2 * n_layers):
        x = conv_block(x, width, 3, f"body_{i}", regularizer)
    x = pool_positions(x, "mean" if pooling == "last" else pooling, regularizer)
    x = add_dropout(x, dropout, "dropout")
    return classifier_model(inputs, x, n_classes, regularizer, "cnn", ordinal)
