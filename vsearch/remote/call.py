"""One call to a server, as a value: what is sent and how the answer is read."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, update_wrapper
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from vsearch.errors import InvalidArgument, NotFound
from vsearch.names import check_name
from vsearch.remote.files import Saving

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """`path`: percent-encoded, below the server's URL. `decode`: makes the result of the answer's object, or of the
    number of bytes downloaded. `body`: the object that is sent, None for none; or (`upload`) a file whose bytes are
    sent. `download`: the file that the answer's bytes go to. `repeatable`: a read, which may be made again after a
    connection broke. `patient`: may take any time. `wait_s`: for so long the
    server may wait for somebody else.
    """

    method: str
    path: str
    decode: Callable[[Any], T]
    body: dict[str, Any] | None = None
    params: tuple[tuple[str, str], ...] = ()
    upload: Path | None = None
    download: Saving | None = None
    repeatable: bool = False
    patient: bool = False
    wait_s: float = 0.0


def read(collection: str, operation: str, decode: Callable[[Any], T], **body: Any) -> Call[T]:
    """A call of a collection that changes nothing."""
    return Call("POST", f"{collection_path(collection)}/{operation}", decode, body, repeatable=True)


def write(collection: str, operation: str, decode: Callable[[Any], T], **body: Any) -> Call[T]:
    """A call of a collection that may change it."""
    return Call("POST", f"{collection_path(collection)}/{operation}", decode, body)


@lru_cache(maxsize=1_000)
def collection_path(name: str) -> str:
    """Where a collection is. Raises NotFound for what cannot be the name of one."""
    try:
        check_name("collection", name)
    except InvalidArgument:
        raise NotFound(f"no collection named {name!r}", "Use one of collections()") from None
    return f"/v1/collections/{quote(name, safe='')}"


def nothing(answer: Any) -> None:
    """Of an answer that says no more than that it was done."""


def as_method(make: Callable[..., Any], bound: int) -> Callable[[F], F]:
    """Give a method the name, docstring and signature of `make`, whose first `bound` parameters it fills in."""

    def dress(method: F) -> F:
        made, own = inspect.signature(make), inspect.signature(method)
        self, *_ = own.parameters.values()
        result = own.return_annotation
        if result == "T":
            result = made.return_annotation.removeprefix("Call[").removesuffix("]")
        update_wrapper(method, make)
        vars(method)["__signature__"] = made.replace(
            parameters=[self, *list(made.parameters.values())[bound:]],
            return_annotation=result,
        )
        return method

    return dress
