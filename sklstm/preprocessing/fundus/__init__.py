"""Retinal photographs: field of view, enhancement and vessels."""

from sklstm.preprocessing.fundus._fundus_preprocessor import (
    FundusPreprocessor,
    fov_mask,
)

__all__ = ["FundusPreprocessor", "fov_mask"]
