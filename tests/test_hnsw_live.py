"""The graph that lives: held to an exact twin through random changes, over turnovers, and beside searching threads."""

from __future__ import annotations

import gc
import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_knn import clustered
from naive_live import NaiveLive

from vsearch.cache.partition import Partition
from vsearch.errors import DimensionMismatch, InvalidArgument, LimitExceeded
from vsearch.index import hnsw_live
from vsearch.index.hnsw_live import LiveGraph

GRAPH_ROWS = 60  # past these, tests walk a graph


@pytest.fixture(autouse=True)
def _early_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hnsw_live, "GRAPH_ROWS", GRAPH_ROWS)


class Pair:
    """An index and its naive twin, changed together."""

    def __init__(self, dim: int) -> None:
        self.index, self.naive = LiveGraph(dim), NaiveLive()
        self.slots: list[int] = []  # oldest first

    def add(self, vector: np.ndarray) -> int:
        slot = self.index.add(vector)
        self.naive.add(slot, vector)
        self.slots.append(slot)
        return slot

    def remove(self, position: int = 0) -> None:
        slot = self.slots.pop(position)
        self.index.remove(slot)
        self.naive.remove(slot)

    def search(self, query: np.ndarray, k: int = 8, ef: int | None = None) -> bool:
        """Search and check; whether the nearest was found, or one that float16 cannot tell from it."""
        slots, similarities = self.index.search(query, k, ef)
        self.naive.check(query, k, slots, similarities, exact=not self.walks)
        return not self.slots or (len(slots) > 0 and similarities[0] >= self.naive.best(query) - 4e-4)

    @property
    def walks(self) -> bool:
        return self.index._view.walk is not None

    def recall(self, queries: np.ndarray, ef: int | None = None) -> float:
        return float(np.mean([self.search(query, ef=ef) for query in queries]))


# The twin.


