"""Reading the journal's chains and the store's recordings again, from wherever an audit has come to."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, Final

from dockd.audit.recounting import compare
from dockd.audit.report import AuditProgress, AuditReport, Finding
from dockd.audit.segments import check_segments
from dockd.custody.chain import GENESIS, chain_name, find_break
from dockd.digests import Digests, Progress
from dockd.direct_io import Buffer
from dockd.journal import queries
from dockd.journal.database import check_database
from dockd.journal.rows import RecordingRow
from dockd.journal.transaction import RECORDING_COLUMNS, Transaction
from dockd.stores.base import EvidenceStore
from dockd.stores.compare import read_and_compare

_PROVEN: Final = "state IN ('confirmed', 'wipe_intent', 'wiped')"
_ONE: Final = f"SELECT {RECORDING_COLUMNS} FROM recording WHERE id = ? AND {_PROVEN}"  # noqa: S608 - constant
_REMEMBERED: Final = 1000
"""Objects that several recordings may share, and that are read once."""


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


def begin(tx: Transaction, sample: int | None) -> AuditProgress:
    """Choose the recordings that the store is said to hold: all of them, or a random sample."""
    connection = tx.connection
    upper = int(connection.execute("SELECT max(id) FROM recording").fetchone()[0] or 0)
    if sample is None:
        total = int(connection.execute(f"SELECT count(*) FROM recording WHERE {_PROVEN}").fetchone()[0])  # noqa: S608
        return AuditProgress(tx.head.chain, None, None, upper, total)
    ids: set[int] = set()
    for _ in range(sample * 4):
        if len(ids) >= min(sample, upper):
            break
        near = connection.execute(
            f"SELECT id FROM recording WHERE {_PROVEN} AND id >= ? ORDER BY id LIMIT 1",  # noqa: S608
            (random.randint(1, max(1, upper)),),  # noqa: S311 - a sample, no secret
        ).fetchone()
        if near is not None:
            ids.add(near[0])
    return AuditProgress(tx.head.chain, sample, sorted(ids), upper, len(ids))


def _rows(connection: sqlite3.Connection, progress: AuditProgress) -> Iterator[RecordingRow]:
    """The chosen recordings that are still to be read."""
    if progress.ids is not None:
        for recording_id in progress.ids:
            found = connection.execute(_ONE, (recording_id,)).fetchone()
            # Since it was chosen it may have been taken in anew, and not be in the store yet.
            if found is not None and recording_id > progress.last_id:
                yield RecordingRow.from_row(found)
        return
    query = f"SELECT {RECORDING_COLUMNS} FROM recording WHERE {_PROVEN} AND id > ? AND id <= ? ORDER BY id LIMIT 1"  # noqa: S608
    last_id = progress.last_id
    while (found := connection.execute(query, (last_id, progress.upper_id)).fetchone()) is not None:
        last_id = int(found[0])
        yield RecordingRow.from_row(found)


def audit(
    tx: Transaction,
    store: EvidenceStore,
    progress: Progress,
    *,
    sample: int | None = None,
    resume: AuditProgress | None = None,
    on_recording: Callable[[RecordingRow, AuditProgress], None] | None = None,
    on_judged: Callable[[RecordingRow, Finding | None, AuditProgress], None] | None = None,
) -> AuditReport:
    """Check the journal's pages, chains and counts, and read recordings back from the store, going on with `resume`.

    `on_recording` hears of each before it is read, `on_judged` of each afterwards. Raises JournalDamagedError, and
    what the store raises when it is not there.
    """
    connection = tx.connection
    check_database(connection, whole=True)
    chains = check_chains(connection, progress)
    compared = compare(tx, progress)
    store.check()
    come = resume if resume is not None else begin(tx, sample)
    buffer = Buffer()
    read: dict[str, Digests | None] = {}
    for row in _rows(connection, come):
        if on_recording is not None:
            on_recording(row, come)
        key = row.store_key or ""
        if key not in read:
            expected = Digests(row.size_bytes, row.blake3 or "", row.sha256 or "")
            found = read_and_compare(store, key, expected, buffer, progress)
            if len(read) >= _REMEMBERED:
                read.clear()
            read[key] = None if found is None else found.digests
        finding = _judge(row, read[key])
        if finding is not None:
            come.findings.append(finding)
        elif row.store_fault is not None:
            come.good_again.append(row.uid)
        come.checked += 1
        come.last_id = row.id
        if on_judged is not None:
            on_judged(row, finding, come)
    signed = check_segments(tx, store, progress, sample)
    report = AuditReport({}, compared, come.checked, come.sample, come.findings, chains, come.good_again, signed)
    report.counts = _counts_with(tx, report)
    return report


def _counts_with(tx: Transaction, report: AuditReport) -> dict[str, int]:
    """The journal's counts as they are once this audit is taken up; what it knows already counts once."""
    # One look: a daemon may be taking up another audit at the same time.
    tx.connection.execute("BEGIN")
    try:
        counts = queries.counts(tx)
        faulted = {uid for (uid,) in tx.all(f"SELECT uid FROM recording WHERE {queries.FAULTED}")}  # noqa: S608
        standing = {found.recording for found in report.findings if stands(tx, found)}
    finally:
        tx.connection.execute("COMMIT")
    counts["unaccounted"] += len(standing - faulted) - len(faulted & set(report.good_again))
    return counts


def proof_of(row: RecordingRow) -> str:
    """What names the last read-back that found a recording good: the run of the machine, and when in it."""
    return f"{row.confirmed_utc} {row.readback_boot_id} {row.readback_boottime_s}"


def stands(tx: Transaction, finding: Finding) -> bool:
    """Whether a finding still holds: nobody has found the recording good, or taken it in anew, since."""
    rows = tx.recordings(f"uid = ? AND {_PROVEN}", finding.recording)
    return any(proof_of(row) == finding.proven for row in rows)


def _judge(row: RecordingRow, found: Digests | None) -> Finding | None:
    key = row.store_key or ""
    if found is None:
        return Finding(row.uid, key, "missing", "the store does not hold it", proof_of(row))
    if found != Digests(row.size_bytes, row.blake3 or "", row.sha256 or ""):
        detail = f"{found.size_bytes} bytes with SHA-256 {found.sha256}; {row.size_bytes} with {row.sha256} on record"
        return Finding(row.uid, key, "altered", detail, proof_of(row))
    return None
