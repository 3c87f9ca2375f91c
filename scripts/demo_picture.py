"""Draws docs/demo-live.svg and docs/demo-end.svg from what a real terminal shows of the demo.

    .venv/bin/python scripts/demo_picture.py [WIDTH] [FOLDER]

Needs tmux. The demo runs in a tmux window of WIDTH columns; its screen is captured with its colours, once in
the middle and once at the end.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

SESSION = "dockd-demo-picture"
HEIGHT = 64
LIMIT_S = 180.0
MIDDLE = "the daemon starts again"
END = "remove it when you are done"


def tmux(*arguments: str) -> str:
    """Ask tmux; what it prints."""
    return subprocess.run(["tmux", *arguments], check=True, capture_output=True, text=True).stdout


def wait_for(words: str, more: str = "") -> str:
    """The screen, with its colours, as soon as it shows these words."""
    deadline_s = time.monotonic() + LIMIT_S
    plain = ""
    while time.monotonic() < deadline_s:
        plain = tmux("capture-pane", "-p", "-t", SESSION)
        if words in plain and re.search(more, plain):
            return tmux("capture-pane", "-e", "-p", "-t", SESSION)
        time.sleep(0.2)
    sys.exit(f"the demo does not show {words!r}:\n{plain}")


def draw(screen: str, width: int, path: Path, title: str) -> None:
    """Write the screen as a picture."""
    console = Console(record=True, width=width, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115
    console.print(Text.from_ansi(screen.rstrip("\n")))
    console.save_svg(str(path), title=title)


def main() -> None:
    """Run the demo, and draw it twice."""
    width = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else Path("docs")
    tmux("new-session", "-d", "-s", SESSION, "-x", str(width), "-y", str(HEIGHT), "bash --norc --noprofile")
    try:
        tmux("send-keys", "-t", SESSION, "PS1='$ '; PATH=$PWD/.venv/bin:$PATH; clear; dockd demo", "Enter")
        draw(wait_for(MIDDLE, r"CAM2\s.*offloading"), width, folder / "demo-live.svg", "make demo")
        draw(wait_for(END), width, folder / "demo-end.svg", "make demo")
    finally:
        tmux("kill-session", "-t", SESSION)


if __name__ == "__main__":
    main()
