"""Loaders of sets of image files, which return paths and labels but no pixels."""

from sklstm.datasets._load import load_image_folder, load_image_table

__all__ = ["load_image_folder", "load_image_table"]
