"""What the README says is true: its Python runs, its commands exist, and every command is in it.

A fence that opens with ```python no-run is not run; the fences of a page run in order, as one program.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
IS_STUB = README.count("\n") <= 20
FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.M | re.S)


def program(text: str) -> str:
    """The Python fences of a page, each on the lines where it stands, so that a traceback tells the page's line."""
    lines = [""] * (text.count("\n") + 1)
    for fence in FENCE.finditer(text):
        if fence[1].strip() == "python":
            first = text.count("\n", 0, fence.start()) + 1
            code = fence[2].splitlines()
            lines[first : first + len(code)] = code
    return "\n".join(lines)


def shell(text: str) -> str:
    """The lines of all fences of shell commands."""
    return "\n".join(fence[2] for fence in FENCE.finditer(text) if fence[1].strip() in ("bash", "sh", "console"))


def commands() -> set[str]:
    from typer.main import get_command

    from vsearch.cli.app import app

    return set(get_command(app).commands)  # type: ignore[attr-defined]


def test_the_lines_of_a_program_are_those_of_the_page() -> None:
    page = "# A\n\n```python\nx = 1\ny = 2\n```\n```bash\nls\n```\n```python no-run\nz\n```\n```python\nx + y\n```\n"
    assert program(page).rstrip("\n") == "\n\n\nx = 1\ny = 2\n\n\n\n\n\n\n\n\nx + y"


def test_python_in_the_readme_runs(tmp_path: Path) -> None:
    code = program(README)
    assert IS_STUB or code.strip(), "the README shows no Python"
    script = tmp_path / "README.py"
    script.write_text(code)
    run = subprocess.run([sys.executable, "-W", "error", script], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, f"the line numbers are those of README.md\n{run.stderr}"


@pytest.mark.skipif(IS_STUB, reason="the README is not written yet")
def test_every_command_is_in_the_readme() -> None:
    missing = {name for name in commands() if not re.search(rf"\bvsearch {name}\b", README)}
    assert not missing


def test_commands_in_the_readme_exist() -> None:
    used = set(re.findall(r"^(?:\$ )?(?:python3? -m )?vsearch ([a-z]+)", shell(README), re.M))
    assert used <= commands()
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"\bmake ([a-z]+)", shell(README))) <= targets


@pytest.mark.parametrize("name", ["", *sorted(commands())])
def test_every_command_has_help(name: str) -> None:
    command = [sys.executable, "-m", "vsearch", *name.split(), "--help"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "Usage:" in run.stdout
    assert "Traceback" not in run.stderr
