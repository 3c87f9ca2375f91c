"""Legal holds: whatever brings one into force keeps footage on the camera, and nothing but a lift ends it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import approvals
import pytest
from contract.tools import content, plant
from contract.wiping import Gate, at_the_gate
from contract.world import AGENCY

from dockd.errors import StoreConflictError
from dockd.lifecycle import RecordingState
from dockd.wipe.holds import Hold, StoredHolds, mirror_holds, publish_hold, read_holds

ONE, TWO = b"DCIM/one.MP4", b"DCIM/two.MP4"
FILES = {ONE: content(5000), TWO: content(6000)}


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    with at_the_gate(tmp_path / "dock", FILES) as made:
        yield made


def mirrored(gate: Gate) -> list[str]:
    """The holds that the journal knows after it was brought up to the store."""
    stored = read_holds(gate.world.store, AGENCY, (approvals.LINE,))
    gate.world.journal.run_in_thread(lambda tx: mirror_holds(tx, stored))
    return [name for (name,) in gate.world.query("SELECT name FROM hold ORDER BY name")]


def in_force(gate: Gate) -> list[Hold]:
    return list(read_holds(gate.world.store, AGENCY, (approvals.LINE,)).in_force)


def events_of_holds(gate: Gate) -> list[str]:
    return [name for name in gate.world.events() if name.startswith("hold_")]


# --- what the store says -----------------------------------------------------------------------------


def test_holds_come_into_force_and_are_lifted_and_each_is_recorded_once(gate: Gate) -> None:
    gate.hold("a")
    gate.hold("b")
    assert mirrored(gate) == mirrored(gate) == ["a", "b"]
    gate.lift("a")
    assert mirrored(gate) == mirrored(gate) == ["b"]
    assert events_of_holds(gate) == ["hold_added", "hold_added", "hold_removed"]


def test_a_hold_that_merely_disappears_stays_in_force(gate: Gate) -> None:
    gate.hold("a")
    assert mirrored(gate) == ["a"]
    (gate.holds_folder() / "a.json").unlink()
    assert mirrored(gate) == ["a"]
    assert in_force(gate) == []


def test_a_hold_and_its_lift_together_are_no_hold(gate: Gate) -> None:
    gate.hold("a")
    gate.lift("a")
    assert mirrored(gate) == []
    assert events_of_holds(gate) == []


def test_a_lift_of_one_hold_lifts_no_other(gate: Gate) -> None:
    gate.hold("a")
    gate.hold("ab")
    gate.lift("a")
    assert mirrored(gate) == ["ab"]


def test_a_hold_is_never_changed(gate: Gate) -> None:
    hold = gate.hold("a")
    publish_hold(gate.world.store, AGENCY, hold)
    with pytest.raises(StoreConflictError):
        publish_hold(gate.world.store, AGENCY, hold.model_copy(update={"reason": "another"}))
    assert in_force(gate) == [hold]


def test_holds_of_other_versions_may_say_more(gate: Gate) -> None:
    hold = gate.hold("a")
    text = json.dumps({**hold.model_dump(), "until": "2031"})
    plant(gate.holds_folder() / "a.json", text.encode())
    assert in_force(gate) == [hold]


def test_what_is_no_hold_is_not_read(gate: Gate) -> None:
    plant(gate.holds_folder() / "README.txt", b"no hold")
    plant(gate.holds_folder() / ".0123.partial", b"{")
    assert mirrored(gate) == []


# --- at the gate -------------------------------------------------------------------------------------


async def test_without_a_hold_they_are_wiped(gate: Gate) -> None:
    outcomes = await gate.round()
    assert all(outcome.wiped and outcome.refusal is None for outcome in outcomes.values())
    gate.assert_wiped(ONE, TWO)


async def test_a_hold_over_the_camera_keeps_everything(gate: Gate) -> None:
    gate.hold()
    assert await gate.refused(ONE) == "hold"
    assert await gate.refused(TWO) == "hold"
    gate.lift()
    await gate.round()
    gate.assert_wiped(ONE, TWO)


async def test_a_hold_over_one_recording_keeps_that_one(gate: Gate) -> None:
    gate.hold(recording=gate.row(ONE).uid)
    outcomes = await gate.round()
    refused = outcomes[ONE].refusal
    assert outcomes[TWO].wiped
    assert refused is not None
    assert refused.reason == "hold"
    gate.assert_kept(ONE)
    gate.assert_wiped(TWO)


@pytest.mark.parametrize("by", ["blake3", "path_hex"])
async def test_a_hold_of_another_dock_knows_the_recording_by_content_or_path(gate: Gate, by: str) -> None:
    row = gate.row(ONE)
    value = {"blake3": row.blake3 or "", "path_hex": ONE.hex()}[by]
    gate.hold(recording="another dock's id", **{by: value})
    assert await gate.refused(ONE) == "hold"
    await gate.round()
    gate.assert_kept(ONE)
    gate.assert_wiped(TWO)


async def test_a_hold_over_another_camera_keeps_nothing_here(gate: Gate) -> None:
    hold = gate.hold()
    (gate.holds_folder() / "case-1.json").unlink()
    other = hold.model_copy(update={"camera": "CAM-2", "camera_hex": b"CAM-2".hex()})
    publish_hold(gate.world.store, AGENCY, other)
    await gate.round()
    gate.assert_wiped(ONE, TWO)


UNREADABLE: list[bytes] = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"{}",
    b"\xff\xfe",
    b'{"hold": "x", "scope": "everything"}',
    json.dumps({"hold": 7}).encode(),
]


@pytest.mark.parametrize("garbage", UNREADABLE)
@pytest.mark.parametrize("name", ["x.json", "x.lifted.json"])
async def test_a_hold_that_cannot_be_read_keeps_everything(gate: Gate, garbage: bytes, name: str) -> None:
    plant(gate.holds_folder() / name, garbage)
    assert await gate.refused(ONE) == "holds-unreadable"
    (gate.holds_folder() / name).unlink()
    await gate.round()
    gate.assert_wiped(ONE, TWO)


def hold_with(gate: Gate, **fields: Any) -> bytes:
    """A hold over this camera as somebody else may have written it."""
    hold = gate.hold("x")
    (gate.holds_folder() / "x.json").unlink()
    return json.dumps({**hold.model_dump(), **fields}).encode()


@pytest.mark.parametrize(
    "fields",
    [
        {"camera_hex": "no hex"},
        {"camera_hex": "abc"},
        {"path_hex": "no hex", "scope": "recording"},
        {"hold": ""},
        {"hold": "another name"},
    ],
)
async def test_a_hold_that_says_what_cannot_be_keeps_everything(gate: Gate, fields: dict[str, Any]) -> None:
    """It is in force or unreadable; never an error that nobody expects, and never no hold."""
    plant(gate.holds_folder() / "x.json", hold_with(gate, **fields))
    assert await gate.refused(ONE) in {"hold", "holds-unreadable"}


async def test_a_copy_of_a_hold_beside_it_changes_nothing(gate: Gate) -> None:
    """A clerk's file manager makes such a thing."""
    gate.hold("x")
    folder = gate.holds_folder()
    plant(folder / "x (copy).json", (folder / "x.json").read_bytes())
    assert await gate.refused(ONE) in {"hold", "holds-unreadable"}


