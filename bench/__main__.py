"""Runs one benchmark by name."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

NAMES = {
    "embedded": "load, search, reopen and memory beside hnswlib and faiss",
    "binary": "one-bit codes beside faiss's RaBitQ and our graph",
    "sparse": "learned-sparse vectors beside Seismic, full text beside bm25s and tantivy",
    "cache": "the semantic cache beside GPTCache: speed, wrong answers, look-alikes, load",
    "rest": "the server beside the embedded database, and loading beside Qdrant's engines",
    "crash": "kill -9 in a loop, then check",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("name", choices=NAMES, help="; ".join(f"{name}: {what}" for name, what in NAMES.items()))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the data sets")
    parser.add_argument("--quick", action="store_true", help="a small part of the data: to see that it runs")
    parser.add_argument("--kills", type=int, default=1000, help="crash: how often the process is killed")
    parser.add_argument("--seed", type=int, default=None, help="crash: seed of the workload")
    options = parser.parse_args()
    importlib.import_module(f"bench.{options.name}").run(options)


if __name__ == "__main__":
    main()
