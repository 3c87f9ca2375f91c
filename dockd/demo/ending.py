"""How the demo ends: what became of each recording, a check that does not ask dockd, and how to go on."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import blake3
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dockd.demo.children import program
from dockd.demo.world import ROOT_TOPIC, Sample, World
from dockd.journal.database import open_for_reading
from dockd.report.tables import size_text

WIDE: Final = 150
"""From so many columns on, a key with its whole digest fits in."""

_QUERY = """SELECT path, serial, size_bytes, blake3, store_key, confirmed_utc, wiped_utc FROM recording
    JOIN camera ON camera.id = recording.camera ORDER BY serial, path, generation"""


@dataclass(frozen=True, slots=True)
class Ended:
    """What the journal knows of one recording at the end."""

    camera: str
    path: str
    size_bytes: int
    blake3: str | None
    key: str | None
    confirmed: str | None
    wiped: str | None


def read_journal(world: World) -> list[Ended]:
    """Every recording, as the stopped daemon's journal has it."""
    connection = open_for_reading(world.paths.journal)
    try:
        return [
            Ended(serial.decode(), path.decode(), size, digest, key, confirmed, wiped)
            for path, serial, size, digest, key, confirmed, wiped in connection.execute(_QUERY)
        ]
    finally:
        connection.close()


def ending_table(rows: Sequence[Ended], *, wide: bool) -> Table:
    """Recording, size, where in the store (whole if `wide`), confirmed how, wiped when."""
    table = Table(header_style="bold", box=None, pad_edge=False, expand=True, title_justify="left", title_style="bold")
    table.title = "What became of each recording"
    table.add_column("recording", no_wrap=True, overflow="ellipsis", ratio=3)
    table.add_column("size", justify="right", no_wrap=True)
    where, share = ("in the store", None) if wide else ("below calgary/recordings/", 4)
    table.add_column(where, no_wrap=True, overflow="ellipsis", ratio=share)
    table.add_column("confirmed", no_wrap=True)
    table.add_column("wiped", no_wrap=True)
    for row in rows:
        name = f"{row.camera} {row.path.rsplit('/', 1)[-1]}"
        table.add_row(
            Text(name),
            size_text(row.size_bytes),
            Text(row.key or "no" if wide else _short(row.key)),
            Text(_clock(row.confirmed), "green" if row.confirmed else "red"),
            Text(_clock(row.wiped), "magenta" if row.wiped else "yellow"),
        )
    return table


CONFIRMED_HOW = (
    "confirmed: read back from the store past this computer's memory; size, BLAKE3 and SHA-256 are those of the "
    "camera's bytes. wiped: the camera's file was read a second time, found equal, deleted, and seen gone."
)


def _clock(moment: str | None) -> str:
    return "no" if moment is None else moment[11:19]


def _short(key: str | None) -> str:
    """A key for a table: its camera, the first digits of the BLAKE3, and the suffix."""
    if key is None:
        return "no"
    *_, camera, name = key.split("/")
    digest, dot, suffix = name.partition(".")
    return f"{camera}/{digest[:12]}…{dot}{suffix}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check without dockd found: by what, how many are right, and what is wrong."""

    tool: str
    right: int
    wrong: tuple[str, ...]


def check_store(world: World) -> Verdict:
    """Compare every object with the digests that were taken when the samples were made; dockd is not asked."""
    objects = sorted((world.store / "calgary" / "recordings").glob("*/[!.]*"))
    tool, digests = _blake3_of(objects)
    wrong: list[str] = []
    right = 0
    for sample in world.samples:
        found = [path for path in objects if path.parent.name == sample.camera and path.name.startswith(sample.blake3)]
        problem = _problem(sample, found, digests)
        if problem is None:
            right += 1
        else:
            wrong.append(f"{sample.camera} {sample.path}: {problem}")
    return Verdict(tool, right, tuple(wrong))


def _problem(sample: Sample, found: Sequence[Path], digests: dict[Path, str]) -> str | None:
    if len(found) != 1:
        return f"there are {len(found)} objects of its BLAKE3 in the store"
    path = found[0]
    if path.stat().st_size != sample.size_bytes:
        return f"its object has {path.stat().st_size} bytes, not {sample.size_bytes}"
    if digests.get(path) != sample.blake3:
        return "its object has another BLAKE3 than its name says"
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sample.sha256:
            return "its object has another SHA-256 than what was on the camera"
    return None


