"""The network "cnn_lstm": convolutions, then LSTMs along rows and columns."""

from typing import Any

from sklstm._keras import keras

from sklstm.networks._blocks import classifier_model
from sklstm.networks._convolutions import conv_block
from sklstm.networks._feature_map import feature_map
from sklstm.networks._reading import takes
from sklstm.networks._scan_2d import check_scan, scan_2d


@takes("images")
def cnn_lstm(
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
    """Build a convolutional stem, and LSTMs over the rows and columns of its output.

    The stem halves the image until its shorter side is at most 8 pixels. It consists of
    3 x 3 convolutions with batch normalization: at least two before each halving and
    after the last one, and four or more in all. The parameters ``stem_*`` change it. A
    1 x 1 convolution then reduces every position of the feature map to
    `squeezed_filters` features. One stack of LSTMs reads the rows of the map from top
    to bottom, another reads its columns from left to right. Each stack is pooled over
    its steps, and the two vectors are concatenated.

    Parameters
    ----------
    input_shape : tuple
        Shape (height, width, channels) of an image.
    n_classes : int
        Number of classes.
    units : int
        Number of hidden units per direction, layer and stack.
    n_layers : int
        Number of LSTM layers of each stack.
    bidirectional : bool
        If True, read the rows and the columns in both directions.
    filters : int
        Number of filters of the first convolutions. Each halving doubles it, up to four
        times `filters`.
    stem_kernels : {"plain", "harmonic"}
        How the stem learns its 3 x 3 kernels. "harmonic" learns combinations of the
        cosine waves of a DCT [1]_, see `HarmonicConv2D`. The first layer then reads
        the normalized frequencies of the image.
    stem_blocks : {"plain", "residual"}
        Blocks of the stem: convolutions, or residual blocks of two convolutions each,
        as in a wide residual network [2]_. The latter halve by convolutions of stride
        2.
    stem_depth : int or None
        Number of blocks before each halving and after the last one. If None, there are
        at least two convolutions each, and four or more in all. The first convolution
        before residual blocks does not count.
    stem_size : int
        Halve the image until its shorter side has at most this many pixels.
    stem_dropout : float
        Dropout rate between the two convolutions of a residual block.
    drop_path : float
        Probability that training leaves out the last residual block of the stem for a
        sample [3]_. It grows linearly with the number of the block.
    squeezed_filters : int
        Number of features of each position that the LSTMs read.
    scan : {"lines", "positions"}
        What the LSTMs read as a step: a whole row or column of the feature map, or a
        position, as `bilstm2d` does.
    pooling : {"max", "mean", "last", "attention"}
        How to make one vector of all steps; see `bilstm2d`.
    input_noise, dropout, l2 : float
        See `lstm`.
    augmentation : None, str, dict or keras.layers.Layer
        See `lstm`.
    ordinal : bool
        See `lstm`.
    backbone : dict or None
        A pretrained model in place of the stem, as `LSTMImageClassifier` describes it.
        Its weights are not pretrained before the classifier sets them. There is no
        input noise then.

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

    References
    ----------
    .. [1] M. Ulicny, V. A. Krylov and R. Dahyot, "Harmonic convolutional networks based
       on discrete cosine transform", Pattern Recognition 129, 2022.
    .. [2] S. Zagoruyko and N. Komodakis, "Wide residual networks", BMVC 2016.
    .. [3] G. Huang, Y. Sun, Z. Liu, D. Sedra and K. Q. Weinberger, "Deep networks with
       stochastic depth", ECCV 2016.

    Examples
    --------
    >>> from sklstm.networks import cnn_lstm
    >>> cnn_lstm((28, 28, 1), n_classes=10).output_shape
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
    x = conv_block(x, squeezed_filters, 1, "squeeze", regularizer, relu=False)
    x = scan_2d(
        x,
        scan=scan,
        units=units,
        n_layers=n_layers,
        bidirectional=bidirectional,
        pooling=pooling,
        dropout=dropout,
        regularizer=regularizer,
    )
    return classifier_model(inputs, x, n_classes, regularizer, "cnn_lstm", ordinal)


def count_lstm_weights(
    shape: tuple,
    *,
    units: int,
    n_layers: int,
    bidirectional: bool,
    squeezed_filters: int,
    scan: str,
) -> int:
    """Count the weights of `cnn_lstm` between its stem and the pooling.

    `shape` is that of the feature map.
    """
    height, width, depth = shape
    outputs = (2 if bidirectional else 1) * units
    total = squeezed_filters * (depth + 2)
    for line in (height, width):
        n_features = squeezed_filters * (line if scan == "lines" else 1)
        for _ in range(n_layers):
            total += 4 * outputs * (n_features + units + 1)
            n_features = outputs if scan == "lines" else 2 * outputs
    return total
