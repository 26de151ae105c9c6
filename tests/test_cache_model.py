"""Random operations on a cache, compared with a list of entries; time is a number that the test moves."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import vsearch
from tests.naive_cache import Entry, NaiveCache
from vsearch import CachePolicy
from vsearch.cache.clock import Clock

DIM = 6
PROMPTS = [f"what is thing {word}" for word in ("red", "green", "blue")]
SCOPES: list[Any] = [(), ["ann", {"tenant": 1}]]
GUARDLESS = {"guards": False}
POLICIES = {
    "default": CachePolicy(threshold=0.9, **GUARDLESS),
    "short": CachePolicy(threshold=0.8, ttl=10.0, stale=5.0, **GUARDLESS),
    "small": CachePolicy(threshold=0.0, quota=3, **GUARDLESS),
    "bytes": CachePolicy(threshold=0.95, quota_bytes=900, ttl=100.0, **GUARDLESS),
    "off": CachePolicy(enabled=False),
}
POINTS = ("a", "b", 7)
_unit = np.random.default_rng(5).standard_normal((12, DIM)).astype(np.float32)
BASES = _unit / np.linalg.norm(_unit, axis=1, keepdims=True)


def moved(vector: np.ndarray, noise: float, other: int) -> np.ndarray:
    vector = vector + np.float32(noise) * BASES[other]
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


class Walk:
    """A random walk; `draw` decides everything."""

    def __init__(self, folder: Path, draw: random.Random) -> None:
        self.folder = folder
        self.draw = draw
        self.time_s = 1_000_000.0
        self.naive = NaiveCache(dict(POLICIES), self.now())
        self.last_id = 0
        self.db = vsearch.open(self.folder / "db", durability="os")
        docs = self.db.create_collection("docs", fields={"dense": vsearch.Dense(2)})
        docs.upsert(list(POINTS), vectors={"dense": np.ones((len(POINTS), 2))})
        self.db.create_cache("answers", DIM, policies=POLICIES, max_entries=12)
        self.db.close()
        self.open()

    def open(self) -> None:
        self.db = vsearch.open(self.folder / "db", durability="os")
        clock = Clock(wall=lambda: self.time_s, steady=lambda: self.time_s)
        self.cache = self.db.cache("answers", clock=clock)

    def now(self) -> int:
        return int(self.time_s * 1000)

    def settle(self) -> None:
        """Whatever gave way to quotas, or was over, is the cache's choice; what is left must be what was stored."""
        left = {entry.id for entry in self.cache.entries()}
        assert left <= self.naive.entries.keys()
        self.naive.entries = {i: e for i, e in self.naive.entries.items() if i in left}

    def vector(self) -> np.ndarray | None:
        if self.draw.random() < 0.2:
            return None
        return moved(BASES[self.draw.randrange(4)], self.draw.choice([0.0, 0.2, 0.6]), self.draw.randrange(4))

    def store(self) -> None:
        draw = self.draw
        prompt, category, scope = draw.choice(PROMPTS), draw.choice(list(POLICIES)), draw.choice(SCOPES)
        vector, ttl, size = self.vector(), draw.choice([None, None, 0.0, 3.0, 50.0]), draw.choice([1, 1, 100, 2_000])
        tags, sources = draw.choices("xyz", k=draw.randrange(3)), draw.choices(POINTS, k=draw.choice([0, 0, 1, 2]))
        response = {"answer": "x" * size, "n": self.last_id}
        before = {i: e for i, e in self.naive.entries.items() if self.naive.life(e) != "over"}
        kept = self.cache.store(
            prompt, response, vector, category, scope, ttl, depends_on=[("docs", i) for i in sources], tags=tags
        )
        policy = POLICIES[category]
        if kept is None:
            assert not policy.enabled or (policy.quota_bytes is not None and size > 500)
            return
        assert policy.enabled
        assert kept > self.last_id
        self.last_id = kept
        life = policy.ttl if ttl is None else ttl
        expires = None if life is None else self.now() + max(1, int(life * 1000))
        entry = Entry(
            kept, prompt, response, category, scope, vector, self.now(), expires, tuple(tags),
            tuple(("docs", i) for i in sources),
        )  # fmt: skip
        self.naive.store(entry)
        self.settle()
        assert kept in self.naive.entries
        if len(before) < 3 and size == 1:
            assert before.keys() - {e.id for e in before.values() if (e.prompt, e.scope) == (prompt, scope)} <= (
                self.naive.entries.keys()
            ), "something left although there was room"

    def ask(self) -> None:
        """Mostly like something that was stored: what is drawn at random is like nothing."""
        draw = self.draw
        if not self.naive.entries or draw.random() < 0.2:
            self.asked(draw.choice(PROMPTS), self.vector(), draw.choice(list(POLICIES)), draw.choice(SCOPES))
            return
        entry = self.naive.entries[draw.choice(sorted(self.naive.entries))]
        vector = entry.vector
        if vector is not None:
            vector = moved(vector, draw.choice([0.0, 0.3, 0.5, 0.7]), draw.randrange(len(BASES)))
        scope = draw.choice(SCOPES) if draw.random() < 0.2 else entry.scope
        self.asked(entry.prompt + " now" * draw.randrange(2), vector, entry.category, scope)

    def asked(self, prompt: str, vector: Any, category: str, scope: Any) -> None:
        found = self.cache.lookup(prompt, vector, category, scope)
        allowed, exact = self.naive.allowed(prompt, vector, category, scope)
        assert (None if found.hit is None else found.hit.id) in allowed, (found, allowed)
        if found.hit is None:
            assert found.reason
            return
        entry = self.naive.entries[found.hit.id]
        assert (found.hit.response, found.hit.prompt) == (entry.response, entry.prompt)
        assert (found.hit.kind == "exact") == exact
        assert found.hit.stale == (self.naive.life(entry) == "stale")
        assert found.hit.age_s == (self.now() - entry.created_ms) / 1000.0

    def wait(self) -> None:
        self.time_s += self.draw.choice([0.5, 4.0, 11.0, 60.0])
        self.naive.now_ms = self.now()

    def invalidate(self) -> None:
        tag = self.draw.choice([None, "x", "y", "z"])
        category, scope = self.draw.choice([None, *POLICIES]), self.draw.choice([None, *SCOPES])
        if tag is None and category is None and scope is None:
            return
        gone = {
            e.id
            for e in self.naive.entries.values()
            if (tag is None or tag in e.tags) and category in (None, e.category) and (scope is None or scope == e.scope)
        }
        self.settle()
        gone &= self.naive.entries.keys()
        assert self.cache.invalidate(tag=tag, category=category, scope=scope, dry_run=True) == len(gone)
        assert self.cache.invalidate(tag=tag, category=category, scope=scope) == len(gone)
        for i in gone:
            del self.naive.entries[i]

    def change_source(self) -> None:
        point: Any = self.draw.choice(POINTS)
        docs = self.db.collection("docs")
        if self.draw.random() < 0.5:
            docs.delete(ids=[point])
            docs.upsert([point], vectors={"dense": np.ones((1, 2))})
        else:
            docs.set_payload({"at": self.time_s}, ids=[point])
        self.naive.entries = {i: e for i, e in self.naive.entries.items() if ("docs", point) not in e.sources}
        self.settle()

    def report(self) -> None:
        self.settle()
        if not self.naive.entries:
            return
        entry, correct = self.draw.choice(sorted(self.naive.entries)), self.draw.random() < 0.5
        self.cache.report(entry, correct, similarity=0.9)
        if not correct:
            del self.naive.entries[entry]

    def reopen(self) -> None:
        self.db.close()
        self.open()
        self.settle()
        for entry in self.naive.entries.values():
            if self.naive.life(entry) != "over":
                hit = self.cache.check(entry.prompt, category=entry.category, scope=entry.scope)
                assert hit is not None
                assert hit.id == entry.id

    def quotas_hold(self) -> None:
        stats = self.cache.stats()
        assert stats["entries"] == len(list(self.cache.entries())) <= 12
        for category, policy in POLICIES.items():
            seen = stats["categories"][category]
            assert policy.quota is None or seen["entries"] <= policy.quota
            assert policy.quota_bytes is None or seen["bytes"] <= policy.quota_bytes


STEPS = 60
WEIGHTS = {
    Walk.store: 30, Walk.ask: 40, Walk.wait: 10, Walk.invalidate: 3, Walk.change_source: 4, Walk.report: 3,
    Walk.reopen: 1,
}  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_a_cache_is_a_list_of_entries(seed: int) -> None:
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        walk = Walk(Path(folder), draw)
        try:
            for step in draw.choices(list(WEIGHTS), list(WEIGHTS.values()), k=STEPS):
                step(walk)
                walk.quotas_hold()
            assert walk.db.check() == []
        finally:
            walk.db.close()
