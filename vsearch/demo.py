"""The tour: 5,000 dictionary entries are stored durably, searched by meaning, filtered, reopened and measured.

The entries are WordNet definitions and the queries its example sentences, each with the entry that it illustrates; all
have 384-dimensional vectors of the model all-MiniLM-L6-v2, shipped with the package. Every number shown is measured
in this run, on this machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
from rich.table import Table
from rich.text import Text

import vsearch
from vsearch.cli.show import err, out, progress, size
from vsearch.cli.warmup import kept_kernels, warm_up
from vsearch.storage.tables import count_rows, read_batches
from vsearch.types import FloatArray

Result = TypeVar("Result")

DATA: Final = Path(__file__).parent / "data"
COLLECTION: Final = "wordnet"
BATCH: Final = 500
PAYLOAD: Final = ("text", "lemmas", "pos", "category", "words")

SENTENCES: Final = (
    "The steady dripping of water rusted the metal stopper in the sink",
    "in New England they call sodas tonics",
    "The sun shone bright that day",
)


class Queries(NamedTuple):
    """Example sentences: `vectors` [n, 384] and the ids of the entries that they illustrate."""

    texts: list[str]
    answers: list[str]
    vectors: FloatArray


def run(directory: Path | None) -> None:
    """The tour in a temporary folder, or in one that is left behind."""
    title = Text(f"vsearch {vsearch.__version__}", "bold")
    out.print(title.append(": 5,000 dictionary entries, searched by meaning", "not bold"))
    compile_kernels()
    with TemporaryDirectory(prefix="vsearch-demo-") as folder:
        place = directory or Path(folder) / "database"
        queries = load_queries()
        with vsearch.open(place) as db:
            docs = store(db)
            search_by_meaning(docs, queries)
            search_with_filters(docs, queries)
        reopen(place, queries)
        with vsearch.open(place, read_only=True) as db:
            measure(db.collection(COLLECTION), queries)
    if directory is None:
        out.print("\nThe database was temporary; `vsearch demo DIR` leaves one behind.")
    else:
        out.print(f"\nThe database is in {directory}. What is like soda pop?", soft_wrap=True)
        out.print(f"  vsearch search {directory} {COLLECTION} --like wn-043421", style="cyan", soft_wrap=True)


def compile_kernels() -> None:
    if not kept_kernels():
        out.print("The kernels are compiled first, once on this machine: two minutes on two cores.", style="dim")
    with err.status("Compiling"):
        warm_up()


def store(db: vsearch.Database) -> vsearch.Collection:
    """Write the entries, unless an earlier tour left them here, and index them."""
    heading("Store")
    if COLLECTION in db.collections():
        docs = db.collection(COLLECTION)
        out.print(f"  {docs.count():,} points are here from an earlier run")
        return docs
    docs = db.create_collection(COLLECTION, fields={"dense": vsearch.Dense(384)})
    file = DATA / "wordnet_demo_docs.parquet"
    batches, write_s = 0, 0.0
    with progress("storing", count_rows(file)) as update:
        for batch in read_batches(file, BATCH):
            start = time.perf_counter()
            docs.upsert(batch.python("id"), {"dense": batch.vectors("dense")}, batch.records(PAYLOAD))
            write_s += time.perf_counter() - start
            batches += 1
            update(batch.position, None)
    points = docs.count()
    out.print(f"  written  {points:,} points in {write_s:.2f} s: {batches} batches, each on disk before the next")
    index_s, _ = timed(docs.optimize)
    kinds = {kind for segment in docs.stats()["segments"] for kind in segment["indexes"].values()}
    out.print(f"  indexed  {', '.join(sorted(kinds))} in {index_s:.2f} s; {size(db.stats()['disk_bytes'])} on disk")
    return docs


def search_by_meaning(docs: vsearch.Collection, queries: Queries) -> None:
    heading("Search by meaning", "* marks the definition that the sentence illustrates")
    for sentence in SENTENCES:
        ask(docs, queries, sentence)


def search_with_filters(docs: vsearch.Collection, queries: Queries) -> None:
    heading("Search with a filter")
    F = vsearch.F
    ask(
        docs,
        queries,
        "coat the cake with chocolate",
        (F("category") == "noun.food") & (F("words") <= 12),
        '(F("category") == "noun.food") & (F("words") <= 12)',
    )
    ask(
        docs,
        queries,
        "he sprayed the garden to get rid of pests",
        F("category").any(["noun.animal", "noun.plant"]) & F("words").between(8, 20),
        'F("category").any(["noun.animal", "noun.plant"]) & F("words").between(8, 20)',
    )


def ask(docs: vsearch.Collection, queries: Queries, sentence: str, where: Any = None, shown: str = "") -> None:
    """One search: the sentence, how long it took, and the first three entries found."""
    i = queries.texts.index(sentence)
    elapsed_s, hits = timed(lambda: docs.search(queries.vectors[i], limit=3, filter=where))
    note = f"{elapsed_s * 1e3:.1f} ms" if where is None else f"{elapsed_s * 1e3:.1f} ms, {docs.count(where):,} match"
    out.print(Text.assemble("\n  ", (sentence, "bold"), (f"  {note}", "dim")))
    if shown:
        out.print(f"  {shown}", style="cyan")
    table = Table.grid(padding=(0, 1))
    for hit in hits:
        mark = Text("*" if hit.id == queries.answers[i] else " ", "bold green")
        text = Text((hit.payload or {})["text"], no_wrap=True, overflow="ellipsis")
        table.add_row("   ", mark, f"{hit.score:.2f}", text)
    out.print(table)


def reopen(place: Path, queries: Queries) -> None:
    heading("Close and open again")

    def first_answer() -> None:
        with vsearch.open(place) as db:
            db.collection(COLLECTION).search(queries.vectors[0])

    elapsed_s, _ = timed(first_answer)
    out.print(f"  {elapsed_s * 1e3:.0f} ms for opening, the first answer and closing: nothing is rebuilt")


def measure(docs: vsearch.Collection, queries: Queries) -> None:
    heading("Measure", f"{len(queries.texts)} sentences, one at a time")
    table = Table(box=None, padding=(0, 2), header_style="bold")
    for name in ("", "recall@10", "right in 10", "MRR@10", "median", "95%"):
        table.add_column(name, justify="right" if name else "left")
    exact, exact_ms = answers(docs, queries, vsearch.SearchParams(exact=True))
    default, default_ms = answers(docs, queries, None)
    for name, found, times_ms in (("default", default, default_ms), ("exact", exact, exact_ms)):
        shared = [len(set(a) & set(b)) / 10 for a, b in zip(found, exact, strict=True)]
        ranks = [ids.index(right) + 1 if right in ids else 0 for ids, right in zip(found, queries.answers, strict=True)]
        table.add_row(
            name,
            f"{np.mean(shared):.3f}",
            f"{np.mean([rank > 0 for rank in ranks]):.0%}",
            f"{np.mean([1 / rank if rank else 0 for rank in ranks]):.3f}",
            f"{np.median(times_ms):.2f} ms",
            f"{np.percentile(times_ms, 95):.2f} ms",
        )
    out.print(table)
    out.print("  recall@10: share of the ten truly nearest entries that is found", style="dim")
    out.print("  right in 10, MRR@10: whether the definition is among ten, and how early;", style="dim")
    out.print("  this measures the vectors, so exact search is the bound", style="dim")


def answers(docs: vsearch.Collection, queries: Queries, params: Any) -> tuple[list[list[Any]], list[float]]:
    """Ids of ten hits for each query, and the milliseconds that each took, one at a time."""
    found, times_ms = [], []
    for vector in queries.vectors:
        start = time.perf_counter()
        hits = docs.search(vector, params=params, with_payload=False)
        times_ms.append((time.perf_counter() - start) * 1e3)
        found.append(list(hits.ids))
    return found, times_ms


def load_queries() -> Queries:
    (batch,) = read_batches(DATA / "wordnet_demo_queries.parquet", 1_000)
    return Queries(batch.python("text"), batch.python("answer"), batch.vectors("dense"))


def heading(title: str, note: str = "") -> None:
    out.print(Text.assemble("\n", (title, "bold green"), (f"  {note}" if note else "", "dim")))


def timed(action: Callable[[], Result]) -> tuple[float, Result]:
    """Seconds, and the result."""
    start = time.perf_counter()
    result = action()
    return time.perf_counter() - start, result
