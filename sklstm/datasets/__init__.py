"""Loaders of sets of image files, with labels or with masks."""

from sklstm.datasets._load import load_image_folder, load_image_table
from sklstm.datasets._masks import load_mask_folder

__all__ = ["load_image_folder", "load_image_table", "load_mask_folder"]
