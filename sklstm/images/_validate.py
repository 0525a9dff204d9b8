"""What a batch of images is: one check that every estimator of the package shares."""

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
    """Check a batch of images and give it back as one array.

    Flat input, (n, n_features), goes through scikit-learn's ``validate_data``, feature
    names included. Where neither `image_shape` nor an earlier fit says what it holds,
    it is read as square images where n_features is a perfect square, and as images of
    (n_features, 1) otherwise; as volumes of (n_features, 1, 1) with ``volumes=True``.

    Parameters
    ----------
    estimator : estimator
        Names itself in messages and carries the attributes `n_features_in_` (the
        product of the shape of one image), `image_shape_` (that shape) and
        `_fitted_flat`. If the check fails it is left as it was.
    X : array-like
        Images of (n, height, width) or (n, height, width, channels), volumes of one
        axis more, or flat (n, n_features). Any real dtype or bool; it is kept, and so
        is the memory wherever no conversion is needed.
    reset : bool
        True in fit, which sets the attributes; False elsewhere, which compares with
        them.
    image_shape : sequence of int, default=None
        Shape of one image, needed for flat input only, and compared with all other.
    volumes : bool, default=False
        Whether X holds volumes; the parameter is then called ``volume_shape``.
    ensure_min_samples : int, default=1
        The fewest images accepted.
    check_finite : bool, default=True
        Whether NaN and infinity are refused. False leaves that to the caller, who can
        use :func:`all_finite` on the part at hand.

    Returns
    -------
    images : ndarray
        Shape (n, height, width[, channels]), or (n, depth, height, width[, channels]).

    Raises
    ------
    TypeError
        If X is sparse.
    ValueError
        If X is anything else that is not such a batch.

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
    # Without `reset` nothing is set, and other threads may use the estimator.
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
                    ensure_all_finite=False,  # its message is several lines
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
    """Return the shape of one image as a tuple of int, or say what is wrong with it."""
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
    """Whether `value` is a whole number of at least 1, which True is not."""
    # Asked first, because Python counts bool among the whole numbers.
    if isinstance(value, bool):
        return False
    return isinstance(value, Integral) and int(value) >= 1


def all_finite(array: np.ndarray) -> bool:
    """Whether no element is NaN or infinite.

    Parameters
    ----------
    array : ndarray
        Any shape and real dtype; integers and bool are not looked at.

    Returns
    -------
    bool
        True where every element is finite.

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
    # A finite sum clears all at once. Of the ways to add, this one takes a third of the
    # time of np.sum and, unlike a dot product, waits for no threads. It may overflow on
    # finite values, in float16 easily.
    if piece.itemsize >= 4 and piece.flags.c_contiguous:
        with np.errstate(all="ignore"):
            if np.isfinite(np.einsum("i->", piece.reshape(-1))):
                return True
    return bool(np.isfinite(piece).all())


def batches(n: int, item_bytes: int, target_bytes: int = 2**21) -> Iterator[slice]:
    """Cut ``range(n)`` into slices of about 2 MiB: few calls, small temporaries."""
    size = max(1, target_bytes // max(item_bytes, 1))
    return (slice(start, start + size) for start in range(0, n, size))


def describe_not_finite(images: np.ndarray) -> str:
    """Say how many pixels are not finite, and in which image the first one is."""
    bad = np.array([np.size(x) - np.count_nonzero(np.isfinite(x)) for x in images])
    return (
        f"Input X contains NaN or infinity: {bad.sum()} values in "
        f"{np.count_nonzero(bad)} of {len(images)} images, first in "
        f"X[{np.flatnonzero(bad)[0]}]; replace them or leave these images out."
    )


@contextmanager
def unchanged_on_error(estimator: BaseEstimator) -> Iterator[None]:
    """Put the attributes of an estimator back if the block fails.

    Parameters
    ----------
    estimator : estimator
        Its attributes are kept by reference: what the block changes in place stays.

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
        # Another thread may read the estimator meanwhile: what it had before must never
        # be missing, so the attributes are not cleared first.
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
    """Make an array of all but tables, which are left to validate_data."""
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
            # NumPy makes objects of images that agree in their first axis only.
            if array.dtype == object:
                raise ValueError
    except ValueError:
        raise ValueError(_describe_ragged(X)) from None
    kinds = {type(x) for x in array.ravel()[:1]} if array.dtype == object else set()
    if array.dtype.kind in "US" or any(issubclass(k, str | os.PathLike) for k in kinds):
        raise ValueError(_STRINGS)
    return array


# Where classes that give samples one by one, or batches, are defined.
_LOADERS = ("torch.utils.data", "tensorflow.python.data", "keras.src.trainers")


def to_numpy(X: Any, name: str = "X", dtype: Any = None) -> np.ndarray:
    """Return ``np.asarray(X, dtype)``, or say in a sentence why that cannot be.

    Parameters
    ----------
    X : array-like
        Arrays of other libraries too, where NumPy can read them.
    name : str
        What messages call it.
    dtype : dtype, optional
        As in NumPy.

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
        if hasattr(X, "detach"):  # of PyTorch: on a GPU, or part of a graph
            what = f"{name}.detach().cpu().numpy()"
        raise TypeError(
            f"{name} is a {kind.__name__} that NumPy cannot read: pass {what}."
        ) from error


def count_samples(X: Any) -> int:
    """Return how many samples X holds, 0 where that is not known before it is checked.

    Parameters
    ----------
    X : Any
        As an estimator was given it.
    """
    shape = getattr(X, "shape", None)
    if isinstance(shape, tuple) and shape and isinstance(shape[0], Integral):
        return int(shape[0])
    try:
        return len(X)
    except TypeError:
        return 0


def is_flat(X: Any) -> bool:
    """Whether the result of `as_array` is a table or an array of two axes."""
    return getattr(X, "ndim", 2) == 2  # tables of some libraries have no ndim


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
    """Check rank, dtype and number of images of anything but two axes."""
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
            # What scikit-learn says of one axis, and its checks look for.
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
    """Refuse an image without a batch around it, which would be read as many."""
    shape = getattr(estimator, "image_shape_", ())
    one = X.shape in (shape, shape[: 3 if volumes else 2])
    # (1, width) is a flat batch as well.
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
