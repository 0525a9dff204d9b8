"""The base class of all sequencers, which adds everything except the scan."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from sklstm._compat import CallbackSupportMixin, with_callbacks
from sklstm.images import all_finite, unchanged_on_error, validate_images
from sklstm.images._validate import batches, check_image_shape, describe_not_finite
from sklstm.preprocessing._gather import average_to_pixels, make_gather, plan_gather


class ArrayOutputMixin:
    """Mixin that removes ``set_output``, because no table holds arrays of three axes.

    It must be the first base class. Subclasses inherit the effect.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        kwargs.setdefault("auto_wrap_output_keys", None)
        super().__init_subclass__(**kwargs)


class BaseSequencer(
    CallbackSupportMixin, ArrayOutputMixin, TransformerMixin, BaseEstimator
):
    """Base class of transformers that read images as sequences by an index map.

    A subclass defines `_scan`, which checks the parameters and returns the map.
    """

    _shape_parameter = "image_shape"
    _n_axes = 2

    @abstractmethod
    def _scan(self, shape: tuple[int, ...], *, guessed: bool) -> np.ndarray:
        """Check the parameters and return the index map for images of a shape.

        `guessed` is True if the shape is a guess for flat input.
        """

    @with_callbacks
    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the parameters against the images and compute the index map.

        Parameters
        ----------
        X : array-like
            Images of any real dtype or bool, in a shape that the class accepts. `fit`
            learns only their shape.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted sequencer.
        """
        context = self._init_callback_context()
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        given = getattr(self, self._shape_parameter)
        with unchanged_on_error(self):
            images = validate_images(
                self, X, reset=True, image_shape=given, volumes=self._n_axes == 3
            )
            self.index_map_ = self._scan(
                images.shape[1 : 1 + self._n_axes],
                guessed=self._fitted_flat and given is None,
            )
            self.n_steps_, self.n_pixels_per_step_ = self.index_map_.shape
            self._plan = plan_gather(self.index_map_, self._pixels_and_channels()[0])
        context.call_on_fit_task_end(
            estimator=self, X=X, y=y, reconstruction_attributes={}
        )
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Read each image as a sequence.

        Parameters
        ----------
        X : array-like
            Images of the shape seen in `fit`, or the same images flat.

        Returns
        -------
        sequences : ndarray, shape (n, n_steps, n_features)
            New array with the values and the dtype of X. The channels of a pixel follow
            each other: channel c of pixel p is feature ``p * n_channels + c``.
        """
        check_is_fitted(self)
        images = validate_images(
            self, X, reset=False, volumes=self._n_axes == 3, check_finite=False
        )
        n_pixels, n_channels = self._pixels_and_channels()
        n_entries = self.index_map_.size
        sequences = np.empty((len(images), n_entries, n_channels), images.dtype)
        gather = make_gather(self.index_map_, self._plan)
        # Pixels that have to be checked or made contiguous are read in batches, which
        # stay in the cache until they are copied. Others are copied at once.
        item_bytes = n_pixels * n_channels * images.itemsize
        if images.dtype.kind != "f" and images.flags.c_contiguous:
            item_bytes = 0
        for part in batches(len(images), item_bytes):
            pixels = np.ascontiguousarray(images[part])
            if not all_finite(pixels):
                raise ValueError(describe_not_finite(images))
            gather(pixels.reshape(-1, n_pixels, n_channels), sequences[part])
        return sequences.reshape(len(images), self.n_steps_, -1)

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Turn sequences back into images.

        Parameters
        ----------
        X : array-like, shape (n, n_steps, n_features)
            Sequences as `transform` returns them.

        Returns
        -------
        images : ndarray
            Images of the shape seen in `fit`, flat if that input was flat, with the
            dtype of X. A pixel that several steps hold is the mean of its values,
            rounded for integers. If its values are equal, the result is exact.
        """
        check_is_fitted(self)
        n_pixels, n_channels = self._pixels_and_channels()
        n_features = self.n_pixels_per_step_ * n_channels
        X = _as_values(X)
        if X.ndim != 3 or X.shape[1:] != (self.n_steps_, n_features):
            raise ValueError(
                f"X must be sequences of (n, {self.n_steps_}, {n_features}), as "
                f"transform gives them; got an array of shape {X.shape}."
            )
        images = average_to_pixels(
            X.reshape(len(X), -1, n_channels), self.index_map_, n_pixels
        )
        return images.reshape(
            len(X), *((-1,) if self._fitted_flat else self.image_shape_)
        )

    def steps_to_image(self, values: Any) -> np.ndarray:
        """Give the value of each step to the pixels that the step reads.

        This shows where in the image a quantity of the sequence lies, such as attention
        weights, the effect of leaving a step out, or probabilities of labels.

        Parameters
        ----------
        values : array-like, shape (n, n_steps) or (n, n_steps, n_values)
            One value or one row of values for each step.

        Returns
        -------
        images : ndarray, shape (n, height, width) or (n, height, width, n_values)
            Mean over the steps that read a pixel. For volumes, the depth is in front of
            the height. The dtype is that of `values` if they are floats, and float64
            otherwise.
        """
        check_is_fitted(self)
        values = _as_values(values, "values")
        if values.ndim not in (2, 3) or values.shape[1] != self.n_steps_:
            raise ValueError(
                f"values must have one entry for each of the {self.n_steps_} steps, "
                f"(n, {self.n_steps_}) or (n, {self.n_steps_}, n_values); got an array "
                f"of shape {values.shape}."
            )
        if values.dtype.kind != "f":
            values = values.astype(np.float64)
        n_pixels, _ = self._pixels_and_channels()
        images = average_to_pixels(
            values.reshape(len(values), self.n_steps_, -1), self.index_map_, n_pixels
        )
        shape = self.image_shape_[: self._n_axes]
        return images.reshape(len(values), *shape, *values.shape[2:])

    def get_index_map(self, image_shape: tuple[int, ...]) -> np.ndarray:
        """Return the index map for a shape. The sequencer need not be fitted.

        Parameters
        ----------
        image_shape : tuple of int
            Shape of one image (height, width) or volume (depth, height, width).
            Channels may follow. They make no difference.

        Returns
        -------
        index_map : ndarray of int64, shape (n_steps, n_pixels_per_step)
            Indices of the pixels of each step in the flattened image.
        """
        volumes = self._n_axes == 3
        shape = check_image_shape("image_shape", image_shape, volumes=volumes)
        return self._scan(shape[: self._n_axes], guessed=False)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return names of the entries of a flattened sequence.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the input, which must be those seen in `fit`. They do not change
            the result.

        Returns
        -------
        names : ndarray of object, shape (n_steps * n_features,)
            Names such as "step3_pixel5", or "step3_pixel5_channel0" if there are
            channels, in the order of ``sequences.reshape(n, -1)``.
        """
        check_is_fitted(self)
        if input_features is not None:
            fitted = getattr(self, "feature_names_in_", input_features)
            if not np.array_equal(input_features, fitted):
                raise ValueError("input_features is not equal to feature_names_in_")
            if len(input_features) != self.n_features_in_:
                raise ValueError(
                    "input_features should have length equal to number of features "
                    f"({self.n_features_in_}), got {len(input_features)}."
                )
        channels = [""]
        if len(self.image_shape_) > self._n_axes:
            channels = [f"_channel{c}" for c in range(self.image_shape_[-1])]
        names = [
            f"step{step}_pixel{pixel}{channel}"
            for step in range(self.n_steps_)
            for pixel in range(self.n_pixels_per_step_)
            for channel in channels
        ]
        return np.array(names, dtype=object)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state.pop("_plan", None)  # it follows from the map
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if hasattr(self, "index_map_"):
            self._plan = plan_gather(self.index_map_, self._pixels_and_channels()[0])

    def _pixels_and_channels(self) -> tuple[int, int]:
        n_pixels = math.prod(self.image_shape_[: self._n_axes])
        return n_pixels, math.prod(self.image_shape_[self._n_axes :])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32", "float16"]
        return tags


def _as_values(X: Any, name: str = "X") -> np.ndarray:
    values = np.asarray(X)
    if values.dtype.kind not in "buif":
        raise ValueError(
            f"{name} has dtype {values.dtype}, but must hold real numbers or bool."
        )
    return values
