"""The obvious search of sparse rows and of texts: every score from dicts, all sorted, the first k. And random rows."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from vsearch.types import SparseRows


def to_dicts(rows):
    """[{term: weight}, ...] of sparse rows, with or without a dictionary."""
    terms, weights = rows.term_values().tolist(), rows.weights.astype(float).tolist()
    bounds = rows.offsets.tolist()
    return [dict(zip(terms[start:stop], weights[start:stop], strict=True)) for start, stop in pairwise(bounds)]


def from_dicts(dicts, dtype=np.uint32, weights=np.float32, dictionary=False):
    """SparseRows of [{term: weight}, ...], with terms of a dtype, or with a dictionary and positions in it."""
    ordered = [sorted(one.items()) for one in dicts]
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum([len(one) for one in ordered], dtype=np.int64)])
    numbers = np.array([term for one in ordered for term, _ in one], dtype)
    values = np.array([weight for one in ordered for _, weight in one], weights)
    if not dictionary:
        return SparseRows(offsets, numbers, values)
    terms, local = np.unique(numbers, return_inverse=True)
    return SparseRows(offsets, local.astype(np.uint16 if len(terms) <= 1 << 16 else np.uint32), values, terms)


def naive_search(rows, queries, k, live=None):
    """(ordinals [nq, k], distances float64 [nq, k]) of the rows that share a term with each query; live is a list of
    ordinals, or None for all."""
    return _best([_scores(to_dicts(rows), query, live) for query in to_dicts(queries)], k)


def naive_bm25(rows, queries, k, live=None, k1=1.2, b=0.75):
    """The same for TextQueries over the counts of words in texts."""
    texts = []
    for counts in to_dicts(rows):
        length = sum(counts.values())
        relative = length / queries.mean_length if queries.mean_length else 1.0
        texts.append({term: tf / (tf + k1 * (1 - b + b * relative)) for term, tf in counts.items()})
    return _best([_scores(texts, query, live) for query in to_dicts(queries.rows)], k)


def check_sparse_neighbours(found, expected, slack):
    """Assert that a search found what naive_search did, but for rounding: rows as good as those it should have found.

    slack: by how much a distance may be off, a number or [nq, 1].
    """
    ordinals, distances = expected
    assert (found.ordinals.dtype, found.distances.dtype) == (np.int64, np.float32)
    assert found.ordinals.shape == found.distances.shape == ordinals.shape
    np.testing.assert_array_equal(found.ordinals == -1, ordinals == -1)
    none = found.ordinals == -1
    assert np.isposinf(found.distances[none]).all()
    assert (np.abs(np.where(none, 0, found.distances) - np.where(none, 0, distances)) <= slack).all()
    for row, here in zip(found.ordinals.tolist(), found.distances.tolist(), strict=True):
        real = [(distance, ordinal) for distance, ordinal in zip(here, row, strict=True) if ordinal >= 0]
        assert real == sorted(real)
        assert len(real) == len(set(row) - {-1})


def random_rows(rng, n, vocabulary, terms_a_row, **how):
    """Rows of about so many terms, some empty; common terms are the low ones, as in text. Keywords as of from_dicts."""
    vocabulary = np.sort(np.asarray(vocabulary))
    rows = []
    for _ in range(n):
        count = int(rng.integers(0, 2 * terms_a_row + 1))
        places = np.unique((len(vocabulary) * rng.random(count) ** 3).astype(np.int64))
        rows.append({int(vocabulary[place]): float(rng.integers(1, 256)) / 64 for place in places})
    return from_dicts(rows, **how)


def _scores(rows, query, live):
    """[(distance, ordinal), ...] of the rows that share a term."""
    which = range(len(rows)) if live is None else live
    return [
        (0.0 - math.fsum(weight * rows[i][term] for term, weight in query.items() if term in rows[i]), i)
        for i in which
        if any(term in rows[i] for term in query)
    ]


def _best(ranked, k):
    ordinals, distances = np.full((len(ranked), k), -1, np.int64), np.full((len(ranked), k), np.inf)
    for q, found in enumerate(ranked):
        for j, (distance, i) in enumerate(sorted(found)[:k]):
            ordinals[q, j], distances[q, j] = i, distance
    return ordinals, distances
