"""Audit: the store, the journal and the chain held against each other.

It re-reads what the store holds and never repairs. It works beside a running daemon, which alone writes to
the journal: what was found is left in the state directory, and the daemon records it.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from dockd.custody.chain import GENESIS, chain_name, find_break
from dockd.digests import Digests, Progress
from dockd.direct_io import Buffer
from dockd.events import Audit
from dockd.journal import queries, recordings
from dockd.journal.database import check_database
from dockd.journal.rows import RecordingRow
from dockd.journal.transaction import RECORDING_COLUMNS, Transaction
from dockd.paths import StatePaths
from dockd.runtime.randomness import SystemRandomness
from dockd.stores.base import EvidenceStore
from dockd.stores.compare import read_and_compare

_ONE = f"SELECT {RECORDING_COLUMNS} FROM recording WHERE id = ?"  # noqa: S608 - constant


@dataclass(slots=True)
class Finding:
    """One recording whose copy in the store is not what the journal says."""

    recording: str
    key: str
    fault: str
    detail: str


@dataclass(slots=True)
class AuditReport:
    """What an audit found."""

    counts: dict[str, int]
    checked: int = 0
    sample: int | None = None
    findings: list[Finding] = field(default_factory=list)
    chains: list[dict[str, Any]] = field(default_factory=list)
    good_again: list[str] = field(default_factory=list)
    """Recordings that a former audit found at fault, and this one does not."""

    @property
    def missing(self) -> int:
        """Confirmed recordings that the store does not hold."""
        return sum(finding.fault == "missing" for finding in self.findings)

    @property
    def altered(self) -> int:
        """Confirmed recordings that the store holds with other bytes."""
        return sum(finding.fault == "altered" for finding in self.findings)

    @property
    def chain_ok(self) -> bool:
        """Whether every chain of this journal is whole."""
        return all(chain["ok"] for chain in self.chains)

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.unaccounted or self.missing or self.altered) and self.chain_ok

    @property
    def unaccounted(self) -> int:
        """Recordings that are not where they should be, what was just found included."""
        return self.counts["unaccounted"]

    def hand_over(self) -> dict[str, Any]:
        """What the daemon has to record."""
        return {
            **{name: getattr(self, name) for name in ("checked", "sample", "unaccounted", "missing", "altered")},
            "chain_ok": self.chain_ok,
            "chain": self.chains[-1]["chain"] if self.chains else None,
            "findings": [[found.recording, found.fault, found.detail] for found in self.findings],
            "good_again": self.good_again,
        }

    def payload(self) -> dict[str, Any]:
        """The report for JSON."""
        return {
            "ok": self.good,
            "checked": self.checked,
            "sample": self.sample,
            "unaccounted": self.unaccounted,
            "missing": self.missing,
            "altered": self.altered,
            "sole_copy": self.counts["sole_copy"],
            "awaiting_return": self.counts["awaiting_return"],
            "chain": self.chains[-1] if self.chains else None,
            "chains": self.chains,
            "findings": [
                {"recording": found.recording, "key": found.key, "fault": found.fault, "detail": found.detail}
                for found in self.findings
            ],
        }


def check_chains(connection: sqlite3.Connection, progress: Progress) -> list[dict[str, Any]]:
    """Check every chain of the journal from its first record to its last."""
    found = []
    for chain_id, name, acknowledged in connection.execute("SELECT id, name, acknowledged FROM chain ORDER BY id"):
        first = connection.execute("SELECT line FROM record WHERE chain = ? AND seq = 1", (chain_id,)).fetchone()
        if first is None or chain_name(first[0]) != name:
            found.append(
                {
                    "chain": name,
                    "records": 0,
                    "ok": False,
                    "what": "its first record is not the one that named it",
                }
            )
            continue
        broken = find_break(_lines(connection, chain_id, progress), seq=1, prev=GENESIS)
        records = connection.execute("SELECT max(seq) FROM record WHERE chain = ?", (chain_id,)).fetchone()[0]
        found.append(
            {
                "chain": name,
                "records": records,
                "acknowledged": bool(acknowledged),
                "ok": broken is None,
                "what": None if broken is None else f"record {broken.seq}: {broken.what}",
            }
        )
    return found


def _lines(connection: sqlite3.Connection, chain_id: int, progress: Progress) -> Iterator[str]:
    for (line,) in connection.execute("SELECT line FROM record WHERE chain = ? ORDER BY seq", (chain_id,)):
        progress.advance()
        yield line


def confirmed_rows(connection: sqlite3.Connection, sample: int | None) -> Iterator[RecordingRow]:
    """The recordings that the store is said to hold: all of them, or a random sample."""
    where = "state IN ('confirmed', 'wipe_intent', 'wiped')"
    if sample is None:
        chosen = [row[0] for row in connection.execute(f"SELECT id FROM recording WHERE {where} ORDER BY id")]  # noqa: S608
    else:
        last = connection.execute("SELECT max(id) FROM recording").fetchone()[0] or 0
        ids: set[int] = set()
        for _ in range(sample * 4):
            if len(ids) >= min(sample, last):
                break
            near = connection.execute(
                f"SELECT id FROM recording WHERE {where} AND id >= ? ORDER BY id LIMIT 1",  # noqa: S608
                (random.randint(1, max(1, last)),),  # noqa: S311 - a sample, no secret
            ).fetchone()
            if near is not None:
                ids.add(near[0])
        chosen = sorted(ids)
    for recording_id in chosen:
        row = connection.execute(_ONE, (recording_id,)).fetchone()
        yield RecordingRow.from_row(row)


def audit(
    tx: Transaction,
    store: EvidenceStore,
    progress: Progress,
    *,
    sample: int | None = None,
    on_recording: Callable[[RecordingRow], None] | None = None,
) -> AuditReport:
    """Check the journal's pages and chains, and read recordings back from the store.

    Raises JournalDamagedError, and what the store raises when it is not there.
    """
    connection = tx.connection
    check_database(connection, whole=True)
    report = AuditReport(dict.fromkeys(map(str, queries.COUNT_NAMES), 0), sample=sample)
    report.chains = check_chains(connection, progress)
    store.check()
    buffer = Buffer()
    read: dict[str, Digests | None] = {}
    for row in confirmed_rows(connection, sample):
        if on_recording is not None:
            on_recording(row)
        key = row.store_key or ""
        if key not in read:
            expected = Digests(row.size_bytes, row.blake3 or "", row.sha256 or "")
            found = read_and_compare(store, key, expected, buffer, progress)
            read = {key: None if found is None else found.digests}
        report.checked += 1
        _judge(report, row, read[key])
    report.counts = _counts_with(tx, report)
    return report


def _counts_with(tx: Transaction, report: AuditReport) -> dict[str, int]:
    """The journal's counts as they are once this audit is taken up; what it knows already counts once."""
    # One look: a daemon may be taking up another audit at the same time.
    tx.connection.execute("BEGIN")
    try:
        counts = queries.counts(tx)
        faulted = {uid for (uid,) in tx.all(f"SELECT uid FROM recording WHERE {queries.FAULTED}")}  # noqa: S608
    finally:
        tx.connection.execute("COMMIT")
    found = {finding.recording for finding in report.findings}
    counts["unaccounted"] += len(found - faulted) - len(faulted & set(report.good_again))
    return counts


