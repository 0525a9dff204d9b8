"""What a batch of images is: one check that every estimator of the package shares."""

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
    "count_samples",
    "describe_not_finite",
    "is_count",
    "to_numpy",
    "unchanged_on_error",
    "validate_images",
]
