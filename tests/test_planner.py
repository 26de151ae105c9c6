"""The planner: which strategy it chooses, and what a plan says."""

from __future__ import annotations

import json

import numpy as np

import vsearch
from vsearch import F
from vsearch.planner import Measured, Plan, Statistics, choose, with_measured


def statistics(rows: int = 100_000, matched: int = 100_000, index: str = "hnsw", width: int = 100) -> Statistics:
    return Statistics("s", rows, matched, index, 384, 4, width, 32)


def strategy(stats: Statistics, exact: bool = False) -> str:
    return choose(stats, 10, exact).strategy


def test_walks_where_everything_matches_and_scans_where_little_does() -> None:
    assert strategy(statistics()) == "index"
    assert strategy(statistics(matched=500)) == "scan"
    assert strategy(statistics(matched=0)) == "skip"


def test_scans_when_exact_is_asked_or_no_index_is_built() -> None:
    assert strategy(statistics(), exact=True) == "scan"
    assert strategy(statistics(index="flat")) == "scan"


def test_a_larger_share_of_matches_never_turns_a_walk_into_a_scan() -> None:
    chosen = [strategy(statistics(matched=n)) for n in range(100, 100_001, 100)]
    assert chosen == sorted(chosen, reverse=True)  # "scan" first, then "index"


def test_a_plan_is_legible_and_is_json() -> None:
    step = with_measured(choose(statistics(), 10, False), Measured(900, 100, 26, 0.0, 120.0))
    plan = Plan("docs", "dense", "cosine", 10, 0.95, False, "year >= 2020", (step,), 150.0)
    text = str(plan)
    assert "hnsw walk, ef 100" in text
    assert "900 distances" in text
    assert "year >= 2020" in text
    assert json.loads(json.dumps(plan.to_dict()))["steps"][0]["measured"]["distances"] == 900


def test_explain_shows_what_the_search_does(db: vsearch.Database) -> None:
    docs = db.create_collection("docs", fields={"v": vsearch.Dense(16)})
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(5_000, 16))
    docs.upsert(range(5_000), vectors={"v": vectors}, payloads=[{"n": i} for i in range(5_000)])
    docs.optimize()
    docs.upsert([9_999], vectors={"v": vectors[:1]}, payloads=[{"n": 0}])

    plan = docs.explain(vectors[0])
    assert [step.strategy for step in plan.steps] == ["index", "scan"]
    assert all(step.measured is None for step in plan.steps)

    few = docs.explain(vectors[0], filter=F("n") < 50, analyze=True)
    sealed, growing = few.steps
    assert (sealed.strategy, sealed.matched) == ("scan", 50)
    assert sealed.measured is not None
    assert sealed.measured.distances == 50
    assert growing.matched == 1
    assert few.total_us is not None
    assert few.total_us > 0

    none = docs.explain(vectors[0], filter=F("n") < 0)
    assert {step.strategy for step in none.steps} == {"skip"}
