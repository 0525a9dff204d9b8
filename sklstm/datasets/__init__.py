"""Sets of image files: their paths, labels, classes and groups; no pixel is kept."""

from sklstm.datasets._load import load_image_folder, load_image_table

__all__ = ["load_image_folder", "load_image_table"]
