"""Taking up what an audit found: the daemon alone writes to the journal, whoever made the audit."""

from __future__ import annotations

import json
import os
import time
from typing import Any, Final

from dockd.audit.reading import stands
from dockd.audit.report import AuditReport, Finding
from dockd.custody.chain import rfc3339
from dockd.events import Audit
from dockd.journal import recordings, segments
from dockd.journal.chain_break import note_break
from dockd.journal.transaction import Transaction
from dockd.paths import StatePaths
from dockd.runtime.randomness import SystemRandomness

_LAST: Final = "audit_last"
_FIGURES: Final = ("checked", "sample", "unaccounted", "missing", "altered", "chain_ok", "counts_agree", "segments_ok")


def record_audit(tx: Transaction, found: dict[str, Any]) -> None:
    """Take up what an audit found: its record, and which recordings are unaccounted from now on.

    Raises ValueError if it was made of another journal than this.
    """
    if found["chain"] != tx.head.chain:
        raise ValueError(f"the audit was made of chain {found['chain']}, and this is {tx.head.chain}")
    for uid, fault, detail, proven in found["findings"]:
        record_finding(tx, Finding(uid, "", fault, detail, proven))
    for uid in found["good_again"]:
        record_good_again(tx, uid)
    # An audit that an older dockd made, and left here, did not compare the counts, and not the signed segments.
    unknown = {"counts_agree": None, "segments_ok": None}
    figures: dict[str, Any] = {name: {**unknown, **found}[name] for name in _FIGURES}
    for chain, first in found.get("lost_segments", ()):
        segments.segment_lost(tx, chain, first)
    tx.append(Audit(**figures))
    if not found["chain_ok"]:
        note_break(tx, str(found.get("chain_break") or "an audit found a chain broken"))
    tx.set_meta(_LAST, json.dumps({"ts": rfc3339(tx.clock.now()), **figures}))


def record_finding(tx: Transaction, finding: Finding) -> bool:
    """One recording is missing or altered; False if it was found good, or taken in anew, since it was looked at."""
    if not stands(tx, finding):
        return False
    for row in tx.recordings("uid = ?", finding.recording):
        recordings.store_fault(tx, row.id, finding.fault, finding.detail)
    return True


def record_good_again(tx: Transaction, uid: str) -> None:
    """A recording that was found at fault is not any more."""
    for row in tx.recordings("uid = ? AND store_fault IS NOT NULL", uid):
        recordings.store_fault_over(tx, row)


def last_audit(tx: Transaction) -> dict[str, Any] | None:
    """The figures of the last audit that was taken up, and when that was; None if there was none."""
    text = tx.meta(_LAST)
    return None if text is None else dict(json.loads(text))


def hand_over(paths: StatePaths, report: AuditReport) -> None:
    """Leave the findings for the daemon, which alone writes to the journal."""
    path = paths.audit_report(f"{time.time_ns():020d}-{SystemRandomness().token(4)}")
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(report.hand_over()), encoding="utf-8")
    os.replace(fresh, path)
