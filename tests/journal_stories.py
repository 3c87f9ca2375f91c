"""What a custody chain tells of each recording, followed record by record without the journal's tables."""

from __future__ import annotations

from typing import Any

from dockd.lifecycle import RecordingState

R = RecordingState
MOVES = {
    "recording_copied": R.SPOOLED,
    "recording_uploaded": R.UPLOADED,
    "recording_confirmed": R.CONFIRMED,
    "wipe_started": R.WIPE_INTENT,
    "recording_wiped": R.WIPED,
    "recording_vanished": R.VANISHED,
}


def told_of(record: dict[str, Any], told: dict[str, R], proven: dict[str, dict[str, Any]]) -> None:
    """Follow one recording's story in the chain; each step has to follow from those before."""
    uid, event = record["recording"], record["event"]
    proof = proven.setdefault(uid, {"events": []})
    proof["events"].append(event)
    content_told = (record.get("size"), record.get("blake3"), record.get("sha256"))
    if event == "recording_found" and (not record["again"] or told[uid] is R.VANISHED):
        assert record["again"] == (uid in told)
        told[uid] = R.FOUND
    elif event == "recording_returned":
        told[uid] = R(record["state"])
    elif event in MOVES:
        told[uid] = MOVES[event]
    if event == "recording_copied":
        proof |= {"copied": content_told, "whole": record["read_in_one_docking"]}
    if event == "recording_reread":
        assert content_told == proof["copied"]
        proof["whole"] = True
    if event == "recording_confirmed":
        assert proof["whole"]
        assert content_told == proof["copied"]
        proof["confirmed"] = content_told
    if event == "wipe_started":
        assert proof["events"][-2:] != ["wipe_started", "wipe_started"]
        assert content_told[1:] == proof["confirmed"][1:]
    if event == "recording_wiped":
        assert "confirmed" in proof
        assert "wipe_started" in proof["events"]
