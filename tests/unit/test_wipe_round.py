"""A round of wiping, on a real camera: what passed the gate goes, what changed meanwhile stays."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from contract.tools import content, is_open, plant, stopping, wait_for, writer
from contract.wiping import Gate, at_the_gate

from dockd.errors import CameraGoneError, StoppedError
from dockd.lifecycle import RecordingState
from dockd.wipe.execute import Outcome

ONE, TWO = b"DCIM/one.MP4", b"DCIM/two.MP4"
FILES = {ONE: content(5000), TWO: content(6000)}


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    with at_the_gate(tmp_path / "dock", FILES) as made:
        yield made


def reason(outcome: Outcome) -> str | None:
    return None if outcome.refusal is None else outcome.refusal.reason


# --- the right way -----------------------------------------------------------------------------------


async def test_what_passes_the_gate_is_wiped_and_recorded_in_order(gate: Gate) -> None:
    before = len(gate.world.events())
    await gate.round()
    gate.assert_wiped(ONE, TWO)
    assert gate.world.events()[before:] == ["wipe_started"] * 2 + ["recording_wiped"] * 2
    assert {path.name for path in gate.world.folder.rglob("*")} == {".dockd-camera", "DCIM"}
    assert sorted(gate.world.stored().values()) == sorted(FILES.values())


async def test_observing_does_everything_but_delete(gate: Gate) -> None:
    outcomes = await gate.round(observe=True)
    assert all(outcome.would_wipe and not outcome.wiped for outcome in outcomes.values())
    gate.assert_kept(ONE, TWO)
    assert "wipe_started" not in gate.world.events()
    assert {gate.row(path).reread_docking for path in FILES} == {gate.world.docking_id}
    assert all("would be deleted" in (gate.row(path).wipe_refusal or "") for path in FILES)


async def test_observing_refuses_what_would_be_refused(gate: Gate) -> None:
    plant(gate.file(ONE), content(5000, seed=1))
    outcomes = await gate.round(observe=True)
    assert reason(outcomes[ONE]) is not None
    assert not outcomes[ONE].would_wipe
    assert outcomes[TWO].would_wipe
    gate.assert_kept(ONE, TWO)


# --- what the site says ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "value", "wanted"),
    [
        ("wipe_on", False, "mode"),
        ("grace_left_s", 1.0, "grace"),
        ("grace_left_s", None, "grace"),
        ("clash", True, "identity-clash"),
    ],
)
async def test_the_site_can_forbid_it(gate: Gate, setting: str, value: object, wanted: str) -> None:
    setattr(gate, setting, value)
    assert await gate.refused(ONE) == wanted
    assert not any(name.startswith("wipe_started") for name in gate.world.events())


async def test_without_a_marker_nothing_is_wiped(gate: Gate) -> None:
    (gate.world.folder / ".dockd-camera").unlink()
    assert await gate.refused(ONE) == "no-marker"


async def test_a_weakness_that_was_not_accepted_forbids_it(gate: Gate) -> None:
    gate.facts.real.accepted = frozenset()
    assert await gate.refused(ONE) == "store-weak"


async def test_a_chain_that_nobody_acknowledged_forbids_it(gate: Gate) -> None:
    gate.world.journal.run_in_thread(lambda tx: tx.run("UPDATE chain SET acknowledged = 0"))
    assert await gate.refused(ONE) == "chain"


async def test_a_camera_that_cannot_be_read_past_the_cache_is_not_wiped(gate: Gate) -> None:
    gate.camera.past_cache = False
    assert await gate.refused(ONE) == "device-cached"


# --- what the store holds ----------------------------------------------------------------------------


def object_of(gate: Gate, path: bytes) -> Path:
    return gate.world.store.root / (gate.row(path).store_key or "")


STORE_CHANGES: list[tuple[Callable[[Path], object], str]] = [
    (Path.unlink, "store-missing"),
    (os.utime, "store-changed"),
    (lambda path: os.truncate(path, 10), "store-changed"),
    (lambda path: path.write_bytes(b"x" * 5000), "store-changed"),
    (lambda path: os.rename(plant(path.with_name("copy"), path.read_bytes()), path), "store-changed"),
]


@pytest.mark.parametrize(("change", "wanted"), STORE_CHANGES)
async def test_a_copy_in_the_store_that_changed_since_it_was_read_is_no_proof(
    gate: Gate, change: Callable[[Path], object], wanted: str
) -> None:
    change(object_of(gate, ONE))
    assert await gate.refused(ONE) == wanted


@pytest.mark.parametrize("what", ["hard link to the object", "object is a link"])
async def test_the_stores_copy_must_not_be_the_cameras_file(gate: Gate, what: str) -> None:
    path, stored = gate.file(ONE), object_of(gate, ONE)
    if what == "hard link to the object":
        path.unlink()
        os.link(stored, path)
    else:
        stored.unlink()
        os.link(path, stored)
    with gate.world.attached() as camera:
        gate.world.note(camera)
    row = gate.row(ONE)
    version = gate.world.store.version(row.store_key or "")
    there = os.stat(path)
    gate.world.journal.run_in_thread(
        lambda tx: tx.update(row, store_version=version, device=there.st_dev, inode=there.st_ino, on_device=True)
    )
    (outcome,) = (await gate.round(ONE)).values()
    assert reason(outcome) == "same-file"
    assert path.exists()
    assert stored.exists()


@pytest.mark.parametrize(
    ("column", "value"),
    [("readback_boot_id", "another boot"), ("readback_boottime_s", -90_000.0), ("readback_boottime_s", None)],
)
async def test_a_read_back_that_is_not_known_to_be_recent_is_no_proof(gate: Gate, column: str, value: object) -> None:
    row = gate.row(ONE)
    if value == -90_000.0:
        value = gate.world.clock.boottime_s() - 24 * 3600 - 1
    gate.world.journal.run_in_thread(lambda tx: tx.update(row, **{column: value}))
    assert await gate.refused(ONE) == "read-back-old"


async def test_a_read_back_from_the_future_is_no_proof(gate: Gate) -> None:
    row = gate.row(ONE)
    soon = gate.world.clock.boottime_s() + 1000
    gate.world.journal.run_in_thread(lambda tx: tx.update(row, readback_boottime_s=soon))
    assert await gate.refused(ONE) == "read-back-old"


# --- what is on the camera ---------------------------------------------------------------------------


def change_unseen(path: Path) -> None:
    """One byte less true, of the same size and time."""
    before = os.stat(path)
    with open(path, "r+b") as file:
        file.write(b"?")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


async def test_other_bytes_on_the_camera_are_not_deleted(gate: Gate) -> None:
    change_unseen(gate.file(ONE))
    outcomes = await gate.round()
    assert (reason(outcomes[ONE]), outcomes[TWO].wiped) == ("device-differs", True)
    gate.assert_kept(ONE)


async def test_the_same_bytes_in_another_file_are_not_deleted_before_they_are_noted(gate: Gate) -> None:
    path = gate.file(ONE)
    os.rename(plant(path.with_name("new"), FILES[ONE]), path)
    outcomes = await gate.round()
    assert (reason(outcomes[ONE]), outcomes[TWO].wiped) == ("device-changed", True)
    gate.assert_kept(ONE)


async def test_a_file_with_a_writer_is_not_deleted(gate: Gate) -> None:
    with writer(gate.file(ONE)) as process:
        assert is_open(process)
        outcomes = await gate.round()
    assert (reason(outcomes[ONE]), outcomes[TWO].wiped) == ("in-use", True)
    gate.assert_kept(ONE)


async def test_a_file_that_went_by_itself_is_not_said_to_be_wiped(gate: Gate) -> None:
    gate.file(ONE).unlink()
    outcomes = await gate.round()
    assert (outcomes[ONE].wiped, outcomes[TWO].wiped) == (False, True)
    assert gate.row(ONE).state is RecordingState.CONFIRMED
    assert gate.world.events().count("recording_wiped") == 1


async def test_without_a_lease_nothing_is_deleted(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system that has none: the kernel's answer is replaced, nothing of dockd."""
    real = fcntl.fcntl

    def refusing(fd: int, command: int, *more: int) -> int:
        if command == fcntl.F_SETLEASE:
            raise OSError(22, "Invalid argument")
        return real(fd, command, *more)

    monkeypatch.setattr(fcntl, "fcntl", refusing)
    assert await gate.refused(ONE) == "no-lease"


