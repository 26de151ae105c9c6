"""Edits of payloads and vectors of many points: what they change, what they leave, and when they are refused."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vsearch
from vsearch import F, edits, growing
from vsearch.types import MAX_PAYLOAD_BYTES, MAX_PAYLOAD_DEPTH

RNG = np.random.default_rng(3)
X = RNG.normal(size=(60, 4)).astype(np.float32)
Y = RNG.normal(size=(60, 2)).astype(np.float16)
BODIES: list[dict[str, Any]] = [
    {"n": i, "odd": i % 2 == 1, "author": {"name": f"a{i % 3}", "age": i}} for i in range(60)
]


@pytest.fixture
def docs(db: vsearch.Database, monkeypatch: pytest.MonkeyPatch) -> vsearch.Collection:
    """60 points in sealed, frozen and growing segments; every third lacks the field w."""
    monkeypatch.setattr(growing, "MIN_ROWS", 16)
    monkeypatch.setattr(growing, "MAX_ROWS", 16)
    fields = {"v": vsearch.Dense(4, metric="l2"), "w": vsearch.Dense(2, metric="dot", dtype="float16")}
    docs = db.create_collection("docs", fields=fields)
    for rows in (range(30), range(30, 60)):
        some = [None if i % 3 == 0 else Y[i] for i in rows]
        docs.upsert(rows, vectors={"v": X[rows.start : rows.stop], "w": some}, payloads=BODIES[rows.start : rows.stop])
        if rows.start == 0:
            docs.optimize()
    return docs


def contents(docs: vsearch.Collection) -> dict[Any, tuple[Any, dict[str, list[float]], float | None]]:
    """Everything that is stored, by id."""
    page = docs.scroll(limit=1000, with_vectors=True)
    found: dict[Any, tuple[Any, dict[str, list[float]], float | None]] = {}
    for point in page:
        assert point.vectors is not None
        found[point.id] = (point.payload, {f: v.tolist() for f, v in point.vectors.items()}, point.expires_at)
    return found


Change = Callable[[Any, dict[str, list[float]]], tuple[Any, dict[str, list[float]]]]
CALLS: dict[str, tuple[Callable[..., int], Change]] = {
    "set": (
        lambda docs, **which: docs.set_payload({"n": "new", "more": [1]}, **which),
        lambda body, vectors: ({**body, "n": "new", "more": [1]}, vectors),
    ),
    "set at a path": (
        lambda docs, **which: docs.set_payload({"age": 0, "x": {"y": None}}, path="author", **which),
        lambda body, vectors: ({**body, "author": {**body["author"], "age": 0, "x": {"y": None}}}, vectors),
    ),
    "set at a new path": (
        lambda docs, **which: docs.set_payload({"x": 1}, path="n.deep", **which),
        lambda body, vectors: ({**body, "n": {"deep": {"x": 1}}}, vectors),
    ),
    "overwrite": (
        lambda docs, **which: docs.overwrite_payload({"only": 1}, **which),
        lambda body, vectors: ({"only": 1}, vectors),
    ),
    "delete keys": (
        lambda docs, **which: docs.delete_payload(["n", "author.age", "missing", "n.deeper"], **which),
        lambda body, vectors: ({"odd": body["odd"], "author": {"name": body["author"]["name"]}}, vectors),
    ),
    "clear": (lambda docs, **which: docs.clear_payload(**which), lambda body, vectors: (None, vectors)),
    "delete a field": (
        lambda docs, **which: docs.delete_vectors(["v"], **which),
        lambda body, vectors: (body, {f: x for f, x in vectors.items() if f != "v"}),
    ),
    "delete every field": (
        lambda docs, **which: docs.delete_vectors(["w", "v"], **which),
        lambda body, vectors: (body, {}),
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_an_edit_changes_what_it_names_and_nothing_else(docs: vsearch.Collection, name: str, tmp_path: Path) -> None:
    call, change = CALLS[name]
    docs.update(7, expires_at=time.time() + 1000)
    wanted = contents(docs)
    chosen = [59, 7, 7, 20, 33, 0]
    assert call(docs, ids=chosen) == 5
    wanted |= {i: (*change(*wanted[i][:2]), wanted[i][2]) for i in set(chosen)}
    assert contents(docs) == wanted
    there = [i for i in wanted if i in set(range(10, 50)) - {20, 33}]
    assert call(docs, filter=F.ids(there)) == len(there) == 38
    wanted |= {i: (*change(*wanted[i][:2]), wanted[i][2]) for i in there}
    assert contents(docs) == wanted
    assert docs.count() == 60
    docs.optimize()
    assert contents(docs) == wanted


def test_a_filter_is_resolved_at_the_write(docs: vsearch.Collection) -> None:
    assert docs.set_payload({"n": 100}, filter=F("n") >= 50) == 10
    assert docs.count(F("n") == 100) == 10
    assert docs.set_payload({"n": 0}, filter=F("n") >= 50) == 10
    assert docs.set_payload({"n": 0}, filter=F("n") >= 50) == 0
    assert docs.clear_payload(filter=~F.ids([])) == 60
    assert docs.count(F("n").exists()) == 0


def test_vectors_are_replaced_where_they_are_given(docs: vsearch.Collection, db: vsearch.Database) -> None:
    wanted = contents(docs)
    new = np.arange(8, dtype=np.float32).reshape(2, 4)
    assert docs.update_vectors([40, 3], {"v": new, "w": [None, [5, 6]]}) == 2
    wanted[40][1]["v"] = new[0].tolist()
    wanted[3][1].update(v=new[1].tolist(), w=[5, 6])
    assert contents(docs) == wanted
    assert docs.update_vectors(np.array([8, 9, 8]), {"v": np.eye(4)[:3]}) == 2
    wanted[8][1]["v"], wanted[9][1]["v"] = np.eye(4)[[2, 1]].tolist()
    assert contents(docs) == wanted
    docs.delete_vectors(["v"], ids=[9])
    del wanted[9][1]["v"]
    docs.update_vectors([9], {"w": [[1, 1]]})
    wanted[9][1]["w"] = [1, 1]
    assert contents(docs) == wanted
    assert 9 not in docs.search(np.zeros(4), using="v", limit=60).point_ids
    assert docs.search(new[1], using="v", limit=1).point_ids == [3]
    assert db.check() == []


def test_an_unknown_id_changes_nothing(docs: vsearch.Collection) -> None:
    before, ids = contents(docs), [1, 2, "nobody", 999]
    calls: list[Callable[[], Any]] = [
        lambda: docs.update_vectors(ids, {"v": np.ones((4, 4))}),
        *(lambda call=call: call(docs, ids=ids) for call, _ in CALLS.values()),
    ]
    for call in calls:
        with pytest.raises(vsearch.NotFound, match="no point with id 'nobody'"):
            call()
    docs.update(5, expires_at=time.time() + 0.02)
    time.sleep(0.03)
    with pytest.raises(vsearch.NotFound, match="no point with id 5"):
        docs.set_payload({"n": 1}, ids=[4, 5])
    assert docs.set_payload({"odd": True}, filter=F.ids([4, 5])) == 1
    before[4][0]["odd"] = True
    del before[5]
    assert contents(docs) == before


def test_bad_arguments_change_nothing(docs: vsearch.Collection) -> None:
    before = contents(docs)
    bad: list[Callable[[], Any]] = [
        *(lambda call=call: call(docs) for call, _ in CALLS.values()),
        *(lambda call=call: call(docs, ids=[1], filter=F("n") == 1) for call, _ in CALLS.values()),
        *(lambda call=call: call(docs, filter={}) for call, _ in CALLS.values()),
        *(lambda call=call: call(docs, filter="n = 1") for call, _ in CALLS.values()),
        *(lambda call=call: call(docs, ids="abc") for call, _ in CALLS.values()),
        *(lambda call=call: call(docs, ids=5) for call, _ in CALLS.values()),
        *(lambda call=call: call(docs, ids=[1, True]) for call, _ in CALLS.values()),
        lambda: docs.set_payload(None, ids=[1]),  # type: ignore[arg-type]
        lambda: docs.set_payload([1], ids=[1]),  # type: ignore[arg-type]
        lambda: docs.set_payload({"a": float("nan")}, ids=[1]),
        lambda: docs.set_payload({1: 2}, ids=[1]),  # type: ignore[dict-item]
        lambda: docs.set_payload({"a": "\ud800"}, ids=[1]),
        lambda: docs.set_payload({"a": 1}, ids=[1], path="a..b"),
        lambda: docs.set_payload({"a": 1}, ids=[1], path=""),
        lambda: docs.set_payload({"a": 1}, ids=[1], path=3),  # type: ignore[arg-type]
        lambda: docs.overwrite_payload(None, ids=[1]),  # type: ignore[arg-type]
        lambda: docs.delete_payload("n", ids=[1]),
        lambda: docs.delete_payload([], ids=[1]),
        lambda: docs.delete_payload([7], ids=[1]),  # type: ignore[list-item]
        lambda: docs.delete_payload(["a[]"], ids=[1]),
        lambda: docs.delete_vectors("v", ids=[1]),
        lambda: docs.delete_vectors([], ids=[1]),
        lambda: docs.delete_vectors(["v", "x"], ids=[1]),
        lambda: docs.delete_vectors([["v"]], ids=[1]),  # type: ignore[list-item]
        lambda: docs.update_vectors([1], {}),
        lambda: docs.update_vectors(None, {"v": X[:1]}),  # type: ignore[arg-type]
        lambda: docs.update_vectors([1], {"x": X[:1]}),
        lambda: docs.update_vectors([1, 2], {"v": X[:1]}),
        lambda: docs.update_vectors([1], {"v": [[1, 2]]}),
        lambda: docs.update_vectors([1], {"v": [[1, 2, 3, np.nan]]}),
    ]
    for call in bad:
        with pytest.raises(vsearch.InvalidArgument) as caught:
            call()
        assert caught.value.hint
    assert contents(docs) == before


def test_no_points_at_all_are_no_error(docs: vsearch.Collection) -> None:
    before = contents(docs)
    for call, _ in CALLS.values():
        assert call(docs, ids=[]) == call(docs, filter=F("n") == -1) == 0
    assert docs.update_vectors([], {"v": np.empty((0, 4))}) == 0
    assert contents(docs) == before


def test_payloads_keep_their_limits(docs: vsearch.Collection) -> None:
    deep: dict[str, Any] = {}
    for _ in range(MAX_PAYLOAD_DEPTH - 1):
        deep = {"d": deep}
    before = contents(docs)
    with pytest.raises(vsearch.InvalidArgument, match="deeper"):
        docs.set_payload(deep, ids=[1], path="a")
    big = "x" * (MAX_PAYLOAD_BYTES // 2 + 1000)
    docs.set_payload({"big": big}, ids=[2])
    with pytest.raises(vsearch.LimitExceeded, match="payload of point 2 has"):
        docs.set_payload({"bigger": big}, ids=[1, 2, 3])
    before[2][0]["big"] = big
    assert contents(docs) == before
    assert docs.set_payload(deep, ids=[1]) == 1
    before[1][0].update(deep)
    assert contents(docs) == before


def test_an_edit_of_too_much_is_refused(docs: vsearch.Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(docs)
    monkeypatch.setattr(edits, "MAX_BATCH_POINTS", 20)
    for which in ({"ids": range(21)}, {"filter": F("n") < 21}):
        with pytest.raises(vsearch.LimitExceeded, match=r"21 points.*ids.*narrower filters"):
            docs.set_payload({"n": 0}, **which)  # type: ignore[arg-type]
    monkeypatch.setattr(edits, "MAX_BATCH_BYTES", 20 * (16 + 4) + 500)  # vectors, and records of at least 30 bytes
    with pytest.raises(vsearch.LimitExceeded, match="1 GiB"):
        docs.set_payload({"n": 0}, ids=range(20))
    assert contents(docs) == before
    assert docs.set_payload({"n": 0}, ids=range(15)) == 15


def test_an_edit_is_one_commit(docs: vsearch.Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[int] = []
    commit = docs._state.engine.commit

    def counted(batch: Any, sync: bool | None = None) -> None:
        writes.append(sync is None)  # upkeep says that its commits are synced
        commit(batch, sync)

    monkeypatch.setattr(docs._state.engine, "commit", counted)
    docs.set_payload({"n": 0}, filter=F("n") >= 0)
    docs.update_vectors(range(60), {"v": X})
    assert sum(writes) == 2


def test_edits_of_many_threads_lose_nothing(docs: vsearch.Collection, db: vsearch.Database) -> None:
    """Edits and upserts of one group build on each other."""

    def edit(thread: int) -> None:
        for i in range(10):
            docs.set_payload({f"{thread}.{i}": i}, ids=[0, 59], path="all")
            docs.set_payload({"n": thread}, filter=F.ids([thread]))
            docs.upsert([1000 + thread], vectors={"v": X[:1]}, payloads=[{"n": i}])

    with ThreadPoolExecutor(6) as pool:
        for future in [pool.submit(edit, thread) for thread in range(1, 7)]:
            future.result(timeout=60)
    wanted = {f"{thread}.{i}": i for thread in range(1, 7) for i in range(10)}
    assert [point.payload and point.payload["all"] for point in docs.get([0, 59])] == [wanted, wanted]
    assert docs.count() == 66
    assert db.check() == []


def test_edits_survive_reopening(tmp_path: Path) -> None:
    with vsearch.open(tmp_path / "db") as db:
        docs = db.create_collection("docs", fields={"v": vsearch.Dense(4), "w": vsearch.Dense(2)})
        docs.upsert(range(4), vectors={"v": X[:4], "w": Y[:4]}, payloads=BODIES[:4])
        docs.set_payload({"a": {"b": 1}}, ids=[0, 1])
        docs.delete_vectors(["w"], filter=F("n") >= 2)
        docs.update_vectors([3], {"v": X[50:51]})
        wanted = contents(docs)
    for _ in range(2):
        with vsearch.open(tmp_path / "db") as db:
            docs = db.collection("docs")
            assert contents(docs) == wanted
            assert db.check() == []
            docs.optimize()


def test_a_reader_edits_nothing(tmp_path: Path) -> None:
    with vsearch.open(tmp_path / "db") as db:
        db.create_collection("docs", fields={"v": vsearch.Dense(4), "w": vsearch.Dense(2)}).upsert([1])
        with vsearch.open(tmp_path / "db", read_only=True) as reader:
            for call, _ in CALLS.values():
                with pytest.raises(vsearch.ReadOnly):
                    call(reader.collection("docs"), ids=[1])


keys = st.sampled_from(["a", "b", "x.y"])
values = st.recursive(
    st.none() | st.integers(0, 2), lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=2)
)
bodies = st.dictionaries(keys, values, max_size=3)
routes = st.lists(keys, min_size=1, max_size=3)


def spelled(route: list[str]) -> str:
    return ".".join(f'"{key}"' if "." in key else key for key in route)


@given(body=bodies, new=bodies, route=routes)
def test_merging_against_a_naive_one(body: dict[str, Any], new: dict[str, Any], route: list[str]) -> None:
    wanted = copy.deepcopy(body)
    site = wanted
    for key in route:
        if not isinstance(site.get(key), dict):
            site[key] = {}
        site = site[key]
    site.update(new)
    assert edits.merging(new, spelled(route))(copy.deepcopy(body)) == wanted
    assert edits.merging(new)(copy.deepcopy(body)) == {**body, **new}
    assert edits.merging(new)(None) == new


@given(body=bodies, routes=st.lists(routes, min_size=1, max_size=3))
def test_removing_against_a_naive_one(body: dict[str, Any], routes: list[list[str]]) -> None:
    def without(value: Any, at: tuple[str, ...]) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: without(one, (*at, key)) for key, one in value.items() if [*at, key] not in routes}

    assert edits.removing([spelled(route) for route in routes])(copy.deepcopy(body)) == without(body, ())
    assert edits.removing(["a"])(None) is None


def test_paths_reach_into_lists() -> None:
    def body() -> dict[str, Any]:
        return {"a": [{"b": 1}, 2, {"b": 3, "c": 4}], "d": 5}

    assert edits.merging({"x": 0}, "a[0]")(body())["a"] == [{"b": 1, "x": 0}, 2, {"b": 3, "c": 4}]  # type: ignore[index]
    assert edits.merging({"x": 0}, "a[].b")(body())["a"][2] == {"b": {"x": 0}, "c": 4}  # type: ignore[index]
    for path in ("a[9]", "d[]", "new[0]"):
        assert edits.merging({"x": 0}, path)(body()) == body()
    assert edits.removing(["a[].b", "a[2].c", "d[].e"])(body()) == {"a": [{}, 2, {}], "d": 5}
