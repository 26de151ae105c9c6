"""One contract of caches, three databases: embedded, over HTTP, and over HTTP from asyncio."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vsearch
from tests.awaited import Awaited
from tests.serving import Server, serving
from vsearch import CacheHit, CachePolicy, Computed
from vsearch.cache.opening import Caching
from vsearch.cache.questions import MAX_PROMPT_BYTES
from vsearch.cache.records import MAX_RESPONSE_BYTES, MAX_TAGS

DIM = 4
A, NEAR_A, B = [1.0, 0.0, 0.0, 0.0], [1.0, 0.1, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server") / "db"
    with serving(folder, "--no-access-log", "--durability", "os") as server:
        yield server


@pytest.fixture(params=["embedded", "http", "asyncio"])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def db(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """An empty database of that kind."""
    if kind == "embedded":
        with vsearch.open(tmp_path / "db") as database:
            yield database
        return
    url = request.getfixturevalue("server").url
    with vsearch.connect(url) as client, asyncio.Runner() as runner:
        if kind == "http":
            yield client
        else:
            waiting = Awaited(runner, vsearch.connect_async(url))
            yield waiting
            waiting.close()
        for name in client.caches():
            client.delete_cache(name)
        for name in client.collections():
            client.delete_collection(name)


@pytest.fixture
def cache(db: Any) -> Any:
    policies = {"code": CachePolicy(threshold=0.5), "off": CachePolicy(enabled=False)}
    return db.create_cache("answers", DIM, policies)


# Signatures

HERE_ONLY = {"acheck", "alookup", "astore", "arelease", "alease", "aget_or_compute"}
OTHER_WORDS = {"get_or_compute", "cached"}  # of the awaitable cache


def members(kind: type) -> dict[str, Any]:
    return {name: inspect.getattr_static(kind, name) for name in dir(kind) if not name.startswith("_")}


@pytest.mark.parametrize(
    ("embedded", "blocking", "awaitable"),
    [
        (Caching, vsearch.RemoteDatabase, vsearch.AsyncDatabase),
        (vsearch.Cache, vsearch.RemoteCache, vsearch.AsyncCache),
    ],
)
def test_signatures_and_descriptions_are_the_same(embedded: type, blocking: type, awaitable: type) -> None:
    names = {name: value for name, value in members(embedded).items() if name not in {*HERE_ONLY, "collection"}}
    assert len(names) > 3
    for name, own in names.items():
        theirs, coroutine = members(blocking)[name], members(awaitable)[name]
        if isinstance(own, property):
            assert isinstance(theirs, property), name
            assert isinstance(coroutine, property), name
            continue
        wanted = inspect.signature(own)
        for method, prefix in ((theirs, "Remote"), (coroutine, "Async")):
            if prefix == "Async" and name in OTHER_WORDS:
                continue
            assert inspect.getdoc(method) == inspect.getdoc(own), name
            found = inspect.signature(method)
            assert list(found.parameters.values())[1:] == list(wanted.parameters.values())[1:], name
            result = str(wanted.return_annotation)
            assert found.return_annotation in (result, f"{prefix}{result}"), name
        assert inspect.iscoroutinefunction(coroutine) or name == "cached", name


# What is stored is found


RESPONSES: list[Any] = [
    "a text",
    "",
    None,
    True,
    0,
    -(2**63),
    2**64 - 1,
    0.1,
    1e300,
    [],
    {},
    {"choices": [{"text": "日本\u0000\n", "n": [1, 2.5, None, False]}]},
    b"",
    bytes(range(256)),
]


@pytest.mark.parametrize("response", RESPONSES, ids=repr)
def test_every_kind_of_response_comes_back(cache: Any, response: Any) -> None:
    number = cache.store("question", response, A, metadata={"model": "m", "n": 1}, tags=["x", "y"])
    hit = cache.check("question")
    assert type(hit.response) is type(response)
    assert (hit.id, hit.response) == (number, response)
    assert (hit.kind, hit.similarity, hit.category, hit.stale) == ("exact", 1.0, "default", False)
    assert (hit.tags, dict(hit.metadata)) == (("x", "y"), {"model": "m", "n": 1})
    near = cache.check("another question", np.array(NEAR_A))
    assert (near.id, near.response, near.kind, near.prompt) == (number, response, "semantic", "question")
    assert near.similarity == pytest.approx(1 / np.sqrt(1.01), abs=1e-3)


def test_a_miss_has_its_reason(cache: Any) -> None:
    assert cache.check("q", A) is None
    assert cache.lookup("q", A).reason == "empty"
    assert cache.lookup("q").reason == "no vector"
    number = cache.store("q", 1, A)
    far = cache.lookup("other", B)
    assert (far.hit, far.reason, far.nearest, far.category) == (None, "below threshold", number, "default")
    assert far.similarity == pytest.approx(0, abs=1e-3)
    assert cache.lookup("How many are 12?", A, category="off").reason == "disabled"
    assert cache.store("q", 1, A, category="off") is None
    assert cache.check("q", A, scope="another") is None
    time.sleep(0.02)
    assert cache.lookup("q", A, max_age=0.01).reason == "too old"
    cache.store("What costs 12 euros?", 1, B)
    assert cache.lookup("What costs 13 euros?", B).reason == "guard:numbers"


@pytest.mark.parametrize(
    "scope", ["x", 7, 1.5, True, {"tenant": "a", "tools": [{"b": None}]}, ("a", ["b", 2]), [[], {}]], ids=repr
)
def test_an_entry_answers_its_own_scope_only(cache: Any, scope: Any) -> None:
    cache.store("q", "mine", A, scope=scope)
    assert cache.check("q", A, scope=scope).response == "mine"
    assert cache.check("q", A) is None
    assert cache.check("q", A, scope=[scope]) is None
    assert cache.invalidate(scope=scope) == 1


def test_many_are_stored_at_once(cache: Any) -> None:
    rows = np.eye(DIM, dtype=np.float32)
    ids = cache.store_many(["p0", "p1", "p2"], ["r0", {"r": 1}, b"r2"], rows[:3], "code", "s", 60.0, ["t"])
    assert sorted(ids) == ids
    assert [cache.check(f"p{i}", scope="s").response for i in range(3)] == ["r0", {"r": 1}, b"r2"]
    assert cache.check("like p2", rows[2], "code", "s").ttl is None
    assert cache.store_many(["a", "b"], [1, 2]) == [4, 5]
    with pytest.raises(vsearch.InvalidArgument, match="2 prompts"):
        cache.store_many(["a", "b"], [1])
    with pytest.raises(vsearch.DimensionMismatch):
        cache.store_many(["new", "b"], [1, 2], np.ones((2, 3)))
    assert cache.check("new") is None


def test_reports_entries_and_what_is_invalidated(db: Any, cache: Any) -> None:
    docs = db.create_collection("docs", {"v": vsearch.Dense(2)})
    docs.upsert(["a", 7], {"v": [[1, 2], [3, 4]]})
    number = cache.store("q0", 0, A, "code", "s", 1000.0, [("docs", "a"), ("docs", 7)], ["t"])
    more = [cache.store(f"q{i}", i, tags=["t", f"t{i}"]) for i in range(1, 6)]
    first, *others = cache.entries()
    assert (first.id, first.category, first.tags, first.hits) == (number, "code", ("t",), 0)
    assert sorted(map(str, first.sources)) == ["('docs', 'a')", "('docs', 7)"]
    assert first.expires_at == pytest.approx(first.created_at + 1000.0)
    assert [entry.id for entry in others] == more
    assert [entry.id for entry in cache.entries(more[0], 2)] == more[1:3]
    assert list(cache.entries(limit=0)) == []
    assert cache.invalidate(tag="t", dry_run=True) == 6
    assert cache.invalidate(tag="t", category="default", dry_run=True) == 5
    assert cache.invalidate(source="docs", dry_run=True) == 1
    assert cache.invalidate(source=("docs", 7), tag="t1") == 0
    assert cache.invalidate(source=("docs", 7)) == 1
    assert cache.invalidate(id=more[0]) == 1
    assert cache.invalidate(id=more[0]) == 0
    cache.report(more[1], True)
    cache.report(cache.check("q2"), True)
    cache.report(cache.check("q2"), False)
    assert cache.check("q2") is None
    cache.report(10**6, False)
    depends = cache.store("of docs", 1, depends_on=[("docs", "a")])
    assert cache.check("of docs").id == depends
    docs.delete(["a"])
    assert cache.check("of docs") is None
    assert cache.clear() == 3
    assert list(cache.entries()) == []


def test_a_page_after_another_until_the_end(cache: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vsearch.remote.cache.PAGE", 3)
    ids = cache.store_many([f"p{i}" for i in range(10)], list(range(10)))
    assert [entry.id for entry in cache.entries()] == ids
    assert [entry.id for entry in cache.entries(ids[1], 7)] == ids[2:9]
    assert [entry.id for entry in cache.entries(limit=9)] == ids[:9]


def test_settings_policies_and_load(db: Any) -> None:
    policy = CachePolicy(
        threshold=0.9, ttl=10.0, quota=5, quota_bytes=10_000, quota_share=0.5, priority=2.0, min_threshold=0.5,
        max_ttl=20.0, stale=3.0, guards={"numbers"}, miss_cost=0.25,
    )  # fmt: skip
    made = db.create_cache("c", 3, {"x": policy}, CachePolicy(threshold=0.0), "a model", "sync", 10, 10_000, (1.0, 2.0))
    cache = db.cache("c")
    for one in (made, cache):
        assert (one.name, one.dim, one.model) == ("c", 3, "a model")
        assert one.policies == {"x": policy, "default": CachePolicy(threshold=0.0)}
    stats = cache.stats()
    assert (stats["max_entries"], stats["max_bytes"], stats["stress"]) == (10, 10_000, 0.0)
    assert stats["categories"]["x"]["threshold"] == 0.9
    cache.push_load(5.0)
    deadline = time.monotonic() + 10.0
    while cache.stats()["stress"] == 0.0:  # it is an average over time
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert cache.stats()["categories"]["x"]["threshold"] < 0.9
    cache.set_load(100.0, 200.0)
    assert cache.stats()["stress"] == 0.0
    cache.set_policy("new", CachePolicy(ttl=1.0))
    cache.set_policy("x", CachePolicy(max_error=0.01))
    assert cache.policies["new"] == CachePolicy(ttl=1.0)
    assert cache.policies["x"] == CachePolicy(max_error=0.01)
    with pytest.raises(vsearch.AlreadyExists):
        db.create_cache("c", 3)
    assert db.caches() == ["c"]
    db.delete_cache("c")
    assert db.caches() == []
    for call in (lambda: db.cache("c"), lambda: db.delete_cache("c"), lambda: cache.check("q")):
        with pytest.raises(vsearch.NotFound):
            call()


def test_numbers_of_what_happened(cache: Any) -> None:
    cache.store("q", 1, A, cost=0.5, compute_s=2.0)
    cache.check("q")
    cache.check("like q", A)
    cache.check("q", B, scope="x")
    seen = cache.stats()["categories"]["default"]
    assert (seen["lookups"], seen["hits_exact"], seen["hits_semantic"], seen["misses"]) == (3, 1, 1, 1)
    assert (seen["saved_s"], seen["saved_cost"], seen["entries"]) == (4.0, 1.0, 1)
    assert seen["misses_by_reason"] == {"empty": 1}


def test_thresholds_and_categories_are_fitted(db: Any) -> None:
    cache = db.create_cache("c", 2, {"x": CachePolicy(), "y": CachePolicy()})
    rng = np.random.default_rng(3)
    angles = rng.uniform(0, 1.5, 400)
    others = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    same = np.cos(angles) + rng.normal(0, 0.05, 400) > 0.8
    pairs = [([1.0, 0.0], other, bool(right), "x") for other, right in zip(others, same, strict=True)]
    fitted = cache.fit(pairs, max_error=0.02, apply=False)
    assert 0.7 < fitted.thresholds["x"] < 0.95
    assert fitted.whole.error <= 0.02
    assert fitted.categories["x"].pairs == 400
    assert cache.policies["x"] == CachePolicy()
    assert cache.fit(pairs, 0.02) == fitted
    assert cache.policies["x"].threshold == fitted.thresholds["x"]
    assert "default" in cache.fit([pair[:3] for pair in pairs], apply=False).thresholds
    near_x, near_y = rng.normal([5, 0], 0.3, (100, 2)), rng.normal([0, 5], 0.3, (100, 2))
    report = cache.fit_categories(np.concatenate([near_x, near_y]), ["x"] * 100 + ["y"] * 100)
    assert report.accuracy > 0.95
    assert (report.examples > 0, report.refused) == (True, None)
    cache.store("q", 1, [0.0, 1.0])
    assert [entry.category for entry in cache.entries()] == ["y"]
    before = cache.policies
    for call in (
        lambda: cache.fit([]),
        lambda: cache.fit(),
        lambda: cache.fit([(A, A)]),
        lambda: cache.fit([("a text", "another", True)]),
        lambda: cache.fit([([1.0], [1.0], True)]),
        lambda: cache.fit(pairs, max_error=-1.0),
        lambda: cache.fit([(*pairs[0][:3], "nope")]),
        lambda: cache.fit_categories(near_x, ["x"]),
        lambda: cache.fit_categories(near_x, ["nope"] * 100),
        lambda: cache.fit_categories([], []),
        lambda: cache.fit_categories([[1.0, 2.0, 3.0]], ["x"]),
    ):
        with pytest.raises(vsearch.InvalidArgument):
            call()
    assert cache.policies == before


def test_an_answer_to_an_older_version_is_not_kept(db: Any, cache: Any) -> None:
    docs = db.create_collection("docs", {"v": vsearch.Dense(2)})
    docs.upsert(["a"], {"v": [[1, 2]]})
    before = docs.version
    assert cache.store("q", 1, depends_on=[("docs", "a", before)]) is not None
    docs.upsert(["a"], {"v": [[3, 4]]})
    assert docs.version > before
    assert cache.check("q") is None
    assert cache.store("q", 1, depends_on=[("docs", "a", before)]) is None
    assert cache.store("q", 1, depends_on=[("docs", "a", docs.version)]) is not None


# What is wrong is refused, and nothing is stored


BAD: dict[str, Any] = {
    "a category that is unknown": lambda c: c.check("q", A, "nope"),
    "a category to store in": lambda c: c.store("q", 1, A, "nope"),
    "a prompt that is no text": lambda c: c.check(7),
    "a prompt of bytes": lambda c: c.store(b"q", 1),
    "a lone surrogate": lambda c: c.check("\ud800"),
    "a lone surrogate stored": lambda c: c.store("\ud800", 1),
    "a zero vector": lambda c: c.check("q", [0.0] * DIM),
    "NaN": lambda c: c.store("q", 1, [float("nan")] * DIM),
    "infinity": lambda c: c.store("q", 1, [float("inf")] * DIM),
    "a vector of texts": lambda c: c.check("q", ["1"] * DIM),
    "a text for a vector": lambda c: c.check("q", "1234"),
    "a negative ttl": lambda c: c.store("q", 1, ttl=-1.0),
    "a ttl that is no number": lambda c: c.store("q", 1, ttl="1"),
    "NaN as ttl": lambda c: c.store("q", 1, ttl=float("nan")),
    "a negative age": lambda c: c.check("q", max_age=-1),
    "a negative cost": lambda c: c.store("q", 1, cost=-1.0),
    "an infinite time": lambda c: c.store("q", 1, compute_s=float("inf")),
    "tags as a text": lambda c: c.store("q", 1, tags="t"),
    "an empty tag": lambda c: c.store("q", 1, tags=[""]),
    "a response that is neither JSON nor bytes": lambda c: c.store("q", {1, 2}),
    "a key that is no text": lambda c: c.store("q", {1: 2}),
    "sources without an id": lambda c: c.store("q", 1, depends_on=[("docs",)]),
    "nothing to invalidate": lambda c: c.invalidate(),
    "a source without an id": lambda c: c.invalidate(source=("docs",)),
    "a report on a text": lambda c: c.report("1", True),
    "a report of a number": lambda c: c.report(1, 1),
    "a similarity above 1": lambda c: c.report(1, True, 1.5),
    "a load without loads": lambda c: c.push_load(1.0),
    "loads that fall": lambda c: c.set_load(2.0, 1.0),
    "a policy that is none": lambda c: c.set_policy("x", {"threshold": 0.5}),
    "a category without a name": lambda c: c.set_policy("", CachePolicy()),
    "a lease of no time": lambda c: c.lease("q", lease_s=-1.0),
    "a lease for ever": lambda c: c.lease("q", wait_s=float("inf")),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_refused(cache: Any, name: str) -> None:
    with pytest.raises(vsearch.InvalidArgument):
        BAD[name](cache)
    assert list(cache.entries()) == []
    assert set(cache.policies) == {"default", "code", "off"}


def test_what_is_too_long_is_refused(cache: Any) -> None:
    cases: list[Any] = [
        lambda: cache.check("x" * (MAX_PROMPT_BYTES + 1)),
        lambda: cache.store("é" * (MAX_PROMPT_BYTES // 2 + 1), 1),
        lambda: cache.store("q", b"x" * (MAX_RESPONSE_BYTES + 1)),
        lambda: cache.store("q", 1, tags=[str(i) for i in range(MAX_TAGS + 1)]),
    ]
    for case in cases:
        with pytest.raises(vsearch.LimitExceeded):
            case()
    cache.store("x" * MAX_PROMPT_BYTES, b"x" * (MAX_RESPONSE_BYTES - 10))
    assert len(cache.check("x" * MAX_PROMPT_BYTES).response) == MAX_RESPONSE_BYTES - 10
    with pytest.raises(vsearch.DimensionMismatch):
        cache.check("q", [1.0])
    with pytest.raises(vsearch.NotFound):
        cache.store("q", 1, depends_on=[("nope", 1)])


@pytest.mark.parametrize(
    "settings",
    [
        {"name": "a/b"},
        {"dim": -1},
        {"dim": 1.5},
        {"policies": {"": CachePolicy()}},
        {"policies": {"x": {"threshold": 0.5}}},
        {"policies": [CachePolicy()]},
        {"default": 0.9},
        {"model": ""},
        {"durability": "never"},
        {"max_entries": 0},
        {"max_bytes": -5},
        {"load": (2.0, 1.0)},
        {"load": (1.0,)},
    ],
    ids=range(13),
)
def test_a_cache_of_wrong_settings_is_not_made(db: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(vsearch.InvalidArgument):
        db.create_cache(**{"name": "c", "dim": 2, **settings})
    assert db.caches() == []


@pytest.mark.parametrize("kind", ["http", "asyncio"])
def test_functions_stay_here(db: Any, cache: Any) -> None:
    with pytest.raises(vsearch.NotSupported):
        cache.invalidate(where=lambda entry: True)
    with pytest.raises(vsearch.NotSupported):
        cache.push_load(1.0, now_s=5.0)
    with pytest.raises(vsearch.NotSupported):
        db.cache("answers", verify=lambda prompt, hit: True)


# One computes for all


def test_a_lease_is_given_up_or_ends(cache: Any) -> None:
    first = cache.lease("q", A, lease_s=30.0, wait_s=0.0)
    assert first.hit is None
    second = cache.lease("q", wait_s=0.05)
    assert (second.hit, second.lease) == (None, None)
    similar = cache.lease("like q", NEAR_A, wait_s=0.0)
    assert similar.lease is None
    assert cache.lease("unlike q", B, wait_s=0.0).lease
    assert cache.lease("q", A, scope="other", wait_s=0.0).lease
    assert cache.release(first.lease)
    assert not cache.release(first.lease)
    assert not cache.release("no such lease")
    third = cache.lease("q", A, lease_s=0.2, wait_s=0.0)
    fourth = cache.lease("q", A, lease_s=30.0, wait_s=10.0)
    assert fourth.lease not in (None, third.lease)
    cache.store("q", 1, A, lease=fourth.lease)
    found = cache.lease("q", A)
    assert (found.hit.response, found.lease) == (1, None)


def callers(db: Any, kind: str, count: int, compute: Any) -> list[Any]:
    """What so many callers get who ask the same at the same time."""
    if kind == "asyncio":

        async def all_of_them() -> list[Any]:
            async with vsearch.connect_async(db.url) as client:
                cache = await client.cache("answers")

                async def computed() -> Any:
                    return await asyncio.to_thread(compute)

                calls = (cache.get_or_compute("q", computed, timeout_s=20.0) for _ in range(count))
                return await asyncio.gather(*calls, return_exceptions=True)

        return asyncio.run(all_of_them())

    cache = db.cache("answers")

    def call(_: int) -> Any:
        try:
            return cache.get_or_compute("q", compute, timeout_s=20.0)
        except ZeroDivisionError as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(call, range(count)))


def test_one_computes_for_all(db: Any, cache: Any, kind: str) -> None:
    computed = []

    def compute() -> dict[str, int]:
        time.sleep(0.3)
        computed.append(1)
        return {"n": len(computed)}

    found = callers(db, kind, 40, compute)
    assert [one.response for one in found] == [{"n": 1}] * 40
    assert len([one for one in found if isinstance(one, Computed)]) == 1
    assert len([one for one in found if isinstance(one, CacheHit)]) == 39
    assert cache.check("q").response == {"n": 1}


def test_an_error_is_raised_to_its_own_caller_and_not_cached(db: Any, cache: Any, kind: str) -> None:
    turn = threading.Lock()
    calls = []

    def compute() -> int:
        with turn:
            calls.append(1)
            number = len(calls)
        time.sleep(0.05)
        return 1 // 0 if number == 1 else number

    found = callers(db, kind, 6, compute)
    assert len([one for one in found if isinstance(one, ZeroDivisionError)]) == 1
    rest = {one.response for one in found if not isinstance(one, Exception)}
    assert rest <= {2, 3, 4, 5, 6}  # who has waited for an error computes for himself
    assert cache.check("q").response in rest


def test_functions_are_decorated(db: Any, cache: Any, kind: str) -> None:
    calls = []
    if kind != "asyncio":

        @cache.cached(category="code", scope="s")  # type: ignore[untyped-decorator]
        def answer(prompt: str, temperature: float = 0.0) -> str:
            calls.append(prompt)
            return f"{prompt}! {temperature}"

        assert [answer("a"), answer("a"), answer("a", temperature=1.0)] == ["a! 0.0", "a! 0.0", "a! 1.0"]
        assert len(calls) == 2
        return

    async def both() -> list[str]:
        async with vsearch.connect_async(db.url) as client:
            there = await client.cache("answers")

            @there.cached(category="code", scope="s")
            async def answer(prompt: str) -> str:
                calls.append(prompt)
                return f"{prompt}!"

            with pytest.raises(vsearch.InvalidArgument, match="coroutine"):
                there.cached()(str.upper)
            return [await answer("a"), await answer("a")]

    assert asyncio.run(both()) == ["a!", "a!"]
    assert calls == ["a"]
