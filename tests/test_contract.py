"""One contract, three databases: embedded, over HTTP, and over HTTP from asyncio.

1. The signatures and descriptions of the clients' methods are those of the embedded database.
2. Tests of the embedded database are borrowed from their modules, and run over HTTP, against a real server.
3. What is written here runs on all three.
"""

from __future__ import annotations

import asyncio
import datetime
import inspect
import math
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import vsearch
from tests import test_bad_input, test_collection, test_edits, test_facets, test_sparse_field, test_text_field
from tests.awaited import Awaited
from tests.serving import Server, serving
from vsearch import F, SearchParams, points
from vsearch.hits import SnapshotInfo

REMOTE = ("http", "asyncio")
X = np.random.default_rng(5).normal(size=(40, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server") / "db"
    with serving(folder, "--no-access-log", "--durability", "os") as server:
        yield server


@pytest.fixture(params=["embedded", *REMOTE])
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
        for name in client.collections():
            client.delete_collection(name)
        for info in client.snapshots():
            client.delete_snapshot(info.name)


# 1. Signatures


HERE_ONLY = {"snapshot_path", "failed"}  # of a database whose files are here
OTHER_WORDS = {"refresh", "close", "optimize", "backup", "name"}  # they do less, or tell what is where
PAIRS = [
    (vsearch.Database, vsearch.RemoteDatabase, vsearch.AsyncDatabase),
    (vsearch.Collection, vsearch.RemoteCollection, vsearch.AsyncCollection),
]


@pytest.mark.parametrize(("embedded", "blocking", "awaitable"), PAIRS)
def test_signatures_and_descriptions_are_the_same(embedded: type, blocking: type, awaitable: type) -> None:
    names = {name for name in vars(embedded) if not name.startswith("_")} - HERE_ONLY
    assert len(names) > 10
    for name in sorted(names - {"name"}):
        own, theirs, coroutine = (inspect.getattr_static(kind, name) for kind in (embedded, blocking, awaitable))
        if name not in OTHER_WORDS:
            assert inspect.getdoc(theirs) == inspect.getdoc(own), name
        if isinstance(own, property):
            assert isinstance(theirs, property), name
            assert isinstance(coroutine, property), name
            continue
        assert inspect.iscoroutinefunction(coroutine), name
        wanted = inspect.signature(own)
        for method, prefix in ((theirs, "Remote"), (coroutine, "Async")):
            found = inspect.signature(method)
            assert list(found.parameters.values())[1:] == list(wanted.parameters.values())[1:], name
            result = str(wanted.return_annotation)
            assert found.return_annotation in (result, f"{prefix}{result}"), name


def test_both_clients_have_the_same_methods() -> None:
    for _, blocking, awaitable in PAIRS:
        blocking_names = {name for name in vars(blocking) if not name.startswith("_")}
        assert blocking_names == {name for name in vars(awaitable) if not name.startswith("_")}


# 2. Borrowed tests


def borrowed(module: ModuleType, *names: str) -> type:
    """A class of tests of a module, with its fixture `docs` if it has one, to be run over HTTP."""
    make_docs = inspect.unwrap(getattr(module, "docs", lambda db: None))

    def docs(self: Any, db: Any, request: pytest.FixtureRequest) -> Any:
        needed = [name for name in inspect.signature(make_docs).parameters if name != "db"]
        return make_docs(db, *(request.getfixturevalue(name) for name in needed))

    tests = {name: staticmethod(getattr(module, name)) for name in names}
    made = type(f"Test_{module.__name__}", (), {"docs": pytest.fixture(docs), "__module__": __name__, **tests})
    return pytest.mark.parametrize("kind", REMOTE)(made)


TestCollection = borrowed(
    test_collection,
    "test_scores_are_higher_for_nearer_points",
    "test_a_search_spans_sealed_and_growing_segments",
    "test_a_batch_gives_what_single_searches_give",
    "test_three_spellings_of_a_filter_agree",
    "test_a_payload_index_changes_no_answer",
    "test_a_filtered_search_is_never_short",
    "test_threshold_vectors_and_payload_can_be_chosen",
    "test_an_upsert_replaces_the_whole_point",
    "test_the_last_of_equal_ids_in_a_batch_wins",
    "test_insert_refuses_an_existing_id_and_writes_nothing",
    "test_update_merges_the_payload_and_keeps_the_vector",
    "test_delete_by_ids_and_by_filter",
    "test_ids_keep_their_type_and_order",
    "test_generated_ids_are_unique_and_sorted",
    "test_several_fields_and_points_that_lack_some",
    "test_payloads_come_back_as_json",
    "test_the_caller_may_change_its_arrays_afterwards",
    "test_many_collections_live_apart",
)
TestBadInput = borrowed(
    test_bad_input,
    "test_a_batch_with_one_bad_row_changes_nothing",
    "test_an_id_of_the_largest_size_is_taken",
    "test_a_batch_above_the_limit_is_refused",
    "test_a_bad_search_says_what_is_wrong",
    "test_a_deep_filter_is_refused",
    "test_bad_collection_names",
    "test_bad_schemas",
    "test_other_calls_with_bad_input",
)
TestEdits = borrowed(
    test_edits,
    "test_an_edit_changes_what_it_names_and_nothing_else",
    "test_a_filter_is_resolved_at_the_write",
    "test_vectors_are_replaced_where_they_are_given",
    "test_an_unknown_id_changes_nothing",
    "test_bad_arguments_change_nothing",
    "test_no_points_at_all_are_no_error",
    "test_payloads_keep_their_limits",
)
TestFacets = borrowed(
    test_facets,
    "test_types_are_kept_apart",
    "test_equal_counts_are_in_the_order_of_values_and_paths_name_elements",
    "test_a_bad_limit_is_refused",
    "test_a_bad_path_is_refused",
    "test_a_bad_filter_is_refused",
)
TestSparseField = borrowed(
    test_sparse_field,
    "test_every_form_of_input_is_the_same",
    "test_points_without_the_field_and_with_an_empty_vector",
    "test_bad_vectors_are_refused_and_nothing_is_written",
    "test_too_many_terms_and_float16",
    "test_bad_queries_are_refused",
    "test_what_is_for_dense_fields_only",
    "test_negative_weights_in_a_query_make_it_exact",
    "test_filters_thresholds_and_offsets",
    "test_edits",
)
TestTextField = borrowed(
    test_text_field,
    "test_filters",
    "test_languages",
    "test_bad_texts_are_refused_and_nothing_is_written",
    "test_bad_queries_are_refused",
    "test_what_explain_says",
    "test_edits",
)


# 3. On all three


@pytest.fixture
def docs(db: Any) -> Any:
    docs = db.create_collection("docs", fields={"v": vsearch.Dense(4, metric="l2")})
    docs.upsert(range(40), vectors={"v": X}, payloads=[{"n": i, "even": i % 2 == 0} for i in range(40)])
    return docs


def test_a_collection_tells_what_it_is(db: Any, docs: Any) -> None:
    again = db.collection("docs")
    assert again.name == docs.name == "docs"
    assert again.schema == docs.schema == {"v": vsearch.Dense(4, metric="l2")}
    docs.schema.clear()  # a copy
    assert list(docs.schema) == ["v"]
    assert "docs" in repr(again)
    stats = again.stats()
    assert stats["points"] == 40
    assert db.stats()["collections"] == [stats]
    assert db.check() == []
    assert db.refresh() is None
    assert docs.flush() is None


def test_results_are_what_the_embedded_database_returns(docs: Any) -> None:
    hits = docs.search(X[3].tolist(), limit=5, with_vectors=True)
    assert type(hits) is vsearch.Hits
    assert hits.ids.dtype == np.int64
    assert hits.scores.dtype == np.float32
    hits.scores[0] = 1  # the caller's own
    assert hits[0].id == 3
    assert type(hits[0].id) is int
    assert hits[0].payload == {"n": 3, "even": False}
    assert hits[0].vectors is not None
    hits[0].vectors["v"][0] = 1
    (point,) = docs.get(3, with_vectors=True)
    assert point == vsearch.Point(3, {"n": 3, "even": False}, point.vectors)
    assert point.vectors["v"].dtype == np.float32
    page = docs.scroll(limit=2)
    assert type(page) is vsearch.Page
    assert page.cursor == 2
    assert docs.facet("even") == [vsearch.FacetValue(False, 20), vsearch.FacetValue(True, 20)]
    assert type(docs.facet("even")[0].value) is bool


@pytest.mark.parametrize("ids", [np.arange(3), np.array(["a", "b", "c"]), [np.uint64(2**64 - 1), np.str_("a"), 0]])
def test_ids_of_numpy_types_become_plain(docs: Any, ids: Any) -> None:
    written = docs.upsert(ids, vectors={"v": X[:3].astype(np.float64)})
    assert [type(one) for one in written] in ([int] * 3, [str] * 3, [int, str, int])
    assert [point.id for point in docs.get(ids)] == written
    assert docs.delete(ids=ids) == 3


def test_params_are_passed_on(docs: Any) -> None:
    exact = docs.search(X[0], params=SearchParams(exact=True))
    assert exact.point_ids == docs.search(X[0], params=SearchParams(recall=0.99, oversampling=4)).point_ids
    plan = docs.explain(X[0], limit=7, filter=F("n") < 10, params=SearchParams(exact=True, recall=0.5), analyze=True)
    assert type(plan) is vsearch.Plan
    assert (plan.collection, plan.field, plan.limit, plan.exact, plan.recall) == ("docs", "v", 7, True, 0.5)
    (step,) = plan.steps
    assert (step.rows, step.matched, step.strategy) == (40, 10, "scan")
    assert step.measured is not None
    assert plan.total_us is not None
    assert plan.to_dict()["steps"][0]["measured"]["distances"] == step.measured.distances
    assert "10 match" in str(plan)
    assert docs.explain(X[0]).steps[0].measured is None


@pytest.mark.parametrize(
    "condition",
    [
        F("n").any([1, 2, 3]),
        F("when") >= datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC),
        F("text").contains("Wört", ignore_case=True),
        ~F.ids([1, "a"]) & F("n").exists(),
        F("place").within_radius(52.5, 13.4, 1000),
        vsearch.min_should([F("n") == 1, F("even") == False, F("text").exists()], 2),  # noqa: E712
        {"n": {"$in": [1, 5]}},
        {"should": [{"key": "n", "range": {"lt": 3}}, {"has_id": ["a"]}]},
        {},
    ],
    ids=repr,
)
def test_filters_mean_the_same_everywhere(docs: Any, kind: str, condition: Any) -> None:
    when = datetime.datetime(2024, 1, 2, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1)))
    extra = {"when": when, "text": "ein WÖRTERBUCH", "place": {"lat": 52.5, "lon": 13.4}}
    docs.upsert(["a", "b"], vectors={"v": X[:2]}, payloads=[extra, {}])
    found = sorted(str(point.id) for point in docs.scroll(filter=condition))
    assert docs.count(condition) == len(found) > 0
    assert found == sorted(map(str, docs.search(X[0], limit=100, filter=condition).point_ids))
    known = FOUND.setdefault(repr(condition), found)
    assert found == known


