"""`dockd custody verify`: needs no configuration, no journal and no network."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from dockd.commands.common import print_json
from dockd.custody.look import Found, Report, discover, verify_all
from dockd.custody.sshsig import BadSignatureError, Signers
from dockd.custody.trust import Trust
from dockd.custody.verify import KnownHead, OnProgress, parse_head
from dockd.errors import EXIT_DONE, EXIT_FOUND_WRONG, UsageError
from dockd.identity import plain_text

DEFAULT_SIGNERS: Final = Path("/etc/dockd/allowed_signers")

_NOBODY: Final = (
    "Nobody vouches here for whose key that is: it is the one that the chain itself names. With the force's list of "
    "keys (--allowed-signers FILE), which must not come from whoever is checked, that is answered too."
)


def verify(paths: Sequence[Path], *, signers: Path | None, head: Path | None, as_json: bool) -> int:
    """Verify all that lies under the paths; 1 if anything is not as it should be."""
    trust = _trust(signers)
    known = None if head is None else _head(head)
    found = [one for path in paths for one in _discover(path)]
    # Progress is for a person who waits; a pipe gets the result alone.
    reports = (_with_progress if sys.stderr.isatty() else verify_all)(found, trust, known)
    good = all(report.broken is None for report in reports)
    if as_json:
        signed = None if trust.signers is None else trust.source
        print_json({"ok": good, "allowed_signers": signed, "verified": [report.payload() for report in reports]})
    else:
        for report in reports:
            _print(report, trust)
    return EXIT_DONE if good else EXIT_FOUND_WRONG


def _trust(path: Path | None) -> Trust:
    if path is None and not DEFAULT_SIGNERS.exists():
        return Trust()
    chosen = path or DEFAULT_SIGNERS
    try:
        return Trust(Signers(chosen.read_text(encoding="utf-8").splitlines()), str(chosen))
    except (OSError, ValueError) as error:
        why = str(error) if isinstance(error, BadSignatureError) else f"it cannot be read: {error}"
        raise UsageError(
            f"{chosen} is no list of allowed signers: {why}", "Its form is ALLOWED SIGNERS in ssh-keygen(1)."
        ) from error


def _head(path: Path) -> tuple[str, KnownHead]:
    try:
        return parse_head(path.read_bytes(), str(path))
    except (OSError, ValueError, RecursionError) as error:
        hint = "It is the JSON of the topic custody/head, or of: dockd status --json"
        raise UsageError(f"{path} tells no head of a chain: {error}", hint) from error


def _discover(path: Path) -> list[Found]:
    found = discover(path)
    if not found:
        hint = "Give a passport, a folder of segments, a copy of a store, or what dockd custody export printed."
        raise UsageError(f"{path} holds nothing that could be verified", hint)
    return found


def _with_progress(found: Sequence[Found], trust: Trust, known: tuple[str, KnownHead] | None) -> list[Report]:
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)
        records, size_bytes = 0, 0

        def tell(more_records: int, more_bytes: int) -> None:
            nonlocal records, size_bytes
            records, size_bytes = records + more_records, size_bytes + more_bytes
            read = f"{records:,} records" + (f", {size_bytes / 1e9:.1f} GB of recordings" if size_bytes else "")
            progress.update(task, description=f"{read} verified")

        told: OnProgress = tell
        return verify_all(found, trust, known, told)


def _print(report: Report, trust: Trust) -> None:
    told = report.payload()
    kind = {"passport": "passport", "segments": "chain", "records": "records"}[report.kind]
    print(f"{told['path']}: {kind}, {'BROKEN' if report.broken is not None else 'whole'}")
    if report.broken is not None:
        _print_break(told)
        return
    print(f"  chain     {report.chain} of {plain_text(report.dock)}")
    if report.kind == "passport":
        assert report.recordings is not None
        shown = f"{len(report.recordings.ids)} recordings, {report.records} of their records"
        print(f"  shows     {shown}, under {report.segments} signed lists of digests")
        print(f"  content   {report.recordings.here} recordings are here and have the bytes that were recorded")
    else:
        signed = f" in {report.segments} signed segments" if report.segments else ""
        print(f"  records   1 to {report.last}{signed}; the last is sha256 {report.head}")
    for key in report.keys:
        vouched = f"vouched for by {trust.source}" if key["vouched"] else "registered by the chain itself"
        print(f"  key       {key['fingerprint']}, {vouched}")
    if report.keys and trust.signers is None:
        print(f"  note      {_NOBODY}")
    for note in report.notes:
        print(f"  note      {plain_text(note)}")


def _print_break(told: dict[str, Any]) -> None:
    broken = told["break"]
    record = "" if broken["record"] is None else f"record {broken['record']}"
    chain = f" of chain {told['chain']}" if record and told["chain"] and told["kind"] != "passport" else ""
    where = f"{record}{chain}" + (f" ({broken['file']})" if record and broken["file"] else broken["file"] or "")
    print(f"  broken at {where}: {broken['what']}")
    for name in ("expected", "found", "means"):
        print(f"  {name:<9} {broken[name]}")
    print("  Nothing is said of what was not looked at because of that.")