@pytest.mark.parametrize("dim", [7, 65, 384])
@given(data=st.data())
@settings(max_examples=8)
def test_any_changes_keep_to_the_twin(dim: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    vectors = clustered(rng, 400, dim)
    pair = Pair(dim)
    steps = st.tuples(st.sampled_from(["add", "twin", "oldest", "any", "most"]), st.integers(1, 100))
    for what, times in data.draw(st.lists(steps, min_size=2, max_size=10)):
        for _ in range(times):
            if what == "add" or not pair.slots:
                pair.add(vectors[rng.integers(400)])
            elif what == "twin":
                pair.add(vectors[0])
            else:
                pair.remove(0 if what == "oldest" else int(rng.integers(len(pair.slots))))
        if what == "most":
            while len(pair.slots) > 5:
                pair.remove(-1)
        assert len(pair.index) == len(pair.slots)
        for query in vectors[rng.integers(400, size=3)]:
            pair.search(query, k=int(rng.integers(1, 20)))
    hits = [pair.search(pair.index.vector(slot) / np.linalg.norm(pair.index.vector(slot))) for slot in pair.slots]
    assert not hits or np.mean(hits) > 0.98


@pytest.mark.parametrize("dim", [7, 65, 384])
def test_few_vectors_are_compared_exactly(dim: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pair = Pair(dim)
    assert pair.search(clustered(rng, 1, dim)[0])
    for vector in clustered(rng, GRAPH_ROWS, dim):
        pair.add(vector)
        assert pair.search(vector)
    assert not pair.walks


def test_opposite_and_unrelated_vectors_are_found_too() -> None:
    pair = Pair(8)
    for vector in (*np.eye(8), *-np.eye(8)):
        pair.add(vector.astype(np.float32))
    slots, similarities = pair.index.search(np.eye(8, dtype=np.float32)[0], 16)
    np.testing.assert_array_equal(similarities, [1.0, *[0.0] * 14, -1.0])
    assert sorted(slots.tolist()) == list(range(16))


def test_a_graph_is_begun_and_dropped_as_vectors_come_and_go(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = clustered(rng, 4 * GRAPH_ROWS, 24)
    pair = Pair(24)
    for _ in range(2):
        for vector in vectors:
            pair.add(vector)
            pair.search(vector)
        assert pair.walks
        while pair.slots:
            pair.remove(int(rng.integers(len(pair.slots))))
            pair.search(vectors[0])
        assert not pair.walks
        assert len(pair.index) == 0
        assert pair.index.search(vectors[0], 3)[0].tolist() == []
    assert pair.index.capacity <= 512  # slots were used again


# Recall.


@pytest.mark.parametrize("order", ["oldest", "any"])
def test_recall_is_the_same_after_five_turnovers(order: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = clustered(rng, 6000, 48)
    queries = vectors[-200:] + 0.02 * rng.standard_normal((200, 48)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    pair = Pair(48)
    for vector in vectors[:1000]:
        pair.add(vector)
    fresh = pair.recall(queries)
    for vector in vectors[1000:]:
        pair.add(vector)
        pair.remove(0 if order == "oldest" else int(rng.integers(1000)))
    assert fresh > 0.9
    assert pair.recall(queries) > fresh - 0.04
    assert pair.recall(vectors[-100:], ef=64) > 0.98
    assert pair.index._used < 1000 * 1.3


def test_a_topic_that_is_removed_at_once_leaves_the_others_found(seed: int) -> None:
    """The newest third, all around one centre, goes; what is added next in its place is found as well."""
    rng = np.random.default_rng(seed)
    others = clustered(rng, 1000, 32)
    topic = others[0] + 0.05 * rng.standard_normal((800, 32)).astype(np.float32)
    topic /= np.linalg.norm(topic, axis=1, keepdims=True)
    pair = Pair(32)
    for vector in (*others, *topic[:500]):
        pair.add(vector)
    for _ in range(500):
        pair.remove(-1)
    assert pair.recall(others[:200], ef=64) > 0.98
    for vector in topic[500:]:
        pair.add(vector)
    assert pair.recall(topic[500:], ef=64) > 0.98


@pytest.mark.parametrize("threads", [1, 2])
def test_many_at_once_are_found_as_well_as_one_by_one(threads: int, seed: int) -> None:
    vectors = clustered(np.random.default_rng(seed), 1300, 40)
    vectors[50:60] = vectors[50]
    one, many = Pair(40), Pair(40)
    done: list[tuple[int, int]] = []
    slots = many.index.add_many(vectors[:1200], threads, lambda *state: done.append(state))
    assert done[-1] == (1200, 1200)
    for slot, vector in zip(slots.tolist(), vectors[:1200], strict=True):
        many.naive.add(slot, vector)
        many.slots.append(slot)
        one.add(vector)
    queries = vectors[1200:]
    assert abs(one.recall(queries) - many.recall(queries)) < 0.1
    assert one.recall(queries, ef=64) > 0.97
    assert many.recall(queries, ef=64) > 0.97
    for vector in vectors[1200:]:  # it lives on
        many.add(vector)
        many.remove()
    assert many.recall(queries) > 0.97


def test_many_are_added_to_few_or_none_is(seed: int) -> None:
    vectors = clustered(np.random.default_rng(seed), 200, 16)
    index = LiveGraph(16)
    assert index.add_many(vectors[:0]).tolist() == []
    slots = index.add_many(vectors[:30]).tolist() + index.add_many(vectors[30:150]).tolist()
    assert len(set(slots)) == len(index) == 150

    def stop(done: int, total: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.add_many(vectors[150:], progress=stop)
    assert len(index) == 150
    fresh = LiveGraph(16)
    with pytest.raises(KeyboardInterrupt):
        fresh.add_many(vectors, progress=lambda done, total: stop(20, total))
    assert len(fresh) == 0
    assert fresh.search(vectors[0], 3)[0].tolist() == []


# Twins.


@pytest.mark.parametrize("seed", [0, 1])
def test_what_was_filled_is_searched_while_its_graph_is_built(seed: int) -> None:
    """Vectors come and go before, while and after the graph of the first ones is built in another thread."""
    rng = np.random.default_rng(seed)
    vectors = clustered(rng, 1_200, 24)
    pair = Pair(24)
    pair.slots = pair.index.fill(vectors[:900]).tolist()
    for slot in pair.slots:
        pair.naive.add(slot, vectors[slot])
    lock, building = threading.Lock(), threading.Event()

    def change(count: int) -> None:
        for _ in range(count):
            with lock:
                pair.remove(int(rng.integers(len(pair.slots))))
                pair.add(vectors[900 + rng.integers(300)])
            assert pair.search(vectors[rng.integers(1_200)]) or pair.walks

    def told(done: int, total: int) -> None:
        building.set()

    change(20)
    assert pair.index.cold
    thread = threading.Thread(target=pair.index.warm, args=(lock, 2, told))
    thread.start()
    building.wait()
    change(60)
    thread.join()
    assert not pair.index.cold
    change(200)
    assert pair.walks
    assert pair.recall(vectors[:300]) > 0.97
    while len(pair.slots) > 3:
        pair.remove(-1)
    assert pair.recall(vectors[:20]) == 1.0


def test_a_warming_that_is_stopped_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    vectors = clustered(rng, 300, 24)
    index = LiveGraph(24)
    index.fill(vectors)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.warm(threading.Lock(), 1, stop)
    assert index.cold
    assert index.search(vectors[7], 1)[0].tolist() == [7]
    index.warm(threading.Lock())
    assert not index.cold
    assert index.search(vectors[7], 1)[0].tolist() == [7]


def test_equal_vectors_do_not_hide_the_others(seed: int) -> None:
    vectors = clustered(np.random.default_rng(seed), 1200, 32)
    pair = Pair(32)
    for _ in range(800):
        pair.add(vectors[0])
    for vector in vectors[:600]:
        pair.add(vector)
    assert pair.recall(vectors[:600], ef=48) > 0.98
    for _ in range(799):  # all but one of the first, the node among them
        pair.remove()
    assert pair.recall(vectors[:600], ef=48) > 0.98
    for vector in vectors[600:]:
        pair.add(vector)
        pair.remove()
    assert pair.recall(vectors[600:], ef=48) > 0.98
    assert pair.index._used < 1650


def test_vectors_that_are_almost_equal_stay_within_reach(seed: int) -> None:
    """Codes round; if some of them were longer for it, all others would link to these alone."""
    rng = np.random.default_rng(seed)
    vectors = clustered(rng, 600, 64)
    for noise in (1e-4, 1e-3, 1e-2):
        crowd = vectors[0] + noise * rng.standard_normal((600, 64)).astype(np.float32) / 8
        crowd /= np.linalg.norm(crowd, axis=1, keepdims=True)
        pair = Pair(64)
        for vector in np.concatenate([crowd, vectors])[rng.permutation(1200)]:
            pair.add(vector)
        assert pair.recall(crowd[:200], ef=48) > 0.95
        assert pair.recall(vectors[:200], ef=48) > 0.95


# Slots and arguments.


def test_a_slot_is_not_given_away_under_a_search() -> None:
    index, vectors = LiveGraph(4), np.eye(4, dtype=np.float32)
    slot = index.add(vectors[0])
    index._running.append(index._generation)  # as a search that has begun
    index.remove(slot)
    assert index.add(vectors[1]) != slot
    index._running.clear()
    assert index.add(vectors[2]) == slot
    np.testing.assert_array_equal(index.vector(slot), vectors[2])


def test_a_slot_that_is_free_when_the_graph_is_begun_is_not_linked(seed: int) -> None:
    vectors = clustered(np.random.default_rng(seed), 300, 24)
    pair = Pair(24)
    for vector in vectors[:30]:
        pair.add(vector)
    pair.index._running.append(pair.index._generation)  # a search that keeps slots from being used again
    for _ in range(10):
        pair.remove()
    for vector in vectors[30:180]:
        pair.add(vector)
    assert pair.walks
    assert pair.index._nodes is not None
    assert not pair.index._nodes.kinds[:10].any()  # FREE
    pair.index._running.clear()
    assert sorted(pair.add(vector) for vector in vectors[180:190]) == list(range(10))
    assert pair.recall(vectors[20:190], ef=64) > 0.98


def test_capacities_double_from_one_and_from_what_was_filled() -> None:
    vectors = np.tile(np.float32([1, 0]), (9, 1))
    index, filled = LiveGraph(2), LiveGraph(2)
    capacities = [index.capacity]
    for vector in vectors:
        index.add(vector)
        capacities.append(index.capacity)
    assert capacities == [0, 1, 2, 4, 4, 8, 8, 8, 8, 16]
    filled.fill(vectors[:5])
    assert filled.capacity == 5
    filled.add_many(vectors[:6])
    assert filled.capacity == 20


@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("kind", [LiveGraph, Partition])
def test_a_tiny_index_takes_what_it_says_and_little_more_than_its_vectors(
    kind: type[LiveGraph | Partition], n: int, seed: int
) -> None:
    vectors = clustered(np.random.default_rng(seed), n, 384)

    def tiny(number: int) -> LiveGraph | Partition:
        index = kind(384)
        for vector in vectors:
            index.add(vector, number) if isinstance(index, Partition) else index.add(vector)
        return index

    tiny(0)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    indexes = [tiny(1000 + i) for i in range(500)]
    taken = (tracemalloc.get_traced_memory()[0] - before) / 500
    tracemalloc.stop()
    assert taken < 768 * n + 1200
    assert indexes[0].memory_bytes() == pytest.approx(taken, rel=0.1)


def test_bytes_grow_with_the_vectors(seed: int) -> None:
    index = LiveGraph(384)
    assert index.memory_bytes() < 1000
    for vector in clustered(np.random.default_rng(seed), 200, 384):
        index.add(vector)
    assert 1200 * 256 < index.memory_bytes() <= 1400 * 256  # of slots never used too
    assert len(index) == 200
    assert index.capacity == 256


def test_bad_arguments_change_nothing() -> None:
    index, good = LiveGraph(4), np.array([1, 0, 0, 0], np.float32)
    slot = index.add(good)
    for bad in (good[:3], np.tile(good, (2, 1))):
        with pytest.raises(DimensionMismatch):
            index.add(bad)
        with pytest.raises(DimensionMismatch):
            index.search(bad, 1)
    for bad in (2 * good, 0 * good, good * np.nan, np.array([np.inf, 0, 0, 0], np.float32)):
        with pytest.raises(InvalidArgument, match="unit length"):
            index.add(bad)
        with pytest.raises(InvalidArgument, match="unit length"):
            index.search(bad, 1)
        with pytest.raises(InvalidArgument, match="unit length"):
            index.add_many(np.stack([good, bad]))
    for k, ef in ((0, None), (1, 0), (1 << 20, None)):
        with pytest.raises(InvalidArgument, match="ef"):
            index.search(good, k, ef)
    for absent in (-1, slot + 1, 1 << 70):
        with pytest.raises(InvalidArgument, match="slot"):
            index.remove(absent)
        with pytest.raises(InvalidArgument, match="slot"):
            index.vector(absent)
    index.remove(slot)
    with pytest.raises(InvalidArgument, match="slot"):
        index.remove(slot)
    assert len(index) == 0


def test_too_many_vectors_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hnsw_live, "MAX_NODES", 8)
    index, vector = LiveGraph(2), np.array([0, 1], np.float32)
    for _ in range(8):
        index.add(vector)
    with pytest.raises(LimitExceeded):
        index.add(vector)
    assert len(index) == 8


# Threads.


def test_searches_beside_a_writer_return_what_was_there(seed: int) -> None:
    """Each vector carries its number, so a result tells which it was: live when the search began, or added since."""
    rng = np.random.default_rng(seed)
    vectors = clustered(rng, 4000, 32)
    index = LiveGraph(32)
    slots = {i: index.add(vectors[i]) for i in range(300)}
    removed, errors, searches = 0, [], [0, 0, 0]  # vectors below `removed` are gone
    stop = threading.Event()

    def reader(which: int) -> None:
        own = np.random.default_rng(seed + which)
        while not stop.is_set():
            gone = removed
            i = int(own.integers(max(gone - 50, 0), gone + 300))
            found, similarities = index.search(vectors[i], 8)
            searches[which] += 1
            if not len(found) or (similarities[0] > 0.9999 and i < gone):
                errors.append((i, gone, removed, similarities.tolist()))

    threads = [threading.Thread(target=reader, args=(which,)) for which in range(3)]
    for thread in threads:
        thread.start()
    for i in range(300, 4000):
        slots[i] = index.add(vectors[i])
        index.remove(slots.pop(i - 300))
        removed = i - 299
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors
    assert min(searches) > 50
    assert index.capacity <= 1024
