"""The commands and their options."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import vsearch
from vsearch.cli import caches, show
from vsearch.cli.options import AsJson, ServerKey, parse_json
from vsearch.cli.serving import serve
from vsearch.errors import Corruption, InvalidArgument, NotFound
from vsearch.types import MAX_BATCH_POINTS, MAX_LIMIT

MAX_DIGITS = 20  # of a term

app = typer.Typer(
    help="A durable vector search database. A database is a directory; a collection in it holds points.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="The directory of the database.")]
CollectionName = Annotated[str, typer.Argument(metavar="COLLECTION", help="The collection in it.")]
app.add_typer(caches.app, name="cache")


@app.callback(invoke_without_command=True)
def options(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        show.line(f"vsearch {vsearch.__version__}")
        raise typer.Exit


@app.command("import")
def import_files(
    source: Annotated[str, typer.Argument(metavar="DIR|URL", help="The database's directory, or its server.")],
    collection: CollectionName,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Parquet, Arrow, JSON lines, CSR .npz.")],
    id: Annotated[str, typer.Option(metavar="COLUMN", help="The column of ids.")] = "id",
    vector: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=COLUMN", help="A field and its column of vectors; repeatable. Default: by name."),
    ] = None,
    sparse: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=COLUMN", help="The same of sparse vectors; COLUMN may be INDICES,VALUES."),
    ] = None,
    text: Annotated[list[str] | None, typer.Option(metavar="FIELD=COLUMN", help="The same of texts.")] = None,
    skip: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="A column to leave out of the payloads; repeatable.")
    ] = None,
    create: Annotated[bool, typer.Option("--create", help="Create the collection when it does not exist.")] = False,
    metric: Annotated[str, typer.Option(help="With --create: cosine, dot or l2.")] = "cosine",
    language: Annotated[
        str, typer.Option(help="With --create: of the texts; none leaves words as they are.")
    ] = "english",
    batch: Annotated[int, typer.Option(min=1, max=MAX_BATCH_POINTS, help="Points written together.")] = 2_000,
    api_key: ServerKey = None,
) -> None:
    """Import points from files: ids, vectors, and the other columns as payload.

    Every batch is durable when the next one begins. A stopped import goes on where it was when the same command is
    given again. (Not by way of a server: there it begins anew, which changes nothing in what is in.)
    """
    from vsearch.cli.importing import Import
    from vsearch.cli.source import is_url
    from vsearch.storage.tables import detect
    from vsearch.transfer import parse_vectors

    vectors = parse_vectors([*(vector or []), *(sparse or []), *(text or [])])
    kinds = {"sparse": frozenset(parse_vectors(sparse or [])), "texts": frozenset(parse_vectors(text or []))}
    spoken = None if language == "none" else language
    job = Import(collection, id, vectors, tuple(skip or ()), batch, **kinds, language=spoken)
    for path in files:
        detect(path)  # tell of a missing file before anything is written
    if not create and not is_url(source) and not Path(source).exists():
        raise NotFound(f"there is no database in {source}", "Use --create to make it")
    with vsearch.connect(source, api_key=api_key) if is_url(source) else vsearch.open(source) as db:
        if collection not in db.collections():
            if not create:
                raise NotFound(f"no collection named {collection!r}", "Use --create to make it")
            db.create_collection(collection, fields=job.infer_fields(files[0], metric))
        job.send(db, files) if isinstance(db, vsearch.RemoteDatabase) else job.run(db, Path(source), files)


@app.command()
def export(
    source: Annotated[str, typer.Argument(metavar="DIR|URL", help="The database's directory, or its server.")],
    collection: CollectionName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What to write: *.parquet or *.arrow.")],
    format: Annotated[str | None, typer.Option(help="parquet or arrow, whatever the name of the file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file when it exists.")] = False,
    api_key: ServerKey = None,
) -> None:
    """Write a collection to a file: ids, vectors, payloads, expiry. `import --create` makes the same of it."""
    from vsearch.cli.exporting import check_target, fetch, format_of, write
    from vsearch.cli.source import is_url

    chosen = format_of(file, format)
    check_target(file, force)
    if is_url(source):
        fetch(source, api_key, collection, file, chosen)
        return
    with vsearch.open(source, read_only=True) as db:
        write(db.collection(collection), file, chosen)


@app.command()
def search(
    directory: Directory,
    collection: CollectionName,
    vector: Annotated[
        str | None, typer.Option(metavar="JSON", help='The query vector: a list; or a sparse one, {"7": 0.5}.')
    ] = None,
    text: Annotated[str | None, typer.Option(metavar="WORDS", help="The words to find, in a text field.")] = None,
    file: Annotated[Path | None, typer.Option(metavar="FILE.npy", help="The query vector in a NumPy file.")] = None,
    like: Annotated[str | None, typer.Option(metavar="ID", help="Search with the vector of this point.")] = None,
    using: Annotated[str | None, typer.Option(metavar="FIELD", help="The field; needed if there are several.")] = None,
    filter: Annotated[
        str | None, typer.Option(metavar="JSON", help='Only points that match, as {"year": {"$gte": 2020}}.')
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=MAX_LIMIT, help="How many hits.")] = 10,
    exact: Annotated[bool, typer.Option("--exact", help="Compare with every point.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Show how the search is run, with its times.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find the points nearest to a vector, or the best for some words."""
    where = None if filter is None else parse_json(filter, "--filter")
    with vsearch.open(directory, read_only=True) as db:
        docs = db.collection(collection)
        query, source = query_of(docs, vector, text, file, like, using)
        params = vsearch.SearchParams(exact=exact)
        if explain:
            docs.search(query, using, limit, filter=where, params=params)  # the first search of a process loads kernels
            plan = docs.explain(query, using, limit, filter=where, params=params, analyze=True)
            show.as_json(plan.to_dict()) if as_json else show.line(str(plan))
            return
        found = docs.search(query, using, min(limit + (source is not None), MAX_LIMIT), filter=where, params=params)
    hits = [hit for hit in found if source is None or hit.id != source.id][:limit]
    if as_json:
        show.as_json([{"id": hit.id, "score": hit.score, "payload": hit.payload} for hit in hits])
    else:
        show.hits(hits)


