"""What the demo shows while it runs: the story so far, bars for each bay and stage, and MQTT. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dockd.identity import plain_text
from dockd.report.tables import state_text

MESSAGES: Final = 5
STEPS: Final = 6
BARS: Final = ("copied", "in the store", "emptied")


@dataclass(slots=True)
class Story:
    """What happened so far, and what is happening now."""

    steps: list[str] = field(default_factory=list)

    def tell(self, step: str) -> None:
        """The next step."""
        self.steps.append(step)


def stages(bay: Mapping[str, Any]) -> tuple[float, float, float]:
    """How much of a bay's bytes is copied, confirmed and wiped, from 0 to 1; none there is done already."""
    total = bay["bytes_total"]
    flying = bay.get("in_flight", {})
    if not total:
        return 0.0, 0.0, 0.0
    copied = bay["bytes_copied"] + flying.get("offloading", 0)
    # Sent and read back are half of the way each.
    stored = bay["bytes_confirmed"] + (flying.get("uploading", 0) + flying.get("confirming", 0)) / 2
    return min(1.0, copied / total), min(1.0, stored / total), min(1.0, bay["bytes_wiped"] / total)


def draw(story: Story, status: Mapping[str, Any] | None, heard: Iterable[tuple[str, str]]) -> RenderableType:
    """The whole picture, for any width from 80 columns on."""
    parts: list[RenderableType] = [_steps(story), Text()]
    if status is not None:
        parts += [_bays(status["bays"]), Text(), _counts(status), Text()]
    parts.append(_messages(list(heard)))
    return Group(*parts)


def _steps(story: Story) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(width=1)
    table.add_column()
    shown = story.steps[-STEPS:]
    for index, step in enumerate(shown):
        now = index == len(shown) - 1
        table.add_row(
            Text("▶" if now else "✔", "bold yellow" if now else "green"), Text(step, "bold" if now else "dim")
        )
    return table


def _bays(bays: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True, padding=(0, 2, 0, 0))
    table.add_column("camera", no_wrap=True, max_width=16)
    for name in BARS:
        table.add_column(name, ratio=1, min_width=8)
    table.add_column("state", width=11, no_wrap=True)
    table.add_column("take it?", width=8, justify="center")
    for bay in bays:
        done = stages(bay)
        bars = [
            ProgressBar(total=1.0, completed=part, complete_style=style, finished_style="green")
            for part, style in zip(done, ("cyan", "blue", "magenta"), strict=True)
        ]
        yes = bay["safe_to_take"]
        take = Text("yes", "bold green") if yes else Text("not yet", "yellow")
        table.add_row(Text(plain_text(str(bay["camera"]))), *bars, state_text(bay["state"]), take)
    if not bays:
        table.add_row(Text("no camera is docked", "dim"), *(Text() for _ in BARS), Text(), Text())
    return table


def _counts(status: Mapping[str, Any]) -> Text:
    counts = status["counts"]
    text = Text.assemble(
        f"recordings {counts['recordings']}, in the store {counts['in_store']}, wiped {counts['wiped']}, ",
        (f"unaccounted {counts['unaccounted']}", "bold red" if counts["unaccounted"] else "bold green"),
        f", awaiting return {counts['awaiting_return']}",
    )
    text.no_wrap = True
    return text


def _messages(heard: Sequence[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(no_wrap=True, max_width=30, overflow="ellipsis")
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_row(Text("MQTT", "bold"), Text("the last messages of the dock", "dim"))
    for topic, payload in heard[-MESSAGES:]:
        table.add_row(Text(plain_text(topic), "cyan"), Text(plain_text(brief(payload)), "dim"))
    return table


_BRIEF: Final = ("event", "state", "phase", "seq", "camera", "stage", "bytes_done", "bytes_total", "what", "confirmed")


def brief(payload: str) -> str:
    """The telling part of a message, on one line."""
    if not payload:
        return "(taken back)"
    try:
        found = json.loads(payload)
    except ValueError:
        return payload
    return "  ".join(f"{key} {found[key]}" for key in _BRIEF if found.get(key) not in (None, ""))


def line(status: Mapping[str, Any]) -> str:
    """The picture as one plain line, for a pipe."""
    parts = []
    for bay in status["bays"]:
        copied, stored, wiped = (f"{part:.0%}" for part in stages(bay))
        camera = plain_text(str(bay["camera"]))
        parts.append(f"{camera} {bay['state']}: copied {copied}, in the store {stored}, emptied {wiped}")
    return "; ".join(parts) or "no camera is docked"
