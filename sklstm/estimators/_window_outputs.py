"""What the detector's network says of the windows of an image. Loads Keras."""

import math
from collections.abc import Callable, Iterator
from typing import Any

from sklstm._keras import keras

import numpy as np

from sklstm.images._resize import resize
from sklstm.networks import marginals, max_marginals, split_outputs, split_pixels

# Numbers that are decoded at once: 64 MiB of log-potentials.
_AT_ONCE = 2**24


class WindowOutputs:
    """The outputs of `window_lstm` for some images, as numbers for each window.

    With a CRF, the rows and the columns of windows are chains. The numbers of a window
    are then the mean of those of its row and its column.

    With a decoder, each pixel has a probability too. It is the geometric mean of
    two: that of the decoder, and that of the windows, interpolated between their
    centres.

    Parameters
    ----------
    outputs : ndarray of shape (n, down, across, 1 or more)
        Outputs of the network.
    grid : tuple of int
        Number of windows (down, across).
    sides : tuple of int or None
        Size (height, width) of a window, if the network has a decoder.
    """

    def __init__(
        self,
        outputs: np.ndarray,
        grid: tuple[int, int],
        sides: tuple[int, int] | None = None,
    ) -> None:
        self.outputs = outputs
        self.grid = grid
        self.sides = sides
        self._n_pixels = 0 if sides is None else math.prod(sides)

    def __len__(self) -> int:
        return len(self.outputs)

    def log_odds(self) -> np.ndarray:
        """Return the log-odds of a defect in each window.

        Returns
        -------
        ndarray of shape (n, down, across), float32
            With a CRF, those of the marginals.
        """

        def log_marginals(potentials: Any) -> np.ndarray:
            return np.log(_numpy(marginals(potentials)) + np.float32(1e-12))

        return self._on_grid(log_marginals)

    def probabilities(self) -> np.ndarray:
        """Return the probability of a defect in each window.

        Returns
        -------
        ndarray of shape (n, down, across), float32
            The probabilities that belong to `log_odds`.
        """
        return _probabilities(self.log_odds())

    def pixel_probabilities(self) -> np.ndarray:
        """Return the probability of a defect in each pixel, from the decoder.

        Returns
        -------
        ndarray of shape (n, height, width), float32
            The probabilities, at the size that the network reads.
        """
        assert self.sides is not None
        outputs = keras.ops.convert_to_tensor(self.outputs)
        pixels = _numpy(split_pixels(outputs, self.sides))
        windows = [resize(one, pixels.shape[1:]) for one in self.probabilities()]
        return np.sqrt(_probabilities(pixels) * np.stack(windows))

    def margins(self, threshold: float) -> np.ndarray:
        """Return how clear the decision on each window is.

        Parameters
        ----------
        threshold : float
            Probability from which a window is called defective. With a CRF, the
            log-odds of the threshold are subtracted from the score of a defect at
            every step. At 0.5 the decisions are those of Viterbi's algorithm.

        Returns
        -------
        ndarray of shape (n, down, across), float32
            Above 0, the window is defective. With a CRF, this is the score of the best
            path with a defect in this window minus that of the best path without.
        """
        return next(self.margins_at(np.array([threshold])))

    def margins_at(self, thresholds: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the margins for each of several thresholds.

        Many thresholds are decoded together, which takes a fraction of the time.

        Parameters
        ----------
        thresholds : ndarray of shape (k,)
            Probabilities.

        Yields
        ------
        ndarray of shape (n, down, across), float32
            The `margins` for the next threshold.
        """
        shifts = -np.log(thresholds / (1 - thresholds)).astype(np.float32)
        size = self.outputs[..., self._n_pixels :].size
        together = max(1, _AT_ONCE // max(1, size))
        for i in range(0, len(shifts), together):
            part = shifts[i : i + together]

            def best(potentials: Any, part: np.ndarray = part) -> np.ndarray:
                # The chains have no masked steps, so this is `shift_labels`.
                labels = np.stack([np.zeros_like(part), part], axis=-1)
                added = keras.ops.convert_to_tensor(labels[:, None, None, None])
                shifted = potentials[None] + added
                shape = (-1, *potentials.shape[1:])
                return _numpy(max_marginals(keras.ops.reshape(shifted, shape)))

            found = self._on_grid(best, part)
            yield from found.reshape(len(part), *self.outputs.shape[:3])

    def _on_grid(
        self,
        decode: Callable[[Any], np.ndarray],
        shifts: np.ndarray | tuple = (0.0,),
    ) -> np.ndarray:
        """Return label 1 minus label 0 of what `decode` finds, one shift after another.

        Without a CRF, the shifts are added to the scores of the windows.
        """
        outputs = keras.ops.convert_to_tensor(self.outputs)
        score, chains = split_outputs(outputs, self.grid, self._n_pixels)
        if not chains:
            return np.concatenate([_numpy(score) + np.float32(s) for s in shifts])
        n = len(shifts) * len(self.outputs)
        total = np.zeros((n, *self.grid), np.float32)
        for axis, potentials in chains.items():
            labels = decode(potentials)
            lines = labels[..., 1] - labels[..., 0]
            total += self._from_lines(lines, axis) / np.float32(len(chains))
        return total

    def _from_lines(self, lines: np.ndarray, axis: str) -> np.ndarray:
        down, across = self.grid
        if axis == "rows":
            return lines.reshape(-1, down, across)
        return lines.reshape(-1, across, down).transpose(0, 2, 1)


class MeanWindowOutputs:
    """The outputs of several networks for the same images, on average.

    Parameters
    ----------
    members : list of WindowOutputs
        The outputs of each network.
    """

    def __init__(self, members: list[WindowOutputs]) -> None:
        self.members = members

    def __len__(self) -> int:
        return len(self.members[0])

    def log_odds(self) -> np.ndarray:
        """Return the log-odds of the mean probability of a defect in each window.

        Returns
        -------
        ndarray of shape (n, down, across), float32
            The log-odds, in -60 to 60.
        """
        # Both sums are exact where the probability is so near 1 that 1 - p is 0.
        odds = np.clip([one.log_odds() for one in self.members], -60, 60)
        odds = odds.astype(np.float64)
        for_, against = ((1 / (1 + np.exp(-s * odds))).mean(axis=0) for s in (1, -1))
        return (np.log(for_) - np.log(against)).astype(np.float32)

    def probabilities(self) -> np.ndarray:
        """Return the mean probability of a defect in each window.

        Returns
        -------
        ndarray of shape (n, down, across), float32
            The probabilities.
        """
        return np.mean([one.probabilities() for one in self.members], axis=0)

    def pixel_probabilities(self) -> np.ndarray:
        """Return the mean probability of a defect in each pixel.

        Returns
        -------
        ndarray of shape (n, height, width), float32
            The probabilities.
        """
        return np.mean([one.pixel_probabilities() for one in self.members], axis=0)

    def margins(self, threshold: float) -> np.ndarray:
        """Return the mean margin of the decision on each window.

        Parameters
        ----------
        threshold : float
            As in `WindowOutputs.margins`.

        Returns
        -------
        ndarray of shape (n, down, across), float32
            Above 0, the window is defective.
        """
        return next(self.margins_at(np.array([threshold])))

    def margins_at(self, thresholds: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the margins for each of several thresholds.

        Parameters
        ----------
        thresholds : ndarray of shape (k,)
            Probabilities.

        Yields
        ------
        ndarray of shape (n, down, across), float32
            The `margins` for the next threshold.
        """
        each = [one.margins_at(thresholds) for one in self.members]
        for margins in zip(*each, strict=True):
            yield np.mean(margins, axis=0)


def _probabilities(log_odds: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(-np.clip(log_odds, -60, 60)))).astype(np.float32)


def _numpy(tensor: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(tensor)
