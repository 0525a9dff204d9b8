"""Values in the pool's keys that cannot be proven equal. Loads no Keras."""

from __future__ import annotations

from typing import Any


class Unproven:
    """A value in a key that may change without notice. It equals only itself.

    Parameters
    ----------
    value : Any
        The value.
    what : str
        Description of the value for messages.
    """

    def __init__(self, value: Any, what: str) -> None:
        self.value = value
        self.what = what

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unproven) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)

    def __repr__(self) -> str:
        return f"Unproven({self.what})"


def unproven_part(key: Any) -> Unproven | None:
    """Return the first part of a key that cannot be proven equal, or None."""
    if isinstance(key, Unproven):
        return key
    if isinstance(key, tuple | frozenset):
        for part in key:
            found = unproven_part(part)
            if found is not None:
                return found
    return None
