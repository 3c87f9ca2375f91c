"""`dockd pause`, `resume`, `rescan`, `retry`, `identify`: what a running daemon is asked to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dockd.config import load_config
from dockd.control.socket import ask
from dockd.errors import EXIT_DONE, ServiceMissingError
from dockd.identity import plain_text
from dockd.paths import StatePaths, is_running

_SAID = {
    "pause": "paused: nothing new is taken from cameras there, and nothing is wiped; the store gets what is here",
    "resume": "resumed",
    "rescan": "looking again",
    "retry": "trying again what waited",
    "identify": "shown for half a minute in: dockd status",
}


def control(config_path: Path, command: str, bay: str | None) -> int:
    """Ask the running daemon, and say what it did."""
    paths = StatePaths(load_config(config_path).dock.state_dir)
    if paths.state_dir.exists() and not is_running(paths):
        raise ServiceMissingError(f"no dockd runs with state_dir {paths.state_dir}", "Nothing was changed. Start it.")
    arguments: dict[str, Any] = {} if bay is None else {"bay": bay}
    result = ask(paths.control, command, arguments)
    where = "all bays" if bay is None else plain_text(bay)
    print(f"{where}: {_SAID[command]}")
    if command in ("pause", "resume") and result["paused"]:
        still = ", ".join("all bays" if name == "*" else plain_text(name) for name in result["paused"])
        print(f"paused now: {still}")
    return EXIT_DONE
