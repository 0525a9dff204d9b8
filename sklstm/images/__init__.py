"""Checking and resizing of images, shared by all estimators of the package."""

from sklstm.images._validate import all_finite, unchanged_on_error, validate_images

__all__ = ["all_finite", "unchanged_on_error", "validate_images"]
