"""Manifests come back as they were, and anything else is refused with a reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsearch.errors import Corruption, UnsupportedFormat
from vsearch.storage import failpoints, manifest
from vsearch.storage.manifest import FileEntry, Manifest, SegmentEntry
from vsearch.storage.rocks import MANIFEST, Engine

PIDS = st.integers(0, 2**64 - 1)
texts = st.text(max_size=6)
values = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | texts
settings_ = st.dictionaries(texts, values, max_size=3)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """Any manifest that keeps the rules."""
    edges = sorted(draw(st.lists(PIDS, max_size=8, unique=True)))
    segments = []
    for first, last in zip(edges[::2], edges[1::2], strict=False):
        files = draw(st.dictionaries(texts, st.builds(FileEntry, texts, PIDS), max_size=3))
        rows = draw(st.integers(0, last - first + 1))
        indexes = draw(st.dictionaries(texts, texts, max_size=2))
        segments.append(SegmentEntry(f"s{len(segments)}", first, last, rows, files, indexes))
    sealed = draw(st.integers(segments[-1].last_pid if segments else 0, 2**64 - 1))
    fields = draw(st.dictionaries(texts, settings_, max_size=3))
    number = draw(st.integers(0, 2**32 - 1))
    indexes = draw(st.dictionaries(texts, texts, max_size=2))
    return Manifest(draw(texts), number, fields, tuple(segments), sealed, indexes, draw(settings_))


SEGMENTS = (SegmentEntry("a", 1, 5, 5, {"f": FileEntry("00ff", 7)}, {"dense": "hnsw"}), SegmentEntry("b", 6, 9, 2))
SAMPLE = Manifest("docs", 3, {"dense": {"kind": "dense", "dim": 4}}, SEGMENTS, 12, {"year": "int"}, {"x": 1})


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine.open(tmp_path / "db", "os")
    yield engine
    engine.close()


@given(manifests())
def test_a_manifest_comes_back(sample: Manifest) -> None:
    assert Manifest.decode(sample.encode()) == sample


def test_the_bytes_are_msgpack_with_a_version() -> None:
    content = msgpack.unpackb(SAMPLE.encode())
    assert (content["version"], content["name"], content["segments"][0]["name"]) == (1, "docs", "a")


def changed(**changes: Any) -> bytes:
    content = {**msgpack.unpackb(SAMPLE.encode()), **changes}
    return msgpack.packb({key: value for key, value in content.items() if value is not None})


def segment(**changes: Any) -> list[dict[str, Any]]:
    first, second = msgpack.unpackb(SAMPLE.encode())["segments"]
    return [first, {**second, **changes}]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "cannot be read"),
        (b"\xc1", "cannot be read"),
        (SAMPLE.encode()[:-1], "cannot be read"),
        (SAMPLE.encode() + b"\0", "cannot be read"),
        (b"\x91" * 5000, "cannot be read"),
        (msgpack.packb([]), "no version"),
        (msgpack.packb({}), "no version"),
        (changed(version="1"), "no version"),
        (changed(version=True), "no version"),
        (changed(extra=1), "extra"),
        (changed(fields=None), "fields"),
        (changed(segments=None), "segments"),
        (changed(segments=3), "malformed"),
        (changed(segments=[3]), "malformed"),
        (changed(name=3), "3"),
        (changed(number=-1), "-1"),
        (changed(number=2**32), str(2**32)),
        (changed(number=1.5), "1.5"),
        (changed(fields=[]), "fields"),
        (changed(fields={"a": 1}), "fields"),
        (changed(options=[]), "options"),
        (changed(payload_indexes={"a": 1}), "payload_indexes"),
        (changed(sealed_pid=-1), "sealed_pid"),
        (changed(sealed_pid=8), "reaches pid 9, above sealed_pid 8"),
        (changed(segments=segment(first_pid=5)), "'b' starts at pid 5, not above 5"),
        (changed(segments=segment()[::-1]), "'a' starts at pid 1"),
        (changed(segments=segment(last_pid=5)), "pids are 6 to 5"),
        (changed(segments=segment(first_pid=-1)), "pids are -1"),
        (changed(segments=segment(rows=5)), "5 rows for pids 6 to 9"),
        (changed(segments=segment(rows=-1)), "-1 rows"),
        (changed(segments=segment(name="a")), "same name"),
        (changed(segments=segment(name=1)), "1"),
        (changed(segments=segment(more=1)), "more"),
        (changed(segments=segment(indexes={"a": 1})), "indexes"),
        (changed(segments=segment(files={"f": {"checksum": "", "nbytes": -1}})), "-1 bytes"),
        (changed(segments=segment(files={"f": {"checksum": 1, "nbytes": 1}})), "checksum 1"),
        (changed(segments=segment(files={"f": {}})), "malformed"),
        (changed(segments=segment(files={"f": 3})), "malformed"),
        (changed(segments=segment(files=[])), "malformed"),
    ],
)
def test_what_breaks_a_rule_is_corruption_that_says_which(data: bytes, reason: str) -> None:
    with pytest.raises(Corruption, match=reason) as caught:
        Manifest.decode(data)
    assert not isinstance(caught.value, UnsupportedFormat)


def test_a_newer_version_is_unsupported_whatever_else_it_holds() -> None:
    with pytest.raises(UnsupportedFormat, match="version 2, this release reads 1"):
        Manifest.decode(msgpack.packb({"version": 2, "shards": []}))


@given(st.binary(max_size=200))
def test_random_bytes_are_corruption(data: bytes) -> None:
    with pytest.raises(Corruption):
        Manifest.decode(data)


@given(st.data())
def test_a_flipped_bit_gives_a_manifest_that_keeps_the_rules_or_corruption(data: st.DataObject) -> None:
    damaged = bytearray(SAMPLE.encode())
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = Manifest.decode(bytes(damaged))
    except Corruption:
        return
    assert Manifest.decode(found.encode()) == found


def test_encoding_what_breaks_a_rule_is_a_bug() -> None:
    with pytest.raises(AssertionError, match=r"bug: .*sealed_pid"):
        replace(SAMPLE, sealed_pid=3).encode()


def test_manifests_are_stored_replaced_and_removed(engine: Engine) -> None:
    other = replace(SAMPLE, name="dócs", number=4, segments=())
    batch = engine.batch()
    manifest.put(batch, SAMPLE)
    manifest.put(batch, other)
    assert manifest.load(engine) == {}
    engine.commit(batch)
    assert manifest.load(engine) == {"docs": SAMPLE, "dócs": other}
    batch = engine.batch()
    manifest.put(batch, replace(SAMPLE, sealed_pid=99))
    manifest.remove(batch, other)
    engine.commit(batch)
    assert manifest.load(engine) == {"docs": replace(SAMPLE, sealed_pid=99)}


def test_counters_start_low_and_are_kept_apart_from_manifests(engine: Engine) -> None:
    assert (manifest.next_number(engine), manifest.last_pid(engine, 3), manifest.last_pid(engine, 4)) == (1, 0, 0)
    batch = engine.batch()
    manifest.put(batch, SAMPLE)
    manifest.put_next_number(batch, 7)
    manifest.put_last_pid(batch, 3, 2**64 - 1)
    manifest.put_last_pid(batch, 4, 5)
    engine.commit(batch)
    assert manifest.next_number(engine) == 7
    assert (manifest.last_pid(engine, 3), manifest.last_pid(engine, 4)) == (2**64 - 1, 5)
    assert list(manifest.load(engine)) == ["docs"]
    batch = engine.batch()
    manifest.remove(batch, SAMPLE)
    engine.commit(batch)
    assert (manifest.next_number(engine), manifest.last_pid(engine, 3), manifest.last_pid(engine, 4)) == (7, 0, 5)


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        (b"cdocs", b"\xc1", Corruption),
        (b"cother", SAMPLE.encode(), Corruption),
        (b"cother", replace(SAMPLE, name="other").encode(), Corruption),  # the number is taken
        (b"cother", changed(version=9), UnsupportedFormat),
        (b"c\xff", SAMPLE.encode(), Corruption),
    ],
)
def test_a_damaged_entry_is_corruption_that_names_the_database(
    engine: Engine, key: bytes, value: bytes, error: type[Exception]
) -> None:
    batch = engine.batch()
    manifest.put(batch, SAMPLE)
    batch.put(MANIFEST, key, value)
    engine.commit(batch)
    with pytest.raises(error, match=str(engine.path)) as caught:
        manifest.load(engine)
    assert caught.type is error


def test_putting_a_manifest_passes_its_failpoints(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    reached: list[str] = []
    monkeypatch.setattr(failpoints, "reach", reached.append)
    manifest.put(engine.batch(), SAMPLE)
    assert reached == ["manifest.put.before", "manifest.put.after"]
