"""Saving estimators to a file without pickle, and loading them again.

A file contains data and names, no code. `load` looks up each name in the lists of
harmless names in this package, and among the names that the user trusts.
"""

from sklstm.persistence._save_load import load, save

__all__ = ["load", "save"]
