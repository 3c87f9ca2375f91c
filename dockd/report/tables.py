"""Tables for people: colour on a terminal, plain text in a pipe."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date
from itertools import groupby
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from dockd.identity import plain_name, plain_text
from dockd.lifecycle import Bucket
from dockd.report.day import Arrival
from dockd.stores.probe import ProbeResult

_COLOURS = {
    "ready": "green",
    "attention": "bold red",
    "waiting": "yellow",
    "ok": "green",
    "warning": "yellow",
    "failed": "bold red",
    "critical": "bold red",
    "info": "cyan",
}


def size_text(size_bytes: int | None) -> str:
    """A size for people, in binary units."""
    if size_bytes is None:
        return "?"
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def state_text(word: str) -> Text:
    """A state, verdict or severity in its colour."""
    return Text(word, style=_COLOURS.get(word, ""))


def status_view(found: dict[str, Any]) -> Group:
    """The status as a page of text."""
    dock, counts = found["dock"], found["counts"]
    running = "running" if found["daemon"]["running"] else "not running: this is what the journal last knew"
    head = Text.assemble(
        (f"{dock['agency']}/{dock['site']}/{dock['name']}", "bold"), f"  dockd {dock['version']}, {running}\n"
    )
    head.append(f"wiping is {found['wipe_mode']}  store {_store_text(found['store'])}\n")
    line = "  ".join(f"{name} {counts[name]}" for name in ("recordings", "in_store", "on_docked_camera"))
    head.append(line + "\n")
    head.append(f"unaccounted {counts['unaccounted']}", style="bold red" if counts["unaccounted"] else "green")
    head.append(f"  sole_copy {counts['sole_copy']}  awaiting_return {counts['awaiting_return']}")
    head.append(f"  wiped {counts['wiped']}")
    head.append(f"\n{_audit_text(found.get('audit') or {})}")
    for away in found.get("awaiting_return", ()):
        camera = plain_text(away["camera"])
        head.append(f"\nawaited: {away['recordings']} recordings of {camera}, which left at {away['since']}")
    parts: list[Any] = [head]
    if found["bays"]:
        parts.append(_bays(found["bays"]))
    if found["alerts"]:
        parts.append(_alerts(found["alerts"]))
    return Group(*parts)


def _store_text(store: dict[str, Any]) -> str:
    if not store:
        return "unknown"
    if not store.get("reachable"):
        return f"NOT usable ({store.get('problem')})"
    blocks = store.get("blocks_wipe")
    weak = f"; nothing is wiped: {', '.join(blocks)}" if blocks else ""
    # A bucket does not say how much room it has.
    free = "" if store["free_bytes"] is None else f", {size_text(store['free_bytes'])} free"
    return f"{store['place']} ({store['kind']}{free}{weak})"


def _audit_text(audit: dict[str, Any]) -> str:
    last = audit.get("last")
    text = "store not audited yet"
    if last is not None:
        faults = ", ".join(f"{name} {last[name]}" for name in ("missing", "altered") if last[name])
        chain = "" if last["chain_ok"] else ", custody chain BROKEN"
        chain += ", counts DISAGREE" if last.get("counts_agree") is False else ""
        chain += ", signed records AT FAULT in the store" if last.get("segments_ok") is False else ""
        text = f"last audit {last['ts']}: {last['checked']} read back, {faults or 'all as they were'}{chain}"
    if audit.get("total"):
        text += f"; one {'runs' if audit['running'] else 'waits'} at {audit['checked']} of {audit['total']}"
    return text


def _bays(bays: Sequence[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("bay", "camera", "state", "confirmed", "wiped", "left", "may be taken"):
        table.add_column(name, justify="right" if name in ("confirmed", "wiped", "left") else "left")
    for bay in bays:
        state = state_text(bay["state"])
        if bay["reason"]:
            state.append(f" ({plain_text(bay['reason'])})", style="default")
        progress = bay.get("progress")
        if progress and progress["bytes_total"]:
            state.append(f" {100 * progress['bytes_done'] // progress['bytes_total']} %", style="cyan")
        table.add_row(
            Text(plain_text(str(bay["bay"]))),
            Text(plain_text(bay["camera"] or "")),
            state,
            f"{bay['recordings_confirmed']}/{bay['recordings_total']}",
            str(bay["recordings_wiped"]),
            str(bay["left_on_camera"]),
            Text("yes", style="bold green") if bay["safe_to_take"] else Text("no"),
        )
    return table


def _alerts(alerts: Sequence[dict[str, Any]]) -> Text:
    text = Text("\n")
    for alert in alerts:
        text.append(f"{alert['severity']}", style=_COLOURS.get(alert["severity"], ""))
        what = plain_text(f"{alert['code']} ({alert['subject']}): {alert['what']}")
        text.append(f"  {what}\n    {alert['hint']}\n")
    return text


def print_status(found: dict[str, Any]) -> None:
    """Print the status once."""
    Console(soft_wrap=True, highlight=False).print(status_view(found))


def watch_status(read: Callable[[], dict[str, Any]], interval_s: float) -> None:
    """Show the status again and again, until interrupted."""
    console = Console(highlight=False)
    with Live(status_view(read()), console=console, auto_refresh=False) as live:
        try:
            while True:
                time.sleep(interval_s)
                live.update(status_view(read()), refresh=True)
        except KeyboardInterrupt:
            return


def print_day(dock: str, day: date, found: Sequence[Arrival]) -> None:
    """Print what came in on one day: a table for each docking, and what it comes to."""
    console = Console(highlight=False)
    console.print(Text(f"{dock}: what came in on {day} (UTC)", style="bold"))
    for docking, rows in groupby(found, key=lambda row: row.docking):
        first, *rest = rows
        who = f"{plain_name(first.camera)}  bay {plain_text(first.bay or '?')}  docked {first.docked_at}"
        console.print(Text(f"\n{who}", style="bold"), Text(f"{docking}\n", style="dim"), sep="\n")
        console.print(_arrivals([first, *rest], day))
    counts = Counter(row.place for row in found)
    parts = [f"{len(found)} recordings, {size_text(sum(row.size_bytes for row in found))}"]
    parts += [f"{place} {counts[place]}" for place in map(str, Bucket) if counts[place] or place == "unaccounted"]
    parts.append(f"wiped {sum(row.wiped_at is not None for row in found)}")
    console.print(Text("\n" + "  ".join(parts), style="bold red" if counts["unaccounted"] else "green"))


def _arrivals(rows: Sequence[Arrival], day: date) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 1, 0), expand=True)
    table.add_column("recording, SHA-256, place", ratio=1, overflow="fold")
    table.add_column("size", justify="right", no_wrap=True, min_width=9)
    # The same in each docking's table, so that they stand below each other.
    for name, width in (("state", 11), ("proven", 14), ("wiped", 10)):
        table.add_column(name, no_wrap=True, min_width=width)
    for row in rows:
        bad = "bold red" if row.place == "unaccounted" else ""
        name = f"{plain_name(row.path)}{f' ({row.generation})' if row.generation > 1 else ''}"
        place = row.key or row.place
        table.add_row(
            Text.assemble(
                (name, "bold"),
                ("\n" + (row.sha256 or "not whole here"), "dim"),
                ("\n" + (place if row.store_fault is None else f"{row.store_fault} at {place}"), bad),
            ),
            size_text(row.size_bytes),
            Text(row.state, style=bad),
            _proven(row, day),
            _short(row.wiped_at, day),
        )
    return table


def _proven(row: Arrival, day: date) -> Text:
    if row.confirmed_at is None:
        return Text("no", style="yellow")
    clock = row.clock or {}
    trust = {True: f"± {clock.get('uncertainty_ms')} ms", False: "unsynchronised"}
    known: bool | None = clock.get("synchronised")
    return Text.assemble(
        _short(row.confirmed_at, day), "\n", ("clock unknown" if known is None else trust[known], "dim")
    )


def _short(moment: str | None, day: date) -> str:
    """A time to the second, with its day if that is another one."""
    if moment is None:
        return ""
    return moment[11:19] if moment.startswith(day.isoformat()) else f"{moment[:10]}\n{moment[11:19]}"


def print_checks(checks: Sequence[tuple[str, str, str]]) -> None:
    """Print the lines of `dockd check`."""
    console = Console(soft_wrap=True, highlight=False)
    width = max(len(name) for name, _, _ in checks)
    for name, verdict, what in checks:
        colour = _COLOURS[verdict]
        console.print(f"[{colour}]{verdict:<8}[/{colour}] {name:<{width}}  {escape(what)}")


def print_probe(result: ProbeResult) -> None:
    """Print what a store was asked, whether it enforces that, and what dockd therefore does."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 1, 0))
    for name, ratio in (("asked", 5), ("enforced", 3), ("so dockd will …", 6)):
        table.add_column(name, ratio=ratio, overflow="fold")
    colours: dict[str, str] = {"enforced": "green", "not enforced": "yellow", "not supported": "yellow"}
    for finding in result.findings:
        colour = "bold red" if finding.wrong else colours.get(finding.verdict, "")
        word = {"enforced": "yes", "not enforced": "no", "not supported": "not supported"}.get(finding.verdict, "?")
        table.add_row(
            Text.assemble((plain_text(finding.name), "bold"), f"\n{plain_text(finding.asked)}"),
            Text.assemble((word, colour), f"\n{plain_text(finding.answer)}"),
            Text(plain_text(finding.so)),
        )
    console.print(Text(f"{plain_text(result.place)}, store {result.store_id}, {result.at}\n", style="bold"))
    console.print(table)
    if result.left:
        console.print(
            f"\n{len(result.left)} small objects stay below {plain_text(result.left[0].rpartition('/')[0])}/."
        )
    if not result.good:
        console.print("\nWhat is red must be put right before evidence is kept there.", style="bold red")
