"""The command `vsearch`, also `python -m vsearch`.

Exit codes: 0 done; 1 `check` found problems; 2 the command could not be carried out, told in one line on stderr.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from vsearch.errors import VSearchError


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command line (default: that of the process). Always raises SystemExit."""
    from vsearch.cli.app import app
    from vsearch.cli.show import fail

    try:
        app(args=arguments)
    except (VSearchError, OSError) as error:
        fail(str(error))
    raise SystemExit(0)


if __name__ == "__main__":
    main()
