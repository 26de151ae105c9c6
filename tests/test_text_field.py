"""Collections with texts: stored as they are, found by words, ranked by BM25 over the whole collection."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from naive_fields import bm25_scores, check_hits

import vsearch
from vsearch import F, SearchParams, Text, growing
from vsearch.transfer import export, import_file
from vsearch.types import MAX_TEXT_BYTES

WORDS = [f"w{number}" for number in range(60)]
PLAIN = Text(language=None)


def random_texts(n: int, seed: int = 5, length: int = 14) -> dict[int, str]:
    rng = np.random.default_rng(seed)
    rows = ((len(WORDS) * rng.random(rng.integers(0, 2 * length)) ** 2).astype(int) for _ in range(n))
    return {number: " ".join(WORDS[word] for word in row) for number, row in enumerate(rows)}


TEXTS = random_texts(900)
QUERIES = ["w1", "w0 w5 w59", "w7 w7 w20", "w3 missing", *[text for text in random_texts(9, 6).values() if text]]


def fill(docs: vsearch.Collection, texts: dict[int, str] = TEXTS, step: int = 300) -> None:
    names = list(texts)
    for start in range(0, len(names), step):
        part = names[start : start + step]
        docs.upsert(part, vectors={"t": [texts[n] for n in part]}, payloads=[{"n": n} for n in part])


def check(
    docs: vsearch.Collection,
    texts: dict[int, str],
    shown: Callable[[int], bool] = lambda n: True,
    how: Any = (1.2, 0.75),
    **options: Any,
) -> None:
    """Searches find the best, by statistics of all texts, of those that may be shown."""
    words = {name: text.split() for name, text in texts.items()}
    batch = docs.search_batch(QUERIES, using="t", limit=15, **options)
    for query, hits in zip(QUERIES, batch, strict=True):
        scores = {n: score for n, score in bm25_scores(query.split(), words, *how).items() if shown(n)}
        check_hits(hits, scores, 15)
        check_hits(docs.search(query, using="t", limit=15, **options), scores, 15)


def seal(docs: vsearch.Collection) -> None:
    assert docs._maintenance is not None
    docs._maintenance.seal_all()


@pytest.mark.parametrize("how", [(1.2, 0.75), (0.0, 0.0), (2.5, 1.0)])
def test_fresh_sealed_and_reopened(tmp_path: Path, how: tuple[float, float]) -> None:
    field = Text(language=None, k1=how[0], b=how[1])
    with vsearch.open(tmp_path / "db") as db:
        docs = db.create_collection("docs", fields={"t": field})
        fill(docs)
        check(docs, TEXTS, how=how)
        seal(docs)
        check(docs, TEXTS, how=how)
        docs.optimize()
        check(docs, TEXTS, how=how)
        (segment,) = docs.stats()["segments"]
        assert segment["indexes"] == {"t": "bm25"}
        assert list(tmp_path.glob("db/segments/*/*/f0.bm25.vsa"))
        docs.upsert([0, 1], vectors={"t": [TEXTS[1], TEXTS[0]]})
        docs.delete(ids=range(2, 40))
        texts = {**TEXTS, 0: TEXTS[1], 1: TEXTS[0]}
        texts = {name: text for name, text in texts.items() if not 2 <= name < 40}
        check(docs, texts, how=how)
    with vsearch.open(tmp_path / "db") as db:
        docs = db.collection("docs")
        assert docs.schema["t"] == field
        check(docs, texts, how=how)
        assert {p.id: (p.vectors or {})["t"] for p in docs.scroll(limit=2_000, with_vectors=True)} == texts
        docs.optimize()
        check(docs, texts, how=how)
        check(docs, texts, how=how, params=SearchParams(exact=True))
        assert db.check() == []


@pytest.mark.parametrize("small", [True, False])
def test_statistics_are_exact_over_segments_and_deletes(
    db: vsearch.Database, monkeypatch: pytest.MonkeyPatch, small: bool
) -> None:
    if small:
        monkeypatch.setattr(growing, "MIN_ROWS", 16)
        monkeypatch.setattr(growing, "MAX_ROWS", 64)
    rng = np.random.default_rng(7)
    docs = db.create_collection("docs", fields={"t": PLAIN, "d": vsearch.Dense(2)})
    pool, texts = random_texts(600, 8), {}
    for round_ in range(15):
        names = rng.integers(0, 250, 40).tolist()
        new = {name: pool[(name + 97 * round_) % 600] for name in names}
        docs.upsert(list(new), vectors={"t": list(new.values())})
        texts.update(new)
        docs.upsert([10_000 + round_], vectors={"d": [[1.0, 0.0]]})  # which lacks the field and counts for nothing
        gone = rng.integers(0, 250, 10).tolist()
        docs.delete(ids=gone)
        texts = {name: text for name, text in texts.items() if name not in gone}
        if round_ % 7 == 3:
            docs.optimize()
        check(docs, texts)
    docs.delete(ids=list(texts))
    assert docs.search("w1", using="t").point_ids == []


def test_an_older_view_keeps_its_statistics(db: vsearch.Database) -> None:
    from vsearch.frequencies import weighed
    from vsearch.types import TextQueries

    docs = db.create_collection("docs", fields={"t": PLAIN})
    fill(docs)
    seal(docs)
    fill(docs, dict.fromkeys(range(900, 1_000), "w1 w1"))
    kind = docs._state.schema["t"]
    from vsearch.fields import kind_of

    queries = kind_of(kind).queries("t", "w1 w2", True)
    before = docs._state.view
    ready = weighed(before, "t", kind, queries)
    docs.delete(ids=range(300, 950))
    after = docs._state.view
    changed = weighed(after, "t", kind, queries)
    assert isinstance(ready, TextQueries)
    assert isinstance(changed, TextQueries)
    assert changed.rows.weights.tolist() != ready.rows.weights.tolist()
    for _ in range(2):
        assert weighed(before, "t", kind, queries).rows.weights.tolist() == ready.rows.weights.tolist()
        assert weighed(before, "t", kind, queries).mean_length == ready.mean_length
        assert weighed(after, "t", kind, queries).rows.weights.tolist() == changed.rows.weights.tolist()


def test_filters(db: vsearch.Database) -> None:
    docs = db.create_collection("docs", fields={"t": PLAIN})
    fill(docs, {n: TEXTS[n] for n in range(600)})
    docs.optimize()
    fill(docs, {n: TEXTS[n] for n in range(600, 900)})
    for node, shown in (
        (F("n") < 5, lambda n: n < 5),
        (F("n") >= 450, lambda n: n >= 450),
        (F("n") < 0, lambda n: False),
        (F.ids([7, 650]), lambda n: n in (7, 650)),
    ):
        check(docs, TEXTS, shown, filter=node)


def test_what_is_stored_is_the_text_itself(tmp_path: Path) -> None:
    texts = ["", "  Don't\n", "\x00\u0301\U0001f600 \u65e5\u672c\u8a9e", "the of and", "x" * 5_000, "\u00e9" * 2_000]
    with vsearch.open(tmp_path / "db") as db:
        docs = db.create_collection("docs", fields={"t": Text()})
        docs.upsert(range(6), vectors={"t": texts})
        docs.upsert([6], vectors={"t": [None]})
        docs.upsert(["array"], vectors={"t": np.array(["an array"])})
        expected = {**dict(enumerate(texts)), 6: None, "array": "an array"}
        for state in ("fresh", "sealed"):
            points = docs.scroll(with_vectors=True)
            assert {p.id: (p.vectors or {}).get("t") for p in points} == expected, state
            assert docs.search("\u65e5\u672c\u8a9e", with_vectors=True)[0].vectors == {"t": texts[2]}
            assert docs.search("DON'T ARRAYS").point_ids == ["array"]
            assert docs.search("the of").point_ids == docs.search("").point_ids == []
            docs.optimize()
    with vsearch.open(tmp_path / "db", read_only=True) as db:
        points = db.collection("docs").scroll(with_vectors=True)
        assert {p.id: (p.vectors or {}).get("t") for p in points} == expected


def test_languages(db: vsearch.Database) -> None:
    docs = db.create_collection("docs", fields={"en": Text(), "de": Text(language="german"), "raw": PLAIN})
    docs.upsert([1], {"en": ["The foxes were running"], "de": ["Die H\u00e4user"], "raw": ["The foxes"]})
    assert docs.search("a fox runs", using="en").point_ids == [1]
    assert docs.search("haus", using="de").point_ids == [1]
    assert docs.search("fox", using="raw").point_ids == []
    assert docs.search("THE", using="raw").point_ids == [1]


def test_long_texts(db: vsearch.Database) -> None:
    docs = db.create_collection("docs", fields={"t": PLAIN})
    texts = {0: "rare " + "often " * 70_000, 1: " ".join(f"v{n}" for n in range(20_000)), 2: "rare often often"}
    docs.upsert(list(texts), {"t": list(texts.values())})
    words = {name: text.split() for name, text in texts.items()}
    for state in ("fresh", "sealed", "indexed"):
        for query in ("rare", "often rare v7", "v19999"):
            check_hits(docs.search(query), bm25_scores(query.split(), words), 10)
        seal(docs) if state == "fresh" else docs.optimize()


BAD_TEXTS: list[tuple[Any, str]] = [
    ("one text", "texts of field 't' are a str"),
    ({"a": 1}, "are a dict"),
    (np.ones(2), "are a ndarray"),
    (["a"], "1 texts of field 't' for 2 ids"),
    (["a", 7], "row 1 is a int"),
    (["a", b"b"], "row 1 is a bytes"),
    (["a", ["b"]], "row 1 is a list"),
    (["a", "\ud800"], "row 1 is no valid Unicode"),
]


@pytest.mark.parametrize(("values", "message"), BAD_TEXTS)
def test_bad_texts_are_refused_and_nothing_is_written(db: vsearch.Database, values: Any, message: str) -> None:
    docs = db.create_collection("docs", fields={"t": Text()})
    docs.upsert([0, 1], vectors={"t": ["stays"] * 2})
    for write in (docs.upsert, docs.update_vectors):
        with pytest.raises(vsearch.InvalidArgument, match=message):
            write([0, 1], {"t": values})
    with pytest.raises(vsearch.LimitExceeded, match="row 1 has"):
        docs.upsert([0, 1], vectors={"t": ["fine", "x" * (MAX_TEXT_BYTES + 1)]})
    assert docs.search("stay").point_ids == [0, 1]


@pytest.mark.parametrize("query", [None, 7, ["a"], b"a", {"a": 1}, "\ud800", np.ones(3)])
def test_bad_queries_are_refused(db: vsearch.Database, query: Any) -> None:
    docs = db.create_collection("docs", fields={"t": Text()})
    docs.upsert([0], vectors={"t": ["a b"]})
    for search in (docs.search, docs.explain, lambda one: docs.search_batch(["a", one])):
        with pytest.raises(vsearch.InvalidArgument):
            search(query)
    with pytest.raises(vsearch.InvalidArgument):
        docs.search_batch("a")
    with pytest.raises(vsearch.InvalidArgument, match="is for dense fields"):
        docs.search("a", params=SearchParams(score="probability"))
    for options in ({"language": "klingon"}, {"k1": -1}, {"b": 2}, {"b": True}):
        with pytest.raises(vsearch.InvalidArgument):
            Text(**options)


def test_what_explain_says(db: vsearch.Database) -> None:
    docs = db.create_collection("docs", fields={"t": PLAIN})
    fill(docs)
    for _ in range(2):
        plan = docs.explain("w1 w2", filter=F("n") < 10, analyze=True)
        assert (plan.metric, plan.steps[0].index, plan.steps[0].strategy) == ("bm25", "bm25", "index")
        assert plan.steps[0].measured is not None
        assert (plan.steps[0].measured.lists > 0) == (plan.steps[0].segment != "growing"), "few fresh rows are scanned"
        assert plan.steps[0].measured.distances > 0
        assert "bm25 over inverted lists" in str(plan)
        assert docs.explain("w1", filter=F("n") < 0).steps[0].strategy == "skip"
        docs.optimize()


def test_edits(db: vsearch.Database) -> None:
    docs = db.create_collection("docs", fields={"t": PLAIN, "s": vsearch.Sparse()})
    docs.upsert([0, 1, 2], {"t": ["zero", "one", None]})
    docs.optimize()
    docs.upsert([3], {"t": ["three"], "s": [{1: 1.0}]})
    assert docs.update_vectors([0, 2, 3], {"t": ["nought", "two", None]}) == 3
    docs.update(1, payload={"x": 1}, vectors={"t": "uno"})
    assert docs.set_payload({"x": 2}, ids=[3]) == 1
    texts = {p.id: (p.vectors or {}).get("t") for p in docs.scroll(with_vectors=True)}
    assert texts == {0: "nought", 1: "uno", 2: "two", 3: "three"}
    assert docs.delete_vectors(["t"], filter=F("x") == 1) == 1
    assert docs.search("nought uno two three", using="t").point_ids == [0, 2, 3]
    assert docs.search({1: 1.0}, using="s").point_ids == [3]
    with pytest.raises(vsearch.InvalidArgument, match="row 0 is a int"):
        docs.update(1, vectors={"t": 5})


@pytest.mark.parametrize("damage", ["missing", "cut short", "of other rows"])
def test_a_damaged_index_is_made_anew(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "db"
    with vsearch.open(path) as db:
        for name, count in (("docs", 900), ("other", 400)):
            docs = db.create_collection(name, fields={"t": PLAIN})
            fill(docs, {n: TEXTS[n] for n in range(count)})
            docs.optimize()
    file, stranger = (next(path.glob(f"segments/{number}/*/f0.bm25.vsa")) for number in (1, 2))
    data = file.read_bytes()
    file.unlink()
    if damage == "cut short":
        file.write_bytes(data[: len(data) // 2])
    elif damage == "of other rows":
        file.write_bytes(stranger.read_bytes())
    with caplog.at_level(logging.WARNING, "vsearch"), vsearch.open(path) as db:
        docs = db.collection("docs")
        assert db.check()
        check(docs, TEXTS)
        assert "will be rebuilt" in caplog.text
        docs.optimize()
        assert db.check() == []
        check(docs, TEXTS)


def test_snapshots_and_expiry(tmp_path: Path) -> None:
    with vsearch.open(tmp_path / "db") as db:
        docs = db.create_collection("docs", fields={"t": PLAIN, "s": vsearch.Sparse()})
        fill(docs)
        docs.optimize()
        docs.upsert([5_000], {"t": ["only here"], "s": [{3: 1.0}]})
        docs.upsert([5_001], {"t": ["only then"], "s": [{3: 1.0}]}, expires_at=1.0)
        assert docs.search("only", using="t").point_ids == [5_000]
        docs.optimize()
        docs.delete(ids=[5_001])
        db.create_snapshot("docs")
        (snapshot,) = db.snapshots("docs")
        docs.delete(ids=range(900))
        docs = db.restore_collection("docs", db.snapshot_path(snapshot.name, "docs"), replace=True)
        check(docs, {**TEXTS, 5_000: "only here"})
        assert docs.search({3: 1.0}, using="s").point_ids == [5_000]


def test_import_of_ordinary_tables(db: vsearch.Database, tmp_path: Path) -> None:
    docs = db.create_collection("docs", fields={"t": PLAIN})
    (tmp_path / "a.jsonl").write_text('{"id": 1, "t": "one two", "n": 1}\n{"id": 2, "t": null}\n')
    assert sum(batch.rows for batch in import_file(docs, tmp_path / "a.jsonl")) == 2
    assert docs.search("two")[0].payload == {"n": 1}
    (tmp_path / "b.jsonl").write_text('{"id": 3, "body": 5}\n')
    with pytest.raises(vsearch.InvalidArgument, match="row 0 is a int"):
        list(import_file(docs, tmp_path / "b.jsonl", vectors={"t": "body"}))
    assert b"".join(export(docs, "arrow"))
