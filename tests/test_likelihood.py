"""The score "probability": its formula, its calibration on rows that it has not seen, and the ways to ask for it."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive_knn import clustered, naive_distance

import vsearch
from bench.data import wordnet
from tests.serving import serving
from vsearch import F, SearchParams
from vsearch.likelihood import SAMPLE, TAIL, share_nearer

PROBABILITY = SearchParams(exact=True, score="probability")


def naive_share(sample: list[float], distance: float) -> float:
    """p of one distance, word for word."""
    m, count = len(sample), int(TAIL * len(sample))
    ordered = sorted(sample)

    def share(value: float) -> float:
        return (sum(x < value for x in ordered) + sum(x == value for x in ordered) / 2) / m

    if distance < ordered[count]:
        beta = sum(ordered[count] - x for x in ordered[:count]) / count if count else 0.0
        return share(ordered[count]) * math.exp(-(ordered[count] - distance) / beta) if beta else 0.0
    if distance > ordered[-1]:
        return 1.0
    below, above = max(x for x in ordered if x <= distance), min(x for x in ordered if x >= distance)
    part = (distance - below) / (above - below) if above > below else 0.0
    return share(below) + part * (share(above) - share(below))


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=90), st.lists(st.floats(-30, 30, width=32), max_size=9))
def test_the_formula_word_for_word(sample: list[int], distances: list[float]) -> None:
    some = np.array([*sample, *distances], np.float32)
    p = share_nearer(np.sort(np.array(sample, np.float32)), some)
    assert p == pytest.approx([naive_share([float(x) for x in sample], float(d)) for d in some], abs=1e-9)
    assert ((p >= 0) & (p <= 1)).all()
    assert (np.diff(p[np.argsort(some, kind="stable")]) >= -1e-12).all(), "never less at a greater distance"


def test_of_nothing_and_of_equal_rows() -> None:
    some = np.array([0, 1, np.inf], np.float32)
    assert share_nearer(np.empty(0, np.float32), some).tolist() == [1, 1, 1]
    assert share_nearer(np.ones(100, np.float32), some).tolist() == [0, 0.5, 1]


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_calibrated_on_held_out_queries(db: vsearch.Database, metric: str, seed: int) -> None:
    """How many rows are nearer than a hit, counted, against what its score says."""
    vectors, queries = np.split(clustered(np.random.default_rng(seed), 8_060, 24), [8_000])
    docs = db.create_collection("docs", fields={"v": vsearch.Dense(24, metric=metric)})
    docs.upsert(range(8_000), vectors={"v": vectors})
    said = docs.search_batch(queries, limit=4_000, params=PROBABILITY, with_payload=False)
    for rank, within in ((4_000, 1.1), (800, 1.25), (80, 1.7)):
        ratios = [(1 - hits.scores[rank - 1]) * 8_000 / rank for hits in said]
        assert 1 / within < np.median(ratios) < within


def test_calibrated_on_real_data(data_dir: Path, db: vsearch.Database) -> None:
    data = wordnet(data_dir, 20_000)
    docs = db.create_collection("docs", fields={"v": vsearch.Dense(384)})
    docs.upsert(range(20_000), vectors={"v": data.docs})
    said = docs.search_batch(data.queries[:100], limit=1_000, params=PROBABILITY, with_payload=False)
    for rank, within in ((1_000, 1.2), (100, 1.5), (10, 3)):
        ratios = [(1 - hits.scores[rank - 1]) * 20_000 / rank for hits in said]
        assert 1 / within < np.median(ratios) < within


@pytest.mark.parametrize("index", ["flat", "hnsw", "binary"])
@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_scores_thresholds_segments_and_filters(db: vsearch.Database, index: Any, metric: Any) -> None:
    vectors, (query,) = np.split(clustered(np.random.default_rng(3), 901, 16), [900])
    docs = db.create_collection("docs", fields={"v": vsearch.Dense(16, metric=metric, index=index)})
    docs.upsert(range(600), vectors={"v": vectors[:600]}, payloads=[{"n": i} for i in range(600)])
    docs.optimize()
    docs.upsert(range(600, 900), vectors={"v": vectors[600:]}, payloads=[{"n": i} for i in range(600, 900)])
    docs.delete(ids=range(50))
    distances = [naive_distance(v, query, "l2" if metric == "l2" else "dot") for v in vectors[50:]]
    sample = [math.sqrt(d) for d in distances] if metric == "l2" else distances
    assert len(sample) <= SAMPLE, "the sample is all rows"
    hits = docs.search(query, limit=30, params=PROBABILITY)
    plain = docs.search(query, limit=30, params=SearchParams(exact=True))
    assert hits.point_ids == plain.point_ids
    expected = [1 - naive_share(sample, sample[i - 50]) for i in hits.point_ids]  # type: ignore[operator]
    assert hits.scores == pytest.approx(expected, abs=2e-4)
    assert (np.diff(hits.scores) <= 0).all()
    threshold = float(hits.scores[12])
    some = docs.search(query, limit=30, params=PROBABILITY, score_threshold=threshold)
    assert some.point_ids == [hit.id for hit in hits if hit.score >= threshold]
    scores = dict(zip(hits.point_ids, hits.scores.tolist(), strict=True))
    for hit in docs.search(query, limit=5, filter=F("n") >= 300, params=PROBABILITY):
        assert scores.get(hit.id, hit.score) == hit.score, "the corpus is what it is, whatever the filter"
    assert docs.explain(query, params=PROBABILITY, analyze=True).steps


def test_each_query_of_a_batch_is_scored_by_its_own_distances(db: vsearch.Database) -> None:
    vectors, queries = np.split(clustered(np.random.default_rng(6), 304, 8), [300])
    docs = db.create_collection("docs", fields={"v": vsearch.Dense(8)})
    docs.upsert(range(300), vectors={"v": vectors})
    for query, hits in zip(queries, docs.search_batch(queries, params=PROBABILITY), strict=True):
        assert hits.scores.tolist() == docs.search(query, params=PROBABILITY).scores.tolist()


def test_points_that_lack_the_field_are_not_compared_with(db: vsearch.Database) -> None:
    vectors, (query,) = np.split(clustered(np.random.default_rng(7), 201, 8), [200])
    docs = db.create_collection("docs", fields={"a": vsearch.Dense(8), "b": vsearch.Dense(8)})
    docs.upsert(range(200), vectors={"a": vectors, "b": [v if i % 4 == 0 else None for i, v in enumerate(vectors)]})
    alone = db.create_collection("alone", fields={"b": vsearch.Dense(8)})
    alone.upsert(range(0, 200, 4), vectors={"b": vectors[::4]})
    hits = docs.search(query, using="b", params=PROBABILITY)
    assert len(hits) == 10
    assert hits.scores == pytest.approx(alone.search(query, params=PROBABILITY).scores, abs=1e-5)


def test_empty_and_absent(db: vsearch.Database) -> None:
    docs = db.create_collection("docs", fields={"a": vsearch.Dense(2), "b": vsearch.Dense(2)})
    assert len(docs.search([1, 0], using="a", params=PROBABILITY)) == 0
    docs.upsert([1, 2], vectors={"a": [[1, 0], [0, 1]]})
    assert len(docs.search([1, 0], using="b", params=PROBABILITY)) == 0
    assert docs.search([1, 0], using="a", params=PROBABILITY).scores.tolist() == [0.75, 0.25]
    with pytest.raises(vsearch.InvalidArgument, match="unknown score"):
        SearchParams(score="likely")  # type: ignore[arg-type]


def test_over_http(tmp_path: Path) -> None:
    vectors = clustered(np.random.default_rng(4), 300, 8)
    with vsearch.open(tmp_path / "db") as db:
        docs = db.create_collection("docs", fields={"v": vsearch.Dense(8)})
        docs.upsert(range(300), vectors={"v": vectors})
        expected = docs.search(vectors[7], params=PROBABILITY).scores
    with serving(tmp_path / "db") as server, vsearch.connect(server.url) as client:
        found = client.collection("docs").search(vectors[7], params=PROBABILITY)
        assert found.scores.tolist() == expected.tolist()

        async def awaited() -> vsearch.Hits:
            async with vsearch.connect_async(server.url) as client:
                return await (await client.collection("docs")).search(vectors[7], params=PROBABILITY)

        assert asyncio.run(awaited()).scores.tolist() == expected.tolist()
