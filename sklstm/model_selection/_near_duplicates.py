"""Near duplicates in a set of images: hash, registration, correlation, significance."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.fft import dctn, irfft2, rfft2

from sklstm.images._resize import resize

# Sides of the images that are compared. The search and the first steps of the
# registration use the small one, and the similarity is measured on the large one.
_COARSE, _FINE = 32, 64
# The hash is made of so many of the lowest frequencies of each axis, without the mean.
_N_FREQUENCIES = 12
# Images whose hashes are compared with the others: shifted by a part of the side, or
# enlarged. Each row is (shift along y, along x, enlargement along y, along x).
_HASH_MOVES = (
    (0.0, 0.0, 0.0, 0.0),
    (0.06, 0.0, 0.0, 0.0),
    (-0.06, 0.0, 0.0, 0.0),
    (0.0, 0.06, 0.0, 0.0),
    (0.0, -0.06, 0.0, 0.0),
    (0.0, 0.0, 0.08, 0.0),
    (0.0, 0.0, -0.08, 0.0),
    (0.0, 0.0, 0.0, 0.08),
    (0.0, 0.0, 0.0, -0.08),
)
_N_CANDIDATES = 12
# Limits of the registration, as parts of the side.
_MAX_SHIFT, _MAX_SCALE = 0.2, 0.2
# Pixels of the coarse images by which the first shift may differ from none.
_FIRST_SHIFT = 4
_BATCH = 256
# With fewer images there is no telling how similar different images are.
MIN_IMAGES = 20
# No pair is less similar, whatever the rest of the set looks like.
_FLOOR = 0.5
# Similarity after two steps of the registration from which on it takes more.
_WORTH_MORE = 0.4
FLIPS = {
    None: (),
    "horizontal": ((1, -1),),
    "vertical": ((-1, 1),),
    "both": ((1, -1), (-1, 1), (-1, -1)),
}


def thumbnails(images: Sequence[np.ndarray]) -> np.ndarray:
    """Return gray images of one size, of mean 0 and variance 1, or 0 if of one color.

    Parameters
    ----------
    images : sequence of ndarray, (height, width) or (height, width, channels)
        Images, which may differ in size.

    Returns
    -------
    ndarray of float32, shape (n, 64, 64)
        Channels are averaged.
    """
    out = np.zeros((len(images), _FINE, _FINE), np.float32)
    for place, image in zip(out, images, strict=True):
        values = np.asarray(image, np.float32)
        largest = np.abs(values).max()
        if largest > 0:
            # Squares of the largest numbers are more than float32 holds.
            values = values / largest
        if values.ndim == 3:
            values = values.mean(axis=2)
        # A sum of equal values is rounded, so the range tells that there is nothing.
        if np.ptp(values) <= 1e-6:
            continue
        small = resize(values, (_FINE, _FINE))
        small = small - small.mean(dtype=np.float64)
        deviation = small.std(dtype=np.float64)
        if deviation > 1e-6:
            place[:] = small / deviation
    return out


def equal_pairs(images: Sequence[np.ndarray]) -> np.ndarray:
    """Return pairs of equal images, each image with the first that equals it."""
    first: dict[tuple, int] = {}
    pairs = []
    for number, image in enumerate(images):
        values = np.ascontiguousarray(image)
        digest = hashlib.blake2b(values.tobytes(), digest_size=16).digest()
        same = first.setdefault((values.shape, values.dtype.str, digest), number)
        if same != number:
            pairs.append((same, number))
    return np.array(pairs, dtype=np.intp).reshape(-1, 2)


class NearDuplicates:
    """Search for pairs of images that show the same.

    Parameters
    ----------
    images : ndarray of float32, shape (n, 64, 64)
        What `thumbnails` returns, without images of one color.
    flip : {None, "horizontal", "vertical", "both"}
        Flips that near duplicates may have.
    """

    def __init__(self, images: np.ndarray, flip: str | None = None) -> None:
        small = np.stack([resize(image, (_COARSE, _COARSE)) for image in images])
        self.levels = {
            _COARSE: _local_contrast(small, 2.25),
            _FINE: _local_contrast(images, 3.0),
        }
        self.flips = ((1, 1), *FLIPS[flip])
        self.n_images = len(images)

    def search(
        self, expected_false: float, min_similarity: float | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return pairs of near duplicates and their similarities.

        Parameters
        ----------
        expected_false : float
            Expected number of pairs that are alike by chance.
        min_similarity : float or None
            If not None, the limit of the similarity in place of `expected_false`.

        Returns
        -------
        pairs : ndarray of int, shape (n_pairs, 2)
            Places of the images, the smaller first.
        similarities : ndarray of float, shape (n_pairs,)
            Correlations after registration.
        """
        n = self.n_images
        if n < 2 or (n < MIN_IMAGES and min_similarity is None):
            return np.empty((0, 2), np.intp), np.empty(0)
        ranks = _ranks(n)
        every = sorted({rank for span in ranks for rank in span})
        near, far = self._neighbors((1, 1), min(_N_CANDIDATES, n - 1), every)
        pairs, similarities = self._similarities(near, (1, 1))
        for flip in self.flips[1:]:
            near, _ = self._neighbors(flip, min(_N_CANDIDATES, n - 1), [])
            more = self._similarities(near, flip)
            pairs = np.concatenate([pairs, more[0]])
            similarities = np.concatenate([similarities, more[1]])
        if min_similarity is not None:
            kept = similarities >= min_similarity
        else:
            rows = np.repeat(np.arange(n), len(every))
            _, others = self._register(rows, far.ravel(), (1, 1))
            others = np.sort(others.reshape(n, -1), axis=1)[:, ::-1]
            chance = np.min(
                [
                    expected_by_chance(
                        pairs,
                        similarities,
                        others[:, [every.index(rank) for rank in span]],
                        np.array(span),
                    )
                    for span in ranks
                ],
                axis=0,
            )
            # Each span and each flip is one more chance to be wrong.
            chance = chance * len(ranks) * len(self.flips)
            kept = (similarities >= _FLOOR) & (chance < expected_false)
        return _best_of_each(pairs[kept], similarities[kept])

    def _neighbors(
        self, flip: tuple[int, int], n_near: int, ranks: list[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the images of the nearest hashes to each, and those at some ranks."""
        images = self.levels[_COARSE]
        own = _hashes(images)
        others = images[:, :: flip[0], :: flip[1]]
        moved = [
            _hashes(
                _moving(_COARSE, shift_y, scale_y)
                @ others
                @ _moving(_COARSE, shift_x, scale_x).T
            )
            for shift_y, shift_x, scale_y, scale_x in _HASH_MOVES
        ]
        n = len(images)
        near = np.empty((n, n_near), np.intp)
        far = np.empty((n, len(ranks)), np.intp)
        for rows in _batches(n):
            alike = np.full((rows.stop - rows.start, n), -np.inf, np.float32)
            for hashes in moved:
                np.maximum(alike, own[rows] @ hashes.T, out=alike)
            numbers = np.arange(rows.start, rows.stop)
            alike[np.arange(len(alike)), numbers] = -np.inf
            order = np.argsort(-alike, axis=1, kind="stable")
            near[rows] = order[:, :n_near]
            far[rows] = order[:, [rank - 1 for rank in ranks]]
        return near, far

    def _similarities(
        self, near: np.ndarray, flip: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        rows = np.repeat(np.arange(len(near)), near.shape[1])
        pairs = np.unique(np.sort(np.stack([rows, near.ravel()], 1), axis=1), axis=0)
        return self._register(pairs[:, 0], pairs[:, 1], flip)

    def _register(
        self, first: np.ndarray, second: np.ndarray, flip: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return pairs and the correlations of their images after registration."""
        found = np.empty(len(first))
        for rows in _batches(len(first)):
            one, two = first[rows], second[rows]
            a, b = (
                self.levels[_COARSE][one],
                self.levels[_COARSE][two][:, :: flip[0], :: flip[1]],
            )
            _, moves = _gauss_newton(a, b, _first_shift(a, b), 8)
            a, b = (
                self.levels[_FINE][one],
                self.levels[_FINE][two][:, :: flip[0], :: flip[1]],
            )
            alike, moves = _gauss_newton(a, b, moves, 2)
            # Most pairs differ, and two steps show it.
            more = alike > _WORTH_MORE
            if more.any():
                alike[more], _ = _gauss_newton(a[more], b[more], moves[more], 4)
            found[rows] = alike
        return np.stack([first, second], axis=1), found


def expected_by_chance(
    pairs: np.ndarray, similarities: np.ndarray, others: np.ndarray, ranks: np.ndarray
) -> np.ndarray:
    """Return the expected number of pairs in the set that are as similar by chance.

    Around an image, the number of different images within a distance grows as a power
    of it. The exponent is the dimension of the set. It is estimated from the distances
    at some ranks, as is the density around each image, and both are extrapolated to the
    distance of the pair.

    Parameters
    ----------
    pairs : ndarray of int, shape (n_pairs, 2)
        Places of the images.
    similarities : ndarray of float, shape (n_pairs,)
        Their correlations.
    others : ndarray of float, shape (n_images, n_ranks)
        Correlations of each image with others, the largest first.
    ranks : ndarray of int, shape (n_ranks,)
        Their ranks in increasing order.

    Returns
    -------
    ndarray of float, shape (n_pairs,)
        Expected numbers.
    """
    # The squared distance of two images of norm 1 is 2 minus twice the correlation.
    logs = np.log(np.clip(1 - others, 1e-4, None))
    growth = max(float(np.median(logs[:, -1] - logs[:, 0])), 1e-9)
    half = min(float(np.log(ranks[-1] / ranks[0])) / growth, 30.0)
    density = (logs - np.log(ranks / ranks[0]) / half).mean(axis=1)
    # Of the two images, the one in the denser place counts.
    denser = density[pairs].min(axis=1)
    distance = np.log(np.clip(1 - similarities, 1e-4, None))
    number = np.log(float(len(others)) * ranks[0]) + half * (distance - denser)
    return np.exp(np.minimum(number, 50.0))


def _ranks(n: int) -> list[list[int]]:
    """Return ranks of neighbors that are taken for different images.

    The first span is near, and right where the set has dense places. The second is
    right where a group of near duplicates holds up to a fifth of the set.
    """
    fifth, half = max(n // 5, 1), max(n // 2, 2)
    spans = [(fifth, half, 3)]
    near = max(n // 40, 20)
    if 2 * near <= fifth:
        spans.append((near, fifth, 4))
    return [
        [int(rank) for rank in np.unique(np.geomspace(low, high, number).astype(int))]
        for low, high, number in spans
    ]


def _batches(n: int) -> Iterator[slice]:
    return (slice(start, min(start + _BATCH, n)) for start in range(0, n, _BATCH))


def _local_contrast(images: np.ndarray, sigma: float) -> np.ndarray:
    """Divide by the local deviation, so that light and exposure do not count."""
    # OpenCV is loaded when it is needed.
    import cv2

    out = np.empty_like(images)
    for place, image in zip(out, images, strict=True):
        detail = image - cv2.GaussianBlur(image, (0, 0), sigma)
        power = cv2.GaussianBlur(detail * detail, (0, 0), sigma)
        # Without the constant, noise in flat areas would count as much as edges.
        place[:] = detail / (np.sqrt(power) + 0.2 * np.sqrt(np.mean(detail**2)) + 1e-6)
    out -= out.mean(axis=(1, 2), keepdims=True)
    return out / (np.sqrt((out * out).sum(axis=(1, 2), keepdims=True)) + 1e-9)


def _hashes(images: np.ndarray) -> np.ndarray:
    """Return the lowest frequencies of images, as vectors of norm 1."""
    waves = dctn(images, axes=(1, 2), norm="ortho")[:, :_N_FREQUENCIES, :_N_FREQUENCIES]
    flat = waves.reshape(len(waves), -1)[:, 1:]
    return flat / (np.linalg.norm(flat, axis=1, keepdims=True) + 1e-9)


def _moving(side: int, shift: float, scale: float) -> np.ndarray:
    """Return the matrix that moves an axis of images, (side, side)."""
    centered = np.arange(side, dtype=np.float32) - (side - 1) / 2
    places = (1 + scale) * centered + shift * side
    return np.maximum(0, 1 - np.abs(places[:, None] - centered)).astype(np.float32)


def _first_shift(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the shifts of b that correlate best with a, whole pixels, (n, 4)."""
    side = a.shape[1]
    window = np.sqrt(np.hanning(side + 2)[1:-1]).astype(np.float32)
    window = window[:, None] * window
    waves = np.conj(rfft2(a * window)) * rfft2(b * window)
    reach = 2 * _FIRST_SHIFT + 1
    peaks = np.roll(irfft2(waves, s=(side, side)), (_FIRST_SHIFT,) * 2, axis=(1, 2))
    best = peaks[:, :reach, :reach].reshape(len(a), -1).argmax(axis=1)
    moves = np.zeros((len(a), 4), np.float32)
    moves[:, 0] = (best // reach - _FIRST_SHIFT) / side
    moves[:, 1] = (best % reach - _FIRST_SHIFT) / side
    return moves


def _gauss_newton(
    a: np.ndarray, b: np.ndarray, moves: np.ndarray, n_steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Shift and enlarge b until it agrees with a, and return correlations and moves.

    This is the inverse compositional method: the gradient is that of a, so its
    equations are set up once. Both axes move separately, so that a move is a product
    with a matrix on each side.
    """
    side = a.shape[1]
    centered = np.arange(side, dtype=np.float32) - (side - 1) / 2
    rows, columns = np.gradient(a, axis=(1, 2))
    slopes = np.stack(
        [
            rows,
            columns,
            rows * (centered / side)[:, None],
            columns * (centered / side),
        ],
        axis=1,
    ).reshape(len(a), 4, -1)
    normal = slopes @ slopes.transpose(0, 2, 1)
    ridge = 1e-3 * np.trace(normal, axis1=1, axis2=2) / 4 + 1e-9
    normal += ridge[:, None, None] * np.eye(4, dtype=np.float32)
    best, best_moves = np.full(len(a), -1.0), moves.copy()
    for step in range(n_steps + 1):
        shift, scale = moves[:, :2] * side, 1 + moves[:, 2:]
        y = scale[:, :1] * centered + shift[:, :1]
        x = scale[:, 1:] * centered + shift[:, 1:]
        moved = (
            np.maximum(0, 1 - np.abs(y[:, :, None] - centered))
            @ b
            @ np.maximum(0, 1 - np.abs(x[:, :, None] - centered)).transpose(0, 2, 1)
        )
        inside = (np.abs(y) <= centered[-1])[:, :, None] & (np.abs(x) <= centered[-1])[
            :, None
        ]
        area = inside.sum(axis=(1, 2))
        one, norm_one = _standard(a, inside, area)
        two, norm_two = _standard(moved, inside, area)
        similarity = (one * two).sum(axis=(1, 2)) / (norm_one * norm_two)
        better = (similarity > best) & (area > side * side / 2)
        best[better], best_moves[better] = similarity[better], moves[better]
        if step < n_steps:
            error = two * (norm_one / norm_two)[:, None, None] - one
            change = np.linalg.solve(normal, slopes @ error.reshape(len(a), -1, 1))
            change = change[..., 0]
            scale = scale / np.clip(1 + change[:, 2:] / side, 0.8, 1.25)
            shift = moves[:, :2] - scale * change[:, :2] / side
            moves = np.concatenate(
                [
                    np.clip(shift, -_MAX_SHIFT, _MAX_SHIFT),
                    np.clip(scale - 1, -_MAX_SCALE, _MAX_SCALE),
                ],
                axis=1,
            ).astype(np.float32)
    return best, best_moves


def _standard(
    images: np.ndarray, inside: np.ndarray, area: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return images minus their means inside, 0 outside, and their norms."""
    kept = images * inside
    mean = kept.sum(axis=(1, 2)) / np.maximum(area, 1)
    kept -= mean[:, None, None] * inside
    return kept, np.sqrt((kept * kept).sum(axis=(1, 2))) + 1e-9


def _best_of_each(
    pairs: np.ndarray, similarities: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return each pair once, with its highest similarity."""
    order = np.argsort(-similarities, kind="stable")
    _, first = np.unique(pairs[order], axis=0, return_index=True)
    return pairs[order][first], similarities[order][first]
