"""`python -m tests.fuzz --seconds 300`: schemathesis over the OpenAPI document of a running server.

Half of the time every route is called with made-up names; in the other half those of one collection and of one cache
are called with the names of some that exist, so that what they do is reached and not only what they refuse. No answer
may be a 5xx (but 501), or other than documented.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import vsearch
from tests.serving import serving

CONFIG = Path(__file__).with_name("schemathesis.toml")
KEPT = (
    *("delete_collection", "v1_delete_collection", "create_collection", "recover_from_snapshot", "v1_restore"),
    *("v1_delete_cache", "v1_create_cache"),
)
WAITS = "v1_cache_lease"  # for as long as it is told, if another call has the lease


def fill(path: Path) -> None:
    """A collection with a vector of two dimensions, since the lists of numbers that come up are often of that length,
    and with fields of every kind; and a cache of such vectors."""
    rng = np.random.default_rng(1)
    with vsearch.open(path) as db:
        dense = {"": vsearch.Dense(2, metric="l2"), "b": vsearch.Dense(3, metric="dot")}
        fields = {**dense, "s": vsearch.Sparse(modifier="idf"), "t": vsearch.Text()}
        docs = db.create_collection("docs", fields)
        vectors = {
            "": rng.normal(size=(300, 2)),
            "b": rng.normal(size=(300, 3)),
            "s": [{0: 1.0, i % 7 + 1: 0.5} for i in range(300)],
            "t": [f"{i % 3} 0 a" for i in range(300)],
        }
        payloads = [{"n": i, "tags": ["a", "b"][: i % 3], "o": {"x": i / 2}} for i in range(300)]
        docs.upsert(range(300), vectors, payloads)
        policies = {"0": vsearch.CachePolicy(threshold=0.0), "off": vsearch.CachePolicy(enabled=False)}
        cache = db.create_cache("answers", 2, policies, load=(1.0, 2.0))
        cache.store_many([str(i) for i in range(50)], payloads[:50], vectors[""][:50], tags=["a"])
        cache.store("", {"a": 1}, [1.0, 0.0], depends_on=[("docs", 0)])


def run(seconds: int) -> int:
    """The exit code: 0 if nothing was found."""
    command = [str(Path(sys.executable).with_name("st")), "--config-file", "schemathesis.toml", "run"]
    options = ["--max-time", str(seconds // 2), "--continue-on-failure", "--suppress-health-check", "all", "--no-color"]
    options += ["--warnings", "off", f"--exclude-operation-id={WAITS}", "--report", ""]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "db"
        fill(path)
        for name in ("made-up", "existing"):
            (Path(folder) / name).mkdir()
            config = CONFIG.read_text()
            chosen: list[str] = []
            if name == "existing":
                config += '\n[parameters]\n"path.collection" = "docs"\n"path.cache" = "answers"\n'
                chosen = [f"--exclude-operation-id={one}" for one in KEPT]
                chosen += ["--include-path-regex", "{collection}|{cache}"]
            (Path(folder) / name / "schemathesis.toml").write_text(config)
            with serving(path, "--no-access-log") as server:
                code = subprocess.run(
                    [*command, f"{server.url}/openapi.json", *options[:-2], *chosen], cwd=Path(folder) / name
                ).returncode
            if code:
                sys.stderr.writelines(server.log)
                return code
        shutil.rmtree(path)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=300)
    sys.exit(run(parser.parse_args().seconds))