# --- between hash and unlink -------------------------------------------------------------------------


async def test_a_writer_that_comes_between_hash_and_unlink_saves_its_file(gate: Gate) -> None:
    late = []

    def arrive() -> None:
        process = writer(gate.file(ONE), appends="more")
        late.append((process, process.__enter__()))
        inode = f":{os.stat(gate.file(ONE)).st_ino} "
        wait_for(
            lambda: any("BREAKING" in line and inode in line for line in Path("/proc/locks").read_text().splitlines()),
            "the writer to ask for the lease",
        )

    gate.facts.before = arrive
    try:
        outcomes = await gate.round()
        assert (reason(outcomes[ONE]), outcomes[TWO].wiped) == ("not-deleted", True)
        gate.assert_kept(ONE)
        assert is_open(late[0][1]), "the writer goes on as soon as the round is over"
    finally:
        late[0][0].__exit__(None, None, None)
    assert gate.file(ONE).read_bytes() == FILES[ONE] + b"more"


def replaced(path: Path) -> None:
    os.rename(plant(path.with_name("new"), b"newer footage"), path)


def replaced_by_its_like(path: Path) -> None:
    before = os.stat(path)
    os.rename(plant(path.with_name("new"), path.read_bytes()), path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced_by_a_link(path: Path) -> None:
    os.rename(path, path.with_name("away"))
    path.symlink_to("away")


def parent_replaced(path: Path) -> None:
    os.rename(path.parent, path.parent.with_name("away"))
    plant(path, b"newer footage")


def given_another_name_too(path: Path) -> None:
    os.link(path, path.with_name("again"))


def touched(path: Path) -> None:
    os.utime(path)


@pytest.mark.parametrize(
    "change", [replaced, replaced_by_its_like, replaced_by_a_link, given_another_name_too, touched]
)
async def test_what_took_its_place_between_hash_and_unlink_stays(gate: Gate, change: Callable[[Path], None]) -> None:
    gate.facts.after = lambda: change(gate.file(ONE))
    outcomes = await gate.round()
    assert (reason(outcomes[ONE]), outcomes[TWO].wiped) == ("not-deleted", True)
    gate.assert_kept(ONE)
    gate.assert_wiped(TWO)


async def test_a_folder_that_took_its_place_between_hash_and_unlink_stays(gate: Gate) -> None:
    gate.facts.after = lambda: parent_replaced(gate.file(ONE))
    outcomes = await gate.round()
    assert {reason(outcome) for outcome in outcomes.values()} == {"not-deleted"}
    assert gate.file(ONE).read_bytes() == b"newer footage"
    assert (gate.world.folder / "away" / "one.MP4").exists()
    assert (gate.world.folder / "away" / "two.MP4").exists()


# --- interrupted -------------------------------------------------------------------------------------


async def test_a_camera_that_goes_before_the_unlink_keeps_everything(gate: Gate) -> None:
    gate.facts.after = lambda: os.rename(gate.world.folder, gate.world.folder.with_name("away"))
    with pytest.raises(CameraGoneError):
        await gate.round()
    assert {path.name for path in (gate.world.folder.with_name("away") / "DCIM").iterdir()} == {"one.MP4", "two.MP4"}
    assert {gate.row(path).state for path in FILES} == {RecordingState.WIPE_INTENT}
    os.rename(gate.world.folder.with_name("away"), gate.world.folder)
    gate.settle()
    gate.assert_kept(ONE, TWO)


async def test_what_a_crash_left_open_is_settled_by_looking(gate: Gate) -> None:
    gate.facts.after = lambda: os.rename(gate.world.folder, gate.world.folder.with_name("away"))
    with pytest.raises(CameraGoneError):
        await gate.round()
    os.rename(gate.world.folder.with_name("away"), gate.world.folder)
    gate.file(ONE).unlink()
    gate.settle()
    assert gate.row(ONE).state is RecordingState.WIPED
    gate.assert_kept(TWO)
    assert gate.world.events().count("recording_wiped") == 1
    gate.settle()


@pytest.mark.parametrize("instead", ["file", "link", "nothing"])
async def test_an_open_wipe_is_settled_whatever_its_folder_became(gate: Gate, instead: str) -> None:
    """Else the bay would never go on."""
    gate.facts.after = lambda: os.rename(gate.world.folder, gate.world.folder.with_name("away"))
    with pytest.raises(CameraGoneError):
        await gate.round(ONE)
    os.rename(gate.world.folder.with_name("away"), gate.world.folder)
    for path in FILES:
        gate.file(path).unlink()
    folder = gate.file(ONE).parent
    folder.rmdir()
    if instead == "file":
        folder.write_bytes(b"")
    elif instead == "link":
        folder.symlink_to("/")
    gate.settle()
    assert gate.row(ONE).state is RecordingState.WIPED


async def test_a_stop_while_the_device_is_read_deletes_nothing(gate: Gate) -> None:
    gate.worker.control = stopping(1, phase="wiping")
    with pytest.raises(StoppedError):
        await gate.round()
    gate.assert_kept(ONE, TWO)
    assert "wipe_started" not in gate.world.events()


async def test_after_a_round_nothing_of_it_is_held(gate: Gate) -> None:
    gate.hold(recording=gate.row(ONE).uid)
    descriptors = len(os.listdir("/proc/self/fd"))
    await gate.round()
    assert len(os.listdir("/proc/self/fd")) == descriptors
    with writer(gate.file(ONE)) as process:
        assert is_open(process)
