"""Rules that the sources keep, checked on their syntax trees.

Each rule is a function from one module to its findings, so that it can be shown to find a sample which breaks it.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pytest

import vsearch

ROOT = Path(__file__).parents[1]
LAYERS = ("vsearch", "index", "storage", "api")  # what is installed; index, storage and api import as vsearch.NAME
MAX_FILE_LINES = 400
MAX_TEST_FILE_LINES = 800  # a list of tests, read one at a time
MAX_FUNCTION_LINES = 70  # without the docstring

# What may be longer, each with its reason.
LONG_FILES: dict[str, str] = {}
LONG_FUNCTIONS = {"index/hnsw_walk.py:beam": "the walk over one level of a graph, one loop"}

FOUNDATION = {"vsearch.errors", "vsearch.types"}
# Third-party packages that only one folder may import, by the start of the importing file's path.
ONLY_IN = {
    **dict.fromkeys(("numba", "llvmlite", "faiss", "hnswlib", "cupy"), ("index/",)),
    **dict.fromkeys(("rocksdict", "pyarrow"), ("storage/",)),
    "xxhash": ("storage/", "vsearch/analysis.py"),
    "Stemmer": ("vsearch/analysis.py",),
    **dict.fromkeys(("uvicorn", "pydantic", "orjson", "prometheus_client", "python_multipart"), ("api/",)),
    "opentelemetry": ("api/traces.py",),
    "httpx": ("vsearch/remote/", "vsearch/embedders/", "api/openai/"),
    "langchain_core": ("vsearch/integrations/langchain.py",),
    "sentence_transformers": ("vsearch/embedders/local.py",),
    **dict.fromkeys(("typer", "rich"), ("vsearch/cli/", "vsearch/demo.py", "vsearch/__main__.py")),
}
HEAVY = (
    *("numba", "llvmlite", "cupy", "rocksdict", "pyarrow", "Stemmer", "uvicorn", "pydantic", "httpx", "typer", "rich"),
)
DISTRIBUTIONS = {  # where the import has another name
    "faiss-cpu": "faiss",
    "prometheus-client": "prometheus_client",
    "python-multipart": "python_multipart",
    "opentelemetry-sdk": "opentelemetry",
    "langchain-core": "langchain_core",
    "sentence-transformers": "sentence_transformers",
    "PyStemmer": "Stemmer",
}

BANNED_IMPORTS = {
    **dict.fromkeys(("pickle", "cPickle", "shelve", "marshal", "dill", "cloudpickle"), "runs code from stored bytes"),
    "bench": "is not installed",
    "tests": "is not installed",
}
BANNED_CALLS = {
    "print": "use rich in the command line, an error or a return value elsewhere",
    "eval": "runs text as code",
    "exec": "runs text as code",
    "breakpoint": "is for debugging",
}
WRITERS = ("write_text", "write_bytes", "tofile", "os.open", "np.save", "np.savez", "os.rename", "os.replace")
MAY_WRITE = {"storage/files.py"}  # the only place that knows how to make a file durable


@dataclass(frozen=True)
class Module:
    """One source file: its path from the root, and its text."""

    path: str
    source: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @cached_property
    def name(self) -> str:
        """The dotted name it is imported under."""
        parts = Path(self.path).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        return ".".join(parts if parts[0] not in LAYERS[1:] else ("vsearch", *parts))

    @cached_property
    def package(self) -> list[str]:
        parts = self.name.split(".")
        return parts if self.path.endswith("__init__.py") else parts[:-1]

    def imports(self) -> Iterator[tuple[int, str, int]]:
        """(line, absolute dotted name, dots in front) of every import, wherever it stands."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name, 0) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = self.package[: len(self.package) - node.level + 1] if node.level else []
                origin = ".".join([*base, *([node.module] if node.module else [])])
                yield from ((node.lineno, f"{origin}.{alias.name}", node.level) for alias in node.names)


