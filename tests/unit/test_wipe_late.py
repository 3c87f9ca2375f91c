"""What comes up while the camera's file is read the second time: minutes, for a long film."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from contract.tools import content, plant
from contract.wiping import Gate, at_the_gate

from dockd.lifecycle import RecordingState

ONE, TWO = b"DCIM/one.MP4", b"DCIM/two.MP4"
FILES = {ONE: content(5000), TWO: content(6000)}


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    with at_the_gate(tmp_path / "dock", FILES) as made:
        yield made


def object_of(gate: Gate, path: bytes) -> Path:
    return gate.world.store.root / (gate.row(path).store_key or "")


def remove(gate: Gate) -> None:
    object_of(gate, ONE).unlink()


def alter(gate: Gate) -> None:
    place = object_of(gate, ONE)
    place.chmod(0o600)
    place.write_bytes(content(5000, seed=9))


def replace(gate: Gate) -> None:
    place = object_of(gate, ONE)
    os.rename(plant(place.with_name("new"), FILES[ONE]), place)


@pytest.mark.parametrize("happens", [remove, alter, replace])
async def test_a_copy_in_the_store_that_is_not_the_one_that_was_read_back_keeps_the_original(
    gate: Gate, happens: Callable[[Gate], None]
) -> None:
    gate.facts.looked_at = lambda: happens(gate)
    outcomes = await gate.round()
    refused = outcomes[ONE].refusal
    assert refused is not None
    assert refused.reason.startswith("store")
    assert gate.file(ONE).exists()
    assert gate.row(ONE).state is RecordingState.CONFIRMED
    assert outcomes[TWO].wiped


def switch_off(gate: Gate) -> None:
    gate.wipe_on = False


def clash(gate: Gate) -> None:
    gate.clash = True


def unmark(gate: Gate) -> None:
    (gate.world.folder / ".dockd-camera").unlink()


def store_away(gate: Gate) -> None:
    root = gate.world.store.root
    os.rename(root, root.with_name("away"))


@pytest.mark.parametrize("happens", [switch_off, clash, unmark, store_away])
async def test_what_speaks_against_the_whole_camera_keeps_everything(
    gate: Gate, happens: Callable[[Gate], None]
) -> None:
    gate.facts.looked_at = lambda: happens(gate)
    outcomes = await gate.round()
    assert all(outcome.refusal is not None for outcome in outcomes.values())
    assert all(gate.file(path).exists() for path in FILES)
    assert all(gate.row(path).state is RecordingState.CONFIRMED for path in FILES)
    assert gate.world.events().count("recording_wiped") == 0
