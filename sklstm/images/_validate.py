"""Validation of batches of images, shared by all estimators of the package."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from numbers import Integral
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

__all__ = ["all_finite", "unchanged_on_error", "validate_images"]

_LAYOUTS = {
    False: "(n, height, width) or (n, height, width, channels)",
    True: "(n, depth, height, width) or (n, depth, height, width, channels)",
}

_STRINGS = (
    "X holds strings, not pixels; if they are paths of image files, read them with "
    "ImageReader first."
)


def validate_images(
    estimator: BaseEstimator,
    X: Any,
    *,
    reset: bool,
    image_shape: Sequence[int] | None = None,
    volumes: bool = False,
    ensure_min_samples: int = 1,
    check_finite: bool = True,
) -> np.ndarray:
    """Validate a batch of images and return it as one array.

    scikit-learn's ``validate_data`` checks flat input, (n, n_features), including the
    feature names. The shape of one image is `image_shape` or, after fit, the shape that
    fit has seen. If neither is known, flat input is read as square images if n_features
    is a perfect square, and else as images of shape (n_features, 1). With
    ``volumes=True`` it is read as volumes of shape (n_features, 1, 1).

    Parameters
    ----------
    estimator : estimator
        Estimator that messages name. Its attributes are `n_features_in_` (the number of
        values of one image), `image_shape_` (the shape of one image) and
        `_fitted_flat`. If the validation fails, they do not change.
    X : array-like
        Images of shape (n, height, width) or (n, height, width, channels), volumes
        with one more axis, or flat input of shape (n, n_features). Any real dtype or
        bool, which is kept. The data is copied only if it must be converted.
    reset : bool
        If True, set the attributes of the estimator, as fit does. If False, compare X
        with them.
    image_shape : sequence of int, default=None
        Shape of one image. Only flat input needs it. With ``reset=True``, all other
        input must have this shape.
    volumes : bool, default=False
        If True, X holds volumes, and messages call the shape ``volume_shape``.
    ensure_min_samples : int, default=1
        Minimum number of images.
    check_finite : bool, default=True
        If True, NaN and infinite values raise an error. If False, the caller checks
        the values, for example batch by batch with :func:`all_finite`.

    Returns
    -------
    images : ndarray
        Images of shape (n, height, width[, channels]), or volumes of shape
        (n, depth, height, width[, channels]).

    Raises
    ------
    TypeError
        If X is sparse, loads its samples piece by piece, or is a tensor that NumPy
        cannot read.
    ValueError
        If X is not a batch of images for any other reason, or `image_shape` is invalid.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.base import BaseEstimator
    >>> from sklstm.images import validate_images
    >>> estimator = BaseEstimator()
    >>> images = validate_images(estimator, np.zeros((5, 784), np.uint8), reset=True)
    >>> images.shape, images.dtype
    ((5, 28, 28), dtype('uint8'))
    >>> validate_images(estimator, np.zeros((5, 28, 30), np.uint8), reset=False)
    Traceback (most recent call last):
    ...
    ValueError: X holds images of (28, 30), but BaseEstimator was fitted on images of
    (28, 28); resize them to that shape.
    """
    name = "volume_shape" if volumes else "image_shape"
    if image_shape is not None:
        image_shape = check_image_shape(name, image_shape, volumes=volumes)
    if not reset:
        image_shape = getattr(estimator, "image_shape_", image_shape)
    X = as_array(X)
    flat = is_flat(X)
    # Without `reset` no attribute changes, and other threads may use the estimator.
    with unchanged_on_error(estimator) if reset else nullcontext():
        if not reset and isinstance(X, np.ndarray):
            _check_not_one_image(estimator, X, volumes)
        if not flat:
            _check_batch(estimator, X, volumes, ensure_min_samples)
            _compare_shapes(estimator, X, image_shape, name, reset=reset)
            images = X
        else:
            _check_not_complex(X)
            try:
                X = validate_data(
                    estimator,
                    X,
                    reset=reset,
                    ensure_min_samples=ensure_min_samples,
                    ensure_all_finite=False,  # Its message has several lines.
                )
            except ValueError as error:
                if "could not convert string" in str(error):
                    raise ValueError(_STRINGS) from None
                raise
            _check_dtype(X)
            if image_shape is None:
                image_shape = _guess_shape(X.shape[1], volumes)
            if math.prod(image_shape) != X.shape[1]:
                raise ValueError(
                    f"{name}={image_shape} makes {math.prod(image_shape)} values an "
                    f"image, but X has {X.shape[1]} features; their numbers must agree."
                )
            images = X.reshape(len(X), *image_shape)
        if check_finite and not all_finite(images):
            raise ValueError(describe_not_finite(images))
        if reset:
            if not flat:
                vars(estimator).pop("feature_names_in_", None)
            estimator.n_features_in_ = math.prod(images.shape[1:])
            estimator.image_shape_ = images.shape[1:]
            estimator._fitted_flat = flat
    return images


def check_image_shape(name: str, value: Any, *, volumes: bool = False) -> tuple:
    """Return the shape of one image as a tuple of int, or raise ValueError."""
    axes = ("depth", "height", "width") if volumes else ("height", "width")
    try:
        shape = tuple(value)
    except TypeError:
        shape = ()
    if len(shape) not in (len(axes), len(axes) + 1) or not all(map(is_count, shape)):
        raise ValueError(
            f"{name} must be ({', '.join(axes)}) or ({', '.join(axes)}, channels) in "
            f"positive whole numbers; got {value!r}."
        )
    return tuple(int(size) for size in shape)


def is_count(value: Any) -> bool:
    """Return whether `value` is an integer of at least 1. True does not count."""
    # bool is a subclass of int, so it must be excluded first.
    if isinstance(value, bool):
        return False
    return isinstance(value, Integral) and int(value) >= 1


def all_finite(array: np.ndarray) -> bool:
    """Return whether all elements are finite, neither NaN nor infinite.

    Parameters
    ----------
    array : ndarray
        Array of any shape, of a real dtype or bool. Integers and bool are always
        finite, so their values are not read.

    Returns
    -------
    bool
        True if every element is finite.

    Examples
    --------
    >>> import numpy as np
    >>> from sklstm.images import all_finite
    >>> all_finite(np.array([1.0, np.nan]))
    False
    """
    if array.dtype.kind != "f":
        return True
    item_bytes = math.prod(array.shape[1:]) * array.itemsize
    return all(_piece_is_finite(array[p]) for p in batches(len(array), item_bytes))


def _piece_is_finite(piece: np.ndarray) -> bool:
    # If the sum is finite, all elements are. einsum takes a third of the time of np.sum
    # and, unlike a dot product, does not wait for threads. The sum of finite values may
    # overflow, and easily does in float16, so any other sum needs the full check.
    if piece.itemsize >= 4 and piece.flags.c_contiguous:
        with np.errstate(all="ignore"):
            if np.isfinite(np.einsum("i->", piece.reshape(-1))):
                return True
    return bool(np.isfinite(piece).all())


def batches(n: int, item_bytes: int, target_bytes: int = 2**21) -> Iterator[slice]:
    """Yield slices that divide ``range(n)`` into batches of about `target_bytes`.

    Batches of 2 MiB need few calls and only small temporary arrays.
    """
    size = max(1, target_bytes // max(item_bytes, 1))
    return (slice(start, start + size) for start in range(0, n, size))


def describe_not_finite(images: np.ndarray) -> str:
    """Return a message with the number of non-finite pixels and the first image."""
    bad = np.array([np.size(x) - np.count_nonzero(np.isfinite(x)) for x in images])
    return (
        f"Input X contains NaN or infinity: {bad.sum()} values in "
        f"{np.count_nonzero(bad)} of {len(images)} images, first in "
        f"X[{np.flatnonzero(bad)[0]}]; replace them or leave these images out."
    )


@contextmanager
def unchanged_on_error(estimator: BaseEstimator) -> Iterator[None]:
    """Restore the attributes of an estimator if the block raises an exception.

    Parameters
    ----------
    estimator : estimator
        Estimator whose attributes are restored. They are saved by reference, so changes
        that the block makes to them in place remain.

    Examples
    --------
    >>> from sklearn.base import BaseEstimator
    >>> from sklstm.images import unchanged_on_error
    >>> estimator = BaseEstimator()
    >>> try:
    ...     with unchanged_on_error(estimator):
    ...         estimator.n_steps_ = 28
    ...         raise ValueError
    ... except ValueError:
    ...     hasattr(estimator, "n_steps_")
    False
    """
    attributes = vars(estimator)
    before = attributes.copy()
    try:
        yield
    except BaseException:
        # Another thread may read the estimator meanwhile. The attributes that it had
        # before must never be missing, so they are not cleared first.
        attributes.update(before)
        for name in attributes.keys() - before.keys():
            attributes.pop(name, None)
        raise


def _guess_shape(n_features: int, volumes: bool) -> tuple[int, ...]:
    if volumes:
        return (n_features, 1, 1)
    side = math.isqrt(n_features)
    return (side, side) if side * side == n_features else (n_features, 1)


def as_array(X: Any) -> Any:
    """Convert X to an array, except for tables, which `validate_data` converts."""
    if issparse(X):
        raise TypeError("X is sparse, but images must be dense: use X.toarray().")
    if np.ma.is_masked(X):
        raise ValueError(
            f"X is masked in {np.ma.count_masked(X)} values, which would be read as if "
            "they were not: fill them, such as by X.filled(0)."
        )
    if hasattr(X, "columns"):
        return X
    try:
        array = to_numpy(X)
        if array.dtype == object and array.ndim == 1 and _holds_arrays(array):
            array = np.asarray(list(array))
            # NumPy makes an array of objects if only the first axes agree.
            if array.dtype == object:
                raise ValueError
    except ValueError:
        raise ValueError(_describe_ragged(X)) from None
    kinds = {type(x) for x in array.ravel()[:1]} if array.dtype == object else set()
    if array.dtype.kind in "US" or any(issubclass(k, str | os.PathLike) for k in kinds):
        raise ValueError(_STRINGS)
    return array


# Modules that define the classes that load samples one by one or in batches.
_LOADERS = ("torch.utils.data", "tensorflow.python.data", "keras.src.trainers")


def to_numpy(X: Any, name: str = "X", dtype: Any = None) -> np.ndarray:
    """Return ``np.asarray(X, dtype)``, or raise an error that explains the reason.

    Parameters
    ----------
    X : array-like
        Array of any library, if NumPy can read it.
    name : str
        Name of X in messages.
    dtype : dtype, optional
        Dtype of the result, as in ``np.asarray``.

    Raises
    ------
    TypeError
        If X loads samples piece by piece, or is a tensor that NumPy cannot read.
    """
    kind = type(X)
    if not hasattr(X, "__array__") and any(
        base.__module__.startswith(_LOADERS) for base in kind.__mro__
    ):
        raise TypeError(
            f"{name} is a {kind.__name__}, which gives samples piece by piece: pass "
            "one array of all of them."
        )
    try:
        return np.asarray(X, dtype)
    except (TypeError, RuntimeError) as error:
        what = "a NumPy array"
        if hasattr(X, "detach"):  # a PyTorch tensor on a GPU or in a graph
            what = f"{name}.detach().cpu().numpy()"
        raise TypeError(
            f"{name} is a {kind.__name__} that NumPy cannot read: pass {what}."
        ) from error


def count_samples(X: Any) -> int:
    """Return the number of samples of X, or 0 if it is unknown before validation.

    Parameters
    ----------
    X : Any
        Input of an estimator, not yet validated.
    """
    shape = getattr(X, "shape", None)
    if isinstance(shape, tuple) and shape and isinstance(shape[0], Integral):
        return int(shape[0])
    try:
        return len(X)
    except TypeError:
        return 0


def is_flat(X: Any) -> bool:
    """Return whether the result of `as_array` is a table or has two axes."""
    return getattr(X, "ndim", 2) == 2  # Tables of some libraries have no ndim.


def _holds_arrays(array: np.ndarray) -> bool:
    return len(array) > 0 and all(np.ndim(x) >= 2 for x in array)


def _describe_ragged(X: Any) -> str:
    reason = "X cannot be made one array: its images differ in size"
    try:
        shapes = [np.shape(x) for x in X]
    except ValueError:
        return f"{reason} or have rows of different lengths; make all of one size."
    for i, shape in enumerate(shapes):
        if shape != shapes[0]:
            return (
                f"{reason} (X[0] is {shapes[0]}, X[{i}] is {shape}); resize them to "
                "one size, for example with ImageReader(size=...)."
            )
    return f"{reason} or are not numbers; pass one numeric array."


def _check_batch(
    estimator: BaseEstimator, X: np.ndarray, volumes: bool, minimum: int
) -> None:
    """Check the axes, dtype and number of images of input that is not flat."""
    if X.ndim > 0 and len(X) < minimum:
        raise ValueError(
            f"Found array with {len(X)} sample(s) (shape={X.shape}) while a minimum of "
            f"{minimum} is required by {type(estimator).__name__}."
        )
    if X.ndim not in ((4, 5) if volumes else (3, 4)):
        found = f"an array of shape {X.shape}"
        if X.ndim == 0:
            found = f"one value of type {type(X[()]).__name__}"
        raise ValueError(
            # scikit-learn's checks look for this text if X has one axis.
            f"{'Reshape your data: ' if X.ndim == 1 else ''}"
            f"X must be {'volumes' if volumes else 'images'} of {_LAYOUTS[volumes]}, "
            f"or flat (n, n_features); got {found}."
        )
    _check_not_complex(X)
    _check_dtype(X)
    if 0 in X.shape[1:]:
        raise ValueError(
            f"X has images of {X.shape[1:]}, which hold no pixel; every axis must be "
            "at least 1 long."
        )


def _check_not_complex(X: Any) -> None:
    if isinstance(X, np.ndarray) and X.dtype.kind == "c":
        raise ValueError(
            f"Complex data not supported: X is {X.dtype}; pass real values, such as "
            "np.abs(X)."
        )


def _check_dtype(X: np.ndarray) -> None:
    if X.dtype.kind not in "buif":
        raise ValueError(
            f"X has dtype {X.dtype}, but pixels must be numbers or bool; convert it "
            "with X.astype(...)."
        )


def _check_not_one_image(
    estimator: BaseEstimator, X: np.ndarray, volumes: bool
) -> None:
    """Raise an error for a single image, which would be read as a batch."""
    shape = getattr(estimator, "image_shape_", ())
    one = X.shape in (shape, shape[: 3 if volumes else 2])
    # A single image of shape (1, width) is also a valid flat batch.
    if one and X.ndim > 1 and X.shape[-1] != math.prod(shape):
        raise ValueError(
            f"X is one {'volume' if volumes else 'image'} of {X.shape}: put it into a "
            "batch, X[None]."
        )


def _compare_shapes(
    estimator: BaseEstimator,
    X: np.ndarray,
    expected: Sequence[int] | None,
    name: str,
    *,
    reset: bool,
) -> None:
    found = X.shape[1:]
    if not reset:
        fitted = getattr(estimator, "image_shape_", found)
        if found != fitted:
            raise ValueError(
                f"X holds images of {found}, but {type(estimator).__name__} was fitted "
                f"on images of {fitted}; resize them to that shape."
            )
    elif expected is not None and found != expected:
        raise ValueError(
            f"{name}={expected} does not fit X, whose images are {found}; it is needed "
            "for flat input only and may be left out here."
        )