FOUND: dict[str, list[str]] = {}  # by the kind that came first


def test_a_filter_of_every_point_deletes_none(docs: Any) -> None:
    with pytest.raises(vsearch.InvalidArgument, match="the filter is empty"):
        docs.delete(filter={})
    with pytest.raises(vsearch.InvalidArgument, match="one of them"):
        docs.delete(ids=[0], filter={})
    assert docs.count(filter={}) == 40


def test_points_end(docs: Any) -> None:
    soon, later = time.time() + 0.15, datetime.datetime(2200, 1, 1, tzinfo=datetime.UTC)
    docs.upsert(["a", "b", "c"], vectors={"v": X[:3]}, expires_at=[soon, later, None])
    docs.upsert(["d"], vectors={"v": X[:1]}, expires_at=later)
    docs.update("c", expires_at=np.float64(soon))
    assert [point.expires_at for point in docs.get(["b", "d"])] == [later.timestamp()] * 2
    time.sleep(0.2)
    assert [point.id for point in docs.get(["a", "b", "c", "d"])] == ["b", "d"]
    for bad in ("tomorrow", -1, True, float("nan"), 1e15, datetime.datetime(2030, 1, 1), ["x"], [1.0, 2.0]):
        with pytest.raises(vsearch.InvalidArgument):
            docs.upsert(["e"], vectors={"v": X[:1]}, expires_at=bad)
        assert docs.get(["e"]) == []


