"""The codes of a segment's rows, as `binary_code` and `fine_code` say: trained, made all at once or as rows come.

Training takes the mean of a sample as the centre, and measures how far estimates may be off. The rotation follows from
the dimension and a fixed seed. So codes are the same whatever the threads, and rows may come one batch after another.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InvalidArgument
from vsearch.types import FINE_BITS, Distance, FloatArray, Progress

from .base import Buffers
from .binary_code import BLOCK, blocks, empty_codes, encode_rows
from .fine_code import empty_fine, encode_fine
from .jit import read_only
from .rotation import random_signs
from .threads import run_ranges

VERSION: Final = 1
SEED: Final = 20_260_111  # of the rotation: all codes of one dimension are made with the same
MAX_SAMPLE: Final = 65_536  # rows whose mean is the centre
MIN_SPREAD: Final = 1e-3  # of rows that their codes show without error
CHUNK: Final = 1_024  # rows worth a thread's while; a multiple of BLOCK


class Codes(NamedTuple):
    """What a search needs of n rows of d components; `fine` and `fine_scales` have no rows without a second code."""

    codes: NDArray[np.uint8]
    factors: FloatArray
    centre: FloatArray
    signs: FloatArray
    fine: NDArray[np.uint8]
    fine_scales: FloatArray
    spread: FloatArray  # float32 [2], of the first code and of the second
    bits: int  # a component of the second code, 0 without one

    @classmethod
    def empty(cls, rows: int, d: int, bits: int) -> Codes:
        """Room for the codes of so many rows, with a second code of so many bits (0: none)."""
        centre, spread = np.zeros(d, np.float32), np.zeros(2, np.float32)
        return cls(*empty_codes(rows, d), centre, random_signs(d, SEED), *empty_fine(rows, d, bits), spread, bits)

    def train(self, vectors: NDArray[Any]) -> None:
        """Set centre and spread by samples of vectors [n, d], spaced evenly; the centre is the origin where there is
        no finite mean."""
        n, d = vectors.shape
        self.centre[:], self.spread[:] = 0.0, np.sqrt(1.0 - 2.0 / np.pi)
        if n:
            with np.errstate(over="ignore", invalid="ignore"):
                mean = vectors[:: -(-n // MAX_SAMPLE)].mean(axis=0, dtype=np.float64).astype(np.float32)
                self.centre[:] = mean if np.isfinite(np.dot(mean, mean)) else 0.0
            sample = vectors[:: -(-n // CHUNK)]
            trial = Codes.empty(len(sample), d, self.bits)._replace(centre=self.centre)
            self.spread[:] = np.maximum(trial.put(sample, 0, "dot"), MIN_SPREAD)

    def put(self, rows: NDArray[Any], start: int, distance: Distance) -> tuple[float, float]:
        """Code rows [m, d] as the numbers `start` and on; the spread of their codes."""
        exact, squared = read_only(np.ascontiguousarray(rows, np.float32)), distance == "l2"
        how = start, read_only(self.centre), self.signs, squared
        one, fine = encode_rows(exact, *how, self.codes, self.factors), 0.0
        if self.bits:
            fine = encode_fine(exact, *how, self.bits, self.fine, self.fine_scales)
        return float(one), float(fine)

    def first(self, rows: int) -> Codes:
        """The codes of the first rows; a block that they only begin is whole."""
        count = blocks(rows)
        codes, factors, fine, fine_scales = self.codes, self.factors, self.fine, self.fine_scales
        codes, factors, fine, fine_scales = codes[:count], factors[:count], fine[:rows], fine_scales[:rows]
        return self._replace(codes=codes, factors=factors, fine=fine, fine_scales=fine_scales)

    def frozen(self) -> Codes:
        """The same, read-only, as kernels take them."""
        arrays: dict[str, Any] = {name: read_only(array) for name, array in self.arrays().items()}
        return self._replace(**arrays)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What is stored, by name; the signs are made anew."""
        return {name: getattr(self, name) for name in self._fields if name not in ("signs", "bits")}


def encode(
    vectors: NDArray[Any], distance: Distance, bits: int, threads: int = 1, progress: Progress | None = None
) -> Codes:
    """The codes of vectors [n, d], with a second code of so many bits (0: none)."""
    n = len(vectors)
    codes = Codes.empty(n, vectors.shape[1], bits)
    codes.train(vectors)
    done = 0

    def some(first: int, last: int) -> None:
        nonlocal done
        for start in range(first * BLOCK, min(last * BLOCK, n), CHUNK):
            stop = min(start + CHUNK, last * BLOCK, n)
            codes.put(vectors[start:stop], start, distance)
            done += stop - start  # threads may miss a step of each other's: it is only shown
            if progress is not None:
                progress(done, n)

    run_ranges(some, blocks(n), threads, CHUNK // BLOCK)
    return codes


def to_buffers(codes: Codes, rows: int) -> dict[str, NDArray[Any]]:
    """The named arrays that are stored for so many rows; what made them stands in `made`."""
    made = [VERSION, SEED, rows, len(codes.centre), codes.bits]
    return {**codes.arrays(), "made": np.array(made, np.int64)}


def from_buffers(buffers: Buffers, rows: int, d: int) -> Codes:
    """The codes that were stored for so many rows of d components.

    Raises InvalidArgument where they are of other rows, of another rotation, or cut short.
    """
    made = buffers["made"].tolist()
    expected = [VERSION, SEED, rows, d]
    if made[:4] != expected or len(made) != 5 or made[4] not in (0, *FINE_BITS) or buffers["made"].dtype != np.int64:
        message = f"the codes were made for {made[:4]}, not for {expected} (version, seed, rows, dimension)"
        raise InvalidArgument(message, "Build them anew")
    codes = Codes.empty(0, d, made[4])
    fine_rows = rows if codes.bits else 0
    lengths = {"codes": blocks(rows), "factors": blocks(rows), "fine": fine_rows, "fine_scales": fine_rows}
    for name, empty in codes.arrays().items():
        array, shape = buffers[name], (lengths.get(name, len(empty)), *empty.shape[1:])
        if array.dtype != empty.dtype or array.shape != shape:
            message = f"{name} of the codes are {array.dtype} of shape {array.shape}, not {empty.dtype} of {shape}"
            raise InvalidArgument(message, "Build them anew")
    stored: dict[str, Any] = {name: buffers[name] for name in codes.arrays()}
    return codes._replace(**stored)


class CodeStore:
    """Codes of rows that are appended one batch after another, for up to `capacity` rows. One thread appends.

    They are trained on the first `least` rows; until there are more than these, none is coded.
    """

    def __init__(self, capacity: int, d: int, distance: Distance, bits: int, least: int) -> None:
        self._distance, self._least = distance, least
        self._codes = Codes.empty(capacity, d, bits)
        self._trained = False

    def put(self, vectors: NDArray[Any], start: int, stop: int) -> None:
        """Code the rows [start, stop) of vectors [stop or more, d]; all before them have been put."""
        if stop <= self._least:
            return
        if not self._trained:
            self._codes.train(vectors[: self._least])
            self._trained, start = True, 0
        self._codes.put(vectors[start:stop], start, self._distance)

    def buffers(self, rows: int) -> dict[str, NDArray[Any]]:
        """The buffers of a reader over the first `rows` rows; none up to `least`."""
        return to_buffers(self._codes.first(rows), rows) if rows > self._least else {}
