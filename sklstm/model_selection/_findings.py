"""One finding of a diagnosis."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Parameters
    ----------
    check : str
        Name of the check.
    verdict : {"good", "warning", "problem", "not checked"}
        The result.
    advice : str
        A sentence with what was measured and, if something is to be changed, with the
        parameter to change.
    figures : dict of str to float
        What was measured.
    params : dict of str to object
        The advice as parameters: ``estimator.set_params(**finding.params)`` follows it.
        Empty if there is nothing to change, or if no parameter helps.
    """

    check: str
    verdict: str
    advice: str
    figures: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.verdict:11} {self.check}: {self.advice}"
