"""One plain sentence per recording: where it is, and why it is (not) wiped yet."""

from __future__ import annotations

from dockd.identity import plain_name, plain_text
from dockd.journal import queries, segments
from dockd.journal.chain_break import noted_break
from dockd.journal.recordings import LOST_HERE
from dockd.journal.rows import RecordingRow
from dockd.journal.signing_key import key_problem
from dockd.journal.transaction import Transaction
from dockd.lifecycle import RecordingState

_R = RecordingState


def explain(tx: Transaction, row: RecordingRow, wipe_mode: str, grace_s: float = 0.0) -> str:
    """The sentence for one recording."""
    name = plain_name(row.path)
    if row.generation > 1:
        name = f"{name} (version {row.generation})"
    return f"{name}: {plain_text(_where(tx, row, wipe_mode, grace_s))}"


def _where(tx: Transaction, row: RecordingRow, wipe_mode: str, grace_s: float) -> str:
    if row.store_fault is not None:
        return _with_fault(row)
    if row.state is _R.WIPED:
        return f"is in the store ({row.store_key}) and was wiped from the camera at {row.wiped_utc}."
    if row.state is _R.WIPE_INTENT:
        return "is in the store, and it is about to be wiped, or was when the camera left; the next look decides."
    if row.state is _R.CONFIRMED:
        why = _why_kept(tx, row, wipe_mode, grace_s)
        return f"is in the store ({row.store_key}), confirmed at {row.confirmed_utc}; {why}"
    if row.state is _R.VANISHED:
        if row.problem in LOST_HERE:
            return f"is unaccounted for: {row.problem_detail}. Keep the camera, and ask whoever looks after this dock."
        return (
            "is unaccounted for: it was seen on the camera, but is no longer there and was not whole here. "
            "Ask who used the camera."
        )
    return _on_its_way(tx, row)


def _with_fault(row: RecordingRow) -> str:
    lost = f"its copy in the store ({row.store_key}) is {row.store_fault} now; restore it from the store's backup"
    if row.state is _R.WIPED:
        return f"was confirmed, and was wiped from the camera at {row.wiped_utc}, but {lost}."
    if row.state is _R.WIPE_INTENT:
        return f"was confirmed, but {lost}. Its wipe had begun; the next look at the camera tells how far it came."
    if row.on_device and row.store_fault == "missing":
        return f"was confirmed, but its copy in the store ({row.store_key}) is missing now; it is taken in anew."
    if row.on_device:
        return f"was confirmed, but {lost}. It is on the camera still, and is not wiped."
    again = " If its camera still has it, it is taken in anew once docked." if row.store_fault == "missing" else ""
    return f"was confirmed, but {lost}. It is not on a docked camera now.{again}"


def _on_its_way(tx: Transaction, row: RecordingRow) -> str:
    if row.state is _R.FOUND and not row.on_device:
        left = None if row.docking is None else tx.docking(row.docking).ended_utc
        since = "" if left is None else f" at {left}"
        seen = f" ({row.problem_detail})" if row.problem is not None else ""
        return f"is on a camera that left{since} before it was copied whole{seen}; dock the camera again."
    if row.problem is not None:
        return f"cannot go on ({row.problem}: {row.problem_detail}); it is kept and not wiped."
    if row.state is _R.FOUND:
        return "is on the docked camera and is copied, or waits for its turn or for room; it is not stored yet."
    if not row.read_whole:
        where = "is read whole once more on the camera" if row.on_device else "waits for its camera to come back"
        return f"was copied in more than one go, so before it is confirmed it {where}; it is kept here."
    if row.state is _R.SPOOLED:
        return "is whole on this dock and waits to be uploaded; it is not in the store yet."
    return "was uploaded and waits to be read back from the store; until then it counts as not stored."


def _why_kept(tx: Transaction, row: RecordingRow, wipe_mode: str, grace_s: float) -> str:
    if not row.on_device:
        return "the camera is away, or the file is gone from it without dockd's doing."
    holds = queries.holds_over(tx, row)
    if holds:
        return f"it stays on the camera because of legal hold {', '.join(holds)}."
    if row.blocks_wipe is not None:
        return f"it stays on the camera because it is flagged ({row.blocks_wipe})."
    if wipe_mode == "off":
        return "it stays on the camera because wipe.mode is off."
    if wipe_mode == "observe":
        seen = "" if row.wipe_refusal is None else f" ({row.wipe_refusal})"
        return f"it stays on the camera because wipe.mode is observe{seen}."
    left_s = grace_s - (float(tx.meta("seen_s") or 0.0) - (row.confirmed_seen_s or 0.0))
    if grace_s and left_s > 0:
        return f"it stays on the camera until its grace time is over, in about {left_s:.0f} s of dockd running."
    broken, unsigned = noted_break(tx), key_problem(tx)
    if broken is not None:
        return f"it stays on the camera because the custody log is broken ({broken}); see: dockd custody acknowledge."
    if unsigned is not None:
        return f"it stays on the camera because nothing can be signed ({unsigned})."
    if row.wipe_refusal is not None:
        return f"it stays on the camera ({row.wipe_refusal})."
    if segments.holds_record(tx, row.confirmed_chain, row.confirmed_seq) is None:
        return "it is wiped once the record of that is signed and in the store too."
    return "it is wiped as soon as the gate has been passed."
