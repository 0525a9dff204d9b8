"""Checking, resizing and scoring of masks of defects."""

import os
import warnings
from typing import Any

import numpy as np
from scipy.sparse import issparse

from sklstm.images._ragged import is_path
from sklstm.images._resize import resize


def check_masks(
    Y: Any, images: list[np.ndarray], name: str = "Y", stacklevel: int | None = None
) -> list[np.ndarray]:
    """Check masks and return a bool mask for each image.

    A mask that is None becomes an empty mask, without defects. If `stacklevel` is
    given, the function warns of masks that are probably inverted. It has the meaning
    that it has in `warnings.warn`, but counts from the caller.

    Raises
    ------
    ValueError
        If the numbers of masks and images differ, or a mask differs from its image in
        shape, or a mask has values other than 0 and 1.
    """
    if issparse(Y) or hasattr(Y, "columns") or isinstance(Y, str | bytes | dict):
        raise ValueError(
            f"{name} is a {type(Y).__name__}: give masks, an array (n, height, width) "
            "or a list of arrays, or labels of windows, an array (n, n_steps)."
        )
    try:
        given = [None if mask is None else np.asarray(mask) for mask in Y]
    except TypeError:
        raise ValueError(
            f"{name} must hold a mask for every image; got {type(Y).__name__}."
        ) from None
    if len(given) != len(images):
        raise ValueError(
            f"{name} has {len(given)} masks, but there are {len(images)} images: give "
            "one for each."
        )
    masks = [
        None if mask is None else _check_mask(mask, image.shape[:2], f"{name}[{i}]")
        for i, (mask, image) in enumerate(zip(given, images, strict=True))
    ]
    if stacklevel is not None:
        shares = [float(mask.mean()) for mask in masks if mask is not None]
        warn_if_inverted(shares, name, "pixels", stacklevel + 1)
    return [
        np.zeros(image.shape[:2], bool) if mask is None else mask
        for mask, image in zip(masks, images, strict=True)
    ]


def _check_mask(mask: np.ndarray, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Check one mask for an image of (height, width) `shape` and return it as bool."""
    if is_path(mask):
        raise ValueError(
            f"{name} is the path {os.fsdecode(mask.item())!r} and no mask: read the "
            'files first, for example by ImageReader(color="gray").fit_transform(paths)'
            " > 127; None stands for an image without defects."
        )
    if mask.ndim == 0:
        raise ValueError(
            f"{name} is {mask.item()!r} and no mask, (height, width), of its image: "
            "one label for an image is what LSTMImageClassifier learns, and None "
            "stands for an image without defects."
        )
    if mask.ndim == 3 and mask.shape[2] in (1, 3):
        # Mask files are often read in colour.
        if (mask[..., :1] != mask).any():
            raise ValueError(
                f"{name} has three channels that differ: make one mask of them that is "
                "0 where nothing is defective and 1 elsewhere."
            )
        mask = mask[..., 0]
    if mask.shape != shape:
        raise ValueError(
            f"{name} has the shape {mask.shape}, but its image is {shape}: a mask has "
            "one value for each pixel. Labels of windows are one array, (n, n_steps)."
        )
    if mask.dtype == bool:
        return mask
    if not ((mask == 0) | (mask == 1)).all():
        if mask.dtype.kind not in "uif":
            raise ValueError(f"{name} is {mask.dtype}: a mask is 0 and 1, or bool.")
        found = np.unique(mask)
        some = ", ".join(map(str, found[:4].tolist()))
        more = ", ..." if len(found) > 4 else ""
        hint = ""
        if found[0] == 0 and found[-1] == 255:
            hint = " Masks of 0 and 255 become one by mask > 127."
        elif found[0] == 0 and mask.dtype.kind in "ui":
            hint = (
                " Kinds of defects, which are not told apart, become one by mask > 0."
            )
        raise ValueError(
            f"{name} has the values {some}{more}: a mask is 0 and 1.{hint}"
        )
    return mask.astype(bool)


def warn_if_inverted(
    shares: list[float], name: str, parts: str, stacklevel: int
) -> None:
    """Warn if the masks call most parts defective in most of the images.

    Parameters
    ----------
    shares : list of float
        Share of each image that is positive.
    name : str
        Name of the targets in the warning.
    parts : str
        Parts of an image that are counted, "pixels" or "windows".
    stacklevel : int
        As in `warnings.warn`, but counted from the caller.
    """
    most = sum(share > 0.5 for share in shares)
    if most > len(shares) / 2:
        warnings.warn(
            f"{name} calls most {parts} defective in {most} of {len(shares)} images: "
            "if the defects are 0 in it and all else is 1, invert it, 1 - mask; if "
            "most of each image really is defective, ignore this warning.",
            stacklevel=stacklevel + 1,
        )


def resize_masks(masks: list[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Resize masks to one size and return the defective share of each pixel.

    The array has the shape (n, height, width). The shares range from 0 to 255.
    """
    out = np.empty((len(masks), *size), np.uint8)
    for one, mask in zip(out, masks, strict=True):
        share = resize(mask.astype(np.float32) * 255, size)
        one[:] = np.round(share)
        # A single defective pixel of a very large image would be rounded to 0.
        if share.any() and not one.any():
            one.ravel()[share.argmax()] = 1
    return out


def pixel_f1(truth: list[np.ndarray], found: list[np.ndarray]) -> float:
    """Return F1 over the pixels of all images, or 1 if no mask has a positive pixel."""
    hits = sum(int((t & f).sum()) for t, f in zip(truth, found, strict=True))
    total = sum(int(t.sum()) + int(f.sum()) for t, f in zip(truth, found, strict=True))
    return 2 * hits / total if total else 1.0
