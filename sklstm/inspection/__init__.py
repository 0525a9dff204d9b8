"""Looking at what was fitted: Display classes, drawn with matplotlib."""

from sklstm.inspection._search_display import SearchDisplay

__all__ = ["SearchDisplay"]
