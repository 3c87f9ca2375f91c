"""What lies under a path that is to be verified: a passport, a chain's segments, a store, or a file of records."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dockd.custody.breaks import CustodyBreakError
from dockd.custody.chain import CHAIN_NAME_DIGITS, BadLineError, line_digest, read_line
from dockd.custody.passport_check import PASSPORT_MARKS, Recordings, check_passport
from dockd.custody.segments import parse_segment_name, segment_name
from dockd.custody.trust import Trust
from dockd.custody.verify import LONGEST_LINE_BYTES, KnownHead, OnProgress, Walk, lines_of
from dockd.identity import plain_text

_CHAIN: Final = re.compile(r"[0-9a-f]{16}\Z")
_LEFT_OUT: Final = frozenset({"recordings", "dockings", "holds", "probe"})
"""What a store keeps beside its chains: it may be much, and there are no chains in it."""

_LIST_LIMIT_BYTES: Final = 64 * 1024 * 1024
"""One that had to wait for a key in place of a lost one may be long."""

_SIGNATURE_LIMIT_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Found:
    """One thing to verify: `kind` is `passport`, `segments` or `records`."""

    kind: str
    path: Path


@dataclass(slots=True)
class Report:
    """What was verified, and the first break if there is one."""

    kind: str
    path: Path
    chain: str = ""
    dock: str = ""
    last: int = 0
    head: str = ""
    records: int = 0
    segments: int = 0
    keys: list[dict[str, Any]] = field(default_factory=list)
    recordings: Recordings | None = None
    notes: list[str] = field(default_factory=list)
    broken: CustodyBreakError | None = None

    def payload(self) -> dict[str, Any]:
        """The report for JSON."""
        found = {
            "path": plain_text(str(self.path)),
            "kind": self.kind,
            "ok": self.broken is None,
            "chain": self.chain,
            "dock": self.dock,
            "records": self.records,
            "segments": self.segments,
            "last_seq": self.last,
            "head_sha256": self.head,
            "keys": self.keys,
            "notes": self.notes,
            "break": None if self.broken is None else self.broken.payload(),
        }
        return found if self.recordings is None else {**found, "recordings": self.recordings.payload()}


def discover(path: Path) -> list[Found]:
    """Everything below a path that can be verified, in order; nothing if there is nothing of the kind."""
    if not path.is_dir():
        return [Found("records", path)] if path.is_file() else []
    return list(_below(path))


def _has_segments(path: Path, names: Sequence[str]) -> bool:
    """Whether a folder is a chain's, even if everything in it was taken away."""
    above = path.absolute().parts
    in_store = len(above) > 3 and above[-4] == "custody" and _CHAIN.match(above[-1]) is not None
    return in_store or any(parse_segment_name(name) is not None for name in names)


def _below(path: Path) -> Iterator[Found]:
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if name not in _LEFT_OUT and not name.startswith("."))
        passport = bool(PASSPORT_MARKS.intersection(names))
        if passport or _has_segments(Path(folder), names):
            folders[:] = []
            yield Found("passport" if passport else "segments", Path(folder))


def verify_all(
    found: Sequence[Found], trust: Trust, head: tuple[str, KnownHead] | None, on_progress: OnProgress | None = None
) -> list[Report]:
    """Verify everything that was found, each up to its first break; the head has to be on one of the chains."""
    heads = _predecessors(found)
    reports = []
    for one in found:
        report = Report(one.kind, one.path)
        try:
            if one.kind == "passport":
                _verify_passport(report, trust, head, on_progress)
            else:
                _verify_chain(report, trust, head, heads, on_progress)
        except CustodyBreakError as broken:
            report.broken = broken
        reports.append(report)
    if head is not None and not any(report.chain == head[0] or _holds(report, head[0]) for report in reports):
        _say_absent(reports, head)
    return reports


def _holds(report: Report, chain: str) -> bool:
    return report.recordings is not None and chain in report.recordings.chains


def _say_absent(reports: list[Report], head: tuple[str, KnownHead]) -> None:
    """The chain of the head is not among those that were verified: a cut that is larger than a tail."""
    for report in reports:
        if report.broken is None and report.kind != "passport":
            report.broken = CustodyBreakError(
                f"the chain that {head[1].said_by} names is not here",
                expected=f"chain {head[0]} with record {head[1].seq}",
                found=f"chain {report.chain}",
                means="The chain was replaced by another, or a new one was begun since; or the head is another dock's.",
                seq=1,
            )
        elif report.broken is None:
            report.notes.append(f"It holds nothing of chain {head[0]}, which {head[1].said_by} names.")


