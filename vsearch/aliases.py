"""Aliases: other names of collections, changed all at once or not at all."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from vsearch.errors import AlreadyExists, InvalidArgument, NotFound
from vsearch.names import check_name
from vsearch.storage import manifest
from vsearch.storage.rocks import Batch


def changed(
    batch: Batch, aliases: Mapping[str, str], changes: Mapping[str, str | None], collections: Collection[str]
) -> dict[str, str]:
    """The aliases with these changes, which are put into the batch. Raises as `Database.update_aliases`."""
    if not isinstance(changes, Mapping):
        raise InvalidArgument(f"changes is a {type(changes).__name__}", 'Say {"alias": "collection"}')
    result = dict(aliases)
    for alias, name in changes.items():
        check_name("alias", alias)
        if name is None:
            result.pop(alias, None)
            manifest.remove_alias(batch, alias)
            continue
        check_name("collection", name)
        if alias in collections:
            raise AlreadyExists(f"a collection is named {alias!r}", "Give the alias another name")
        if name not in collections:
            raise no_collection(name, aliases, collections)
        result[alias] = name
        manifest.put_alias(batch, alias, name)
    return result


def no_collection(name: str, aliases: Mapping[str, str], collections: Collection[str]) -> NotFound:
    """The error for a collection that there is not, or whose alias will not do."""
    if name in aliases:
        hint = "Give the collection's own name; update_aliases changes aliases"
        return NotFound(f"{name!r} is an alias of the collection {aliases[name]!r}", hint)
    names = ", ".join(sorted(collections)) or "none"
    return NotFound(f"no collection named {name!r}", f"There are: {names}")