@app.command()
def stats(directory: Directory, as_json: AsJson = False) -> None:
    """Show what a database holds and how large it is."""
    with vsearch.open(directory, read_only=True) as db:
        found = db.stats()
    show.as_json(found) if as_json else show.stats(found)


@app.command()
def check(directory: Directory) -> None:
    """Verify every checksum, and that ids, points and segments agree. Exit code 1 when there are problems."""
    try:
        with vsearch.open(directory, read_only=True) as db:
            problems = db.check()
    except Corruption as error:
        problems = [str(error)]
    for problem in problems:
        show.line(problem)
    if problems:
        raise typer.Exit(1)
    show.line("no problems found")


@app.command()
def optimize(
    directory: Directory,
    collection: Annotated[str | None, typer.Argument(metavar="[COLLECTION]", help="Default: every one.")] = None,
) -> None:
    """Seal, compact and index everything now, for the quickest searches."""
    if not directory.exists():
        raise NotFound(f"there is no database in {directory}")
    with vsearch.open(directory) as db:
        for name in db.collections() if collection is None else [collection]:
            start = time.perf_counter()
            with show.progress(f"optimizing {name}", None) as update:
                db.collection(name).optimize(progress=update)
            show.line(f"{name}: optimized in {time.perf_counter() - start:.1f} s")


