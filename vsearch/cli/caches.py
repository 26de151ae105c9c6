"""The commands `cache ...`: what semantic caches hold, how they are doing, and what is to go or to change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

import vsearch
from vsearch.cli import show
from vsearch.cli.options import AsJson, ServerKey, Source, parse_json
from vsearch.cli.source import is_url
from vsearch.errors import InvalidArgument, NotFound

app = typer.Typer(help="Look into semantic caches, and change them.", no_args_is_help=True)

CacheName = Annotated[str, typer.Argument(metavar="CACHE", help="The cache in it.")]


@app.command("list")
def list_caches(source: Source, api_key: ServerKey = None, as_json: AsJson = False) -> None:
    """List the caches of a database."""
    with opened(source, api_key) as db:
        found = [db.cache(name).stats() for name in db.caches()]
    if as_json:
        show.as_json(found)
        return
    rows = [
        (cache["name"], f"{cache['dim']:,}", cache["model"] or "", *numbers(cache["total"], cache)) for cache in found
    ]
    table(["cache", ">dim", "model", *NUMBERS], rows)


@app.command()
def stats(source: Source, cache: CacheName, api_key: ServerKey = None, as_json: AsJson = False) -> None:
    """Show what each category was asked, what that saved, and what to do about it."""
    with opened(source, api_key) as db:
        found = db.cache(cache).stats()
    if as_json:
        show.as_json(found)
        return
    memory = show.size(found["memory_bytes"])
    show.line(
        f"{found['name']}: {found['entries']:,} of {found['max_entries']:,} entries, {show.size(found['bytes'])} of "
        f"{show.size(found['max_bytes'])}, {memory} of memory, stress {found['stress']:.2f}"
    )
    rows = [
        (name, f"{seen['threshold']:g}", life(seen["ttl"]), *numbers(seen, seen), seen["advice"])
        for name, seen in found["categories"].items()
    ]
    table(["category", ">threshold", ">ttl", *NUMBERS, "advice"], rows)


@app.command()
def entries(
    source: Source,
    cache: CacheName,
    after: Annotated[int, typer.Option(min=0, metavar="ID", help="Only entries with larger numbers.")] = 0,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 100,
    api_key: ServerKey = None,
    as_json: AsJson = False,
) -> None:
    """List entries in the order in which they were stored, without their answers."""
    from vsearch import wire

    with opened(source, api_key) as db:
        found = list(db.cache(cache).entries(after, limit))
    if as_json:
        show.as_json([wire.cache_entry_out(entry) for entry in found])
        return
    rows = [
        (
            str(entry.id),
            entry.category,
            entry.scope[:8],
            moment(entry.created_at),
            "never" if entry.expires_at is None else moment(entry.expires_at),
            f"{entry.nbytes:,}",
            f"{entry.hits:,}",
            " ".join(entry.tags),
            " ".join(f"{collection}/{point}" for collection, point in entry.sources),
        )
        for entry in found
    ]
    table([">id", "category", "scope", "stored", "expires", ">bytes", ">hits", "tags", "sources"], rows)


@app.command()
def invalidate(
    source: Source,
    cache: CacheName,
    id: Annotated[int | None, typer.Option(metavar="ID", help="The entry of this number.")] = None,
    tag: Annotated[str | None, typer.Option(metavar="TAG", help="Entries with this tag.")] = None,
    scope: Annotated[str | None, typer.Option(metavar="JSON", help="Entries of this scope.")] = None,
    category: Annotated[str | None, typer.Option(metavar="NAME", help="Entries of this category.")] = None,
    made_from: Annotated[
        str | None,
        typer.Option(
            "--source", metavar="COLLECTION|JSON", help="Made from a collection, or a point: '[\"docs\", 7]'."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them.")] = False,
    api_key: ServerKey = None,
) -> None:
    """Remove the entries for which all that is given holds."""
    given = None if scope is None else parse_json(scope, "--scope")
    point = None if made_from is None else source_of(made_from)
    with opened(source, api_key, write=True) as db:  # one that only reads does not know what was made from what
        count = db.cache(cache).invalidate(
            id=id, tag=tag, scope=given, category=category, source=point, dry_run=dry_run
        )
    show.line(f"{count:,} {'to remove' if dry_run else 'removed'}")


@app.command()
def policy(
    source: Source,
    cache: CacheName,
    category: Annotated[str | None, typer.Argument(metavar="[CATEGORY]", help="Default: all.")] = None,
    change: Annotated[
        str | None,
        typer.Option("--set", metavar="JSON", help='Settings to change: \'{"threshold": 0.92, "ttl": 3600}\'.'),
    ] = None,
    api_key: ServerKey = None,
    as_json: AsJson = False,
) -> None:
    """Show the policies of the categories, or change one; a category that is new is made."""
    with opened(source, api_key, write=change is not None) as db:
        target = db.cache(cache)
        if change is not None:
            set_policy(target, category, parse_json(change, "--set"))
        found = {name: one.to_dict() for name, one in target.policies.items() if category in (None, name)}
    if not found:
        raise NotFound(f"no category named {category!r} in cache {cache!r}", "Make it with --set")
    if as_json:
        show.as_json(found)
        return
    names = list(next(iter(found.values())))
    rows = [(name, *(shown(found[category][name]) for category in found)) for name in names]
    table(["", *found], rows)


@app.command()
def clear(source: Source, cache: CacheName, api_key: ServerKey = None) -> None:
    """Remove all entries."""
    with opened(source, api_key, write=True) as db:
        count = db.cache(cache).clear()
    show.line(f"{count:,} removed")


@contextmanager
def opened(source: str, api_key: str | None, write: bool = False) -> Iterator[Any]:
    """The database in a directory, which must exist, or at a URL."""
    if is_url(source):
        with vsearch.connect(source, api_key=api_key) as client:
            yield client
        return
    if not Path(source).exists():
        raise NotFound(f"there is no database in {source}")
    with vsearch.open(source, read_only=not write) as db:
        yield db


def set_policy(target: Any, category: str | None, changes: Any) -> None:
    """Raises InvalidArgument."""
    from vsearch.cache.policy import CachePolicy

    if category is None or not isinstance(changes, dict):
        raise InvalidArgument("--set changes the settings of one category", "Name it, and give a JSON object")
    before = target.policies.get(category, CachePolicy()).to_dict()
    target.set_policy(category, CachePolicy.from_dict({**before, **changes}))


def source_of(text: str) -> Any:
    """A collection, or ("docs", id) of the JSON ["docs", id]. Raises InvalidArgument."""
    if not text.startswith("["):
        return text
    found = parse_json(text, "--source")
    if len(found) != 2:
        raise InvalidArgument(f"--source is {text}", 'Give ["collection", id]')
    return tuple(found)


NUMBERS = (">entries", ">bytes", ">lookups", ">hits", ">rate", ">wrong", ">saved s", ">saved cost")


def numbers(seen: dict[str, Any], held: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"{held['entries']:,}",
        show.size(held["bytes"]),
        f"{seen['lookups']:,}",
        f"{seen['hits']:,}",
        f"{seen['hit_rate']:.1%}",
        f"{seen['wrong']:,}",
        f"{seen['saved_s']:,.1f}",
        f"{seen['saved_cost']:,.2f}",
    )


def life(ttl: float | None) -> str:
    return "for ever" if ttl is None else f"{ttl:,g} s"


def moment(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S")


def shown(value: Any) -> str:
    return " ".join(value) if isinstance(value, list) else show.dumps(value)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """`>` before a heading: its column is of numbers. In a pipe: lines, with tabs between."""
    if not show.out.is_terminal:
        for row in [[heading.removeprefix(">") for heading in headings], *rows]:
            show.line("\t".join(row))
        return
    made = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for heading in headings:
        made.add_column(heading.removeprefix(">"), justify="right" if heading.startswith(">") else "left")
    for row in rows:
        made.add_row(*row)
    show.out.print(made)
