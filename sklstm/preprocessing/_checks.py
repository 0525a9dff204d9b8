"""Checks of parameters."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import Any

from sklstm.images._validate import is_count


def check_choice(name: str, value: Any, choices: Iterable[Any]) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    choices = list(choices)
    # The type is compared first, because an array compares element by element.
    if not any(isinstance(value, type(c)) and value == c for c in choices):
        allowed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name} must be one of {allowed}; got {value!r}.")


def check_sizes(name: str, value: Any, axes: tuple[str, ...]) -> tuple[int, ...]:
    """Return a size for each axis from one size for all or one size for each."""
    sizes = (value,) * len(axes) if isinstance(value, Integral) else value
    if (
        not isinstance(sizes, tuple | list)
        or len(sizes) != len(axes)
        or not all(is_count(size) for size in sizes)
    ):
        raise ValueError(
            f"{name} must be a whole number of at least 1, or ({', '.join(axes)}) of "
            f"such; got {value!r}."
        )
    return tuple(int(size) for size in sizes)


def listed(paths: list[str]) -> str:
    """Return the first five paths and the number of the others."""
    more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
    return ", ".join(paths[:5]) + more
