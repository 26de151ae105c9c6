"""Options that several commands have."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from vsearch.errors import InvalidArgument

Source = Annotated[str, typer.Argument(metavar="DIR|URL", help="The database's directory, or its server.")]
ServerKey = Annotated[str | None, typer.Option(envvar="VSEARCH_API_KEY", help="The key that a server wants.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def parse_json(text: str, option: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidArgument(f"{option} is not JSON: {error}", f"You gave {text}") from error
