"""The Dockerfile, as far as it can be checked by reading: what it copies and runs exists, and how it runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = re.sub(r"\\\n\s*", " ", (ROOT / "Dockerfile").read_text())
LINES = [line for line in TEXT.splitlines() if line.strip() and not line.startswith("#")]
STAGES = TEXT.split("\nFROM ")[1:]


def of(stage: str, word: str) -> list[str]:
    return re.findall(rf"^{word} (.*)$", stage, re.M)


def test_every_line_is_an_instruction() -> None:
    known = "FROM|WORKDIR|COPY|RUN|USER|ENV|VOLUME|EXPOSE|STOPSIGNAL|HEALTHCHECK|ENTRYPOINT|CMD"
    assert [line for line in LINES if not re.match(rf"({known}) ", line)] == []


def test_the_last_stage_has_the_wheel_only_and_no_root() -> None:
    assert len(STAGES) == 2
    assert of(STAGES[1], "COPY") == ["--from=build /wheels/*.whl /wheels/"]
    assert of(STAGES[1], "USER") == ["vsearch"]
    assert STAGES[1].index("\nUSER ") < STAGES[1].index("\nENTRYPOINT ")
    install = next(line for line in of(STAGES[1], "RUN") if "pip install" in line)
    assert "[server]" in install
    assert of(STAGES[1], "VOLUME") == ["/data"]


def test_its_commands_and_variables_exist() -> None:
    from typer.main import get_command

    from vsearch.cli.app import app

    commands = get_command(app).commands  # type: ignore[attr-defined]
    assert "vsearch warmup" in of(STAGES[1], "RUN")
    assert {"warmup", "serve"} <= set(commands)
    known = {name for parameter in commands["serve"].params for name in [parameter.envvar] if name}
    set_here = {pair.partition("=")[0] for line in of(STAGES[1], "ENV") for pair in shlex.split(line)}
    assert set_here <= known
    assert of(STAGES[1], "ENTRYPOINT") == ['["vsearch"]']
    assert of(STAGES[1], "CMD") == ['["serve"]']


def test_the_health_check_is_valid_python() -> None:
    (command,) = re.findall(r'CMD \["python", "-c",\s+"(.*)"\]', TEXT)
    compile(command.replace('\\"', '"'), "healthcheck", "exec")
    assert "/healthz" in command