async def test_a_hold_that_is_a_link_is_not_overlooked(gate: Gate) -> None:
    gate.hold("x")
    folder = gate.holds_folder()
    os.rename(folder / "x.json", folder.parent / "x.json")
    (folder / "x.json").symlink_to("../x.json")
    assert await gate.refused(ONE) in {"hold", "holds-unreadable"}


async def test_a_store_that_is_away_keeps_everything(gate: Gate) -> None:
    os.rename(gate.world.store.root, gate.world.store.root.with_name("away"))
    assert await gate.refused(ONE) == "holds-unreadable"


# --- between intent and unlink -----------------------------------------------------------------------


async def test_a_hold_that_comes_between_the_looks_is_obeyed(gate: Gate) -> None:
    def arrive() -> None:
        assert gate.row(ONE).state is RecordingState.WIPE_INTENT
        gate.hold()

    gate.facts.before = arrive
    outcomes = await gate.round()
    assert {outcome.refusal and outcome.refusal.reason for outcome in outcomes.values()} == {"hold"}
    assert gate.facts.renewed == 1
    gate.assert_kept(ONE, TWO)
    assert gate.world.events().count("recording_returned") == 2


async def test_a_hold_over_one_that_comes_between_the_looks_keeps_that_one(gate: Gate) -> None:
    gate.facts.before = lambda: gate.hold(recording=gate.row(TWO).uid)
    outcomes = await gate.round()
    assert (outcomes[ONE].wiped, outcomes[TWO].wiped) == (True, False)
    gate.assert_kept(TWO)
    gate.assert_wiped(ONE)


@pytest.mark.parametrize(
    "happens",
    [
        lambda gate: plant(gate.holds_folder() / "x.json", b"{"),
        lambda gate: os.rename(gate.world.store.root, gate.world.store.root.with_name("away")),
    ],
)
async def test_holds_that_become_unreadable_between_the_looks_keep_everything(
    gate: Gate, happens: Callable[[Gate], object]
) -> None:
    gate.facts.before = lambda: happens(gate)
    outcomes = await gate.round()
    assert {outcome.refusal and outcome.refusal.reason for outcome in outcomes.values()} == {"holds-unreadable"}
    assert all(gate.file(path).exists() for path in FILES)
    assert all(gate.row(path).state is RecordingState.CONFIRMED for path in FILES)


async def test_a_hold_mirrored_while_the_device_is_read_is_met_with_the_intent(gate: Gate) -> None:
    """Another camera's round has renewed the holds meanwhile: the journal knows, and no intent is written."""
    hold = gate.hold()
    (gate.holds_folder() / "case-1.json").unlink()
    stored = StoredHolds([hold], [], texts={"case-1": hold.model_dump_json()})
    gate.facts.looked_at = lambda: gate.world.journal.run_in_thread(lambda tx: mirror_holds(tx, stored))
    outcomes = await gate.round()
    assert {outcome.refusal and outcome.refusal.reason for outcome in outcomes.values()} == {"hold"}
    assert gate.facts.renewed == 0
    gate.assert_kept(ONE, TWO)
    assert "wipe_started" not in gate.world.events()
