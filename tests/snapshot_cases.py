"""What the tests of snapshots share: collections with everything in them, and looks at what is stored."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import vsearch
from vsearch.storage.rocks import COLLECTION_FAMILIES

DIM = 4
FIELDS = {"v": vsearch.Dense(DIM, metric="l2")}
LAST = b"\xff" * 20


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """A folder for tests that sync much and need no disk; on a disk where there is none in memory."""
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None) as folder:
        yield Path(folder)


def vector(number: int) -> list[float]:
    return [float(number), 1.0, 2.0, 3.0]


def fill(docs: vsearch.Collection, numbers: range, tag: str = "x") -> None:
    docs.upsert(
        [f"{tag}-{i}" for i in numbers],
        vectors={"v": [vector(i) for i in numbers]},
        payloads=[{"number": i, "tag": tag, "parts": [{"a": i, "b": tag}]} for i in numbers],
    )


def mixed(db: vsearch.Database, name: str, tag: str = "x") -> vsearch.Collection:
    """A collection with sealed and unsealed rows, replaced, deleted and expiring points, and a payload index."""
    docs = db.create_collection(name, fields={**FIELDS, "w": vsearch.Dense(2, index="hnsw")})
    docs.create_payload_index("number")
    fill(docs, range(150), tag)
    docs.optimize()
    fill(docs, range(100, 220), tag)
    docs.upsert([7, 8], vectors={"w": [[1, 0], [0, 1]]}, payloads=[None, {"number": -1}], expires_at=4e9)
    docs.delete(ids=[f"{tag}-{i}" for i in range(0, 220, 9)])
    return docs


def content(docs: vsearch.Collection) -> dict[Any, Any]:
    """Everything in a collection."""
    found: dict[Any, Any] = {}
    cursor = None
    while True:
        page = docs.scroll(limit=100, cursor=cursor, with_vectors=True)
        for point in page:
            vectors = {name: values.tolist() for name, values in (point.vectors or {}).items()}
            found[point.id] = (point.payload, vectors, point.expires_at)
        cursor = page.cursor
        if cursor is None:
            return found


def leftovers(directory: Path) -> list[str]:
    """What was to be temporary, in a database or in the folder around it."""
    patterns = (".tmp-*", "snapshots/**/.tmp-*", "db/snapshots/**/.tmp-*")
    return [path.name for pattern in patterns for path in directory.glob(pattern)]


def numbers_in(db: vsearch.Database) -> set[int]:
    """Numbers of collections that have keys in the engine."""
    rows = (row for family in COLLECTION_FAMILIES for row in db._engine.scan(family, b"", LAST))
    return {int.from_bytes(key[:4], "big") for key, _ in rows}
