"""The figures as tables, for a terminal or as Markdown."""

from __future__ import annotations

from dataclasses import asdict
from statistics import median
from typing import Any

from measure import Cost
from rich.console import Console
from rich.table import Table

HEAD = (
    "contender",
    "wall s",
    "÷ rclone copy + check",
    "÷ cp; sync",
    "÷ bound",
    "CPU-s/GB",
    "machine CPU-s/GB",
    "peak RSS MB",
    "GB read",
    "GB written",
)
WIDTH = 150


def plain(cost: Cost) -> dict[str, Any]:
    """A run as JSON has it."""
    return asdict(cost)


def _ratio(row: dict[str, Any], base: str) -> str:
    found = row["ratios"].get(base)
    return "" if found is None else f"{found['of_medians']:.2f} ({found['of_pairs']:.2f})"


def _cells(title: str, row: dict[str, Any]) -> list[str]:
    bound = f"{row['to_bound']:.2f}" if "to_bound" in row else ""
    return [
        title,
        f"{row['wall_s']:.2f} ({row['wall_lowest_s']:.2f}-{row['wall_highest_s']:.2f})",
        _ratio(row, "rclone"),
        _ratio(row, "cp"),
        bound,
        f"{row['cpu_s_per_gb']:.2f}",
        f"{row['machine_cpu_s_per_gb']:.2f}",
        f"{row['peak_rss_bytes'] / 1e6:.0f}",
        f"{row['read_bytes'] / 1e9:.2f}",
        f"{row['written_bytes'] / 1e9:.2f}",
    ]


def lines_of(result: dict[str, Any], scenario: dict[str, Any]) -> list[list[str]]:
    """A scenario's table, cell by cell."""
    lines = []
    for key, contender in result["contenders"].items():
        row = scenario["rows"].get(key)
        if row is not None:
            lines.append(_cells(contender["title"], row))
        elif contender["missing"]:
            lines.append([contender["title"], "not installed: not measured", *[""] * (len(HEAD) - 2)])
    return lines


def title_of(result: dict[str, Any], scenario: dict[str, Any]) -> str:
    settings = result["settings"]
    each = f"{settings['size_bytes'] / (1 << 20):g} MiB"
    files = "" if settings["files"] == 1 else f" in {settings['files']} files"
    cameras = scenario["cameras"]
    return f"{cameras} camera{'s' if cameras > 1 else ''} x {each}{files}, {settings['cache']} cache"


def notes_of(result: dict[str, Any], scenario: dict[str, Any]) -> list[str]:
    """What the table does not say by itself."""
    notes = []
    bound = scenario["bound"]
    if bound is not None:
        notes.append(
            f"Bound: {bound['bound_s']:.2f} s: all bytes written with O_DIRECT at {_rate(bound, 'write')} and read "
            f"back at {_rate(bound, 'read')} ({bound['disk_s']:.2f} s); digests {bound['hash_cpu_s']:.2f} CPU-s, over "
            f"all cores {bound['hash_s']:.2f} s (BLAKE3 {_rate(bound, 'blake3')}, SHA-256 {_rate(bound, 'sha256')})."
        )
        if bound["source_s"]:
            notes.append(
                f"With the cameras' files read from that same disk, as here: {bound['bound_with_source_s']:.2f} s; "
                f"dockd's offload takes {_to_source(scenario)} of that."
            )
    rows = scenario["rows"]
    if "rclone" in rows:
        extra = rows["rclone"]["extra"]
        notes.append(f"rclone: copy {extra['copy_wall_s']:.2f} s, check {extra['check_wall_s']:.2f} s.")
    if "offload" in rows:
        notes.append(
            f"dockd: offload, without the start of Python: {rows['offload']['extra']['work_wall_s']:.2f} s, "
            f"{rows['offload']['extra']['work_cpu_s'] * 1e9 / scenario['total_bytes']:.2f} CPU-s/GB."
        )
    signed, unsigned = (scenario["runs"].get(key) for key in ("daemon-wipe", "daemon-unsigned"))
    if signed and unsigned:
        ends = [[run["extra"]["last_recorded_s"] for run in runs] for runs in (signed, unsigned)]
        pairs = [one / other for one, other in zip(*ends, strict=True)]
        notes.append(
            f"Signing and storing custody: the last record of a recording wiped comes after {median(pairs):.3f} of the "
            f"time without it ({min(pairs):.3f}-{max(pairs):.3f})."
        )
    for key, what in (("daemon", "confirmed"), ("daemon-wipe", "wiped")):
        if key in rows:
            last_s = rows[key]["extra"]["last_recorded_s"]
            notes.append(
                f"{result['contenders'][key]['title']}: last record of a recording {what} after {last_s:.2f} s."
            )
    return notes


def _rate(bound: dict[str, float], what: str) -> str:
    return f"{bound[f'{what}_bytes_per_s'] / 1e9:.2f} GB/s"


def _to_source(scenario: dict[str, Any]) -> str:
    row = scenario["rows"].get("offload")
    return "?" if row is None else f"{row['to_bound_with_source']:.2f}"


def foot_of(result: dict[str, Any]) -> list[str]:
    """Where and how this was measured."""
    at, settings = result["surroundings"], result["settings"]
    machine = (
        f"{at['cores']} cores ({at['processor']}), {at['memory_bytes'] / 1e9:.0f} GB, Linux {at['kernel']}, "
        f"{at['file_system']}, Python {at['python']}, dockd {at['dockd']} ({at['dockd_package_sha256'][:12]}), "
        f"{at['rclone'] or 'no rclone'}, {at['cp']}."
    )
    how = (
        f"Medians of {settings['rounds']} rounds in alternating order after {settings['warm_up']} of warm-up, in "
        "brackets the lowest and the highest; ratios of medians, in brackets the median of the rounds' ratios."
    )
    lines = [machine, how]
    if not at["quiet"]:
        lines.append(f"NOISY: others used {at['busy_share_before']:.0%} of the machine before the start.")
    return lines


def show(result: dict[str, Any], *, markdown: bool) -> None:
    """Print everything."""
    if markdown:
        print(as_markdown(result))
        return
    console = Console()
    if console.width < WIDTH:
        console = Console(width=WIDTH)
    for scenario in result["scenarios"]:
        table = Table(title=title_of(result, scenario))
        for number, name in enumerate(HEAD):
            table.add_column(name, justify="left" if number == 0 else "right")
        for cells in lines_of(result, scenario):
            table.add_row(*cells)
        console.print(table)
        for note in notes_of(result, scenario):
            console.print(note, highlight=False)
        console.print()
    for line in foot_of(result):
        console.print(line, highlight=False)


def as_markdown(result: dict[str, Any]) -> str:
    """The same for docs/performance.md."""
    parts = []
    for scenario in result["scenarios"]:
        parts += [f"### {title_of(result, scenario)}", ""]
        parts += [f"| {' | '.join(HEAD)} |", f"|---{'|---:' * (len(HEAD) - 1)}|"]
        parts += [f"| {' | '.join(line)} |" for line in lines_of(result, scenario)]
        parts += ["", *(f"- {note}" for note in notes_of(result, scenario)), ""]
    return "\n".join([*parts, *foot_of(result)])
