"""The obvious search: every distance in float64, all sorted, the first k. And what tests of searches share."""

from __future__ import annotations

import math

import numpy as np


def naive_knn(vectors, queries, k, distance, live=None):
    """(ordinals, distances) as the contract wants them; live is a list of ordinals, or None for all."""
    rows = range(len(vectors)) if live is None else sorted(live)
    ordinals = np.full((len(queries), k), -1, np.int64)
    distances = np.full((len(queries), k), np.inf)
    for q, query in enumerate(queries):
        ranked = sorted((naive_distance(vectors[row], query, distance), row) for row in rows)
        for j, (value, row) in enumerate(ranked[:k]):
            ordinals[q, j], distances[q, j] = row, value
    return ordinals, distances


def naive_distance(vector, query, distance):
    x, y = ([float(component) for component in one] for one in (vector, query))
    if distance == "l2":
        return math.fsum((a - b) ** 2 for a, b in zip(x, y, strict=True))
    return 0.0 - math.fsum(a * b for a, b in zip(x, y, strict=True))


def check_neighbours(found, vectors, queries, k, distance, live=None, exact=False):
    """Assert what the contract says of every search; with `exact`, also that nothing nearer was missed.

    Distances are compared with room for float32 rounding: of d products, relative to the size of the operands.
    """
    ordinals, distances = found.ordinals, found.distances
    rows = set(range(len(vectors)) if live is None else live)
    assert (ordinals.dtype, distances.dtype) == (np.int64, np.float32)
    assert ordinals.shape == distances.shape == (len(queries), k)
    count = min(k, len(rows))
    for q, query in enumerate(queries):
        returned = ordinals[q, :count].tolist()
        assert set(returned) <= rows, "only live rows"
        assert len(set(returned)) == count, "as many as there are, none twice"
        assert (ordinals[q, count:] == -1).all()
        assert np.isposinf(distances[q, count:]).all()
        order = list(zip(distances[q, :count].tolist(), returned, strict=True))
        assert order == sorted(order), "sorted by distance, then ordinal"
        slack = rounding(vectors, query)
        for value, row in order:
            assert abs(value - naive_distance(vectors[row], query, distance)) <= slack
        if exact and count:
            missed = rows - set(returned)
            nearest = min((naive_distance(vectors[row], query, distance) for row in missed), default=math.inf)
            assert nearest >= order[-1][0] - slack, "nothing nearer was missed"


def rounding(vectors, query):
    """The most that a float32 distance of this query may be off."""
    longest = max((np.square(np.asarray(vectors, np.float64)).sum(axis=1)).max(initial=0.0), np.square(query).sum())
    return 4 * (len(query) + 64) * 2.0**-24 * longest + 1e-30


def clustered(rng, n, d):
    """float32 [n, d] of length 1, about thirty around each of some centres."""
    centres = rng.standard_normal((max(n // 30, 1), d))
    vectors = centres[rng.integers(0, len(centres), n)] + 0.5 * rng.standard_normal((n, d))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def same(a, b):
    """Assert that two results are the same to the last bit."""
    np.testing.assert_array_equal(a.ordinals, b.ordinals)
    np.testing.assert_array_equal(a.distances, b.distances)
