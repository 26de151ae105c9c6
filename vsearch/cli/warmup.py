"""Compiles the kernels of every index kind, by using each in every way that makes a kernel of its own.

A kernel is compiled once for each dtype of vectors, or of terms and weights, and for each branch that first calls it;
the compiled code is kept in the user's cache folder and is found there by every later process. Compiling holds Python's
global lock, so each processor gets a process of its own.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
from numpy.typing import DTypeLike

from vsearch.api.warm import load_cache_kernels
from vsearch.index import registry
from vsearch.index.bitset import from_mask
from vsearch.index.bm25 import Bm25Store
from vsearch.index.jit import cache_folder
from vsearch.index.postings import PostingStore
from vsearch.types import Dense, Distance, SearchParams, SparseRows, Text, TextQueries

ROWS: Final = 3_000
DIM: Final = 16
VOCABULARY, TERMS = 60, 12  # distinct terms, and those of a row
MATCHING: Final = (ROWS, ROWS // 2, 5)  # live rows: as many as there are, many, few
FLOATS: Final = ("float32", "float16")
NUMBERS: Final = ("terms", "uint16", "uint32")
QUERIES: Final = (1, 200)  # a search and a batch


def warm_up() -> None:
    """Compile what is not compiled yet, and load what there is for this process."""
    if cache_folder() is not None:
        with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
            for compiled in [pool.submit(use) for use in USES]:
                compiled.result()
    for use in USES:
        use()


def kept_kernels() -> int:
    """How many compiled kernels are kept for this version on this machine; 0 where none can be kept."""
    folder = cache_folder()
    return len(list(Path(folder).rglob("*.nbc"))) if folder else 0


def _use(kind: str, dtype: str) -> None:
    for distance in get_args(Distance):
        _use_dense(kind, distance, dtype)


def _use_dense(kind: str, distance: Distance, dtype: str) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((ROWS, DIM)).astype(dtype)
    vectors.flags.writeable = False  # as those of a segment's mapped file: a kernel distinguishes the two
    settings = Dense(DIM).to_dict()
    buffers = registry.builder(kind)(vectors, distance, settings, threads=2)
    reader = registry.reader(kind)(vectors, buffers, distance, 2)
    _search(reader, lambda count: rng.standard_normal((count, DIM), np.float32))


def _use_sparse(kind: str, numbers: str) -> None:
    for weights in FLOATS:
        _use_rows(kind, numbers, weights)


def _use_rows(kind: str, numbers: str, weights: str) -> None:
    terms: DTypeLike = np.uint64 if kind == "bm25" else np.uint32
    rows: Any = _sparse_rows(ROWS, terms, numbers, weights)  # where a kind takes arrays, these take rows
    buffers = registry.builder(kind)(rows, "dot", {**Text().to_dict(), "knn": 0}, threads=2)
    _search(registry.reader(kind)(rows, buffers, "dot", 2), lambda count: _sparse_queries(kind, terms, count))


def _use_stores() -> None:
    for weights in FLOATS:
        _use_store(PostingStore(ROWS), _sparse_rows(ROWS, np.uint32, "terms", weights))
    _use_store(Bm25Store(ROWS, Text().to_dict()), _sparse_rows(ROWS, np.uint64, "terms", "float32"))


def _use_store(store: Any, rows: SparseRows) -> None:
    """A growing segment's inverted lists."""
    store.put(rows, 0, ROWS)
    reader = store.reader(rows, ROWS, 2)
    _search(reader, lambda count: _sparse_queries(reader.kind, rows.numbers.dtype, count))


def _search(reader: Any, queries: Callable[[int], Any]) -> None:
    for matching in MATCHING:
        live = None if matching == ROWS else from_mask(np.arange(ROWS) < matching)
        for count in QUERIES:
            reader.search(queries(count), 10, SearchParams(), live)


def _sparse_rows(count: int, terms: DTypeLike, numbers: str, weights: str) -> SparseRows:
    """Rows of TERMS terms out of a few; `numbers`: "terms", or the dtype of positions in a dictionary."""
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.permuted(np.tile(np.arange(VOCABULARY), (count, 1)), axis=1)[:, :TERMS], axis=1).ravel()
    offsets = np.arange(count + 1, dtype=np.int64) * TERMS
    values = rng.integers(1, 4, len(chosen)).astype(weights)
    if numbers == "terms":
        return SparseRows(offsets, chosen.astype(terms), values)
    arrays = [offsets, chosen.astype(numbers), values, np.arange(VOCABULARY).astype(terms)]
    for array in arrays:
        array.flags.writeable = False
    return SparseRows(*arrays)


def _sparse_queries(kind: str, terms: DTypeLike, count: int) -> SparseRows | TextQueries:
    rows = _sparse_rows(count, terms, "terms", "float32")
    return TextQueries(rows, float(TERMS)) if kind == "bm25" else rows


# What takes longest to compile comes first, so that no processor is left with it at the end.
USES: Final[list[Callable[[], None]]] = [
    *[partial(_use, kind, dtype) for kind, dtype in product(reversed(registry.KINDS), FLOATS)],
    *[partial(_use_sparse, kind, numbers) for kind, numbers in product(reversed(registry.SPARSE_KINDS), NUMBERS)],
    load_cache_kernels,
    _use_stores,
]
