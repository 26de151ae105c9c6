"""One computation for all who ask the same at the same time: threads, tasks, leases; and what happens when it fails."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vsearch
from vsearch import CacheHit, CachePolicy, Computed
from vsearch.cache import answers, flights

DIM = 4
X, Y, Z, W = np.eye(DIM, dtype=np.float32)
LIKE_X = (0.95 * X + 0.3 * Y).astype(np.float32)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[vsearch.Cache]:
    policies = {
        "chat": CachePolicy(threshold=0.9),
        "old": CachePolicy(ttl=0.05, stale=100.0),
        "off": CachePolicy(enabled=False),
    }
    with vsearch.open(tmp_path / "db", durability="os") as db:
        yield db.create_cache("answers", DIM, policies=policies)


class Model:
    """Counts how often it is asked, also at the same time."""

    def __init__(self, takes_s: float = 0.1) -> None:
        self.takes_s = takes_s
        self.calls = self.now = self.most = 0
        self.errors: list[BaseException] = []
        self._lock = threading.Lock()

    def __call__(self) -> Any:
        with self._lock:
            self.calls += 1
            self.now += 1
            self.most = max(self.most, self.now)
            number = self.calls
        time.sleep(self.takes_s)
        with self._lock:
            self.now -= 1
        if self.errors:
            raise self.errors.pop()
        return number

    async def later(self) -> Any:
        self.calls += 1
        number = self.calls
        await asyncio.sleep(self.takes_s)
        if self.errors:
            raise self.errors.pop()
        return number


def together(n: int, call: Callable[[int], Any]) -> list[Any]:
    barrier = threading.Barrier(n)

    def run(i: int) -> Any:
        barrier.wait()
        try:
            return call(i)
        except Exception as error:
            return error

    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(run, range(n)))


def test_threads_that_ask_the_same_compute_once(cache: vsearch.Cache) -> None:
    model = Model()
    found = together(12, lambda _: cache.get_or_compute("p", model, X, "chat"))
    assert model.calls == 1
    assert [each.response for each in found] == [1] * 12
    assert sum(isinstance(each, Computed) for each in found) == 1
    assert cache.stats()["computing"] == 0
    assert cache.stats()["total"]["lookups"] == 12


def test_similar_questions_wait_for_each_other_and_different_ones_do_not(cache: vsearch.Cache) -> None:
    model = Model()
    prompts = [("how old is the sun", X), ("what age has the sun", LIKE_X), ("how far is the moon", Z)]
    found = together(3, lambda i: cache.get_or_compute(prompts[i][0], model, prompts[i][1], "chat"))
    assert model.calls == 2
    assert found[0].response == found[1].response != found[2].response


def test_look_alikes_and_other_scopes_compute_for_themselves(cache: vsearch.Cache) -> None:
    model = Model()
    found = together(4, lambda i: cache.get_or_compute(f"what is 2 + {i % 2}", model, X, "chat", scope=i // 2))
    assert model.calls == 4
    assert len({each.response for each in found}) == 4


def test_an_error_is_its_caller_s_alone(cache: vsearch.Cache) -> None:
    model = Model()
    model.errors = [ValueError("no answer")]
    started = time.monotonic()
    found = together(6, lambda _: cache.get_or_compute("p", model, X, "chat"))
    assert sum(isinstance(each, ValueError) for each in found) == 1
    assert model.calls == 6  # the others have waited for nothing, and wait no longer
    assert time.monotonic() - started < 2.0


def test_a_lease_that_is_given_up_goes_to_one_who_waits(cache: vsearch.Cache) -> None:
    lease = cache.lease("p", X, "chat").lease
    assert lease is not None
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(cache.lease, "p", X, "chat", wait_s=1.0) for _ in range(3)]
        time.sleep(0.1)
        cache.release(lease)
        found = [each.result(5.0) for each in waiting]
    assert sum(each.lease is not None for each in found) == 1


def test_there_are_only_so_many_leases(cache: vsearch.Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flights, "MAX_FLIGHTS", 3)
    found = [cache.lease(f"p{i}", None, "chat", lease_s=0.3, wait_s=0.0) for i in range(5)]
    assert [each.lease is not None for each in found] == [True, True, True, False, False]
    time.sleep(0.4)
    cache._core.sweep(0)
    assert cache.stats()["computing"] == 0
    assert cache.lease("p9", None, "chat").lease is not None


def test_who_has_waited_long_enough_computes(cache: vsearch.Cache) -> None:
    lease = cache.lease("p", X, "chat", lease_s=30.0).lease
    assert lease is not None
    started = time.monotonic()
    found = cache.get_or_compute("p", lambda: "mine", X, "chat", timeout_s=0.2)
    assert found.response == "mine"
    assert 0.15 < time.monotonic() - started < 5.0


def test_a_lease_ends_by_itself(cache: vsearch.Cache) -> None:
    assert cache.lease("p", X, "chat", lease_s=0.2).lease is not None
    started = time.monotonic()
    second = cache.lease("p", X, "chat", lease_s=10.0, wait_s=10.0)
    assert second.lease is not None
    assert 0.1 < time.monotonic() - started < 5.0
    assert cache.release(second.lease)
    assert not cache.release(second.lease)
    assert not cache.release("nonsense")


def test_storing_under_a_lease_wakes_those_who_wait(cache: vsearch.Cache) -> None:
    lease = cache.lease("p", X, "chat").lease
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(cache.lease, "p", X, "chat")
        time.sleep(0.1)
        assert not waiting.done()
        cache.store("p", "answer", X, "chat", lease=lease)
        found = waiting.result(5.0)
    assert found.hit is not None
    assert found.hit.response == "answer"
    assert found.lease is None


def test_a_store_that_fails_ends_its_lease(cache: vsearch.Cache) -> None:
    lease = cache.lease("p", X, "chat").lease
    with pytest.raises(vsearch.InvalidArgument):
        cache.store("p", object(), X, "chat", lease=lease)
    assert cache.lease("p", X, "chat", wait_s=0.0).lease is not None


def test_a_disabled_category_computes_every_time(cache: vsearch.Cache) -> None:
    model = Model(0.01)
    together(3, lambda _: cache.get_or_compute("p", model, X, "off"))
    assert model.calls == 3
    assert cache.lookup("p", X, "off").reason == answers.DISABLED


def test_a_stale_answer_is_given_while_one_caller_makes_it_anew(cache: vsearch.Cache) -> None:
    cache.store("p", "old", X, "old")
    time.sleep(0.1)
    model = Model()
    found = together(5, lambda _: cache.get_or_compute("p", model, X, "old", ttl=50.0))
    assert {each.response for each in found} == {"old"}
    assert all(isinstance(each, CacheHit) and each.stale for each in found)
    for _ in range(100):
        hit = cache.check("p", category="old")
        if hit is not None and not hit.stale:
            break
        time.sleep(0.05)
    assert hit is not None
    assert hit.response == 1
    assert model.calls == 1


def test_a_stale_answer_that_cannot_be_made_anew_is_told_in_the_log(
    cache: vsearch.Cache, caplog: pytest.LogCaptureFixture
) -> None:
    cache.store("p", "old", X, "old")
    time.sleep(0.1)
    model = Model(0.0)
    model.errors = [ValueError("no answer")]
    assert cache.get_or_compute("p", model, X, "old").response == "old"
    for _ in range(100):
        if caplog.records:
            break
        time.sleep(0.02)
    assert "could not be made anew: no answer" in caplog.text
    assert cache.stats()["computing"] == 0


def test_tasks_that_ask_the_same_compute_once(cache: vsearch.Cache) -> None:
    async def run() -> None:
        model = Model()
        calls = [cache.aget_or_compute("p", model.later, X, "chat") for _ in range(10)]
        found = await asyncio.gather(*calls)
        assert model.calls == 1
        assert {each.response for each in found} == {1}
        assert await cache.acheck("p", category="chat") is not None

    asyncio.run(run())


def test_a_cancelled_task_lets_another_compute(cache: vsearch.Cache) -> None:
    async def run() -> None:
        model = Model(0.2)
        first = asyncio.create_task(cache.aget_or_compute("p", model.later, X, "chat"))
        await asyncio.sleep(0.05)
        second = asyncio.create_task(cache.aget_or_compute("p", model.later, X, "chat"))
        third = asyncio.create_task(cache.aget_or_compute("p", model.later, X, "chat"))
        await asyncio.sleep(0.05)
        third.cancel()  # one that waits: the others go on
        first.cancel()
        assert (await second).response == 2
        assert model.calls == 2

    asyncio.run(run())


def test_an_error_in_a_task_is_its_caller_s_alone(cache: vsearch.Cache) -> None:
    async def run() -> None:
        model = Model(0.05)
        model.errors = [ValueError("no answer")]
        calls = [cache.aget_or_compute("p", model.later, X, "chat") for _ in range(4)]
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(each, ValueError) for each in found) == 1
        assert model.calls == 4

    asyncio.run(run())


def test_a_task_cancelled_while_its_embedder_works_leaves_no_lease(tmp_path: Path) -> None:
    class Slow:
        model, dim = "slow", DIM

        def embed(self, texts: Any) -> Any:
            time.sleep(0.2)
            return np.array([X for _ in texts])

    async def run(cache: vsearch.Cache) -> None:
        task = asyncio.create_task(cache.alease("p", lease_s=60.0))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.4)
        assert cache.stats()["computing"] == 0
        assert (await cache.alease("p", wait_s=0.0)).lease is not None

    with vsearch.open(tmp_path / "other", durability="os") as db:
        db.create_cache("answers", DIM)
        asyncio.run(run(db.cache("answers", embedder=Slow())))


def test_functions_are_cached(cache: vsearch.Cache) -> None:
    calls = []

    @cache.cached(category="chat", scope="answer", ttl=100.0)
    def answer(prompt: str, model: str = "small") -> dict[str, str]:
        calls.append((prompt, model))
        return {"answer": prompt.upper(), "model": model}

    @cache.cached(key=lambda question, **_: question["text"], scope="keyed")
    def keyed(question: dict[str, Any]) -> str:
        return str(question["text"])

    @cache.cached(category="chat", scope="later")
    async def later(prompt: str) -> str:
        calls.append((prompt, "later"))
        return prompt[::-1]

    assert answer("p") == answer("p") == {"answer": "P", "model": "small"}
    assert answer(prompt="p", model="small") == answer("p")
    assert answer("p", model="large")["model"] == "large"
    assert calls == [("p", "small"), ("p", "large")]
    assert keyed({"text": "t"}) == "t"
    assert answer.__name__ == "answer"

    async def run() -> None:
        assert await later("abc") == await later("abc") == "cba"

    asyncio.run(run())
    assert len(calls) == 3


def test_functions_that_nothing_tells_apart_need_a_scope(cache: vsearch.Cache) -> None:
    def made(n: int) -> Callable[[str], str]:
        return lambda prompt: f"{n} {prompt}"

    with pytest.raises(vsearch.InvalidArgument, match="no name of its own"):
        cache.cached()(made(1))
    one, two = (cache.cached(scope=n)(made(n)) for n in (1, 2))
    assert one("p") == "1 p"
    assert two("p") == "2 p"