def test_expiry_is_the_same_to_the_millisecond(docs: Any) -> None:
    narrow_s = 35_153_981_369.631  # which is a little less than its milliseconds
    for end_s in (4_000_000_000.001, 5_000_000_000, narrow_s, math.nextafter(narrow_s, math.inf)):
        docs.upsert(["a"], vectors={"v": X[:1]}, expires_at=end_s)
        assert docs.get("a")[0].expires_at == points.expiry_ms(end_s) / 1000


@pytest.mark.parametrize(
    ("error", "rows"),
    [
        (vsearch.DimensionMismatch, [np.ones(4), np.ones(3)]),
        (vsearch.DimensionMismatch, [[1, 2, 3], None]),
        (vsearch.InvalidArgument, [1.0, 2.0]),
        (vsearch.InvalidArgument, 5),
        (vsearch.InvalidArgument, None),
        (vsearch.InvalidArgument, [[1, 2, 3, 1j], [1, 2, 3, 4]]),
        (vsearch.InvalidArgument, np.ones((2, 4), bool)),
        (vsearch.InvalidArgument, np.full((2, 4), 1e300)),
        (vsearch.InvalidArgument, np.ones((2, 4, 1))),
    ],
    ids=repr,
)
def test_odd_vectors_are_refused_alike(docs: Any, error: type[Exception], rows: Any) -> None:
    for write in (docs.upsert, docs.update_vectors):
        with pytest.raises(error) as caught:
            write([0, 1], vectors={"v": rows})
        assert type(caught.value) is error
        assert caught.value.hint
    assert docs.search(X[0], limit=1).point_ids == [0]


