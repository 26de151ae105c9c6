"""The only place that knows which error has which HTTP status, and what an error looks like on the wire."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, Field, ValidationError

from vsearch import errors
from vsearch.errors import InvalidArgument, LimitExceeded, NotFound, PermissionDenied, VSearchError

MAX_SHOWN: Final = 5  # problems of one body that are listed
MAX_INPUT: Final = 60  # characters of a wrong value that are shown

# The first class of an error's ancestry that is here decides.
STATUSES: Final[dict[type[VSearchError], int]] = {
    errors.InvalidArgument: 400,
    errors.LimitExceeded: 400,
    errors.NotFound: 404,
    errors.AlreadyExists: 409,
    errors.PermissionDenied: 403,
    errors.ReadOnly: 403,
    errors.NotSupported: 501,
    errors.MissingExtra: 501,
    errors.ResourceExhausted: 429,
    errors.DurabilityError: 507,
    errors.Locked: 503,
    errors.Closed: 503,
    errors.Unavailable: 503,
    errors.Corruption: 500,
    VSearchError: 500,
}


class Malformed(InvalidArgument):
    """A body that does not have the shape its route wants."""


class TooLarge(LimitExceeded):
    """A body above the limit."""


class WrongMediaType(InvalidArgument):
    """A body of a type that the route does not read."""


class WrongMethod(InvalidArgument):
    """A path that exists, with another method."""


class NoRoute(NotFound):
    """A path that does not exist."""


class NoKey(PermissionDenied):
    """A request without a key, or with a wrong one."""


class TooSlow(InvalidArgument):
    """A client that stopped in the middle of a body."""


class DiskRefused(errors.DurabilityError):
    """A write to a database that takes no more, because the disk refused an earlier one."""


class BadGateway(errors.Unavailable):
    """A server behind this one that cannot be reached, or does not speak HTTP."""


class GatewayTimeout(errors.Unavailable):
    """A server behind this one that does not answer in time."""


class InternalError(VSearchError):
    """A bug of ours."""

    code = "internal"


HTTP_STATUSES: Final[dict[type[VSearchError], int]] = {
    Malformed: 422,
    TooLarge: 413,
    WrongMediaType: 415,
    WrongMethod: 405,
    NoKey: 401,
    TooSlow: 408,
    BadGateway: 502,
    GatewayTimeout: 504,
    **STATUSES,
}


class ErrorStatus(BaseModel):
    error: str = Field(description="What was wrong, with which value, and what to do.")


class ErrorAnswer(BaseModel):
    """Every answer that is not a success."""

    status: ErrorStatus
    code: str = Field(description="Stable, for programs: not_found, invalid_argument, ...")
    message: str
    hint: str
    retryable: bool = Field(description="Whether the same request may succeed later.")
    time: float = Field(description="Seconds the request took.")


def status_of(error: VSearchError) -> int:
    return next(HTTP_STATUSES[kind] for kind in type(error).__mro__ if kind in HTTP_STATUSES)


def error_answer(error: VSearchError, elapsed_s: float) -> dict[str, Any]:
    """The body of an error's answer."""
    return {
        "status": {"error": str(error)},
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "retryable": error.retryable,
        "time": elapsed_s,
    }


class ErrorShape(NamedTuple):
    """How errors look on the wire: the model for the OpenAPI document, and what makes a body of (error, seconds)."""

    model: type[BaseModel]
    body: Callable[[VSearchError, float], dict[str, Any]]


OWN_SHAPE: Final = ErrorShape(ErrorAnswer, error_answer)


def malformed(error: ValidationError, what: str, kind: type[InvalidArgument] = Malformed) -> InvalidArgument:
    """A body or parameters that pydantic refused: where, and why."""
    problems = error.errors(include_url=False, include_context=False)
    if problems[0]["type"] == "json_invalid":
        return InvalidArgument(
            f"the {what} is not JSON: {problems[0]['msg'].removeprefix('Invalid JSON: ')}", "Send JSON"
        )
    shown = [f"{_place(problem['loc'])}: {problem['msg']}{_given(problem)}" for problem in problems[:MAX_SHOWN]]
    more = f" (and {len(problems) - MAX_SHOWN} more)" if len(problems) > MAX_SHOWN else ""
    return kind(f"the {what} is not as wanted: {'; '.join(shown)}{more}", "See /openapi.json for its shape")


def _place(steps: tuple[int | str, ...]) -> str:
    return ".".join(str(step) for step in steps) or "it"


def _given(problem: Any) -> str:
    value = problem.get("input")
    if problem["type"] in ("missing", "extra_forbidden") or isinstance(value, dict | list):
        return ""
    text = repr(value)
    return f", not {text[:MAX_INPUT]}{'...' if len(text) > MAX_INPUT else ''}"
