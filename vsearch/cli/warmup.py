"""Compiles the kernels of every index kind, by using each in every way that makes a kernel of its own.

A kernel is compiled once for each dtype of vectors and for each branch that first calls it; the compiled code is kept
in the user's cache folder and is found there by every later process.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Final, get_args

import numpy as np

from vsearch.index import registry
from vsearch.index.bitset import from_mask
from vsearch.index.jit import cache_folder
from vsearch.types import Dense, Distance, SearchParams

ROWS: Final = 3_000
DIM: Final = 16
MATCHING: Final = (ROWS, ROWS // 2, 5)  # live rows: as many as there are, many, few
QUERIES: Final = (1, 200)  # a search and a batch


def warm_up() -> None:
    """Compile what is not compiled yet."""
    for kind, distance, dtype in product(registry.KINDS, get_args(Distance), ("float32", "float16")):
        _use(kind, distance, dtype)


def kept_kernels() -> int:
    """How many compiled kernels are kept for this version on this machine; 0 where none can be kept."""
    folder = cache_folder()
    return len(list(Path(folder).rglob("*.nbc"))) if folder else 0


def _use(kind: str, distance: Distance, dtype: str) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((ROWS, DIM)).astype(dtype)
    vectors.flags.writeable = False  # as those of a segment's mapped file: a kernel distinguishes the two
    settings = Dense(DIM).to_dict()
    buffers = registry.builder(kind)(vectors, distance, settings, threads=2)
    reader = registry.reader(kind)(vectors, buffers, distance, 2)
    for matching in MATCHING:
        live = None if matching == ROWS else from_mask(np.arange(ROWS) < matching)
        for count in QUERIES:
            queries = rng.standard_normal((count, DIM), np.float32)
            reader.search(queries, 10, SearchParams(), live)
