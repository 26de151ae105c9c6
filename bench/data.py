"""The real data sets, as float32 unit vectors with exact answers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray


@dataclass(frozen=True)
class Wordnet:
    """docs [n, 384] and queries [nq, 384] of unit length, exact top 100 rows by query, payloads of the docs."""

    docs: NDArray[np.float32]
    queries: NDArray[np.float32]
    truth: NDArray[np.int64]
    payloads: list[dict[str, Any]]


def wordnet(folder: Path, rows: int | None = None) -> Wordnet:
    """The WordNet definitions; with `rows`, the first of them and truth computed anew."""
    folder = folder / "wordnet"
    scale = json.loads((folder / "dense.json").read_text())
    docs = unit_vectors(np.load(folder / "dense_i8.npy")[:rows], scale["scale"])
    queries = unit_vectors(np.load(folder / "queries_dense_i8.npy"), scale["queries_scale"])
    truth = np.load(folder / "dense_top100.npy").astype(np.int64)
    if rows is not None:
        queries = queries[:500]
        truth = np.argsort(-(queries @ docs.T), axis=1, kind="stable")[:, :100]
    table = pq.read_table(folder / "docs.parquet", columns=["text", "pos", "category", "words"])
    return Wordnet(docs, queries, truth, table.slice(0, len(docs)).to_pylist())


def recall(found: NDArray[np.int64], truth: NDArray[np.int64], k: int = 10) -> float:
    """Share of the true nearest k that are among the found k."""
    hits = [len(set(a[:k].tolist()) & set(b[:k].tolist())) for a, b in zip(found, truth, strict=True)]
    return float(np.mean(hits)) / k


def unit_vectors(codes: NDArray[np.int8], scale: float) -> NDArray[np.float32]:
    """float32 [n, d] of unit length, of components in units of `scale`."""
    vectors = codes.astype(np.float32) * np.float32(scale)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