def _judge(report: AuditReport, row: RecordingRow, found: Digests | None) -> None:
    key = row.store_key or ""
    if found is None:
        report.findings.append(Finding(row.uid, key, "missing", "the store does not hold it"))
    elif found != Digests(row.size_bytes, row.blake3 or "", row.sha256 or ""):
        detail = f"{found.size_bytes} bytes with SHA-256 {found.sha256}; {row.size_bytes} with {row.sha256} on record"
        report.findings.append(Finding(row.uid, key, "altered", detail))
    elif row.store_fault is not None:
        report.good_again.append(row.uid)


def record_audit(tx: Transaction, found: dict[str, Any]) -> None:
    """Take up what an audit found: its record, and which recordings are unaccounted from now on.

    Raises ValueError if it was made of another journal than this.
    """
    if found["chain"] != tx.head.chain:
        raise ValueError(f"the audit was made of chain {found['chain']}, and this is {tx.head.chain}")
    tx.append(
        Audit(**{name: found[name] for name in ("checked", "sample", "unaccounted", "missing", "altered", "chain_ok")})
    )
    for uid, fault, detail in found["findings"]:
        for row in tx.recordings("uid = ?", uid):
            recordings.store_fault(tx, row.id, fault, detail)
    for uid in found["good_again"]:
        for row in tx.recordings("uid = ? AND store_fault IS NOT NULL", uid):
            tx.update(row, store_fault=None)


def hand_over(paths: StatePaths, report: AuditReport) -> None:
    """Leave the findings for the daemon, which alone writes to the journal."""
    path = paths.audit_report(f"{time.time_ns():020d}-{SystemRandomness().token(4)}")
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(report.hand_over()), encoding="utf-8")
    os.replace(fresh, path)
