"""Display classes, which draw fitted objects with matplotlib."""

from sklstm.inspection._search_display import SearchDisplay

__all__ = ["SearchDisplay"]
