"""What a semantic cache is: its settings, one value in the engine, replaced as a whole.

Keys of the family `manifest`:

    k, name           -> the cache's CacheManifest (msgpack: {"version": 1, ...})

Caches take their numbers from the counter of the collections, and the highest number given to an entry is kept where a
collection keeps its highest pid.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final

import msgpack

from vsearch.errors import Corruption, UnsupportedFormat

from .manifest import remove_last_pid
from .rocks import MANIFEST, Batch, Engine

VERSION: Final = 1
_CACHE: Final = b"k"
_CACHE_END: Final = b"l"
_HINT: Final = "Restore the directory from a backup"


@dataclass(frozen=True, slots=True)
class CacheManifest:
    """`dim`: of its vectors, 0 for exact matches only. `model`: the id of what makes them. `policies`: settings of each
    category's policy; `options`: what else belongs to the cache."""

    name: str
    number: int
    dim: int
    model: str | None
    policies: dict[str, dict[str, Any]]
    options: dict[str, Any] = field(default_factory=dict)


def load(engine: Engine) -> dict[str, CacheManifest]:
    """Every cache by name. Raises Corruption or UnsupportedFormat, naming the database."""
    found: dict[str, CacheManifest] = {}
    for key, value in engine.scan(MANIFEST, _CACHE, _CACHE_END):
        manifest = _decode(engine, value)
        if _CACHE + manifest.name.encode() != key:
            raise Corruption(f"database {engine.path} has the cache {manifest.name!r} under another name", _HINT)
        found[manifest.name] = manifest
    return found


def put(batch: Batch, manifest: CacheManifest) -> None:
    """Stores a cache's settings instead of those before."""
    content = {"version": VERSION, **asdict(manifest)}
    batch.put(MANIFEST, _CACHE + manifest.name.encode(), msgpack.packb(content))


def remove(batch: Batch, manifest: CacheManifest) -> None:
    """Removes a cache and its entries; what names their sources is the caller's to remove."""
    batch.delete(MANIFEST, _CACHE + manifest.name.encode())
    batch.delete_cache(manifest.number)
    remove_last_pid(batch, manifest.number)


def _decode(engine: Engine, value: bytes) -> CacheManifest:
    try:
        content = msgpack.unpackb(value)
        version = content.pop("version")
        if version != VERSION:
            message = f"database {engine.path} has a cache of format {version}, this release reads {VERSION}"
            raise UnsupportedFormat(message, "Open it with the release that wrote it, or a newer one")
        manifest = CacheManifest(**content)
        if not isinstance(manifest.name, str) or type(manifest.number) is not int or type(manifest.dim) is not int:
            raise ValueError("name, number or dim is of the wrong type")
    except (TypeError, KeyError, AttributeError, ValueError, msgpack.UnpackException) as error:
        raise Corruption(f"database {engine.path}: the settings of a cache are malformed: {error}", _HINT) from error
    return manifest
