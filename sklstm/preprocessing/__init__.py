"""Transformers from images to images and from images to sequences. Loads no Keras."""

from sklstm.preprocessing._image_reader import ImageReader
from sklstm.preprocessing._patch_sequencer import PatchSequencer
from sklstm.preprocessing._row_sequencer import RowSequencer
from sklstm.preprocessing._volume_sequencer import VolumeSequencer
from sklstm.preprocessing.fundus import FundusPreprocessor, fov_mask

__all__ = [
    "FundusPreprocessor",
    "ImageReader",
    "PatchSequencer",
    "RowSequencer",
    "VolumeSequencer",
    "fov_mask",
]
