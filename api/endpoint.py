"""An endpoint: one method of one path, what it takes and gives, and the function that does it.

A handler is a plain function of a `Call`. It runs in a worker thread, calls the database, and returns what the answer
holds (or is a generator that returns it, and yields the searches it wants, as together.py says); what it raises becomes
an error answer. So no handler knows of sockets, and none blocks the event loop. One that waits for other requests is a
coroutine function and runs there. The same declarations make the OpenAPI document.

There is no web framework here: routing, validation and injection of the usual one were measured at 0.3 to 0.6 ms a
request, more than the search itself. Paths are looked up in a tree of their steps; pydantic reads the bodies.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Generic, Literal, TypeVar
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict

from vsearch import wire
from vsearch.collection import Collection
from vsearch.database import Database
from vsearch.errors import InvalidArgument

from .errors import OWN_SHAPE, ErrorShape, NoRoute, WrongMethod
from .metrics import Metrics

Access = Literal["open", "read", "write"]  # open: without a key, to see whether the server lives
# The worker threads it uses, so that one kind never starves another; "loop": none, the handler is a coroutine function.
Lane = Literal["read", "write", "long", "loop"]
MAX_REMEMBERED: Final = 1_024  # paths
MAX_STEPS: Final = 10  # of a path; the longest of ours has seven

Handler = Callable[..., Any]

B = TypeVar("B")
P = TypeVar("P")


class Body(BaseModel):
    """Of every body: types are taken as they are (no "1" for 1), unknown entries are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=(), ser_json_inf_nan="null")


class Params(BaseModel):
    """Of every set of query parameters, which come as text."""

    model_config = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class Text:
    """An answer that is not JSON."""

    content: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class Download:
    """An answer sent in pieces, each made in a worker thread when the client has taken those before."""

    pieces: Generator[bytes, None, None]
    media_type: str
    file_name: str
    nbytes: int | None = None


@dataclass(slots=True)
class Call(Generic[B, P]):
    """A request as a handler sees it. `names`: the steps of the path in braces. `upload`: the file that holds the body
    of an endpoint that takes uploads. `binary`: whether the answer will be MessagePack."""

    db: Database
    metrics: Metrics
    table: Table
    names: Mapping[str, str]
    body: B
    params: P
    upload: Path | None = None
    content_type: str = ""  # of the body, with its options
    accept: str = ""
    binary: bool = False

    @property
    def docs(self) -> Collection:
        """The collection that the path names, by its name or by an alias. Raises NotFound."""
        return self.db.collection(self.names["collection"])


@dataclass(frozen=True, slots=True, eq=False)
class Endpoint:
    """`answer`: the type of the result, for the OpenAPI document. `envelope`: the result is wrapped as Qdrant does.
    `upload`: the body, of one of `upload_types`, goes to a file. `optional_body`: none at all is the default one.
    `arrow`: reads a body that is an Arrow stream. `live`: the handler is a coroutine function of the exchange and the
    body's bytes that runs on the event loop and sends the answer itself; it must not block. `errors`: their shape."""

    method: str
    path: str
    handler: Handler
    tag: str
    answer: Any
    body: type[BaseModel] | None = None
    params: type[BaseModel] | None = None
    access: Access = "read"
    lane: Lane = "read"
    envelope: bool = True
    upload: bool = False
    upload_types: tuple[str, ...] = ()
    media_type: str = wire.JSON  # of the answer
    optional_body: bool = False
    arrow: Callable[[bytes], Any] | None = None
    live: bool = False
    errors: ErrorShape = OWN_SHAPE

    @property
    def name(self) -> str:
        return self.handler.__name__

    @property
    def summary(self) -> str:
        return (self.handler.__doc__ or "").strip().split("\n")[0]


@dataclass(slots=True)
class Routes:
    """The endpoints of one module, declared by decorating their handlers."""

    tag: str
    envelope: bool = True
    endpoints: list[Endpoint] = field(default_factory=list)

    def add(self, method: str, path: str, answer: Any, **options: Any) -> Callable[[Handler], Handler]:
        """Declare the endpoint that the decorated function handles; `options` are Endpoint's."""

        def declare(handler: Handler) -> Handler:
            options.setdefault("lane", "write" if options.get("access") == "write" else "read")
            options.setdefault("envelope", self.envelope)
            self.endpoints.append(Endpoint(method, path, handler, self.tag, answer, **options))
            return handler

        return declare


class Table:
    """All endpoints, found by method and path: a tree of the paths' steps, in which a name is tried after the words."""

    def __init__(self, endpoints: list[Endpoint]) -> None:
        self.endpoints = endpoints
        self.find = lru_cache(maxsize=MAX_REMEMBERED)(self._find)  # the same few paths come again and again
        self._root: dict[str, Any] = {}
        for endpoint in endpoints:
            node = self._root
            for step in _steps(endpoint.path):
                node = node.setdefault("{}" if step.startswith("{") else step, {})
            methods = node.setdefault("", {})
            assert endpoint.method not in methods, f"bug: {endpoint.method} {endpoint.path} is declared twice"
            names = [step[1:-1] for step in _steps(endpoint.path) if step.startswith("{")]
            methods[endpoint.method] = (endpoint, names)

    def _find(self, method: str, raw_path: str) -> tuple[Endpoint, Mapping[str, str]]:
        """The endpoint and the names in its path, percent-decoded. Raises NoRoute or WrongMethod."""
        steps = _steps(raw_path)
        methods, values = _walk(self._root, steps, ()) if len(steps) <= MAX_STEPS else ({}, ())
        found = methods.get(method)
        if found is None:
            if not methods:
                raise NoRoute(f"there is nothing at {raw_path[:200]}", "See /openapi.json for what there is")
            raise WrongMethod(f"{raw_path[:200]} does not take {method[:20]}", f"It takes {', '.join(sorted(methods))}")
        endpoint, names = found
        try:
            return endpoint, {name: unquote(value, errors="strict") for name, value in zip(names, values, strict=True)}
        except UnicodeDecodeError:
            raise InvalidArgument(f"{raw_path[:200]} is not UTF-8", "Percent-encode names as UTF-8") from None

    def methods(self, raw_path: str) -> list[str]:
        """The methods that a path takes."""
        return sorted(_walk(self._root, _steps(raw_path), ())[0])


def _steps(path: str) -> list[str]:
    return path[1:].split("/") if path != "/" else []


def _walk(node: dict[str, Any], steps: list[str], names: tuple[str, ...]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The methods at the end of the steps, and what stands for the names on the way."""
    if not steps:
        return node.get("", {}), names
    step, rest = steps[0], steps[1:]
    if step and step in node:
        methods, values = _walk(node[step], rest, names)
        if methods:
            return methods, values
    if step and "{}" in node:
        return _walk(node["{}"], rest, (*names, step))
    return {}, ()
