"""Images and masks of their defects, of any sizes: checked, resized, compared."""

from typing import Any

import numpy as np

from sklstm.images import all_finite


def check_images(X: Any, name: str = "X") -> list[np.ndarray]:
    """Return images of one or of different sizes, each (height, width, channels).

    Raises
    ------
    TypeError, ValueError
        If X does not hold images, or they differ in their channels.
    """
    if isinstance(X, np.ndarray) and X.dtype != object and X.ndim not in (3, 4):
        raise ValueError(
            f"{name} must hold images, (n, height, width[, channels]) or a list of "
            f"them that may differ in size; got an array of shape {X.shape}."
        )
    try:
        images = [np.asarray(image) for image in X]
    except TypeError:
        raise TypeError(f"{name} must hold images; got {type(X).__name__}.") from None
    if not images:
        raise ValueError(f"{name} holds no images.")
    out = []
    for i, image in enumerate(images):
        if image.dtype.kind in "US" or image.dtype == object:
            raise ValueError(
                f"{name}[{i}] is no image but {image.dtype}: read files first, for "
                "example by cv2.imread, or by ImageReader(size=...)."
            )
        if image.ndim not in (2, 3) or image.dtype.kind not in "buif" or not image.size:
            raise ValueError(
                f"{name}[{i}] must be an image, (height, width) or (height, width, "
                f"channels), of numbers; it has shape {image.shape} and is "
                f"{image.dtype}."
            )
        if not all_finite(image):
            bad = np.size(image) - np.count_nonzero(np.isfinite(image))
            raise ValueError(
                f"{name}[{i}] has {bad} pixels that are NaN or infinite: replace them "
                "or leave the image out."
            )
        wide = image.dtype.kind == "f" and image.itemsize > 4
        if wide and max(image.max(), -image.min()) > np.finfo(np.float32).max:
            raise ValueError(
                f"{name}[{i}] has values beyond what float32 can hold (3.4e38): scale "
                "it first."
            )
        out.append(image if image.ndim == 3 else image[..., None])
    channels = {image.shape[2] for image in out}
    if len(channels) > 1:
        raise ValueError(
            f"{name} mixes images of {' and '.join(map(str, sorted(channels)))} "
            "channels: bring them to one number."
        )
    return out


def resize_images(images: list[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Return images of one size, (n, height, width, channels), uint8 or float32."""
    as_bytes = all(image.dtype == np.uint8 for image in images)
    dtype = np.uint8 if as_bytes else np.float32
    out = np.empty((len(images), *size, images[0].shape[2]), dtype)
    for one, image in zip(out, images, strict=True):
        one[:] = resize(image.astype(dtype, copy=False), size)
    return out


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return (height, width[, channels]) of another size; areas along what shrinks."""
    import cv2

    height, width = size
    smaller = min(height, image.shape[0]), min(width, image.shape[1])
    # In two steps: along an axis that grows, OpenCV takes areas along none.
    for shape, how in ((smaller, cv2.INTER_AREA), (size, cv2.INTER_LINEAR)):
        if image.shape[:2] != shape:
            resized = cv2.resize(image, shape[::-1], interpolation=how)
            image = resized.reshape(*shape, *image.shape[2:])
    return image


def check_masks(Y: Any, images: list[np.ndarray], name: str = "Y") -> list[np.ndarray]:
    """Return a mask of bool for every image.

    Raises
    ------
    ValueError
        If there are more or fewer masks than images, or one has another shape than its
        image or other values than 0 and 1.
    """
    try:
        masks = [np.asarray(mask) for mask in Y]
    except TypeError:
        raise ValueError(
            f"{name} must hold a mask for every image; got {type(Y).__name__}."
        ) from None
    if len(masks) != len(images):
        raise ValueError(
            f"{name} has {len(masks)} masks, but there are {len(images)} images: give "
            "one for each."
        )
    for i, (mask, image) in enumerate(zip(masks, images, strict=True)):
        if mask.ndim == 0:
            raise ValueError(
                f"{name}[{i}] is {mask.item()!r} and no mask, (height, width), of its "
                "image: one label for an image is what LSTMImageClassifier learns."
            )
        if mask.ndim == 3 and mask.shape[2] == 1:
            mask = masks[i] = mask[..., 0]
        if mask.shape != image.shape[:2]:
            raise ValueError(
                f"{name}[{i}] has the shape {mask.shape}, but its image is "
                f"{image.shape[:2]}: a mask has one value for each pixel. Labels of "
                "windows are one array, (n, n_steps)."
            )
        if mask.dtype != bool:
            found = np.unique(mask)
            if not np.isin(found, (0, 1)).all():
                some = ", ".join(map(str, found[:4].tolist()))
                more = ", ..." if len(found) > 4 else ""
                hint = ""
                if found[0] == 0 and found[-1] == 255:
                    hint = " Masks of 0 and 255 become one by mask > 127."
                raise ValueError(
                    f"{name}[{i}] has the values {some}{more}: a mask is 0 and 1.{hint}"
                )
            masks[i] = mask.astype(bool)
    return masks


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
