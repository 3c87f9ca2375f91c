"""The demo's story: three cameras come, one is pulled in the middle, the daemon is killed, and all is well."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

from rich.console import Console
from rich.live import Live

from dockd.demo.children import Children
from dockd.demo.view import Story, draw, line
from dockd.demo.world import World
from dockd.errors import ServiceMissingError

LOOK_S: Final = 0.1
LINE_S: Final = 2.0
AWAY_S: Final = 1.5
DOWN_S: Final = 0.7
PULL_SHARE: Final = 0.2
AT_REST: Final = frozenset({"ready", "attention", "waiting"})
LIMIT_S: Final = 600.0


class Screen(Protocol):
    """Where the story is shown."""

    def tell(self, step: str) -> None:
        """The next step of the story."""

    def look(self, status: dict[str, Any] | None) -> None:
        """The dock as it is now."""


class LiveScreen:
    """A terminal: drawn anew again and again."""

    def __init__(self, live: Live, children: Children) -> None:
        self._live, self._children = live, children
        self._story = Story()
        self._status: dict[str, Any] | None = None

    def tell(self, step: str) -> None:
        """The next step."""
        self._story.tell(step)
        self.look(self._status)

    def look(self, status: dict[str, Any] | None) -> None:
        """Draw."""
        self._status = status if status is not None else self._status
        self._live.update(draw(self._story, self._status, tuple(self._children.heard)), refresh=True)


class PlainScreen:
    """A pipe: a line now and then."""

    def __init__(self, console: Console, children: Children) -> None:
        self._console, self._children = console, children
        self._line_s = 0.0
        self._messages = 0

    def tell(self, step: str) -> None:
        """The next step."""
        self._console.print(step, markup=False, soft_wrap=True)

    def look(self, status: dict[str, Any] | None) -> None:
        """Say how far it is, and the newest message, every few seconds."""
        if status is None or time.monotonic() - self._line_s < LINE_S:
            return
        self._line_s = time.monotonic()
        self._console.print(f"  {line(status)}", markup=False, soft_wrap=True)
        for topic, payload in tuple(self._children.heard)[-1:]:
            self._console.print(f"  MQTT {topic} {payload}", markup=False, soft_wrap=True)


@contextmanager
def screen(console: Console, children: Children) -> Iterator[Screen]:
    """The screen that suits where the output goes."""
    if not console.is_terminal:
        yield PlainScreen(console, children)
        return
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        yield LiveScreen(live, children)


class Play:
    """Plays the story; each step waits for what it needs, for as long as it takes."""

    def __init__(self, world: World, children: Children, screen: Screen) -> None:
        self._world, self._children, self._screen = world, children, screen

    def status(self) -> dict[str, Any] | None:
        """What the daemon last said of itself."""
        try:
            found: dict[str, Any] = json.loads(self._world.paths.status.read_bytes())
        except (OSError, ValueError):
            return None
        return found

    def run(self) -> dict[str, Any]:
        """From the first camera to the last one emptied; the last status."""
        tell, world = self._screen.tell, self._world
        broker = f"mosquitto on 127.0.0.1:{self._children.port}" if self._children.port else "no broker (no mosquitto)"
        tell(f"dockd starts; {broker}")
        self._children.start_daemon()
        self._children.listen()
        self._until(lambda status: status is not None, "the daemon says how it is")
        self._pull_one()
        tell("the patrol's CAM1 and the bike officer's CAM3 are docked")
        world.dock("CAM1")
        world.dock("CAM3")
        self._for(AWAY_S)
        tell("CAM2 is docked again: its copy goes on where it was broken off")
        world.dock("CAM2")
        self._until(_some_in_store, "the first recording is confirmed")
        tell("the daemon is killed (SIGKILL), in the middle of everything")
        self._children.kill_daemon()
        self._for(DOWN_S)
        tell("the daemon starts again: what is durable stays, the rest is done once more")
        self._children.start_daemon()
        status = self._until(self._finished, "all cameras are done")
        tell("all cameras are done; what was recorded of it is signed, and in the store too")
        return self._until(_all_signed, "the custody log is signed and stored") if status else status

    def _pull_one(self) -> None:
        tell, world = self._screen.tell, self._world
        largest = max(sample.size_bytes for sample in world.samples if sample.camera == "CAM2")
        tell("the traffic officer's CAM2 is docked")
        world.dock("CAM2")
        # Not by the status, which comes twice a second: a fast disk is through by then.
        self._until(lambda _: world.spooled_bytes() >= PULL_SHARE * largest, "a part of CAM2 is copied", pause_s=0.005)
        world.pull("CAM2")
        tell("CAM2 is pulled in mid-copy: nothing is lost, its recordings await its return")
        self._until(lambda status: status is not None and not status["bays"], "the dock has seen that")
        self._for(AWAY_S)

    def _finished(self, status: dict[str, Any] | None) -> bool:
        if status is None or len(status["bays"]) < 3:
            return False
        counts = status["counts"]
        if counts["in_store"] < len(self._world.samples) or not all(bay["safe_to_take"] for bay in status["bays"]):
            return False
        # Where nothing may be wiped, an alert says why, and the bays are at rest all the same.
        blocked = any(alert["code"] == "wipe_blocked" for alert in status["alerts"]) or status["store"]["blocks_wipe"]
        resting = {bay["state"] for bay in status["bays"]} <= AT_REST
        return bool(resting and (counts["wiped"] >= len(self._world.samples) or blocked))

    def _for(self, pause_s: float) -> None:
        end_s = time.monotonic() + pause_s
        while (left_s := end_s - time.monotonic()) > 0:
            self._screen.look(self.status())
            time.sleep(min(LOOK_S, left_s))

    def _until(
        self, condition: Callable[[dict[str, Any] | None], bool], what: str, *, pause_s: float = LOOK_S
    ) -> dict[str, Any]:
        deadline_s = time.monotonic() + LIMIT_S
        shown_s = 0.0
        while True:
            status = self.status()
            if condition(status):
                return status or {}
            self._children.check_daemon()
            now_s = time.monotonic()
            if now_s > deadline_s:
                raise ServiceMissingError(f"not within {LIMIT_S:.0f} s: {what}", f"See {self._world.log}")
            if now_s - shown_s >= LOOK_S:
                shown_s = now_s
                self._screen.look(status)
            time.sleep(pause_s)


def _all_signed(status: dict[str, Any] | None) -> bool:
    return status is not None and status["custody"].get("stored_through") == status["dock"]["seq"]


def _some_in_store(status: dict[str, Any] | None) -> bool:
    return status is not None and status["counts"]["in_store"] > 0
