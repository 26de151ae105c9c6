"""Searches of several requests made as one: each must get what it would have got alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vsearch
from vsearch import F
from vsearch.api.together import Steps, Task, Wanted, together
from vsearch.fields.sparse_input import sparse_queries

DIM = 4
X = np.random.default_rng(5).normal(size=(60, DIM)).astype(np.float32)
QUERIES: list[Any] = [
    X[:1].tolist(),
    X[1:4],
    [[1, 2, 3, 4]],
    [[0.0] * DIM],  # has no direction: refused
    [[1.0, 2.0]],  # wrong dimension
    [["a", "b", "c", "d"]],
    [[True, False, True, True]],
    [[1.0, float("nan"), 0.0, 0.0]],
    X[0],  # one dimension
]
SPARSE_QUERIES: list[Any] = [
    sparse_queries("queries", [{1: 1.0}, {2: 0.5, 3: 1.0}]),
    sparse_queries("queries", [{0: 2.0}]),
    sparse_queries("queries", []),
    sparse_queries("queries", [{0: -2.0, 2: 1.0}]),
    [([1], [1.0]), ([2, 3], [0.5, 1.0])],
    [{1: 1.0}],
    ["0 1"],  # of another kind: refused
    X[:2],
]
TEXT_QUERIES: list[Any] = [["w1"], ["w2 w3", "w0"], [], ["none"], [7], X[:1], sparse_queries("queries", [{1: 1.0}])]
FILTERS = [None, F("n") >= 30]


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[vsearch.Collection]]:
    with vsearch.open(Path(tmp_path_factory.mktemp("together")) / "db") as db:
        fields = {"v": vsearch.Dense(DIM), "s": vsearch.Sparse(), "t": vsearch.Text(language=None)}
        made = [db.create_collection(name, fields) for name in ("a", "b")]
        for at, docs in enumerate(made):
            rows = range(at, 60, 2)
            sparse = [{i % 5: 1.0, i % 7: 0.5 + i} for i in rows]
            texts = [f"w{i % 3} w{i % 4} w{i % 4}" for i in rows]
            docs.upsert(list(rows), {"v": X[at::2], "s": sparse, "t": texts}, [{"n": i} for i in rows])
        yield made


def steps(wanted: list[list[Wanted]]) -> Steps[list[Any]]:
    """A handler that searches in rounds and gives all that it found; errors it leaves alone."""
    found = []
    for some in wanted:
        hits = yield some
        found += [[(one.point_ids, one.scores.tolist(), one.payloads) for one in part] for part in hits]
    return found


# Few kinds and mostly good queries, so that many searches are made together.
BY_FIELD = {"v": QUERIES, "s": SPARSE_QUERIES, "t": TEXT_QUERIES}


def queries_of(field: str) -> st.SearchStrategy[tuple[str, int]]:
    numbers = st.one_of(st.integers(0, 2), st.integers(0, len(BY_FIELD[field]) - 1))
    return st.tuples(st.just(field), numbers)


searches = st.tuples(st.integers(0, 1), st.sampled_from(list(BY_FIELD)).flatmap(queries_of), st.integers(0, 1))
requests = st.lists(
    st.lists(st.lists(searches, min_size=1, max_size=2), min_size=1, max_size=2), min_size=2, max_size=6
)


@settings(max_examples=150, deadline=None)
@given(requests)
def test_together_is_as_alone(collections: list[vsearch.Collection], requests: list[Any]) -> None:
    def wanted(one: Any) -> Wanted:
        which, (field, query), condition = one
        docs = collections[which]
        return Wanted(docs, BY_FIELD[field][query], field, 3, 0, FILTERS[condition], None, None, True, False)

    asked = [[[wanted(one) for one in some] for some in request] for request in requests]
    tasks = [Task(steps(request)) for request in asked]
    together(tasks)
    for task, request in zip(tasks, asked, strict=True):
        alone = Task(steps(request))
        together([alone])
        assert task.done
        assert task.result == alone.result
        assert (type(task.error), str(task.error)) == (type(alone.error), str(alone.error))


def test_equal_searches_are_one(collections: list[vsearch.Collection], monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = vsearch.Collection.search_batch

    def counted(self: Any, queries: Any, *rest: Any) -> Any:
        calls.append(len(queries))
        return real(self, queries, *rest)

    monkeypatch.setattr(vsearch.Collection, "search_batch", counted)
    rows = sparse_queries("queries", [{i: 1.0} for i in range(10)])
    for field, queries in (("v", X), ("s", rows), ("t", [f"w{i}" for i in range(10)])):
        one = [
            [Wanted(collections[0], queries[i : i + 1], field, 3, 0, None, None, None, True, False)] for i in range(10)
        ]
        tasks = [Task(steps([some])) for some in one]
        together(tasks)
        assert calls == [10]
        assert all(task.error is None for task in tasks)
        calls.clear()


def test_a_bug_in_one_handler_leaves_the_others_alone(collections: list[vsearch.Collection]) -> None:
    def broken() -> Steps[None]:
        yield [Wanted(collections[0], X[:1], "v", 1, 0, None, None, None, True, False)]
        raise ZeroDivisionError

    good = [[Wanted(collections[0], X[:1], "v", 1, 0, None, None, None, True, False)]]
    tasks: list[Task[Any]] = [Task(broken()), Task(steps(good))]
    together(tasks)
    assert isinstance(tasks[0].error, ZeroDivisionError)
    assert tasks[1].get()[0][0][0] == [0]
