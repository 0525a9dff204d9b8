"""A file of the scores of a comparison, which goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from sklstm.model_selection._description import describe


class ScoreFile:
    """A file with a line for each fit.

    Parameters
    ----------
    path : str or path
        File. It is made if it does not exist.
    named : dict of str to classifier
        The classifiers.
    X, y, groups : array-like
        Data, of which each line has a digest.
    scoring : str or callable
        Score.

    Raises
    ------
    ValueError
        If the folder does not exist, or if a parameter or the score could not be told
        from another one.
    """

    def __init__(
        self,
        path: Any,
        named: dict[str, Any],
        X: Any,
        y: np.ndarray,
        groups: Any,
        scoring: Any,
    ) -> None:
        self._path = Path(path)
        if not self._path.parent.is_dir():
            raise ValueError(
                f"store={str(path)!r} is in a folder that does not exist: make it "
                "first."
            )
        data = {"X": X, "y": y, "groups": groups, "scoring": scoring}
        self._data = [_hash(part, name) for name, part in data.items()]
        self._digests = {name: _digest(one, name) for name, one in named.items()}
        self._lines = dict(self._read())

    def get(self, job: Any) -> tuple[float, float] | None:
        """Return the score and the seconds of a fit, or None."""
        return self._lines.get(self._key(job))

    def put(self, job: Any, score: float, seconds: float) -> None:
        """Write the score of a fit."""
        line = {"key": self._key(job), "fit": str(job)}
        text = json.dumps({**line, "score": score, "seconds": seconds}) + "\n"
        with self._path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                # A run may have ended in the middle of a line.
                text = text if file.read(1) == b"\n" else "\n" + text
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())

    def _key(self, job: Any) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for part in (*self._data, self._digests[job.name], str(job.seed)):
            digest.update(f"{part}|".encode())
        for rows in (job.train, job.test):
            digest.update(rows.astype(np.int64).tobytes() + b"|")
        return digest.hexdigest()

    def _read(self) -> Iterator[tuple[str, tuple[float, float]]]:
        if not self._path.exists():
            return
        whole = self._path.read_text(encoding="utf-8", errors="replace")
        for text in whole.splitlines():
            try:
                line = json.loads(text)
                yield line["key"], (float(line["score"]), float(line["seconds"]))
            except (KeyError, TypeError, ValueError):
                continue  # it is cut off


def _digest(estimator: Any, where: str) -> str:
    """Return a digest of an estimator that is equal in every process."""
    for name, value in estimator.get_params(deep=True).items():
        if "<" in getattr(value, "__qualname__", ""):
            raise _not_known_again(f"{where}.{name}")
    kind, *params = describe(estimator)
    # The seed of a fit replaces it.
    own = [pair for pair in params if pair[0].rpartition("__")[2] != "random_state"]
    return str(joblib.hash([kind, own]))


def _hash(value: Any, where: str) -> str:
    try:
        return str(joblib.hash(value, coerce_mmap=True))
    except (AttributeError, TypeError, pickle.PicklingError) as error:
        raise _not_known_again(where) from error


def _not_known_again(where: str) -> ValueError:
    return ValueError(
        f"store= cannot tell {where} from others: define functions by def at the top "
        "of a module, or compare without store=."
    )
