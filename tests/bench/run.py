"""`make bench`: dockd's offload path against cp and rclone, and against what the disk can do, in one run.

Every contender copies the same files into an empty target on the same file system. One round goes through all
contenders, the next one in reverse order; a round of warm-up does not count. Nothing passes or fails here: the
figures are printed, also where they are not flattering.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import show
from contenders import CONTENDERS, Contender, WrongResult
from daemon import DaemonFailed
from figures import Runs, summarise
from measure import CommandFailed, busy_share
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from sources import Site, lay_out, plant
from surroundings import describe

UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
MARGIN_BYTES = 1 << 30
REPOSITORY = Path(__file__).resolve().parents[2]


def size(text: str) -> int:
    """A size in bytes, from "256MiB"."""
    for unit, factor in UNITS.items():
        if text.endswith(unit):
            return int(float(text.removesuffix(unit)) * factor)
    return int(text)


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    keys = [contender.key for contender in CONTENDERS]
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=(__doc__ or "").split("\n\n")[0])
    add = parser.add_argument
    add("--cameras", default="8,1", help="how many cameras, one scenario each; default: 8,1")
    add("--size", type=size, default="512MiB", help="what each camera holds; default: 512MiB")
    add("--files", type=int, default=1, help="in how many files; default: 1")
    add("--rounds", type=int, default=5, help="rounds that count; default: 5")
    add("--warm-up", type=int, default=1, help="rounds before that; default: 1")
    add("--only", action="append", choices=keys, help="measure only this one; may be given again")
    add(
        "--cache",
        choices=("cold", "warm"),
        default="warm",
        help="whether the page cache holds the cameras' files: warm, as cameras do not share the dock's disk",
    )
    add("--dir", type=Path, default=REPOSITORY.parent, help="where to work; default: beside the repository")
    add("--json", type=Path, help="write everything that was measured here")
    add("--markdown", action="store_true", help="print the tables as Markdown")
    add("--show", type=Path, help="measure nothing; print the tables of a file that --json wrote")
    parsed = parser.parse_args(argv)
    parsed.cameras = [int(number) for number in parsed.cameras.split(",")]
    if min([*parsed.cameras, parsed.size, parsed.files, parsed.rounds]) < 1 or parsed.size < parsed.files:
        parser.error("--cameras, --size, --files and --rounds must be 1 or more, and no file empty")
    return parsed


def need_room(directory: Path, options: argparse.Namespace) -> None:
    """Stop unless the sources, and both a spool and a store beside them, fit in."""
    needed = 3 * max(options.cameras) * options.size + MARGIN_BYTES
    free = shutil.disk_usage(directory).free
    if free < needed:
        sys.exit(f"bench: {needed >> 20} MiB are needed where it works, {free >> 20} MiB are free; use --dir or --size")


def measure_all(
    site: Site, contenders: Sequence[Contender], options: argparse.Namespace, progress: Progress, console: Console
) -> Runs:
    """All rounds of one scenario."""
    runs: Runs = {contender.key: [] for contender in contenders}
    rounds = options.warm_up + options.rounds
    task = progress.add_task(f"{site.cameras} cameras", total=rounds * len(contenders))
    for number in range(rounds):
        counts = number >= options.warm_up
        name = f"round {number - options.warm_up + 1} of {options.rounds}" if counts else "warm-up"
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            progress.update(task, description=f"{site.cameras} cameras, {name}: {contender.title}")
            site.prepare()
            cost = contender.run(site)
            console.print(
                f"{site.cameras} cameras, {name}: {contender.title}: {cost.wall_s:.2f} s, {cost.cpu_s:.2f} CPU-s",
                highlight=False,
            )
            if counts:
                runs[contender.key].append(cost)
            progress.advance(task)
    return runs


def bench(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Measure every scenario; the result as it goes into the JSON file."""
    console = Console(stderr=True)
    result: dict[str, Any] = {
        "surroundings": describe(work, busy_share()),
        "settings": {
            "size_bytes": options.size,
            "files": options.files,
            "rounds": options.rounds,
            "warm_up": options.warm_up,
            "cache": options.cache,
        },
        "contenders": {c.key: {"title": c.title, "does": c.does, "missing": c.missing} for c in CONTENDERS},
        "scenarios": [],
    }
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, refresh_per_second=1, disable=not console.is_terminal) as progress:
        console.print(f"making {max(options.cameras)} cameras with {options.size >> 20} MiB each", highlight=False)
        pool = plant(work / "pool", max(options.cameras), options.files, options.size)
        chosen = [c for c in CONTENDERS if not c.missing and (not options.only or c.key in options.only)]
        for cameras in options.cameras:
            site = lay_out(pool, work, cameras, options.cache)
            runs = measure_all(site, chosen, options, progress, console)
            found = summarise(runs, site.total_bytes, os.cpu_count() or 1, options.cache)
            raw = {key: [show.plain(cost) for cost in costs] for key, costs in runs.items()}
            result["scenarios"].append({"cameras": cameras, "total_bytes": site.total_bytes, **found, "runs": raw})
    return result


def stop(number: int, _frame: FrameType | None) -> NoReturn:
    """What was asked to end removes what it made, like everything that ends."""
    sys.exit(128 + number)


def main(argv: Sequence[str]) -> int:
    options = arguments(argv)
    if options.show is not None:
        show.show(json.loads(options.show.read_text(encoding="utf-8")), markdown=options.markdown)
        return 0
    need_room(options.dir, options)
    signal.signal(signal.SIGTERM, stop)
    work = Path(tempfile.mkdtemp(prefix="dockd-bench-", dir=options.dir))
    start_s = time.monotonic()
    try:
        result = bench(options, work)
    except (CommandFailed, DaemonFailed, WrongResult) as error:
        sys.exit(f"bench: {error}")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    result["took_s"] = time.monotonic() - start_s
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    show.show(result, markdown=options.markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
