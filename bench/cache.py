"""The semantic cache: how quick it is, how good its answers are, what look-alikes and load do to it.

- Speed (`cache_speed`) and GPTCache on the same entries (`cache_peers`).
- Look-alikes made of real questions (`cache_adversarial`).
- Hits at a given share of wrong answers, by policy (`cache_quality`), drawn into bench/cache_quality.svg.
- A simulated day with an overloaded model (`cache_load`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cache_adversarial import run_adversarial
from bench.cache_curves import draw
from bench.cache_load import run_load
from bench.cache_quality import run_quality
from bench.cache_speed import run_speed
from bench.report import Report
from vsearch.cli.warmup import warm_up

PICTURE = Path(__file__).parent / "cache_quality.svg"


def run(options: argparse.Namespace) -> None:
    """Measure everything and print the report."""
    warm_up()
    report = Report("cache")
    lookup_s = run_speed(options.data, report, options.quick)
    run_adversarial(options.data, report, options.quick)
    curves = run_quality(options.data, report, options.quick)
    if not options.quick:
        PICTURE.write_text(draw(curves))
    run_load(report, options.quick, options.data, lookup_s)
    report.show()
