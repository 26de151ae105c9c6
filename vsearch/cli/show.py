"""Output: results go to stdout, progress and errors to stderr. In a pipe there is no colour, no bar and no cutting."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from vsearch.hits import Hit

PATIENCE_S: Final = 2.0  # what takes longer shows that it is going on

# Payloads hold any text: nothing in them may act as markup.
out = Console(markup=False, highlight=False, emoji=False)
err = Console(markup=False, highlight=False, emoji=False, stderr=True)


def fail(message: str) -> NoReturn:
    """One line on stderr, exit code 2."""
    err.print(Text.assemble(("error: ", "bold red"), " ".join(message.split())), soft_wrap=True)
    raise SystemExit(2)


def line(text: str) -> None:
    """A line as it is: not broken, not cut, with its tabs."""
    out.file.write(f"{text}\n")


def as_json(value: Any) -> None:
    line(dumps(value))


def dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def brief(payload: Any) -> str:
    """A payload in one line: `key: value` pairs, texts without quotes."""
    if not payload:
        return ""
    texts = {k: v if isinstance(v, str) else dumps(v) for k, v in payload.items()}
    return "  ".join(f"{key}: {text}" for key, text in texts.items())


def hits(found: Sequence[Hit]) -> None:
    """A line for each hit, cut to the terminal; in a pipe its score, id and payload (JSON) between tabs."""
    if not out.is_terminal:
        for hit in found:
            line(f"{hit.score:.6f}\t{hit.id}\t{dumps(hit.payload)}")
        return
    width = max((len(str(hit.id)) for hit in found), default=0)
    for hit in found:
        payload = " ".join(brief(hit.payload).split())
        parts = (f"{hit.score:8.4f}  ", "green"), (f"{hit.id!s:{width}}  ", "cyan"), payload
        out.print(Text.assemble(*parts), no_wrap=True, overflow="ellipsis")


def stats(found: Mapping[str, Any]) -> None:
    """`Database.stats()` as a table of collections."""
    memory = size(sum(found["engine_memory_bytes"].values()))
    line(f"{found['path']}: {size(found['disk_bytes'])} on disk, {memory} of memory for the engine")
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for heading in ("collection", "points", "fields", "segments", "indexes", "disk", "memory"):
        table.add_column(heading, justify="right" if heading in ("points", "segments", "disk", "memory") else "left")
    for docs in found["collections"]:
        fields = [f"{name} {described(spec)}" for name, spec in docs["fields"].items()]
        kinds = Counter(kind for segment in docs["segments"] for kind in segment["indexes"].values())
        indexes = [f"{count} {kind}" for kind, count in sorted(kinds.items())]
        points, segments = f"{docs['points']:,}", f"{len(docs['segments']):,}"
        disk, memory = size(docs["disk_bytes"]), size(docs["memory_bytes"])
        table.add_row(docs["name"], points, "\n".join(fields), segments, "\n".join(indexes), disk, memory)
    out.print(table)


def described(spec: Mapping[str, Any]) -> str:
    """A field in few words, of its `to_dict`."""
    if spec["kind"] == "dense":
        return f"{spec['dim']} {spec['metric']}"
    more = spec["modifier"] if spec["kind"] == "sparse" else spec["language"]
    return f"{spec['kind']} {more}" if more else str(spec["kind"])


def size(count_bytes: int) -> str:
    """Bytes for people, in powers of 1024."""
    if count_bytes < 1024:
        return f"{count_bytes} B"
    value, units = count_bytes / 1024, ["KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.1f} {units[0]}"


class Rate(ProgressColumn):
    """Points a second, averaged by rich over the last half minute."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f} points/s" if task.speed else "", "green")


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Callable[[int, int | None], None]]:
    """A bar on stderr that goes when it is done; yields `update(done, total)`. Silent unless stderr is a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(description, total=total)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def waiting(description: str) -> Iterator[None]:
    """A spinner on stderr when it takes longer than PATIENCE_S. Silent unless stderr is a terminal."""
    status = err.status(description)
    timer = threading.Timer(PATIENCE_S, status.start)
    timer.daemon = True
    if err.is_terminal:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if timer.ident is not None:
            timer.join()
        status.stop()
