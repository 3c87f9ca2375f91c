"""The command line, called as the installed program calls it."""

from __future__ import annotations

from dockd.cli import main


def exit_code(*argv: str) -> int:
    """The exit code, whether it is returned or raised."""
    try:
        return main(argv)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else -1