def test_aliases(db: Any, docs: Any) -> None:
    assert db.aliases() == {}
    db.update_aliases({"live": "docs", "a b": "docs"})
    assert list(db.aliases().items()) == [("a b", "docs"), ("live", "docs")]
    assert db.collection("a b").name == "docs"
    assert db.collection("live").count() == 40
    bad: list[tuple[type[Exception], Any]] = [
        (vsearch.NotFound, {"new": "nothing"}),
        (vsearch.AlreadyExists, {"docs": "docs"}),
        (vsearch.InvalidArgument, {"": "docs"}),
        (vsearch.InvalidArgument, {7: "docs"}),
        (vsearch.InvalidArgument, {"\ud800": "docs"}),
        (vsearch.InvalidArgument, {"new": 7}),
        (vsearch.InvalidArgument, [("new", "docs")]),
        (vsearch.InvalidArgument, None),
    ]
    for error, changes in bad:
        with pytest.raises(error):
            db.update_aliases(changes)
    for name in ("live", "nothing"):
        with pytest.raises(vsearch.NotFound):
            db.delete_collection(name)
    db.update_aliases({"live": None})
    assert db.aliases() == {"a b": "docs"}


@pytest.mark.parametrize("name", ["Größe & Co.", "日本", "a b", "100%25", "a+b=c;d,e#f", "x" * 255, "..."])
def test_any_name_reaches_its_collection(db: Any, name: str) -> None:
    db.create_collection(name, fields={"": vsearch.Dense(2)}).upsert([1], vectors={"": [[1, 2]]})
    assert db.collections() == [name]
    assert db.collection(name).name == name
    assert db.collection(name).search([1, 2]).point_ids == [1]
    db.delete_collection(name)
    assert db.collections() == []


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "\ud800", "nothing", None, 7])
def test_what_is_no_name_is_no_collection(db: Any, name: Any) -> None:
    for call in (db.collection, db.delete_collection):
        with pytest.raises(vsearch.NotFound):
            call(name)