def _blake3_of(objects: Sequence[Path]) -> tuple[str, dict[Path, str]]:
    b3sum = program("b3sum")
    if b3sum is not None and objects:
        # Names are hex digits here, so that b3sum has nothing to escape.
        told = subprocess.run(  # noqa: S603
            [b3sum, "--", *map(str, objects)], capture_output=True, text=True, check=False
        )
        pairs = [line.split(maxsplit=1) for line in told.stdout.splitlines()]
        return "b3sum and Python's hashlib (SHA-256)", {Path(name): digest for digest, name in pairs}
    found = {}
    for path in objects:
        hasher = blake3.blake3()
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                hasher.update(piece)
        found[path] = hasher.hexdigest()
    return "the blake3 package and Python's hashlib (SHA-256); b3sum is not installed", found


def check_custody(world: World) -> Text:
    """What `dockd custody verify` finds of the signed log in the store, in one line."""
    # It takes 50 ms to import, and other commands do not need it.
    from dockd.custody.look import discover, verify_all  # noqa: PLC0415 - as said
    from dockd.custody.trust import Trust  # noqa: PLC0415 - as said

    reports = verify_all(discover(world.store), Trust(), None)
    broken = [report for report in reports if report.broken is not None]
    if broken or not reports:
        return Text(f"WRONG: {broken[0].broken if broken else 'the store has no custody records'}", "bold red")
    records, segments = sum(report.last for report in reports), sum(report.segments for report in reports)
    return Text(f"custody: {records} records in {segments} segments, each signed by the dock and in the store", "green")


def say_ending(console: Console, world: World, rows: Sequence[Ended], verdict: Verdict) -> None:
    """Print the table, the verdict, and what is odd."""
    console.print()
    console.print(ending_table(rows, wide=console.width >= WIDE))
    console.print(Text(CONFIRMED_HOW, "dim"))
    console.print()
    total = len(world.samples)
    if verdict.wrong or verdict.right != total:
        console.print(Text(f"WRONG: only {verdict.right} of {total} recordings are whole in the store", "bold red"))
        for wrong in verdict.wrong:
            console.print(Text(f"  {wrong}", "red"), soft_wrap=True)
    else:
        whole = f"{total} of {total} recordings are whole in the store, byte for byte what was on the cameras"
        console.print(Text(f"checked without dockd: {whole} ({verdict.tool})", "bold green"))
    console.print(check_custody(world))
    kept = [row for row in rows if row.wiped is None]
    if kept:
        console.print(
            Text(
                f"{len(kept)} recordings were not wiped: reads in {world.root} do not get past this computer's memory, "
                "or something else speaks against it; `dockd explain` says what. Nothing is lost by that.",
                "yellow",
            )
        )


def go_on(console: Console, world: World, dockd: str, port: int | None, *, serving: bool) -> None:
    """Print the lines to go on with."""
    lines = [f"cd {world.root}"]
    if not serving:
        if port is not None:
            lines.append("mosquitto -c mosquitto.conf &")
        lines.append(f"{dockd} run --config config.toml 2>> daemon.log &")
    lines += [
        "mkdir cameras/CAM4; touch cameras/CAM4/.dockd-camera",
        "cp clip.mp4 cameras/CAM4/      # any file of yours",
        f"{dockd} status --watch --config config.toml",
        f"{dockd} explain CAM2 --config config.toml",
        f"{dockd} passport --camera CAM2 --with-recordings --out passport --config config.toml",
        f"{dockd} custody verify passport      # or what passport/VERIFY.md says, without dockd",
    ]
    if port is not None:
        lines.append(f"mosquitto_sub -p {port} -v -t '{ROOT_TOPIC}/#'")
    console.print()
    console.print("Go on with:" if not serving else "The dock runs on. Ctrl-C ends it. Meanwhile, in another terminal:")
    for line in lines:
        console.print(Text(f"  {line}", "cyan"), soft_wrap=True)
    console.print(f"Everything lies in {world.root}; remove it when you are done.", soft_wrap=True, highlight=False)