def read(folder: str) -> list[Module]:
    """The modules under a top-level folder; links to folders are not followed."""
    paths = (path for path in (ROOT / folder).rglob("*.py") if not any(p.is_symlink() for p in path.parents))
    return [Module(path.relative_to(ROOT).as_posix(), path.read_text("utf-8")) for path in sorted(paths)]


INSTALLED = [module for folder in LAYERS for module in read(folder)]
EVERYTHING = [*INSTALLED, *read("bench"), *read("tests")]


def dotted(node: ast.expr) -> str:
    """`a.b.c` of a chain of attributes; `.b.c` when it starts with something other than a name."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


# The rules: each yields (line, what is wrong).
Findings = Iterator[tuple[int, str]]


def layers(module: Module) -> Findings:
    """index/ and storage/ build on errors and types alone, these on nothing; the core does not know api/."""
    folder = module.path.split("/")[0]
    for line, name, dots in module.imports():
        if dots > (len(module.package) - 1 if folder in LAYERS[1:] else 1):
            yield line, "a relative import that leaves its folder: write the absolute name"
        if not dots and folder in LAYERS[1:] and f"{name}.".startswith(f"vsearch.{folder}."):
            yield line, "an absolute import within its folder: write it relative"
        if name.split(".")[0] != "vsearch":
            continue
        foundation = any(f"{name}.".startswith(f"{allowed}.") for allowed in FOUNDATION)
        if module.name in FOUNDATION and not foundation:
            yield line, f"{name} in a module that everything builds on"
        if folder in ("index", "storage") and not foundation and not f"{name}.".startswith(f"vsearch.{folder}."):
            yield line, f"{name} in {folder}/"
        if folder == "vsearch" and name.startswith("vsearch.api") and not module.path.startswith("vsearch/cli/"):
            yield line, f"{name} below api/"


def third_party(module: Module) -> Findings:
    """Each third-party package has one home, and is declared in pyproject.toml."""
    for line, name, _ in module.imports():
        package = name.split(".")[0]
        if package in sys.stdlib_module_names or package == "vsearch":
            continue
        if package not in declared() and package not in BANNED_IMPORTS:
            yield line, f"{package} is not declared in pyproject.toml"
        if not module.path.startswith(ONLY_IN.get(package, "")):
            yield line, f"{package} belongs in {' or '.join(ONLY_IN[package])}"


@cache
def declared() -> set[str]:
    """The third-party packages that may be imported at all."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = [item for extra in project["optional-dependencies"].values() for item in extra]
    names = {re.split(r"[^\w-]", item)[0] for item in [*project["dependencies"], *extras]}
    return {DISTRIBUTIONS.get(name, name) for name in names}


def banned(module: Module) -> Findings:
    """No code from data, no output by print, no writing of files outside the module that makes them durable."""
    for line, name, _ in module.imports():
        if reason := BANNED_IMPORTS.get(name.split(".")[0]):
            yield line, f"{name.split('.')[0]}: {reason}"
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        if reason := BANNED_CALLS.get(name):
            yield node.lineno, f"{name}: {reason}"
        if module.path not in MAY_WRITE and (opens_for_writing(node, name) or name.endswith(WRITERS)):
            yield node.lineno, f"{name}: write through storage/files.py"


