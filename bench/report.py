"""A table of figures for people, and the same as one line of JSON."""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table


class Report:
    """Rows of (figure, measured, wanted); a wanted bound is given as ("<=" or ">=", number)."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.figures: dict[str, float] = {}
        self.table = Table("figure", "measured", "wanted", "", title=f"bench {name}")

    def row(self, key: str, title: str, value: float, wanted: tuple[str, float] | None = None, note: str = "") -> None:
        """Add a figure. `key` names it in the JSON."""
        self.figures[key] = round(value, 4)
        met = wanted is None or (value <= wanted[1] if wanted[0] == "<=" else value >= wanted[1])
        bound = "" if wanted is None else f"{wanted[0]} {wanted[1]:,g}"
        self.table.add_row(
            title, f"{value:,.3g}" if value < 100 else f"{value:,.0f}", bound, note if met else f"SHORT {note}"
        )

    def show(self) -> None:
        console = Console(width=140)
        console.print(self.table)
        about = {"bench": self.name, "date": datetime.now(UTC).date().isoformat(), "machine": platform.machine()}
        console.print(json.dumps({**about, **self.figures}), soft_wrap=True, highlight=False)
