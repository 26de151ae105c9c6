"""The binary search in numpy, from its definition: every row is estimated, the k smallest keys are sorted out."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from vsearch.index import bitset
from vsearch.index.coding import Codes
from vsearch.index.flat import distances_to
from vsearch.index.rotation import rotate


def bits_of(codes: Codes, rows: int) -> np.ndarray:
    """bool [rows, D]: the code of each row, taken out of its block."""
    blocks, width, _ = codes.codes.shape
    # bytes of a block are those of the rows 0, 16, 1, 17, ...
    by_row = codes.codes.reshape(blocks, width, 16, 2).transpose(0, 3, 2, 1).reshape(-1, width)
    return np.unpackbits(by_row[:rows], axis=1, bitorder="little").astype(bool)


def factors_of(codes: Codes, rows: int) -> np.ndarray:
    """float32 [2, rows]: offsets and scales."""
    return codes.factors.transpose(1, 0, 2).reshape(2, -1)[:, :rows]


def rotated(vectors: np.ndarray, codes: Codes) -> np.ndarray:
    """float32 [n, D]: the centred, rotated vectors."""
    wide = codes.signs.shape[1]
    z = np.zeros((len(vectors), wide), np.float32)
    z[:, : vectors.shape[1]] = vectors.astype(np.float32) - codes.centre
    for row in z:
        rotate(row, np.empty(wide, np.float32), codes.signs)
    return z


def estimates(vectors: np.ndarray, query: np.ndarray, codes: Codes, distance: str) -> np.ndarray:
    """float64 [n]: distances as the codes let expect them, with an unrounded query."""
    offsets, scales = factors_of(codes, len(vectors)).astype(np.float64)
    y = rotated(query[None], codes)[0].astype(np.float64)
    signs = np.where(bits_of(codes, len(vectors)), 1.0, -1.0)
    shift = np.sum(y * y) if distance == "l2" else -np.dot(query.astype(np.float64), codes.centre)
    return offsets - scales * (signs @ y) + shift


def bounds(vectors: np.ndarray, query: np.ndarray, codes: Codes, distance: str, z: float) -> np.ndarray:
    """float64 [n]: the least distance of each row whose cosine with the query, centred, is within z deviations of its
    estimate; found by halving intervals, since it solves v - u = z sigma sqrt(1 - u^2)."""
    scales = factors_of(codes, len(vectors))[1].astype(np.float64)
    spread, wide = float(codes.spread[0]), codes.signs.shape[1]
    y = rotated(query[None], codes)[0].astype(np.float64)
    root = np.sqrt(wide * (1 - spread**2))
    reach = scales * root * np.linalg.norm(y)
    estimate = estimates(vectors, query, codes, distance)
    signs = np.where(bits_of(codes, len(vectors)), 1.0, -1.0)
    v = (signs @ y) / (root * np.linalg.norm(y)) if y.any() else np.zeros(len(vectors))
    low, high = np.clip(v, -1.0, 1.0), np.ones(len(vectors))
    for _ in range(60):
        u = (low + high) / 2
        within = u - v <= z * spread / root * np.sqrt(1 - u * u)
        low, high = np.where(within, u, low), np.where(within, high, u)
    return estimate - reach * np.maximum(low - v, 0.0)


def rounding(query: np.ndarray, codes: Codes, rows: int) -> float:
    """The standard deviation of an estimate that comes from rounding the query: each sum of four of its components to
    one of 31 steps, so by up to half a step, evenly."""
    y = rotated(query[None], codes)[0].astype(np.float64)
    sums = np.abs(y).reshape(-1, 4).sum(axis=1)
    return float(factors_of(codes, rows)[1].max() * np.sqrt(len(sums) / 12) * 2 * sums.max() / 31)


def check_definition(found, vectors, queries, codes, distance, recall, k, live=None):
    """Assert that each result is the k rows of the smallest max(distance, bound); rounding may exchange near ones."""
    mask = np.ones(len(vectors), bool) if live is None else bitset.to_mask(live, len(vectors))
    every = np.arange(len(vectors))[None]
    for q, query in enumerate(queries):
        exact = distances_to(vectors, query[None], every, distance)[0].astype(np.float64)
        z = NormalDist().inv_cdf(1 - (1 - recall) / k)
        least = bounds(vectors, query, codes, distance, z)
        keys = np.where(mask, np.maximum(exact, least), np.inf)
        chosen = found.ordinals[q][found.ordinals[q] >= 0]
        assert len(chosen) == min(k, mask.sum())
        slack = 8 * rounding(query, codes, len(vectors)) + 1e-6  # of two rows: six deviations of a difference
        missed = np.setdiff1d(np.flatnonzero(mask), chosen)
        if len(missed) and len(chosen):
            assert keys[chosen].max() <= keys[missed].min() + slack
        np.testing.assert_array_equal(found.distances[q][: len(chosen)], exact[chosen].astype(np.float32))
