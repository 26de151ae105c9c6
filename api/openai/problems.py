"""Errors as OpenAI's clients know them."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, Field

from vsearch.errors import VSearchError

from ..errors import ErrorShape, status_of


class Problem(BaseModel):
    message: str = Field(description="What was wrong, with which value, and what to do.")
    type: str
    param: str | None
    code: str | None = Field(description="Stable, for programs: not_found, invalid_argument, ...")


class ProblemAnswer(BaseModel):
    """Every answer of ours that is not a success; those of the upstream are passed on as they are."""

    error: Problem


def problem_answer(error: VSearchError, elapsed_s: float) -> dict[str, Any]:
    """The body of an error's answer."""
    status = status_of(error)
    kinds = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": str(error), "type": kind, "param": None, "code": error.code}}


SHAPE: Final = ErrorShape(ProblemAnswer, problem_answer)
