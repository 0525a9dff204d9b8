from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from sklstm._compat import CallbackSupportMixin, with_callbacks
from sklstm.features._cloning import clone_sharing
from sklstm.features._features import features
from sklstm.features._settings import Settings, settings_of
from sklstm.images import unchanged_on_error, validate_images
from sklstm.images._resize import resize
from sklstm.preprocessing._base import ArrayOutputMixin
from sklstm.preprocessing._scans import PATHS


class FeatureSequencer(
    CallbackSupportMixin, ArrayOutputMixin, TransformerMixin, BaseEstimator
):
    """Transformer that reads the feature map of a Keras model as a sequence.

    Each position of the feature map is a step, and the channels are its features. The
    model is given, with its weights. It is not trained, and nothing is downloaded. The
    features of an image are computed once: a cache keeps them, so that a
    cross-validation or a search does not run the model again in each fold.

    Parameters
    ----------
    backbone : keras.Model
        Model of images, such as one of `keras.applications`. It may have its top, which
        is left out. Clones of the transformer share it.
    layer : str, default=None
        Name of the layer that gives the feature map, of shape (height, width,
        channels). If None, the last layer that gives one.
    size : int or tuple of int, default=None
        Size to which the images are resized for the model, (height, width) or one
        number for both. An axis that shrinks is averaged over areas, and an axis that
        grows is interpolated linearly. If None, the size of the model's input if it is
        fixed, or else that of the images.
    order : {"raster", "snake", "hilbert"}, default="raster"
        Order of the positions, as in `PatchSequencer`.
    pooling : {None, "mean", "max"}, default=None
        If not None, return the mean or the maximum over all positions, for classifiers
        that read no sequences.
    batch_size : int, default=32
        Number of images that the model reads at once. The last batch is filled up, so
        that the features of an image do not depend on the other images.
    cache : {None, False}, str or path, default=None
        Where features are kept. If None, in the memory of this process, of which all
        transformers share 1 GiB (`set_feature_cache_size`). If a folder, there as well:
        other processes and later runs read them. If False, nowhere. It may change after
        `fit`.
    preprocessing : "auto", callable or None, default="auto"
        How images of 0 to 255 are prepared for the model. "auto" knows the models of
        `keras.applications` by their names, and models that begin with a layer that
        rescales. A function takes one image, a float32 array of shape (1, height,
        width, channels) with values from 0 to 255, and returns one of the same shape.
        If None, the model gets the images as they are then.
    value_range : tuple of float, default=None
        Values that are black and white in X. If None, they are 0 and 255 in uint8, and
        False and True in bool, and X of `transform` must have the dtype of `fit`. Other
        dtypes need it.
    dtype : {"float32", "float16"}, default="float32"
        dtype of the features. With "float16", they need half of the memory and of the
        disk.

    Attributes
    ----------
    grid_ : tuple of int
        Rows and columns of the feature map.
    n_steps_ : int
        Number of positions.
    n_channels_ : int
        Number of features of a position.
    image_shape_ : tuple of int
        Shape (height, width) or (height, width, channels) of the images seen in `fit`.
    n_features_in_ : int
        Number of values of one image.
    feature_names_in_ : ndarray of str
        Names of the columns, if X was a table with column names.

    See Also
    --------
    PatchSequencer : Read the patches themselves.
    sklstm.features.set_feature_cache_size : Change the memory of the cache.

    Notes
    -----
    Grey images are repeated for a model that takes three channels.

    A feature is found again by the pixels of its image, the weights and the structure
    of the model, the version and the backend of Keras, and the parameters. The code of
    your own layers belongs to the structure, but not the global variables that it
    reads. With ``pooling``, the cache keeps the pooled features.

    If the features of a model fill the memory, those of further images are computed in
    each call, and a warning says so. Those of other models are dropped first.

    Examples
    --------
    >>> import keras
    >>> import numpy as np
    >>> from sklstm import FeatureSequencer
    >>> backbone = keras.Sequential(
    ...     [keras.Input((None, None, 3)), keras.layers.Conv2D(16, 3, strides=4)]
    ... )
    >>> images = np.zeros((10, 32, 32, 3), dtype=np.uint8)
    >>> sequencer = FeatureSequencer(backbone, preprocessing=None)
    >>> sequencer.fit_transform(images).shape
    (10, 64, 16)
    """

    def __init__(
        self,
        backbone: Any,
        layer: str | None = None,
        size: int | tuple[int, int] | None = None,
        order: str = "raster",
        pooling: str | None = None,
        batch_size: int = 32,
        cache: Any = None,
        preprocessing: Any = "auto",
        value_range: tuple[float, float] | None = None,
        dtype: str = "float32",
    ) -> None:
        self.backbone = backbone
        self.layer = layer
        self.size = size
        self.order = order
        self.pooling = pooling
        self.batch_size = batch_size
        self.cache = cache
        self.preprocessing = preprocessing
        self.value_range = value_range
        self.dtype = dtype

    def __sklearn_clone__(self) -> Self:
        # A copy of the backbone for each fold would cost seconds and memory.
        return clone_sharing(self, "backbone", "preprocessing")

    @with_callbacks
    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the parameters, and learn the shape of the images and of the map.

        Parameters
        ----------
        X : array-like
            Images of shape (n, height, width) or (n, height, width, channels), or flat,
            (n, n_features).
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted transformer.

        Raises
        ------
        TypeError
            If `backbone` is no Keras model.
        ValueError
            If a parameter is invalid, or does not suit the images or the backbone.
        """
        context = self._init_callback_context()
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        with unchanged_on_error(self):
            images = validate_images(self, X, reset=True)
            self._how = settings_of(self, images)
            rows, columns, self.n_channels_ = self._how.map_shape
            self.grid_ = rows, columns
            self.n_steps_ = rows * columns
        context.call_on_fit_task_end(
            estimator=self, X=X, y=y, reconstruction_attributes={}
        )
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the features of images.

        Parameters
        ----------
        X : array-like
            Images of the shape seen in `fit`, or the same images flat.

        Returns
        -------
        features : ndarray, shape (n, n_steps, n_channels) or (n, n_channels)
            New array of `dtype`. With `pooling`, it has two axes.

        Raises
        ------
        ValueError
            If X does not hold images of the shape seen in `fit`, if a value is outside
            `value_range`, or if a feature is too large for float16.
        """
        check_is_fitted(self)
        images = validate_images(self, X, reset=False)
        found = features(images, self._how, self.cache)
        if self._how.pooling is not None:
            return found
        rows, columns = self.grid_
        places = np.arange(rows * columns).reshape(rows, columns)
        path = PATHS[self._how.order](places)
        sequences = found.reshape(len(found), rows * columns, -1)
        return sequences if self._how.order == "raster" else sequences[:, path]

    def steps_to_image(self, values: Any) -> np.ndarray:
        """Spread the value of each step over the image.

        This shows where in the image a quantity of the sequence lies, such as attention
        weights. A position of the feature map has no sharp border in the image, so
        values between the positions are interpolated.

        Parameters
        ----------
        values : array-like, shape (n, n_steps)
            One value for each step.

        Returns
        -------
        images : ndarray, shape (n, height, width), float32
            The values in the size of the images seen in `fit`.

        Raises
        ------
        ValueError
            If `values` has another shape, or if the features are pooled.
        """
        check_is_fitted(self)
        values = np.asarray(values, np.float32)
        if self._how.pooling is not None:
            raise ValueError(
                f"pooling={self._how.pooling!r} leaves no steps; set pooling=None."
            )
        if values.ndim != 2 or values.shape[1] != self.n_steps_:
            raise ValueError(
                f"values must have one entry for each of the {self.n_steps_} steps, "
                f"(n, {self.n_steps_}); got an array of shape {values.shape}."
            )
        places = np.arange(self.n_steps_).reshape(self.grid_)
        maps = np.empty_like(values)
        maps[:, PATHS[self._how.order](places)] = values
        size = self.image_shape_[:2]
        return np.stack([resize(one.reshape(self.grid_), size) for one in maps])

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return names of the entries of a flattened sequence.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Ignored.

        Returns
        -------
        names : ndarray of object
            Names such as "step3_channel5", or "channel5" with `pooling`.
        """
        check_is_fitted(self)
        steps = [f"step{step}_" for step in range(self.n_steps_)]
        if self._how.pooling is not None:
            steps = [""]
        return np.array(
            [f"{s}channel{c}" for s in steps for c in range(self.n_channels_)], object
        )

    def __getstate__(self) -> dict[str, Any]:
        # A dict, because files of `sklstm.save` hold no objects of other classes.
        state = dict(super().__getstate__())
        if "_how" in state:
            state["_how"] = dict(vars(state["_how"]))
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "_how" in state:
            state = {**state, "_how": Settings(**state["_how"])}
        super().__setstate__(state)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = []
        return tags
