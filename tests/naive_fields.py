"""The obvious scores of sparse vectors and texts, from dicts, and whether a search found the best of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

import vsearch

Vector = Mapping[int, float]


def dot_scores(query: Vector, vectors: Mapping[Any, Vector]) -> dict[Any, float]:
    """The inner product of each vector that shares a term with the query, by id."""
    return {
        name: math.fsum(weight * vector[term] for term, weight in query.items() if term in vector)
        for name, vector in vectors.items()
        if query.keys() & vector.keys()
    }


def weighed_by_idf(query: Vector, vectors: Iterable[Iterable[Any]]) -> dict[Any, float]:
    """The query with each weight times the inverse document frequency of its term in all of these."""
    every = list(vectors)
    frequency = Counter(term for vector in every for term in set(vector))
    n = len(every)
    return {t: w * math.log(1 + (n - frequency[t] + 0.5) / (frequency[t] + 0.5)) for t, w in query.items()}


def bm25_scores(
    query: Sequence[str], texts: Mapping[Any, Sequence[str]], k1: float = 1.2, b: float = 0.75
) -> dict[Any, float]:
    """BM25 of each text (its words) that shares a word with the query, by id."""
    mean = np.mean([len(words) for words in texts.values()]) if texts else 0.0
    weights = weighed_by_idf(Counter(query), texts.values())
    scores = {}
    for name, words in texts.items():
        counts = Counter(words)
        scores[name] = math.fsum(
            weight * counts[word] / (counts[word] + k1 * (1 - b + b * len(words) / mean))
            for word, weight in weights.items()
            if word in counts
        )
    return {name: score for name, score in scores.items() if set(query) & set(texts[name])}


def check_hits(hits: vsearch.Hits, scores: Mapping[Any, float], limit: int, slack: float = 1e-5) -> None:
    """Assert that these are `limit` of the best by these scores, all of them if there are fewer."""
    best = sorted(scores.values(), reverse=True)[:limit]
    assert len(hits) == len(best)
    assert len(set(hits.point_ids)) == len(hits)
    assert set(hits.point_ids) <= scores.keys()
    assert hits.scores == pytest.approx([scores[name] for name in hits.point_ids], rel=slack, abs=slack)
    assert hits.scores == pytest.approx(best, rel=slack, abs=slack)