def _verify_passport(
    report: Report, trust: Trust, head: tuple[str, KnownHead] | None, on_progress: OnProgress | None
) -> None:
    found = check_passport(report.path, trust, head, on_progress)
    report.recordings = found.recordings
    report.chain, report.dock, report.records = ", ".join(found.recordings.chains), found.dock, found.records
    report.segments, report.keys, report.notes = found.segments, found.keys, found.notes


def _verify_chain(
    report: Report,
    trust: Trust,
    head: tuple[str, KnownHead] | None,
    predecessors: dict[str, list[KnownHead]],
    on_progress: OnProgress | None,
) -> None:
    first = _first_line(report)
    chain = line_digest(first)[:CHAIN_NAME_DIGITS] if first else ""
    heads = list(predecessors.get(chain, ()))
    if head is not None and chain == head[0]:
        heads.append(head[1])
    walk = Walk(None, trust, tuple(heads), on_progress)
    try:
        if report.kind == "records":
            with open(report.path, "rb") as file:
                walk.records(lines_of(file))
        else:
            walk.name = report.path.name if _CHAIN.match(report.path.name) else None
            _walk_segments(walk, report)
        walk.finish()
        if walk.seq == 0:
            raise _nothing(report.path.name)
    except CustodyBreakError as broken:
        raise broken.in_file(report.path.name) from broken.__cause__
    finally:
        report.chain, report.dock, report.records, report.segments = walk.chain, walk.dock, walk.seq, walk.segments
        report.last, report.head = walk.seq, walk.head
        report.keys = [
            {"public_key": key.line, "fingerprint": key.fingerprint, "first_segment": first, "vouched": vouched}
            for key, first in walk.signed_with.items()
            for vouched in [trust.signers is not None]
        ]
    if report.kind == "records":
        report.notes.append("These records are not signed: whoever could rewrite all of them would not be noticed.")
    if head is None:
        report.notes.append("That nothing was cut off at the end can only be told with a head from elsewhere (--head).")


def _nothing(name: str) -> CustodyBreakError:
    return CustodyBreakError(
        "there is no record", expected="record 1", found="nothing", means="Everything was taken away.", seq=1, file=name
    )


def _walk_segments(walk: Walk, report: Report) -> None:
    folder = report.path
    names: dict[tuple[int, int], set[str]] = {}
    others = 0
    for name in os.listdir(folder):
        parsed = parse_segment_name(name)
        if parsed is None:
            others += not name.startswith(".")
        else:
            names.setdefault(parsed[:2], set()).add(parsed[2])
    for first, last in sorted(names):
        name = segment_name(first, last)
        for ending in ("jsonl", "sha256", "sha256.sig"):
            if ending not in names[first, last]:
                raise CustodyBreakError(
                    "a part of a segment is missing",
                    expected=f"{name}.{ending}",
                    found="no such file",
                    means="It was taken away, or is not stored yet.",
                    seq=min(first, walk.seq + 1),
                    file=f"{name}.{ending}",
                )
        listing = read_small(folder / f"{name}.sha256", _LIST_LIMIT_BYTES)
        signature = read_small(folder / f"{name}.sha256.sig", _SIGNATURE_LIMIT_BYTES)
        with open(folder / f"{name}.jsonl", "rb") as file:
            walk.segment(first, last, listing, signature, lines_of(file))
    if any("sha256.tsr" in endings for endings in names.values()):
        report.notes.append("There are time stamps (.tsr); they are not looked at here.")
    if others:
        report.notes.append(f"{others} other files lie in the folder; they are no part of the chain.")


def read_small(path: Path, limit_bytes: int) -> bytes:
    """A file that is no longer than it may be; of a longer one just as much as shows that it is."""
    with open(path, "rb") as file:
        return file.read(limit_bytes + 1)


def _first_line(report: Report) -> str:
    """The first record's line, where there is one that can be read."""
    path = report.path
    if report.kind == "segments":
        firsts = sorted(path.glob(f"{1:012d}-*.jsonl"))
        if not firsts:
            return ""
        path = firsts[0]
    with open(path, "rb") as file:
        return file.readline(LONGEST_LINE_BYTES).rstrip(b"\n").decode(errors="replace")


def _predecessors(found: Sequence[Found]) -> dict[str, list[KnownHead]]:
    """What the first records of chains say of the chains before them."""
    heads: dict[str, list[KnownHead]] = {}
    for one in found:
        if one.kind == "passport":
            continue
        line = _first_line(Report(one.kind, one.path))
        try:
            before = read_line(line, seq=1, prev="0" * 64).get("predecessor")
        except (BadLineError, UnicodeEncodeError):
            continue
        if isinstance(before, dict) and type(before.get("seq")) is int:
            chain = line_digest(line)[:CHAIN_NAME_DIGITS]
            head = KnownHead(before["seq"], str(before.get("sha256")), f"chain {chain}, which came after it,", False)
            heads.setdefault(str(before.get("chain")), []).append(head)
    return heads
