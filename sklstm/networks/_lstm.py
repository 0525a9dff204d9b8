"""The network "lstm": LSTMs over a sequence."""

from typing import Any

from sklstm._keras import keras

from sklstm.networks._blocks import (
    add_l2_penalty,
    check_pooling,
    classifier_model,
    embed_steps,
    lstm_stack,
    pool_steps,
)
from sklstm.networks._reading import read_input, takes
from sklstm.networks.layers import (
    MultiScaleAttention,
    SelfAttention,
)


@takes("sequences")
def lstm(
    input_shape: tuple[int | None, ...],
    n_classes: int,
    *,
    units: int = 64,
    n_layers: int = 1,
    bidirectional: bool = True,
    embedding: str | None = None,
    embedding_units: int | None = None,
    attention: str | None = None,
    n_heads: int = 4,
    windows: tuple[int, ...] = (4, 16, 64),
    pooling: str = "last",
    input_noise: float = 0.5,
    dropout: float = 0.3,
    l2: float = 0.0,
    batch_norm: bool = False,
    index_map: Any = None,
    augmentation: Any = None,
    ordinal: bool = False,
) -> keras.Model:
    """Build a classifier of stacked LSTMs over a sequence.

    The LSTM layers use only what the fused GPU kernel supports: tanh and sigmoid, a
    bias, no unrolling and no recurrent dropout. `initialize` starts the recurrent
    kernels orthogonal and the biases of the forget gates at one (Jozefowicz et al.,
    2015).

    Parameters
    ----------
    input_shape : tuple
        Shape (n_steps or None, n_features) of a sequence. With `index_map`, shape
        (height, width, channels) of an image or (depth, height, width, channels) of a
        volume.
    n_classes : int
        Number of classes.
    units : int
        Number of hidden units per direction and layer.
    n_layers : int
        Number of stacked LSTM layers.
    bidirectional : bool
        If True, read the steps in both directions and concatenate the results.
    embedding : {None, "dense", "pixel"}
        Layer before the first LSTM. "dense" projects every step to `embedding_units`
        features. "pixel" replaces every pixel by a learned vector of its grey level,
        of length `embedding_units` (`PixelEmbedding`).
    embedding_units : int or None
        Size of the embedding. If None, it is `units` for "dense" and 4 for "pixel".
    attention : {None, "self", "multihead", "multiscale", "additive"}
        Attention between the LSTM and the pooling. "self" is a `SelfAttention` with one
        head and "multihead" with `n_heads` heads. "multiscale" is a
        `MultiScaleAttention`. "additive" replaces the pooling by `AttentionPooling`.
    n_heads : int
        Number of heads of "multihead".
    windows : tuple of int
        Window sizes of "multiscale", in steps.
    pooling : {"last", "mean", "max", "attention"}
        How to make one vector of all steps. "last" takes the output of each direction
        at the step that it reads last. "attention" is an `AttentionPooling`.
    input_noise : float
        Standard deviation of the Gaussian noise that training adds to the standardized
        input.
    dropout : float
        Dropout rate after every LSTM layer.
    l2 : float
        Strength of the L2 penalty on every kernel.
    batch_norm : bool
        If True, add a batch normalization after every LSTM layer.
    index_map : ndarray of int, shape (n_steps, n_pixels_per_step), or None
        Scan that turns images or volumes into sequences inside the network; see `Scan`.
    augmentation : None, str, dict or keras.layers.Layer
        Random changes of the images in training, as `LSTMImageClassifier` takes them.
    ordinal : bool
        If True, the last layer is a `CumulativeLink` for ordered classes. If False, it
        is a softmax.

    Returns
    -------
    keras.Model
        Network, not compiled. Its output has the shape (n, n_classes) and contains
        probabilities, float32.

    Raises
    ------
    ValueError
        If `augmentation` or `windows` is invalid, or if `n_heads` does not divide the
        units of all directions.

    References
    ----------
    Jozefowicz, R., Zaremba, W. and Sutskever, I. (2015). An empirical exploration of
    recurrent network architectures. ICML.

    Examples
    --------
    >>> from sklstm.networks import lstm
    >>> lstm((None, 28), n_classes=10, attention="multihead").output_shape
    (None, 10)
    """
    check_pooling(pooling, ("last", "mean", "max", "attention"), "network='lstm'")
    inputs, x = read_input(
        input_shape,
        index_map=index_map,
        augmentation=augmentation,
        input_noise=input_noise,
    )
    x, regularizer = add_l2_penalty(x, l2)
    x = embed_steps(x, embedding, embedding_units, units, regularizer)
    if attention == "additive":
        attention, pooling = None, "attention"
    last = pooling == "last" and attention is None
    x = lstm_stack(
        x,
        units=units,
        n_layers=n_layers,
        bidirectional=bidirectional,
        dropout=dropout,
        batch_norm=batch_norm,
        regularizer=regularizer,
        last_step_only=last,
    )
    if attention in ("self", "multihead"):
        x = SelfAttention(
            n_heads if attention == "multihead" else 1,
            kernel_regularizer=regularizer,
            name="attention",
        )(x)
    elif attention == "multiscale":
        x = MultiScaleAttention(
            windows, kernel_regularizer=regularizer, name="attention"
        )(x)
    if not last:
        x = pool_steps(x, pooling, bidirectional, regularizer)
    return classifier_model(inputs, x, n_classes, regularizer, "lstm", ordinal)
