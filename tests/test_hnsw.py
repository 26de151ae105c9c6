"""The graph index: what the contract test cannot see. Recall, structure, determinism, twins, filters, calibration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from naive_knn import check_neighbours, clustered, naive_distance, same

from vsearch.errors import InvalidArgument, LimitExceeded
from vsearch.index import bitset, hnsw_build
from vsearch.index.codes import coded_distance, encode, encode_query, row_as_query
from vsearch.index.flat import Flat
from vsearch.index.hnsw import DEFAULT_BEAM, HOP_ROWS, Hnsw, build
from vsearch.index.hnsw_build import Builder, find_twins
from vsearch.index.hnsw_walk import distance_of, node_of, pack
from vsearch.types import MAX_EF, SearchParams

M = 8
SETTINGS = {"m": M, "ef_construction": 60}
EXACT = SearchParams(exact=True)
every_distance = pytest.mark.parametrize("distance", ["dot", "l2"])


def index(vectors: np.ndarray, distance: Any = "dot", threads: int = 1) -> Hnsw:
    return Hnsw(vectors, build(vectors, distance, SETTINGS, threads), distance, threads)


def recall(found: Any, exact: Any) -> float:
    """The share of results that are as near as the exact ones: rows at equal distances are as good."""
    return float((found.distances <= exact.distances[:, -1:]).mean())


def walked(reader: Hnsw, queries: np.ndarray, k: int, params: SearchParams, live: Any = None) -> Any:
    """A search, of which it is certain that it went through the graph."""
    found = reader.search(queries, k, params, live)
    assert found.cost.hops > 0
    return found


def data(kind: str, rng: np.random.Generator, n: int, nq: int) -> tuple[np.ndarray, np.ndarray, Any]:
    """(vectors, queries, distance): queries are like the vectors, but none of them."""
    rows = clustered(rng, n + nq, 32)
    if kind == "dot":
        rows *= rng.lognormal(0.0, 0.3, (n + nq, 1)).astype(np.float32)
    if kind == "far":  # from the origin: codes would be all alike without the mean
        rows += 1000.0
    return (
        rows[:n].astype("float16" if kind == "half" else "float32"),
        rows[n:],
        "l2" if kind in ("l2", "far") else "dot",
    )


# Recall.


@pytest.mark.parametrize("kind", ["cosine", "dot", "l2", "far", "half"])
def test_most_of_the_nearest_are_found(kind: str, seed: int) -> None:
    vectors, queries, distance = data(kind, np.random.default_rng(seed), 3000, 100)
    reader, exact = index(vectors, distance), Flat(vectors, {}, distance).search(queries, 10, EXACT)
    assert recall(walked(reader, queries, 10, SearchParams(ef=80)), exact) > 0.97
    narrow, wide = (walked(reader, queries, 10, SearchParams(ef=ef)) for ef in (10, 80))
    assert narrow.cost.distances < wide.cost.distances


@every_distance
@pytest.mark.parametrize("d", [1, 3, 17, 100])
def test_every_dimension(distance: Any, d: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, queries = (rng.standard_normal((n, d)).astype(np.float32) for n in (1500, 40))
    reader, exact = index(vectors, distance), Flat(vectors, {}, distance).search(queries, 5, EXACT)
    assert recall(walked(reader, queries, 5, SearchParams(ef=150)), exact) > 0.9


@every_distance
@pytest.mark.parametrize("n", [1, 2, 3, 50])
def test_few_rows(distance: Any, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, queries = (rng.standard_normal((rows, 6)).astype(np.float32) for rows in (n, 4))
    found = index(vectors, distance).search(queries, 5, SearchParams(ef=7))
    check_neighbours(found, vectors, queries, 5, distance, exact=True)


def test_no_rows() -> None:
    found = index(np.zeros((0, 4), np.float32)).search(np.zeros((2, 4), np.float32), 3, SearchParams())
    assert (found.ordinals == -1).all()


def test_a_graph_of_few_nodes_is_walked_too(seed: int) -> None:
    """With a narrow enough beam; all of it is then found from anywhere."""
    vectors = np.random.default_rng(seed).standard_normal((50, 6)).astype(np.float32)
    check_neighbours(walked(index(vectors), vectors, 2, SearchParams(ef=4)), vectors, vectors, 2, "dot")


@every_distance
def test_unscored_results_have_the_distances_of_codes(distance: Any, seed: int) -> None:
    vectors, queries, _ = data("cosine", np.random.default_rng(seed), 1500, 20)
    found = walked(index(vectors, distance), queries, 10, SearchParams(ef=60, rescore=False))
    assert found.cost.rescored == 0
    for q, query in enumerate(queries):
        truth = [naive_distance(vectors[row], query, distance) for row in found.ordinals[q]]
        np.testing.assert_allclose(found.distances[q], truth, atol=0.02)
        order = list(zip(found.distances[q].tolist(), found.ordinals[q].tolist(), strict=True))
        assert order == sorted(order)


@pytest.mark.parametrize("scale", [1e-30, 1e15, 1e38])
@every_distance
def test_very_small_and_very_large_components(distance: Any, scale: float, seed: int) -> None:
    vectors, queries, _ = data("cosine", np.random.default_rng(seed), 1000, 10)
    vectors = (vectors * np.float32(scale)).astype(np.float32)
    found = walked(index(vectors, distance), queries, 10, SearchParams(ef=60))
    assert not np.isnan(found.distances).any()
    assert [len(set(row)) for row in found.ordinals.tolist()] == [10] * 10
    if distance == "dot":
        assert recall(found, Flat(vectors, {}, distance).search(queries, 10, EXACT)) > 0.95


# Twins: rows with equal vectors.


@pytest.mark.parametrize("kind", ["cosine", "l2"])
def test_every_vector_finds_itself_among_many_duplicates(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, _, distance = data(kind, rng, 3000, 1)
    vectors[rng.choice(3000, 800, replace=False)] = vectors[0]
    vectors[rng.choice(3000, 300, replace=False)] = 0.0
    found = walked(index(vectors, distance), vectors, 1, SearchParams(ef=48))
    own = np.array([naive_distance(vector, vector, distance) for vector in vectors])
    assert (found.distances[:, 0] <= own + 1e-5).all()


def test_twins_are_found_by_ordinal_and_only_the_live(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, _, _ = data("l2", rng, 3000, 1)
    copies = np.sort(rng.choice(3000, 900, replace=False))
    vectors[copies] = vectors[copies[0]]
    reader = index(vectors, "l2")
    for params in (SearchParams(ef=32), SearchParams(ef=32, rescore=False)):
        found = walked(reader, vectors[copies[:1]], 40, params)
        np.testing.assert_array_equal(found.ordinals[0], copies[:40])
    mask = rng.random(3000) < 0.8
    mask[copies[:30]] = False
    found = walked(reader, vectors[copies[:1]], 40, SearchParams(ef=32), bitset.from_mask(mask))
    np.testing.assert_array_equal(found.ordinals[0], copies[mask[copies]][:40])


def test_all_rows_equal(seed: int) -> None:
    vectors = np.tile(np.random.default_rng(seed).standard_normal(8).astype(np.float32), (5000, 1))
    reader = index(vectors, "l2")
    np.testing.assert_array_equal(walked(reader, vectors[:2], 10, SearchParams(ef=20)).ordinals, [range(10)] * 2)
    odd = np.arange(5000) % 2 == 1
    found = walked(reader, vectors[:2], 10, SearchParams(ef=20), bitset.from_mask(odd))
    np.testing.assert_array_equal(found.ordinals, [range(1, 20, 2)] * 2)


@given(arrays.arrays(st.sampled_from([np.float32, np.float16]), (12, 2), elements=st.sampled_from([0.0, 1.0, 2.0])))
def test_twins_are_the_next_equal_rows(vectors: np.ndarray) -> None:
    rows = [tuple(row) for row in vectors.tolist()]
    after = [next((j for j in range(i + 1, 12) if rows[j] == rows[i]), -1) for i in range(12)]
    assert find_twins(vectors).tolist() == after


def test_there_are_no_twins_among_different_rows() -> None:
    assert find_twins(np.eye(5, dtype=np.float32)).shape == (0,)


# Filters.


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.05, 0.2, 0.5, 0.9, 1.0])
def test_filters_of_every_density(share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, queries, _ = data("cosine", rng, 4000, 30)
    mask = rng.random(4000) < share
    live, rows = bitset.from_mask(mask), np.flatnonzero(mask).tolist()
    found = index(vectors).search(queries, 10, SearchParams(ef=40), live)
    check_neighbours(found, vectors, queries, 10, "dot", rows)
    exact = Flat(vectors, {}, "dot").search(queries, 10, EXACT, live)
    assert recall(found, exact) > 0.93
    assert (found.cost.hops > 0) == (share >= 0.5), "few are compared without the graph, many with it"


def test_a_filter_does_not_narrow_the_beam(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, queries, _ = data("cosine", rng, 4000, 100)
    reader, flat, params = index(vectors), Flat(vectors, {}, "dot"), SearchParams(ef=12)
    live = bitset.from_mask(rng.random(4000) < 0.4)
    found = walked(reader, queries, 10, params, live)
    assert found.cost.distances < 100 * bitset.count(live) / 2, "none was left to the exact search"
    usual = recall(walked(reader, queries, 10, params), flat.search(queries, 10, EXACT))
    assert recall(found, flat.search(queries, 10, EXACT, live)) > usual - 0.05


def test_a_filter_of_far_rows_finds_as_many_as_there_are(seed: int) -> None:
    """The walk starts among rows that are all dead; it gives up in time, and all live rows are compared."""
    rng = np.random.default_rng(seed)
    vectors, queries, _ = data("cosine", rng, 4000, 8)
    reader = index(vectors)
    for q in range(8):
        query = queries[q : q + 1]
        mask = vectors @ queries[q] < np.quantile(vectors @ queries[q], 0.4)
        live = bitset.from_mask(mask)
        found = reader.search(query, 10, SearchParams(ef=10), live)
        assert found.cost.hops <= mask.sum() // HOP_ROWS
        check_neighbours(found, vectors, query, 10, "dot", np.flatnonzero(mask).tolist())
        assert recall(found, Flat(vectors, {}, "dot").search(query, 10, EXACT, live)) >= 0.7


# Structure.


def reached(links: np.ndarray, start: int) -> set[int]:
    seen, todo = {start}, [start]
    while todo:
        more = {int(node) for node in links[todo.pop()] if node >= 0} - seen
        seen |= more
        todo.extend(more)
    return seen


@pytest.mark.parametrize("threads", [2, 5])
@pytest.mark.parametrize("kind", ["l2", "half"])
def test_a_build_is_the_same_for_any_number_of_threads(kind: str, threads: int, seed: int) -> None:
    vectors, queries, distance = data(kind, np.random.default_rng(seed), 2000, 20)
    vectors[100:150] = vectors[0]
    one, many = (build(vectors, distance, SETTINGS, count) for count in (1, threads))
    assert one.keys() == many.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], many[name], name)
    alone, together = (Hnsw(vectors, one, distance, count) for count in (1, threads))
    same(*(reader.search(queries, 10, SearchParams(ef=30)) for reader in (alone, together)))


@pytest.mark.parametrize("norms", [0.0, 1.0])  # with norms that vary much, most rows are nobody's near neighbours
def test_links(norms: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = clustered(rng, 2500, 24) * rng.lognormal(0.0, norms, (2500, 1)).astype(np.float32)
    vectors[rng.choice(2500, 100, replace=False)] = vectors[7]
    made = build(vectors, "l2", SETTINGS)
    links0, links, levels, starts, twins = (made[name] for name in ("links0", "links", "levels", "starts", "twins"))
    nodes = np.setdiff1d(np.arange(2500), twins)

    def check(rows: np.ndarray, owners: np.ndarray, level: int) -> None:
        used = rows >= 0
        assert (np.diff(used.astype(int), axis=1) <= 0).all(), "unused links are last"
        for row, own in zip(rows.tolist(), owners.tolist(), strict=True):
            there = [node for node in row if node >= 0]
            assert own not in there
            assert len(set(there)) == len(there)
            assert set(there) <= set(np.flatnonzero(levels >= level)) & set(nodes.tolist())

    assert links0.shape == (2500, 2 * M)
    assert links.shape == (levels.sum(), M)
    assert (links0[twins[twins >= 0]] == -1).all(), "a twin is no node"
    check(links0, np.arange(2500), 0)
    for level in range(1, levels.max() + 1):
        owners = np.flatnonzero(levels >= level)
        check(links[starts[owners] + level - 1], owners, level)
    entry, top = made["entry"].tolist()
    assert top == levels.max() == levels[entry]
    assert reached(links0, entry) == set(nodes.tolist()), "every node can be found"
    assert (links0[nodes] >= 0).sum(axis=1).mean() > 0.75 * M


def test_nodes_that_lost_all_links_to_them_are_joined_again(seed: int) -> None:
    vectors = clustered(np.random.default_rng(seed), 1000, 16)
    codes, scales, _ = encode(vectors, "dot")
    builder = Builder(codes, scales, find_twins(vectors), False, M, 60, 1)
    builder.insert(1000)
    links0, entry = builder._links0, int(builder.entry[0])
    lost = np.setdiff1d(np.arange(0, 1000, 20), entry)
    for row in links0:
        kept = row[(row >= 0) & ~np.isin(row, lost)]
        row[:] = -1
        row[: len(kept)] = kept
    assert not reached(links0, entry) & set(lost.tolist())
    builder.join()
    assert reached(links0, entry) == set(range(1000))


def test_buffers_mapped_from_files_give_the_same(tmp_path: Path, seed: int) -> None:
    vectors, queries, distance = data("half", np.random.default_rng(seed), 1500, 20)
    made = {"vectors": vectors, **build(vectors, distance, SETTINGS)}
    for name, array in made.items():
        np.save(tmp_path / f"{name}.npy", array)
    mapped = {name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in made}
    params = SearchParams(ef=40)
    same(
        walked(Hnsw(vectors, made, distance), queries, 10, params),
        walked(Hnsw(mapped["vectors"], mapped, distance), queries, 10, params),
    )


def test_buffers_of_other_vectors_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="3 rows, not of 4"):
        Hnsw(np.eye(4, dtype=np.float32), build(np.eye(3, dtype=np.float32), "dot", SETTINGS), "dot")


def test_too_many_rows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hnsw_build, "MAX_NODES", 4)
    with pytest.raises(LimitExceeded, match="5 rows"):
        build(np.eye(5, dtype=np.float32), "dot", SETTINGS)


def test_progress_goes_up_to_all_rows_and_may_stop_the_build(seed: int) -> None:
    vectors = clustered(np.random.default_rng(seed), 600, 8)
    vectors[10:40] = vectors[3]
    told: list[tuple[int, int]] = []
    build(vectors, "dot", SETTINGS, 1, lambda done, total: told.append((done, total)))
    assert told == sorted(set(told))
    assert told[-1] == (600, 600)

    def stop(done: int, total: int) -> None:
        if done > 300:
            raise KeyboardInterrupt

    for threads in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            build(vectors, "dot", SETTINGS, threads, stop)


# How wide to search.


def test_calibration_is_ascending_and_keeps_its_promise(seed: int) -> None:
    vectors, queries, _ = data("cosine", np.random.default_rng(seed), 6000, 200)
    reader = index(vectors, threads=2)
    exact = Flat(vectors, {}, "dot").search(queries, 10, EXACT)
    table = build(vectors[:1000], "dot", SETTINGS)["calibration"]
    assert (np.diff(table[:, 0]) > 0).all()
    assert (np.diff(table[:, 1]) >= 0).all()
    assert table[-1, 1] > 0.9
    for wanted in (0.8, 0.95):
        assert recall(reader.search(queries, 10, SearchParams(recall=wanted)), exact) > wanted - 0.01


def test_the_beam(seed: int) -> None:
    reader = index(clustered(np.random.default_rng(seed), 2000, 16))
    for params in (EXACT, SearchParams(recall=1.0)):
        assert reader.width(10, params) == 0
        assert reader.search(np.ones((1, 16), np.float32), 10, params).cost.hops == 0
    assert reader.width(10, SearchParams(ef=33)) == 33
    assert reader.width(10, SearchParams(ef=33, recall=1.0)) == 33
    assert reader.width(50, SearchParams(ef=33)) == 50
    assert reader.width(50, SearchParams(ef=33, oversampling=3.0)) == 150
    assert reader.width(10_000, SearchParams(oversampling=100.0)) == MAX_EF
    by_recall = [reader.width(10, SearchParams(recall=r)) for r in (0.01, 0.5, 0.9, 0.95, 0.99, 0.999, 0.99999)]
    by_k = [reader.width(k, SearchParams(recall=0.9)) for k in (1, 10, 20, 50, 100, 1000)]
    for widths in (by_recall, by_k):
        assert widths == sorted(widths)
        assert widths[0] < widths[-1]


def test_the_beam_of_a_graph_too_small_to_measure() -> None:
    assert index(np.eye(20, dtype=np.float32)).width(10, SearchParams()) == DEFAULT_BEAM


def test_codes_that_tell_little_are_made_up_for(seed: int) -> None:
    """Rows of a cluster differ by less than codes can hold, so most of a cluster has to be compared again."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((40, 16))
    rows = (centres[rng.integers(0, 40, 4050)] + 1e-3 * rng.standard_normal((4050, 16))).astype(np.float32)
    vectors, queries = rows[:4000], rows[4000:]
    made = build(vectors, "l2", SETTINGS)
    assert made["oversampling"][0] > 2.0
    exact = Flat(vectors, {}, "l2").search(queries, 10, EXACT)
    assert recall(walked(Hnsw(vectors, made, "l2"), queries, 10, SearchParams(ef=200)), exact) > 0.9


