"""Checking and resizing of images, shared by all estimators of the package."""

from sklstm.images._ragged import check_images, is_path, resize_images
from sklstm.images._resize import resize
from sklstm.images._validate import (
    all_finite,
    batches,
    check_image_shape,
    count_samples,
    describe_not_finite,
    is_count,
    to_numpy,
    unchanged_on_error,
    validate_images,
)

__all__ = [
    "all_finite",
    "batches",
    "check_image_shape",
    "check_images",
    "count_samples",
    "describe_not_finite",
    "is_count",
    "is_path",
    "resize",
    "resize_images",
    "to_numpy",
    "unchanged_on_error",
    "validate_images",
]