def test_a_path_that_cannot_be_read(docs: Any) -> None:
    for path in ("a..b", "", 7, None):
        with pytest.raises(vsearch.InvalidFilter):
            docs.create_payload_index(path)
    docs.create_payload_index("n", kind="integer")
    assert docs.payload_indexes == ["n"]
    assert docs.stats()["payload_indexes"] == {"n": "integer"}
    docs.delete_payload_index("n")
    with pytest.raises(vsearch.NotFound, match="no payload index on 'n'"):
        docs.delete_payload_index("n")


def test_optimize(docs: Any) -> None:
    docs.optimize(wait=False)
    docs.optimize()
    (segment,) = docs.stats()["segments"]
    assert segment["sealed"]
    assert docs.search(X[7], limit=1).point_ids == [7]


def test_a_snapshot_is_taken_listed_restored_and_deleted(db: Any, docs: Any, kind: str, tmp_path: Path) -> None:
    info = db.create_snapshot("docs")
    assert type(info) is SnapshotInfo
    assert info.created_at.tzinfo is not None
    assert db.snapshots("docs") == [info]
    assert db.snapshots() == []
    file = tmp_path / "docs.snapshot"
    if kind == "embedded":
        file.write_bytes(db.snapshot_path(info.name, "docs").read_bytes())
    else:
        assert db.download_snapshot(info.name, file, "docs") == info
    docs.delete(ids=[0])
    with pytest.raises(vsearch.AlreadyExists):
        db.restore_collection("docs", file)
    db.delete_snapshot(info.name, "docs")
    with pytest.raises(vsearch.NotFound):
        db.delete_snapshot(info.name, "docs")
    assert db.restore_collection("docs", file, replace=True).count() == 40
    for name in ("a/b", "", "\ud800", None):
        with pytest.raises(vsearch.InvalidArgument):
            db.restore_collection(name, file)
    with pytest.raises(vsearch.NotFound):
        db.snapshots("nothing")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(vsearch.Corruption):
        db.restore_collection("other", file)
    assert db.collections() == ["docs"]


def test_a_backup_is_written_here(db: Any, docs: Any, tmp_path: Path) -> None:
    file = tmp_path / "all.snapshot"
    info = db.backup(file)
    assert (info.name, info.nbytes) == ("all.snapshot", file.stat().st_size)
    assert db.snapshots() == []
    with pytest.raises(vsearch.AlreadyExists):
        db.backup(file)
    assert db.backup(file, overwrite=True).nbytes == file.stat().st_size
    with pytest.raises(vsearch.NotFound):
        db.backup(tmp_path / "nowhere" / "all.snapshot")
    copy = db.restore_collection("copy", file, source="docs")
    assert (copy.name, copy.count()) == ("copy", 40)
    assert list(tmp_path.glob(".tmp-*")) == []


