"""The semantic cache, call by call: what hits, what does not and why, what is kept, what bad input raises."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import pytest

import vsearch
from vsearch import CachePolicy
from vsearch.cache import answers
from vsearch.cache.clock import Clock
from vsearch.cache.questions import MAX_PROMPT_BYTES
from vsearch.cache.records import MAX_RESPONSE_BYTES

DIM = 4
X, Y, Z, W = np.eye(DIM, dtype=np.float32)
POLICIES = {
    "code": CachePolicy(threshold=0.95, ttl=100.0, stale=20.0),
    "chat": CachePolicy(threshold=0.7, guards=False),
    "everything": CachePolicy(threshold=0.0, guards=False),
    "medical": CachePolicy(enabled=False),
    "busy": CachePolicy(threshold=0.9, min_threshold=0.6, ttl=10.0, max_ttl=30.0, guards=False),
}


class Time:
    def __init__(self) -> None:
        self.s = 1_700_000_000.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def db(tmp_path: Path) -> Iterator[vsearch.Database]:
    with vsearch.open(tmp_path / "db", durability="os") as opened:
        yield opened


@pytest.fixture
def cache(db: vsearch.Database, time: Time) -> vsearch.Cache:
    db.create_cache("answers", DIM, policies=POLICIES)
    return reopened(db, time)


def reopened(db: vsearch.Database, time: Time) -> vsearch.Cache:
    """The cache as another process would read it, with the clock of the test."""
    db._caches().close()
    db._catalog = None
    return db.cache("answers", clock=Clock(time, time))


def near(vector: np.ndarray, similarity: float, other: np.ndarray = W) -> np.ndarray:
    return np.asarray(similarity * vector + np.sqrt(1 - similarity**2) * other, np.float32)


def test_the_same_prompt_is_found_without_a_vector(cache: vsearch.Cache) -> None:
    entry = cache.store("How old is the sun?", {"text": "old"}, X, "chat", tags=["sun"], metadata={"model": "m"})
    hit = cache.check("  How old is the sun?\r\n", category="chat")
    assert hit is not None
    assert (hit.id, hit.kind, hit.similarity, hit.response) == (entry, "exact", 1.0, {"text": "old"})
    assert (hit.prompt, hit.tags, hit.metadata, hit.category) == (
        "How old is the sun?", ("sun",), {"model": "m"}, "chat",
    )  # fmt: skip
    assert cache.check("how old is the sun?", category="chat") is None  # case may matter
    assert cache.check("How old is the sun?") is not None  # a prompt has one answer in a scope, whatever its category
    assert cache.check("How old is the sun?", category="code") is None


def test_a_similar_prompt_is_answered_by_its_category_s_threshold(cache: vsearch.Cache) -> None:
    cache.store("sun", 1, X, "chat")
    assert cache.check("star", near(X, 0.71), "chat") is not None
    missed = cache.lookup("star", near(X, 0.69), "chat")
    assert missed.reason == answers.BELOW_THRESHOLD
    assert missed.similarity == pytest.approx(0.69, abs=1e-3)
    assert cache.lookup("star", near(X, 0.71), "code").reason == answers.EMPTY
    assert cache.check("star", -X, "everything") is None
    cache.store("sun!", 2, X, "everything")
    assert cache.check("anything at all", near(X, 0.0), "everything") is not None  # an explicit 0.0 is honoured


def test_a_threshold_of_one_lets_the_same_vector_through(cache: vsearch.Cache) -> None:
    cache.set_policy("exactly", CachePolicy(threshold=1.0, guards=False))
    vector = np.array([0.3, 0.1, -0.7, 0.2])
    cache.store("a", 1, vector, "exactly")
    assert cache.check("b", 3.0 * vector, "exactly") is not None
    assert cache.check("b", near(vector / np.linalg.norm(vector), 0.99), "exactly") is None


def test_the_best_entry_answers_and_not_the_first(cache: vsearch.Cache) -> None:
    for i, similarity in enumerate([0.8, 0.99, 0.9]):
        cache.store(f"p{i}", i, near(X, similarity), "chat")
    hit = cache.check("q", X, "chat")
    assert hit is not None
    assert hit.response == 1


def test_a_guarded_look_alike_gives_way_to_the_next(cache: vsearch.Cache) -> None:
    cache.set_policy("sums", CachePolicy(threshold=0.8))
    cache.store("what is 2 + 3", 5, near(X, 0.99), "sums")
    assert cache.lookup("what is 2 + 2", X, "sums").reason == "guard:numbers"
    cache.store("tell me what is 2 + 2", 4, near(X, 0.9), "sums")
    hit = cache.check("what is 2 + 2", X, "sums")
    assert hit is not None
    assert hit.response == 4
    cache.set_policy("sums", CachePolicy(threshold=0.8, guards={"dates"}))
    hit = cache.check("what is 2 + 2", X, "sums")
    assert hit is not None
    assert hit.response == 5


def test_no_scope_answers_another(cache: vsearch.Cache) -> None:
    scopes: list[Any] = [(), "ann", "bob", ["ann"], ["ann", 1], ["ann", "1"], ["ann", True], {"ann": 1}, ["ann", 1.0]]
    for i, scope in enumerate(scopes):
        assert cache.check("p", X, "chat", scope) is None
        cache.store("p", i, X, "chat", scope)
    for i, scope in enumerate(scopes):
        for prompt in ("p", "other"):
            hit = cache.check(prompt, X, "chat", scope)
            assert hit is not None
            assert hit.response == i
    assert cache.invalidate(scope="ann") == 1
    assert len(cache) == len(scopes) - 1
    assert cache.check("p", X, "chat", {"b": 1, "a": [2]}) is None
    cache.store("p", "order", X, "chat", {"b": 1, "a": [2]})
    assert cache.check("p", X, "chat", {"a": (2,), "b": 1}) is not None


def test_an_entry_lives_as_long_as_its_policy_says(cache: vsearch.Cache, time: Time) -> None:
    cache.store("p", 1, X, "code")
    cache.store("short", 1, Y, "code", ttl=5.0)
    cache.store("for ever", 1, Z, "chat")
    time.s += 24.9
    assert cache.check("short", category="code").stale  # type: ignore[union-attr]
    time.s += 0.2
    assert cache.check("short", category="code") is None
    assert cache.lookup("shorter", Y, "code").similarity == pytest.approx(0.0, abs=1e-3)  # that of another
    time.s += 74.9
    hit = cache.check("q", X, "code")
    assert hit is not None
    assert (hit.stale, hit.ttl) == (True, 100.0)
    assert hit.age_s == pytest.approx(100.0)
    time.s += 20.0
    assert cache.check("p", category="code") is None
    assert cache.check("for ever") is not None
    assert cache.lookup("for ever", category="chat", max_age=60).reason is not None
    assert cache.lookup("ever", Z, "chat", max_age=60).reason == answers.TOO_OLD
    cache.store("new", 1, W, "chat")  # sweeps
    assert {entry.category for entry in cache.entries()} == {"chat"}


def test_a_clock_that_goes_back_makes_nothing_younger(tmp_path: Path) -> None:
    wall, steady = Time(), Time()
    with vsearch.open(tmp_path / "db") as db:
        db.create_cache("answers", DIM, policies=POLICIES).store("old", 1, X, "code")
        db._caches().close()
        db._catalog = None
        cache = db.cache("answers", clock=Clock(wall, steady))  # a wall clock that is years behind what is stored
        hit = cache.check("old", category="code")
        assert hit is not None
        assert 0.0 <= hit.age_s < 100.0
        steady.s += 99.0
        wall.s -= 10_000.0
        assert cache.check("old", category="code") is not None
        steady.s += 30.0
        assert cache.check("old", category="code") is None


def test_a_clock_that_is_set_ahead_ends_lives(cache: vsearch.Cache, time: Time) -> None:
    cache.store("p", 1, X, "code")
    time.s += 1e6
    assert cache.check("p", category="code") is None


def test_a_disabled_category_keeps_nothing(cache: vsearch.Cache) -> None:
    assert cache.store("p", 1, X, "medical") is None
    assert cache.lookup("p", X, "medical").reason == answers.DISABLED
    cache.store("p", 1, X, "chat")
    cache.set_policy("chat", CachePolicy(enabled=False))
    assert cache.check("p", X, "chat") is None


def test_a_report_of_a_wrong_answer_evicts_it(cache: vsearch.Cache) -> None:
    cache.store("p", 1, X, "chat")
    hit = cache.check("q", X, "chat")
    assert hit is not None
    cache.report(hit, correct=True)
    assert cache.check("q", X, "chat") is not None
    cache.report(hit, correct=False)
    cache.report(hit, correct=False)  # gone already
    assert cache.check("p", X, "chat") is None
    seen = cache.stats()["categories"]["chat"]
    assert (seen["right"], seen["wrong"]) == (1, 1)


def test_load_relaxes_a_policy_within_its_bounds_and_back(cache: vsearch.Cache, time: Time) -> None:
    with pytest.raises(vsearch.InvalidArgument, match="set_load"):
        cache.push_load(1.0)
    cache.set_load(10, 20)
    cache.store("p", 1, X, "busy")
    assert cache.check("q", near(X, 0.7), "busy") is None
    for _ in range(100):
        time.s += 0.01
        cache.push_load(1_000.0)
    hit = cache.check("q", near(X, 0.7), "busy")
    assert hit is not None
    assert hit.threshold == pytest.approx(0.6)
    assert hit.ttl == pytest.approx(30.0)
    assert cache.stats()["stress"] == 1.0
    time.s += 20.0
    assert cache.check("p", category="busy") is not None  # beyond its ttl, within that of load
    cache.push_load(0.0)
    time.s += 300.0
    assert cache.check("q", near(X, 0.7), "busy") is None
    assert cache.stats()["categories"]["busy"]["threshold"] == 0.9


def test_a_verifier_has_the_last_word(db: vsearch.Database, cache: vsearch.Cache) -> None:
    asked = []

    def verify(prompt: str, hit: vsearch.CacheHit) -> bool:
        asked.append((prompt, hit.prompt, hit.response))
        return prompt != "bad"

    db.cache("answers", verify=verify)
    cache.store("p", 1, X, "chat")
    assert cache.lookup("bad", X, "chat").reason == answers.REJECTED
    assert cache.check("good", X, "chat") is not None
    assert cache.check("p", X, "chat") is not None  # the same prompt is not asked about
    assert asked == [("bad", "p", 1), ("good", "p", 1)]


def test_a_category_with_a_max_error_learns_before_it_answers(
    db: vsearch.Database, cache: vsearch.Cache, time: Time
) -> None:
    """Prompts nearer than 0.9 to one of four topics have its answer."""
    cache.set_policy("proven", CachePolicy(max_error=0.05, guards=False))
    rng = np.random.default_rng(4)
    hits, wrong, late = 0, 0, 0
    for i in range(1_500):
        topic, similarity = rng.integers(DIM), float(rng.choice([0.6, 0.97]))
        other = 0.5 * rng.standard_normal(DIM).astype(np.float32)
        vector = near(np.eye(DIM, dtype=np.float32)[topic], similarity, other)
        answer = f"topic {topic}" if similarity > 0.9 else f"own {i}"
        found = cache.lookup(f"p{i}", vector, "proven")
        if found.hit is None:
            assert i > 0 or found.reason == answers.EMPTY
            cache.store(f"p{i}", answer, vector, "proven")
        else:
            hits, late = hits + 1, late + (i >= 1_000)
            wrong += found.hit.response != answer
        if i == 1_000:
            cache = reopened(db, time)  # what was learned is stored
    assert cache.lookup("p0", X, "proven").reason in (answers.UNPROVEN, None)
    assert wrong <= 0.05 * 1_500
    assert late > 100


def test_without_vectors_only_the_same_prompt_is_found(db: vsearch.Database) -> None:
    exact = db.create_cache("exact", 0)
    exact.store("p", b"\x00\x01", metadata={"a": 1})
    hit = exact.check("p")
    assert hit is not None
    assert hit.response == b"\x00\x01"
    assert exact.lookup("q").reason == answers.NO_VECTOR
    with pytest.raises(vsearch.DimensionMismatch, match="dimension 0"):
        exact.check("p", X)


class Letters:
    """An embedder that counts letters; it can be made to fail."""

    model, dim = "letters", DIM

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.calls = 0

    def embed(self, texts: Any) -> np.ndarray:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return np.array([[1 + text.count(letter) for letter in "abcd"] for text in texts], np.float32)


def test_an_embedder_makes_vectors_and_its_failure_is_a_miss(db: vsearch.Database, cache: vsearch.Cache) -> None:
    embedder = Letters()
    db.cache("answers", embedder=embedder)
    cache.store("aab", 1, category="chat")
    assert cache.check("aba", category="chat") is not None
    calls = embedder.calls
    assert cache.check("aab", category="chat") is not None
    assert embedder.calls == calls  # not for the same prompt
    embedder.error = vsearch.Timeout("too slow")
    assert cache.lookup("baa", category="chat").reason == answers.NO_EMBEDDING
    assert cache.store("ccc", 2, category="chat") is not None  # found by its text
    assert cache.check("ccc", category="chat") is not None
    assert cache.model == "letters"


def test_another_model_s_embedder_is_refused(db: vsearch.Database, cache: vsearch.Cache, time: Time) -> None:
    db.cache("answers", embedder=Letters())
    cache = reopened(db, time)
    other = Letters()
    other.model = "digits"
    with pytest.raises(vsearch.InvalidArgument, match="'letters', not of 'digits'"):
        db.cache("answers", embedder=other)
    wide = Letters()
    wide.dim = 5
    with pytest.raises(vsearch.DimensionMismatch, match="dimension 5"):
        db.cache("answers", embedder=wide)
    assert cache.model == "letters"


def test_thresholds_are_fitted_from_pairs_and_kept(db: vsearch.Database, cache: vsearch.Cache, time: Time) -> None:
    rng = np.random.default_rng(0)
    pairs = []
    for _ in range(400):
        similarity = float(rng.uniform(0.4, 1.0))
        same = bool(rng.random() < 1 / (1 + np.exp(-40 * (similarity - 0.75))))
        pairs.append((X, near(X, similarity), same, "chat"))
    fitted = cache.fit(pairs, max_error=0.02)
    assert 0.7 < fitted.thresholds["chat"] < 0.95
    assert cache.policies["chat"].threshold == fitted.thresholds["chat"]
    assert reopened(db, time).policies["chat"].threshold == fitted.thresholds["chat"]
    assert cache.fit(pairs, max_error=0.2, apply=False).thresholds["chat"] < fitted.thresholds["chat"]
    with pytest.raises(vsearch.InvalidArgument, match="nothing to fit"):
        cache.fit([])


def test_categories_are_fitted_from_examples_and_kept(db: vsearch.Database, cache: vsearch.Cache, time: Time) -> None:
    rng = np.random.default_rng(0)
    examples = np.concatenate([X + 0.1 * rng.standard_normal((200, DIM)), Y + 0.1 * rng.standard_normal((200, DIM))])
    report = cache.fit_categories(examples, ["chat"] * 200 + ["code"] * 200)
    assert report.accuracy > 0.95
    again = reopened(db, time)
    again.store("p", 1, X)
    again.store("q", 2, Y)
    assert [entry.category for entry in again.entries()] == ["chat", "code"]
    with pytest.raises(vsearch.InvalidArgument, match="unknown category 'poetry'"):
        cache.fit_categories(examples, ["chat"] * 200 + ["poetry"] * 200)


def test_conditions_of_invalidation_must_all_hold(cache: vsearch.Cache) -> None:
    for i in range(6):
        cache.store(f"p{i}", i, X, ["chat", "code"][i % 2], scope=i // 3, tags=["even"] if i % 2 == 0 else ["odd", "n"])
    assert cache.invalidate(tag="odd", category="code", scope=0, dry_run=True) == 1
    assert cache.invalidate(tag="even", category="code") == 0
    assert cache.invalidate(where=lambda entry: entry.hits == 0 and "n" in entry.tags, dry_run=True) == 3
    assert cache.invalidate(id=1) == 1
    assert cache.invalidate(id=1) == 0
    assert cache.invalidate(tag="n", where=lambda entry: entry.id > 2) == 2
    with pytest.raises(vsearch.InvalidArgument, match="nothing says what"):
        cache.invalidate()
    with pytest.raises(vsearch.InvalidArgument, match="a source is"):
        cache.invalidate(source=("docs",))  # type: ignore[arg-type]
    assert cache.clear() == 3
    assert len(cache) == 0


def test_many_are_stored_at_once(cache: vsearch.Cache) -> None:
    vectors = np.random.default_rng(1).standard_normal((50, DIM))
    ids = cache.store_many([f"p{i}" for i in range(50)], list(range(50)), vectors, "chat", scope="s", tags=["bulk"])
    assert len(set(ids)) == 50
    hit = cache.check("q", vectors[7], "chat", "s")
    assert hit is not None
    assert hit.similarity == pytest.approx(1.0, abs=1e-3)
    assert cache.store_many(["x", "x", "p3"], [1, 2, 3], vectors[:3], "chat", scope="s")[0] is not None
    assert cache.check("x", category="chat", scope="s").response == 2  # type: ignore[union-attr]
    assert len(cache) == 51
    assert cache.store_many(["m"], [1], None, "medical") == [None]
    with pytest.raises(vsearch.InvalidArgument, match="2 prompts, 1 responses"):
        cache.store_many(["a", "b"], [1])
    with pytest.raises(vsearch.InvalidArgument, match="vectors is a int"):
        cache.store_many(["a"], [1], 3)
    with pytest.raises(vsearch.DimensionMismatch):
        cache.store_many(["a", "b"], [1, 2], [[1.0, 2.0, 3.0, 4.0], [1.0]], "chat")
    with pytest.raises(vsearch.InvalidArgument, match="not an array of numbers"):
        cache.store_many(["a"], [1], [[[1.0], 2.0]], "chat")


def test_a_batch_that_is_too_large_keeps_what_fits(db: vsearch.Database) -> None:
    cache = db.create_cache("small", 0, policies={"few": CachePolicy(quota=3)})
    kept = cache.store_many([f"p{i}" for i in range(10)], list(range(10)), category="few")
    assert [entry.id for entry in cache.entries()] == [entry for entry in kept if entry is not None]
    assert len(cache) == 3
    assert db.check() == []


def test_tags_may_come_from_a_generator(cache: vsearch.Cache) -> None:
    cache.store("p", 1, X, tags=(tag for tag in ("a", "b")))  # type: ignore[arg-type]
    assert cache.invalidate(tag="b") == 1


def test_whatever_an_embedder_raises_is_a_miss(db: vsearch.Database, cache: vsearch.Cache) -> None:
    embedder = Letters()
    embedder.error = RuntimeError("out of memory")
    db.cache("answers", embedder=embedder)
    assert cache.lookup("p").reason == answers.NO_EMBEDDING


def test_what_was_stored_is_there_after_a_restart(db: vsearch.Database, cache: vsearch.Cache, time: Time) -> None:
    cache.store("p", {"a": [1, "two", None]}, X, "chat", scope="s", tags=["t"])
    cache.check("p", category="chat", scope="s")
    cache._core.end(vsearch.Closed("closed"))
    with pytest.raises(vsearch.Closed):
        cache.check("p")
    again = reopened(db, time)
    hit = again.check("q", X, "chat", "s")
    assert hit is not None
    assert hit.response == {"a": [1, "two", None]}
    assert again.stats()["categories"]["chat"]["hits"] == 2
    assert again.store("r", 1, Y, "chat") == hit.id + 1
    assert db.check() == []


def test_many_are_found_at_once_after_a_restart_and_then_quickly(tmp_path: Path) -> None:
    vectors = np.random.default_rng(2).standard_normal((800, DIM))
    with vsearch.open(tmp_path / "db") as db:
        cache = db.create_cache("answers", DIM, policies=POLICIES)
        cache.store_many([f"p{i}" for i in range(800)], list(range(800)), vectors, "chat")
    with vsearch.open(tmp_path / "db") as db:
        cache = db.cache("answers")
        for i in range(0, 800, 9):
            assert cache.check("q", vectors[i], "chat") is not None
        partition = next(iter(cache._core.contents.partitions.values()))
        for _ in range(300):
            if not partition.index.cold:
                break
            sleep(0.1)
        assert not partition.index.cold
        cache.store("new", "new", vectors[0], "chat")
        assert sum(cache.check("q", vector, "chat").similarity > 0.999 for vector in vectors) > 780  # type: ignore[union-attr]


def test_caches_have_names(db: vsearch.Database, cache: vsearch.Cache) -> None:
    with pytest.raises(vsearch.AlreadyExists):
        db.create_cache("answers", DIM)
    with pytest.raises(vsearch.NotFound, match=r"no cache named 'other'\. There are: answers"):
        db.cache("other")
    cache.store("p", 1, X)
    db.delete_cache("answers")
    assert db.caches() == []
    with pytest.raises(vsearch.NotFound, match="was deleted"):
        cache.check("p")
    with pytest.raises(vsearch.NotFound):
        db.delete_cache("answers")
    assert db.create_cache("answers", DIM).check("p", X) is None
    assert db.check() == []


def test_a_read_only_database_shows_caches_and_answers_nothing(tmp_path: Path) -> None:
    with vsearch.open(tmp_path / "db") as db:
        db.create_cache("answers", DIM).store("p", 1, X)
    with vsearch.open(tmp_path / "db", read_only=True) as db:
        cache = db.cache("answers")
        assert [entry.id for entry in cache.entries()] == [1]
        assert cache.stats()["entries"] == 1
        with pytest.raises(vsearch.ReadOnly):
            cache.check("p")
        with pytest.raises(vsearch.ReadOnly):
            cache.store("p", 1, X)
        with pytest.raises(vsearch.ReadOnly):
            db.create_cache("more", 3)


BAD_CALLS: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("check", {"prompt": 1}, vsearch.InvalidArgument, "prompt is a int"),
    ("check", {"prompt": "\ud800"}, vsearch.InvalidArgument, "not valid Unicode"),
    ("check", {"prompt": "x" * (MAX_PROMPT_BYTES + 1)}, vsearch.LimitExceeded, "too long"),
    ("check", {"vector": [1.0, 2.0]}, vsearch.DimensionMismatch, "a vector of dimension 2. The cache has dimension 4"),
    ("check", {"vector": [[1.0, 2.0, 3.0, 4.0]]}, vsearch.DimensionMismatch, "dimension"),
    ("check", {"vector": [0.0] * 4}, vsearch.InvalidArgument, "is zero"),
    ("check", {"vector": [1.0, 2.0, 3.0, float("nan")]}, vsearch.InvalidArgument, "NaN"),
    ("check", {"vector": "abcd"}, vsearch.InvalidArgument, "not an array of numbers"),
    ("check", {"category": "poetry"}, vsearch.InvalidArgument, "unknown category 'poetry'. There are: busy, chat"),
    ("check", {"category": 3}, vsearch.InvalidArgument, "unknown category"),
    ("check", {"scope": {1: 2}}, vsearch.InvalidArgument, "scope holds"),
    ("check", {"scope": [float("nan")]}, vsearch.InvalidArgument, "scope holds"),
    ("check", {"scope": object()}, vsearch.InvalidArgument, "scope holds"),
    ("check", {"max_age": -1.0}, vsearch.InvalidArgument, "max_age is -1"),
    ("store", {"ttl": -1.0}, vsearch.InvalidArgument, "ttl is -1"),
    ("store", {"ttl": float("nan")}, vsearch.InvalidArgument, "ttl is nan"),
    ("store", {"ttl": True}, vsearch.InvalidArgument, "ttl is True"),
    ("store", {"cost": "1"}, vsearch.InvalidArgument, "cost is '1'"),
    ("store", {"response": object()}, vsearch.InvalidArgument, "response cannot be stored"),
    ("store", {"response": {1: 2}}, vsearch.InvalidArgument, "response cannot be stored"),
    ("store", {"response": "x" * (MAX_RESPONSE_BYTES + 1)}, vsearch.LimitExceeded, "the response has"),
    ("store", {"metadata": {"a": "x" * 100_000}}, vsearch.LimitExceeded, "the metadata has"),
    ("store", {"tags": "one"}, vsearch.InvalidArgument, "tags are"),
    ("store", {"tags": None}, vsearch.InvalidArgument, "tags are None"),
    ("store", {"tags": ["\ud800"]}, vsearch.InvalidArgument, "tags are"),
    ("store", {"metadata": [1]}, vsearch.InvalidArgument, "metadata is a list"),
    ("check", {"scope": np.zeros(3)}, vsearch.InvalidArgument, "scope holds"),
    ("check", {"scope": 10**5000}, vsearch.InvalidArgument, "scope holds"),
    ("store", {"tags": ["x"] + [str(i) for i in range(100)]}, vsearch.LimitExceeded, "tags"),
    ("store", {"depends_on": "docs"}, vsearch.InvalidArgument, "depends_on is"),
    ("store", {"depends_on": ["docs"]}, vsearch.InvalidArgument, "depends_on is"),
    ("store", {"depends_on": [("docs",)]}, vsearch.InvalidArgument, "a source is"),
    ("store", {"depends_on": [("docs", 1.5)]}, vsearch.InvalidArgument, "a source's id is 1.5"),
    ("store", {"depends_on": [("docs", 1, -1)]}, vsearch.InvalidArgument, "a source's version is -1"),
    ("store", {"depends_on": [("docs", i) for i in range(300)]}, vsearch.LimitExceeded, "300 sources"),
    ("store", {"depends_on": [("nothing", 1)]}, vsearch.NotFound, "no collection named 'nothing'"),
]


@pytest.mark.parametrize(("name", "arguments", "error", "message"), BAD_CALLS)
def test_a_bad_call_says_what_is_wrong_and_changes_nothing(
    cache: vsearch.Cache, name: str, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    needed = {"prompt": "p"} if name == "check" else {"prompt": "p", "response": 1}
    with pytest.raises(error, match=message):
        getattr(cache, name)(**{**needed, **arguments})
    assert len(cache) == 0
    assert cache.stats()["total"]["stores"] == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": 1.01}, "threshold is 1.01. Use a number from 0 to 1"),
        ({"threshold": -0.1}, "threshold is -0.1"),
        ({"threshold": float("nan")}, "threshold is nan"),
        ({"threshold": True}, "threshold is True"),
        ({"threshold": 10**400}, "threshold is 1000"),
        ({"guards": 5}, "guards is 5"),
        ({"ttl": -5.0}, "ttl is -5"),
        ({"stale": -1.0}, "stale is"),
        ({"quota": -1}, "quota is -1"),
        ({"quota": 1.5}, "quota is 1.5"),
        ({"quota_share": 1.5}, "quota_share is 1.5"),
        ({"min_threshold": 0.95, "threshold": 0.9}, "min_threshold is 0.95"),
        ({"max_ttl": 5.0, "ttl": 10.0}, "max_ttl is 5.0"),
        ({"guards": {"smell"}}, "unknown guards"),
        ({"guards": "numbers"}, "guards is 'numbers'"),
        ({"max_error": 0.0}, "max_error is 0"),
        ({"max_error": 0.9}, "max_error is 0.9"),
        ({"enabled": 1}, "enabled is 1"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(vsearch.InvalidArgument, match=message):
        CachePolicy(**settings)


def test_policies_survive_a_dictionary() -> None:
    policy = CachePolicy(threshold=0.0, ttl=1.5, quota=7, guards={"numbers"}, max_error=0.01)
    assert CachePolicy.from_dict(policy.to_dict()) == policy
    with pytest.raises(vsearch.InvalidArgument, match="unknown settings"):
        CachePolicy.from_dict({"treshold": 0.5})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dim": -1}, "dim is -1"),
        ({"dim": 1.5}, "dim is 1.5"),
        ({"name": "a/b"}, "characters of paths"),
        ({"policies": {"chat": 0.9}}, "the policy of 'chat' is a float"),
        ({"policies": [1]}, "policies is a list"),
        ({"max_entries": 0}, "max_entries is 0"),
        ({"durability": "maybe"}, "unknown durability"),
        ({"model": ""}, "model is ''"),
        ({"load": (2, 1)}, "low is 2"),
        ({"load": (1,)}, "load is"),
    ],
)
def test_a_cache_that_cannot_be_is_refused(db: vsearch.Database, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(vsearch.InvalidArgument, match=message):
        db.create_cache(**{"name": "new", "dim": 3, **arguments})
    assert db.caches() == []


def test_quotas_of_a_category_and_of_the_whole_hold_together(db: vsearch.Database) -> None:
    """Large entries push several out at once, of their own category and then of others."""
    policies = {"a": CachePolicy(quota_bytes=4_000), "b": CachePolicy(quota=5, priority=0.1), "c": CachePolicy()}
    cache = db.create_cache("full", DIM, policies=policies, max_entries=30, max_bytes=9_000)
    rng = np.random.default_rng(3)
    for i in range(400):
        category, size = "abc"[rng.integers(3)], int(rng.choice([1, 50, 800, 2_500]))
        kept = cache.store(f"p{i}", "x" * size, rng.standard_normal(DIM), category, cost=float(rng.integers(3)))
        stats = cache.stats()
        assert kept is not None
        assert stats["entries"] == len(list(cache.entries())) <= 30
        assert stats["bytes"] == sum(entry.nbytes for entry in cache.entries()) <= 9_000
        assert stats["categories"]["a"]["bytes"] <= 4_000
        assert stats["categories"]["b"]["entries"] <= 5
        assert cache.check(f"p{i}", category=category) is not None
    assert cache.store("huge", "x" * 10_000, X, "c") is None
    assert stats["total"]["evicted"] > 300
    assert db.check() == []


def test_those_of_least_value_give_way(db: vsearch.Database) -> None:
    policies = {"dear": CachePolicy(priority=10.0), "cheap": CachePolicy(priority=1.0)}
    cache = db.create_cache("full", 0, policies=policies, max_entries=20)
    for i in range(10):
        cache.store(f"dear {i}", i, category="dear")
        cache.store(f"cheap {i}", i, category="cheap")
    for i in range(5):
        cache.check(f"cheap {i}", category="cheap")
    for i in range(5):
        cache.store(f"more {i}", i, category="dear")
    left = {category: cache.stats()["categories"][category]["entries"] for category in policies}
    assert left == {"dear": 15, "cheap": 5}
    assert all(cache.check(f"cheap {i}", category="cheap") is not None for i in range(5))