def opens_for_writing(call: ast.Call, name: str) -> bool:
    """Whether it is `open`, or a path's `.open`, in a mode that writes; for `open` a mode in a variable counts too."""
    if name.split(".")[-1] != "open" or name == "vsearch.open":
        return False
    place = 0 if "." in name and not name.startswith(("io.", "gzip.")) else 1
    modes = [*call.args[place : place + 1], *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    if not all(isinstance(mode, ast.Constant) for mode in modes):
        return name == "open"
    return any(re.fullmatch("[rbt]*[wax+][bt+]*", str(mode.value)) for mode in modes if isinstance(mode, ast.Constant))


def asserts(module: Module) -> Findings:
    """An assert states what only a bug of ours can break, and says so: `assert condition, "bug: ..."`."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Assert):
            first = node.msg.values[0] if isinstance(node.msg, ast.JoinedStr) else node.msg
            if not (isinstance(first, ast.Constant) and str(first.value).startswith("bug: ")):
                yield node.lineno, 'an assert without "bug: ...": raise an error for what a caller can cause'


def lengths(module: Module) -> Findings:
    """Files and functions that a reader takes in at once."""
    lines = module.source.count("\n")
    if lines > max_lines(module) and module.path not in LONG_FILES:
        yield lines, f"{lines} lines; at most {max_lines(module)}"
    for name, line, length in functions(module):
        if length > MAX_FUNCTION_LINES and f"{module.path}:{name}" not in LONG_FUNCTIONS:
            yield line, f"{name} has {length} lines; at most {MAX_FUNCTION_LINES}"


def max_lines(module: Module) -> int:
    return MAX_TEST_FILE_LINES if module.path.startswith("tests/") else MAX_FILE_LINES


def functions(module: Module) -> Iterator[tuple[str, int, int]]:
    """(name, line, lines without the docstring) of every function."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            head = node.body[0]
            documented = ast.get_docstring(node) is not None
            docstring = (head.end_lineno or 0) - head.lineno + 1 if documented else 0
            yield node.name, node.lineno, (node.end_lineno or 0) - node.lineno + 1 - docstring


def docstrings(module: Module) -> Findings:
    """Every module opens with what it is."""
    if module.source.strip() and not ast.get_docstring(module.tree):
        yield 1, "no docstring"


RULES_OF_SOURCES = (layers, third_party, banned, asserts)
RULES_OF_EVERYTHING = (lengths, docstrings)


@pytest.mark.parametrize("rule", [*RULES_OF_SOURCES, *RULES_OF_EVERYTHING], ids=lambda rule: rule.__name__)
def test_sources_keep_the_rule(rule: Callable[[Module], Findings]) -> None:
    modules = EVERYTHING if rule in RULES_OF_EVERYTHING else INSTALLED
    assert len(modules) > 5  # the folders were found
    findings = [f"{module.path}:{line}: {what}" for module in modules for line, what in rule(module)]
    assert not findings, "\n" + "\n".join(findings)


@pytest.mark.parametrize(
    ("rule", "path", "source"),
    [
        (layers, "index/a.py", "from vsearch.collection import Collection"),
        (layers, "index/a.py", "from vsearch import types, collection"),
        (layers, "index/a.py", "def f():\n    import vsearch.storage.files"),
        (layers, "index/a.py", "from vsearch.index.b import c"),
        (layers, "storage/a.py", "from ..index import flat"),
        (layers, "api/b/a.py", "from ...collection import Collection"),
        (layers, "vsearch/a.py", "from vsearch.api.app import create_app"),
        (layers, "vsearch/types.py", "from .filters import F"),
        (layers, "vsearch/cli/a.py", "from ..collection import Collection"),
        (third_party, "vsearch/a.py", "import numba as nb"),
        (third_party, "index/a.py", "from pyarrow import parquet"),
        (third_party, "storage/a.py", "from rich.console import Console"),
        (third_party, "storage/a.py", "import requests"),
        (banned, "vsearch/a.py", "import pickle"),
        (banned, "vsearch/a.py", "from bench import data"),
        (banned, "index/a.py", "def f():\n    print('x')"),
        (banned, "storage/a.py", "eval('1')"),
        (banned, "storage/a.py", "open('a', 'wb')"),
        (banned, "storage/a.py", "with open(path, mode=mode) as f: pass"),
        (banned, "storage/a.py", "(folder / 'a').open('a')"),
        (banned, "storage/a.py", "Path('a').write_text('b')"),
        (banned, "storage/a.py", "import os\nos.open('a', 1)"),
        (banned, "storage/a.py", "array.tofile(f)"),
        (asserts, "vsearch/a.py", "assert x"),
        (asserts, "vsearch/a.py", "assert x, 'x is wrong'"),
        (lengths, "vsearch/a.py", "x = 1\n" * 401),
        (lengths, "vsearch/a.py", "def f():\n" + "    x = 1\n" * 70),
        (docstrings, "bench/a.py", "x = 1"),
    ],
)
def test_a_broken_rule_is_found(rule: Callable[[Module], Findings], path: str, source: str) -> None:
    assert list(rule(Module(path, source + "\n")))


@pytest.mark.parametrize(
    ("rule", "path", "source"),
    [
        (layers, "index/a.py", "from vsearch.errors import Closed\nfrom .b import c\nfrom vsearch import types"),
        (layers, "vsearch/a.py", "from vsearch.index import flat\nfrom vsearch.storage.files import lock"),
        (layers, "api/a.py", "from vsearch.database import open"),
        (layers, "api/b/a.py", "from ..c import d"),
        (third_party, "index/a.py", "import numba, math\nimport numpy as np"),
        (banned, "storage/a.py", "open('a')\nopen('a', 'rb')\npath.open()\npath.open('rb')\nengine.open(path)"),
        (banned, "storage/files.py", "open('a', 'wb')"),
        (asserts, "vsearch/a.py", "assert x, 'bug: x'\nassert x, f'bug: {x}'"),
        (lengths, "vsearch/a.py", 'def f():\n    """A.\n\n    B.\n    """\n' + "    x = 1\n" * 69),
    ],
)
def test_a_kept_rule_is_not_found_broken(rule: Callable[[Module], Findings], path: str, source: str) -> None:
    assert not list(rule(Module(path, source + "\n")))


def test_exceptions_from_the_lengths_are_still_needed() -> None:
    files = {module.path for module in EVERYTHING if module.source.count("\n") > max_lines(module)}
    assert set(LONG_FILES) <= files
    long = {f"{m.path}:{name}" for m in EVERYTHING for name, _, length in functions(m) if length > MAX_FUNCTION_LINES}
    assert set(LONG_FUNCTIONS) <= long


def test_every_module_is_used_by_another() -> None:
    """By an import, or by its name in a string: backends are loaded from such names on first use."""
    used: set[str] = set()
    for module in INSTALLED:
        for _, name, _ in module.imports():
            used |= {name, name.rpartition(".")[0]} - {module.name}
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                target = node.value.partition(":")[0]
                used.add(".".join([*module.package, target[1:]]) if target.startswith(".") else target)
    roots = {"vsearch.__main__", "vsearch", "vsearch.index", "vsearch.storage", "vsearch.api"}
    for_users = {"vsearch.integrations", "vsearch.integrations.langchain", "vsearch.integrations.litellm"}
    entries = roots | for_users
    assert not {module.name for module in INSTALLED} - used - entries


@pytest.mark.parametrize("folder", ["index", "storage", "api"])
def test_layers_are_links_into_the_package(folder: str) -> None:
    assert (ROOT / "vsearch" / folder).readlink() == Path("..", folder)


def test_public_names_are_sorted_and_complete() -> None:
    names = list(vsearch.__all__)
    assert names == sorted(names)
    assert len(set(names)) == len(names)
    assert not [name for name in names if not hasattr(vsearch, name)]
    own = {name for name, value in vars(vsearch).items() if getattr(value, "__module__", "").startswith("vsearch")}
    assert {name for name in own if not name.startswith("_")} <= set(names)


def test_importing_vsearch_loads_nothing_heavy() -> None:
    loaded = fresh("import sys, vsearch; sys.stdout.write(' '.join(sys.modules))").split()
    assert "vsearch.errors" in loaded
    assert not set(loaded) & set(HEAVY)


def fresh(code: str) -> str:
    """What a new Python prints."""
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout


DOCUMENTS = [name for name in ("README.md", "ARCHITECTURE.md", "CHANGELOG.md") if (ROOT / name).exists()]


def headings(text: str) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_in_documents_lead_somewhere(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        path = ROOT / target if target else ROOT / name
        if not path.exists() or (anchor and anchor not in headings(path.read_text("utf-8"))):
            broken.append(link)
    assert not broken