def test_a_closed_database_says_so(docs: Any, kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    runner = asyncio.Runner()
    if kind == "embedded":
        db: Any = vsearch.open(tmp_path / "other")
    else:
        url = request.getfixturevalue("server").url
        db = vsearch.connect(url) if kind == "http" else Awaited(runner, vsearch.connect_async(url))
    docs = db.create_collection("other", fields={"v": vsearch.Dense(4)})
    assert docs.count() == 0
    db.close()
    db.close()
    calls: list[Callable[[], Any]] = [
        lambda: docs.search(X[0]),
        lambda: docs.upsert([1], vectors={"v": X[:1]}),
        lambda: docs.payload_indexes,
        lambda: db.collections(),
        lambda: db.collection("other"),
        lambda: db.refresh(),
        lambda: db.create_collection("x", fields={"v": vsearch.Dense(4)}),
    ]
    for call in calls:
        with pytest.raises(vsearch.Closed):
            call()
    runner.close()


# Over HTTP only


@pytest.mark.parametrize("kind", REMOTE)
@pytest.mark.parametrize("format", ["parquet", "arrow"])
def test_a_collection_goes_out_and_in_as_a_file(db: Any, docs: Any, tmp_path: Path, format: Any) -> None:
    file = tmp_path / f"docs.{format}"
    assert docs.export_file(file, format) == file.stat().st_size > 0
    copy = db.create_collection("copy", fields={"v": vsearch.Dense(4, metric="l2")})
    assert copy.import_file(file, batch_rows=7) == 40
    assert [p.payload for p in copy.scroll()] == [p.payload for p in docs.scroll()]
    assert copy.search(X[9], limit=1).point_ids == [9]
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"key": {i}, "x": [1, 2, 3, {i}], "n": {i}, "secret": 7}}\n' for i in range(9)))
    assert copy.import_file(rows, "key", vectors={"v": "x"}, skip=["secret"], batch_rows=4) == 9
    assert copy.get(8)[0].payload == {"n": 8}
    assert copy.search([1, 2, 3, 8], limit=1).point_ids == [8]
    with pytest.raises(vsearch.NotFound, match="no file"):
        copy.import_file(tmp_path / "missing")
    with pytest.raises(vsearch.InvalidArgument, match="number"):
        copy.import_file(file, id_column="number")
    with pytest.raises(vsearch.InvalidArgument):
        docs.export_file(file, "csv")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [file.name, "rows.jsonl"]


@pytest.mark.parametrize("kind", REMOTE)
def test_a_large_batch_is_one_request(db: Any) -> None:
    wide = db.create_collection("wide", fields={"v": vsearch.Dense(1000)})
    rows = np.random.default_rng(1).normal(size=(5_000, 1000)).astype(np.float32)  # 20 MB
    assert wide.upsert(range(5_000), vectors={"v": rows}) == list(range(5_000))
    assert wide.search(rows[4_321], limit=1).point_ids == [4_321]
    with pytest.raises(vsearch.LimitExceeded, match="bytes"):
        wide.upsert(range(10_000), vectors={"v": np.concatenate([rows, rows])})
    assert wide.count() == 5_000


@pytest.mark.parametrize("kind", REMOTE)
def test_progress_is_for_the_embedded_database(docs: Any) -> None:
    with pytest.raises(vsearch.NotSupported):
        docs.optimize(progress=lambda done, total: None)


@pytest.mark.parametrize("kind", ["http"])
def test_sixteen_threads_use_one_client(docs: Any) -> None:
    def work(thread: int) -> None:
        for i in range(20):
            point = thread * 100 + i
            docs.upsert([point + 1000], vectors={"v": X[i : i + 1]}, payloads=[{"thread": thread}])
            assert docs.get(point + 1000)[0].payload == {"thread": thread}
            assert docs.search(X[i], limit=1, filter=F.ids([point + 1000])).point_ids == [point + 1000]

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))
    assert docs.count() == 40 + 16 * 20


@pytest.mark.parametrize("kind", ["http"])
def test_many_tasks_use_one_client(docs: Any, server: Server) -> None:
    async def main() -> None:
        async with vsearch.connect_async(server.url) as db:
            there = await db.collection("docs")
            found = await asyncio.gather(*(there.search(x, limit=1) for x in X))
            assert [hits.point_ids for hits in found] == [[i] for i in range(40)]

    asyncio.run(main())


def test_the_client_loads_no_engine(server: Server) -> None:
    import subprocess

    heavy = ("rocksdict", "numba", "pyarrow", "uvicorn", "pydantic")
    code = f"import sys, vsearch; vsearch.connect({server.url!r}).collections()\n"
    code += f"sys.stdout.write(' '.join(sorted(set({heavy!r}) & set(sys.modules))))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == ""
