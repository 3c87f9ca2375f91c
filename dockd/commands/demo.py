"""`dockd demo`."""

from __future__ import annotations

import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from dockd.demo import ending, world
from dockd.demo.children import Children
from dockd.demo.play import Play, screen
from dockd.demo.world import MIB, World
from dockd.errors import EXIT_DONE, EXIT_FOUND_WRONG
from dockd.runtime.randomness import SystemRandomness
from dockd.stores.filesystem import initialise

EXIT_INTERRUPTED: Final = 130
WATCH_S: Final = 0.5


def demo(directory: Path | None, *, serve: bool, megabytes: int, broker: bool) -> int:
    """Play a whole dock; 1 if the store does not hold what was on the cameras."""
    console = Console(highlight=False)
    place = World(world.choose_root(directory))
    children = Children(place)
    console.print(f"a dock in {place.root}", soft_wrap=True)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        _prepare(console, place, megabytes)
        if not broker or not children.start_broker():
            why = "no mosquitto here (apt-get install mosquitto)" if broker else "no broker"
            console.print(f"{why}: what would be said over MQTT is shown instead")
        return _play(console, place, children, serve=serve)
    except KeyboardInterrupt:
        console.print(f"\ninterrupted; what there is lies in {place.root}", soft_wrap=True)
        return EXIT_INTERRUPTED
    finally:
        children.stop()
        signal.signal(signal.SIGTERM, before)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _play(console: Console, place: World, children: Children, *, serve: bool) -> int:
    begun_s = time.monotonic()
    world.write_config(place, children.port)
    initialise(place.store, SystemRandomness())
    with screen(console, children) as shown:
        Play(place, children, shown).run()
    took_s = time.monotonic() - begun_s
    children.stop_daemon()
    rows = ending.read_journal(place)
    verdict = ending.check_store(place)
    ending.say_ending(console, place, rows, verdict)
    steps = "one camera pulled in mid-copy, the daemon killed once"
    console.print(f"{len(place.samples)} recordings, {steps}: {took_s:.0f} s")
    good = not verdict.wrong and verdict.right == len(place.samples)
    if serve:
        children.start_daemon()
    ending.go_on(console, place, _dockd(), children.port, serving=serve)
    if serve:
        _serve(children)
    return EXIT_DONE if good else EXIT_FOUND_WRONG


def _prepare(console: Console, place: World, megabytes: int) -> None:
    total_bytes = world.fitting_bytes(place.root, megabytes * MIB)
    with Progress(
        TextColumn("making sample recordings"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task("", total=total_bytes)
        world.make_cameras(place, total_bytes, lambda size: progress.update(task, advance=size))
    console.print(f"{len(place.samples)} sample recordings on 3 cameras, {total_bytes // MIB} MiB")


def _serve(children: Children) -> None:
    while True:
        children.check_daemon()
        time.sleep(WATCH_S)


def _dockd() -> str:
    """How dockd is called here."""
    found = Path(sys.argv[0])
    if found.name != "dockd":
        return f"{sys.executable} -m dockd"
    return "dockd" if shutil.which("dockd") == str(found) else str(found.absolute())
