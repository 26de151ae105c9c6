"""Kernels loaded before a request needs them: most of a second, and minutes where they are not compiled yet."""

from __future__ import annotations

from contextlib import suppress
from functools import cache

import numpy as np

from vsearch.database import Database
from vsearch.errors import VSearchError

DIM = 16


def load_kernels(db: Database) -> None:
    """Those of every collection that has points, by one search in each, as far as that goes; and those of caches."""
    with suppress(VSearchError):
        for docs in map(db.collection, db.collections()):
            for point in docs.scroll(limit=1, with_payload=False, with_vectors=True):
                for field, vector in (point.vectors or {}).items():
                    docs.search(vector, field, limit=1)
        if db.caches():
            load_cache_kernels()


@cache
def load_cache_kernels() -> None:
    """By what a cache does to an index, small and large. Lookups on the event loop must not have to do it."""
    from vsearch.index.hnsw_live import GRAPH_ROWS, LiveGraph

    rows = np.random.default_rng(0).standard_normal((GRAPH_ROWS + 100, DIM)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    small, large = LiveGraph(DIM), LiveGraph(DIM)
    small.add(rows[0])
    small.search(rows[0], 1)
    slots = large.add_many(rows)
    large.search(rows[0], 1)
    for slot in slots[: GRAPH_ROWS // 4].tolist():  # so many that their links are mended
        large.remove(slot)
    for row in rows[-100:]:  # which are there already: twins
        large.add(row)
    large.search(rows[0], 1)
