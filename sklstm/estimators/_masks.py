"""Masks of defects: checked, resized to the network's size, and scored."""

import os
import warnings
from typing import Any

import numpy as np
from scipy.sparse import issparse

from sklstm.images import is_path
from sklstm.images._resize import resize


def check_masks(
    Y: Any, images: list[np.ndarray], name: str = "Y", stacklevel: int | None = None
) -> list[np.ndarray]:
    """Return a mask of bool for every image; an empty one where it is None.

    With `stacklevel`, as in `warnings.warn` and counted from the caller, masks that are
    probably inverted get a warning.

    Raises
    ------
    ValueError
        If there are more or fewer masks than images, or one has another shape than its
        image or other values than 0 and 1.
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
    """Return one mask as bool; `shape` is that of its image."""
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
        # Files of masks are often read in colour.
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
    """Warn where most images are said to be defective in most of their parts.

    Parameters
    ----------
    shares : list of float
        What part of each image is positive.
    name : str
        What the targets are called.
    parts : str
        "pixels" or "windows".
    stacklevel : int
        As in `warnings.warn`, counted from the caller.
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
    """Return how much of each pixel is defective, 0 to 255, (n, height, width)."""
    out = np.empty((len(masks), *size), np.uint8)
    for one, mask in zip(out, masks, strict=True):
        share = resize(mask.astype(np.float32) * 255, size)
        one[:] = np.round(share)
        if share.any() and not one.any():  # one defective pixel of a very large image
            one.ravel()[share.argmax()] = 1
    return out


def pixel_f1(truth: list[np.ndarray], found: list[np.ndarray]) -> float:
    """Return the F1 over all pixels of all images; 1 where there is nothing to find."""
    hits = sum(int((t & f).sum()) for t, f in zip(truth, found, strict=True))
    total = sum(int(t.sum()) + int(f.sum()) for t, f in zip(truth, found, strict=True))
    return 2 * hits / total if total else 1.0