# Codes.


@every_distance
@pytest.mark.parametrize("d", [1, 5, 64, 100])
def test_coded_distances_are_near_the_true_ones(distance: Any, d: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((50, d)).astype(np.float32) * rng.lognormal(0.0, 2.0, (50, 1)).astype(np.float32)
    vectors[3] = 0.0
    codes, scales, mean = encode(vectors, distance)
    code = np.empty(codes.shape[1], np.int8)
    lengths = np.linalg.norm(vectors, axis=1)
    for i, vector in enumerate(vectors):
        for factors in (
            encode_query(vector, mean, distance == "l2", code),
            row_as_query(codes, scales, i, distance == "l2", code),
        ):
            for j in range(50):
                error = coded_distance(codes, scales, j, code, factors) - naive_distance(vectors[j], vector, distance)
                assert abs(error) <= 0.05 * (lengths[i] + lengths[j] + 2 * np.linalg.norm(mean)) ** 2 + 1e-6


@given(st.lists(st.tuples(st.floats(width=32, allow_nan=False), st.integers(0, 2**30 - 1)), min_size=1))
def test_keys_sort_by_distance_and_node(pairs: list[tuple[float, int]]) -> None:
    pairs = [(distance + 0.0, node) for distance, node in pairs]  # no -0.0: no distance is
    keys = [int(pack(np.float32(distance), node)) for distance, node in pairs]
    assert [(float(distance_of(key)), int(node_of(key))) for key in keys] == pairs
    assert [key for _, key in sorted(zip(pairs, keys, strict=True))] == sorted(keys)