@app.command()
def backup(
    source: Annotated[str, typer.Argument(metavar="DIR|URL", help="The database's directory, or its server.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write, a plain tar.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file when it exists.")] = False,
    api_key: ServerKey = None,
) -> None:
    """Write a database to one file: all collections, as they are at one instant."""
    from vsearch.cli.backup import backup as run

    run(source, file, force, api_key)


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup or a snapshot.")],
    target: Annotated[
        str, typer.Argument(metavar="DIR|URL", help="A new directory; with --collection any, or a server.")
    ],
    collection: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only this collection of it. Default: everything.")
    ] = None,
    name: Annotated[str | None, typer.Option("--as", metavar="NEW_NAME", help="What to call the collection.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="In place of the collection of that name.")] = False,
    api_key: ServerKey = None,
) -> None:
    """Make a database of a backup, or bring one collection of it into a database. Everything is verified first."""
    from vsearch.cli.backup import restore as run

    run(file, target, collection, name, replace, api_key)


@app.command()
def warmup() -> None:
    """Compile the kernels now rather than at the first search. They are kept in the user's cache folder."""
    from vsearch.cli.warmup import kept_kernels, warm_up
    from vsearch.index.jit import cache_folder

    before, start = kept_kernels(), time.perf_counter()
    with show.err.status("compiling"):
        warm_up()
    new, elapsed_s = kept_kernels() - before, time.perf_counter() - start
    show.line(f"{new} kernels compiled in {elapsed_s:.1f} s; they are kept in {cache_folder()}")


app.command()(serve)


@app.command()
def demo(
    directory: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Where to leave the database. Default: nowhere.")
    ] = None,
) -> None:
    """Search 5,000 dictionary entries by meaning: a tour of a minute."""
    from vsearch import demo as tour

    tour.run(directory)


def parse_vector(text: str) -> Any:
    """A dense vector as a list; a sparse one, written {"7": 0.5} or {"indices": [7], "values": [0.5]}, as a query."""
    found = parse_json(text, "--vector")
    if not isinstance(found, dict):
        return found
    if found.keys() == {"indices", "values"}:
        return found["indices"], found["values"]
    if not all(term.isascii() and term.isdecimal() and len(term) <= MAX_DIGITS for term in found):
        raise InvalidArgument(f"--vector has terms that are no whole numbers: {text}", 'Write {"7": 0.5, "12": 1.0}')
    return {int(term): weight for term, weight in found.items()}


def query_of(
    docs: vsearch.Collection,
    vector: str | None,
    text: str | None,
    file: Path | None,
    like: str | None,
    using: str | None,
) -> tuple[Any, vsearch.Point | None]:
    """The query, and the point whose vector it is, if any."""
    if sum(way is not None for way in (vector, text, file, like)) != 1:
        raise InvalidArgument("a search needs one query vector", "Give one of --vector, --text, --file and --like")
    if vector is not None:
        return parse_vector(vector), None
    if text is not None:
        return text, None
    if file is not None:
        return load_vector(file), None
    point = point_of(docs, like or "")
    vectors = point.vectors or {}
    field = using or next(iter(docs.schema))
    if field not in vectors:
        raise NotFound(f"the point {like!r} has no vector of field {field!r}")
    return vectors[field], point


def load_vector(file: Path) -> Any:
    """An array of shape [d] or [1, d] in a .npy file, as [d]."""
    try:
        array = np.load(file, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InvalidArgument(f"{file} is not a NumPy file: {error}") from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise InvalidArgument(f"{file} holds several arrays", "Save the query vector with numpy.save")
    return array[0] if array.ndim == 2 and len(array) == 1 else array


def point_of(docs: vsearch.Collection, text: str) -> vsearch.Point:
    """The point whose id is written so: a text, or an integer."""
    from vsearch.points import integer_id

    ids: list[int | str] = [text]
    if (number := integer_id(text)) is not None:
        ids.append(number)
    found = docs.get(ids, with_vectors=True)
    if not found:
        raise NotFound(f"there is no point {text!r} in {docs.name!r}")
    return found[0]
