"""A block device at the gate: wiped whole or not at all, open for writing no longer than that, and never believed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from contract.devices import Card, failing, run
from contract.tools import Steps, plant
from contract.wiping import Facts
from contract.world import AGENCY, World

from dockd.alerts import AlertBoard
from dockd.cameras.base import Device, Listing, Progress
from dockd.cameras.mass_storage import MassStorageCamera
from dockd.errors import CameraGoneError, DeviceServiceError, NotDisjointError
from dockd.journal import queries
from dockd.lifecycle import RecordingState
from dockd.runtime.workers import Control, Worker
from dockd.wipe.device import DeviceWipe
from dockd.wipe.execute import Outcome, settle_intents
from dockd.wipe.facts import CustodyState, SiteFacts, StoreCalls
from dockd.wipe.mirror import HoldMirror

A, B, LOG = b"DCIM/a.MP4", b"DCIM/b.MP4", b"LOG/x.TXT"
OPENING = ["unmount", "writable", "mount-rw"]
CLOSING = ["unmount", "read-only", "mount-ro"]


@dataclass
class Desk:
    """One docked card whose recordings are confirmed, and what wipes them."""

    world: World
    card: Card
    camera: MassStorageCamera
    ids: dict[bytes, int]
    worker: Worker
    facts: Facts
    twins: list[str]
    told: list[str | None] = field(default_factory=list)

    async def round(self, *, observe: bool = False) -> dict[bytes, Outcome]:
        docking_id = self.world.docking_id
        rows = self.world.journal.run_in_thread(lambda tx: queries.to_wipe(tx, docking_id, 0))
        wipe = DeviceWipe(
            self.world.journal,
            self.camera,
            docking_id,
            self.worker,
            self.facts,
            device=self.camera,
            tell=self.told.append,
        )
        self.card.mounts.steps.clear()
        return {outcome.row.path: outcome for outcome in await wipe.round(rows, observe=observe)}

    def states(self) -> set[RecordingState]:
        return {self.world.row(number).state for number in self.ids.values()}

    def there(self) -> set[bytes]:
        return {path for path in (A, B, LOG) if (self.card.root / path.decode()).exists()}

    def settle(self) -> None:
        camera_id = self.world.row(self.ids[A]).camera
        rows = self.world.journal.run_in_thread(lambda tx: queries.intents(tx, camera_id))
        settle_intents(self.world.journal, self.camera, rows, self.world.docking_id, Control())


@contextmanager
def at_desk(root: Path, *, leave: bytes | None = None) -> Iterator[Desk]:
    """`leave`: a recording that is on the card and not confirmed."""
    root.mkdir(exist_ok=True)
    with ExitStack() as stack:
        world = World(root)
        stack.callback(world.close)
        card = Card(root / "device")
        stack.callback(card.close)
        for path in (A, B, LOG):
            plant(card.root / path.decode(), path * 3000)
        camera = card.camera(["DCIM/**"])
        camera.attach()
        ids = dict(world.dock(camera))  # type: ignore[arg-type]
        for path, recording in ids.items():
            if path != leave:
                world.copy(camera, recording)  # type: ignore[arg-type]
                world.store_it(recording)
        world.sign()
        worker = Worker("camera")
        stack.callback(worker.close)
        calls = StoreCalls(world.store)
        stack.callback(calls.worker.close)
        twins: list[str] = []
        site = SiteFacts(
            world.journal,
            calls,
            world.clock,
            HoldMirror(world.journal, calls, AGENCY, (), AlertBoard(world.clock.now)).renew,
            world.spool.directory,
            frozenset({"same-disk"}),
            camera,
            lambda: True,
            lambda row: 0.0,
            lambda: bool(twins),
            lambda: CustodyState(None, heads_checked=True),
        )
        yield Desk(world, card, camera, ids, worker, Facts(site), twins)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with at_desk(tmp_path / "world") as made:
        yield made


async def test_all_are_wiped_and_the_device_is_closed_again(desk: Desk) -> None:
    assert isinstance(desk.camera, Device)
    outcomes = await desk.round()
    assert all(outcome.wiped for outcome in outcomes.values())
    assert desk.there() == {LOG}
    assert desk.states() == {RecordingState.WIPED}
    assert desk.card.mounts.steps == OPENING + CLOSING
    assert desk.card.mounts.read_only
    assert desk.told == [None]


async def test_one_that_is_not_confirmed_keeps_the_device_closed(tmp_path: Path) -> None:
    with at_desk(tmp_path / "world", leave=B) as desk:
        outcomes = await desk.round()
        assert outcomes[A].refusal is not None
        assert outcomes[A].refusal.reason == "companions"
        assert "writable" not in desk.card.mounts.steps
        assert desk.there() == {A, B, LOG}


async def test_one_that_differs_on_the_device_keeps_all(desk: Desk) -> None:
    (desk.card.root / B.decode()).write_bytes(b"x" * len(B) * 3000)
    outcomes = await desk.round()
    assert {outcome.refusal.reason for outcome in outcomes.values() if outcome.refusal} == {
        "companions",
        "device-differs",
    }
    assert "writable" not in desk.card.mounts.steps
    assert desk.there() == {A, B, LOG}


async def test_a_hold_on_one_between_intent_and_opening_keeps_all(desk: Desk) -> None:
    def hold() -> None:
        desk.world.journal.run_in_thread(
            lambda tx: tx.run("UPDATE recording SET store_fault = 'missing' WHERE id = ?", desk.ids[A])
        )

    desk.facts.looked_at = hold
    outcomes = await desk.round()
    assert all(outcome.refusal for outcome in outcomes.values())
    assert desk.states() == {RecordingState.CONFIRMED}
    assert "writable" not in desk.card.mounts.steps
    assert desk.there() == {A, B, LOG}


async def test_a_twin_that_comes_between_intent_and_opening_keeps_all(desk: Desk) -> None:
    desk.facts.before = lambda: desk.twins.append("another one")
    outcomes = await desk.round()
    assert desk.facts.renewed == 1
    assert all(outcome.refusal for outcome in outcomes.values())
    assert desk.states() == {RecordingState.CONFIRMED}
    assert "writable" not in desk.card.mounts.steps


async def test_a_card_of_which_not_all_can_be_listed_afterwards_proves_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = desk.camera.list

    def after_the_wipe(progress: Progress) -> Listing:
        listing = whole(progress)
        return replace(listing, complete=desk.card.mounts.steps != OPENING + CLOSING)

    monkeypatch.setattr(desk.camera, "list", after_the_wipe)
    with pytest.raises(DeviceServiceError):
        await desk.round()
    assert desk.states() == {RecordingState.WIPE_INTENT}


async def test_what_is_only_observed_is_never_opened(desk: Desk) -> None:
    outcomes = await desk.round(observe=True)
    assert all(outcome.would_wipe for outcome in outcomes.values())
    assert desk.card.mounts.steps == []
    assert desk.states() == {RecordingState.CONFIRMED}


@pytest.mark.parametrize("step", ["unmount", "writable", "mount-rw"])
async def test_a_service_that_fails_while_opening_leaves_all_as_it_is(desk: Desk, step: str) -> None:
    fails = failing(step)
    failed: list[str] = []

    def once(name: str) -> None:
        if name == step and not failed:
            failed.append(name)
            fails(name)

    desk.card.mounts.before = once
    outcomes = await desk.round()
    assert all(outcome.refusal and outcome.refusal.reason == "not-deleted" for outcome in outcomes.values())
    assert desk.states() == {RecordingState.CONFIRMED}
    assert desk.there() == {A, B, LOG}
    assert desk.card.mounts.read_only
    assert desk.card.mounts.steps[-1] == "mount-ro"


async def test_a_device_that_cannot_be_looked_at_afterwards_proves_nothing(desk: Desk) -> None:
    desk.card.mounts.before = failing("read-only")
    with pytest.raises(DeviceServiceError):
        await desk.round()
    assert desk.states() == {RecordingState.WIPE_INTENT}
    # The next docking looks, and settles it.
    desk.card.mounts.before = lambda step: None
    desk.camera.close()
    desk.camera.attach()
    desk.settle()
    assert desk.states() == {RecordingState.WIPED}


@pytest.mark.parametrize("step", [*OPENING, "read-only"])
async def test_a_camera_pulled_at_a_step_of_its_wipe_is_not_called_wiped(desk: Desk, step: str) -> None:
    def pull(name: str) -> None:
        if name == step:
            desk.card.mounts.present = False
            raise CameraGoneError("pulled")

    desk.card.mounts.before = pull
    with pytest.raises(CameraGoneError):
        await desk.round()
    assert desk.states() == {RecordingState.WIPE_INTENT}
    assert desk.card.mounts.read_only


async def test_a_file_that_cannot_be_deleted_stays_confirmed(desk: Desk) -> None:
    stuck = desk.card.root / B.decode()
    run("chattr", "+i", stuck)
    try:
        outcomes = await desk.round()
    finally:
        run("chattr", "-i", stuck)
    assert outcomes[A].wiped
    assert outcomes[B].refusal is not None
    assert outcomes[B].refusal.lasting
    assert desk.there() == {B, LOG}


async def test_a_file_that_was_to_stay_and_changed_is_told_of(desk: Desk) -> None:
    def damage(name: str) -> None:
        if name == "mount-rw":
            (desk.card.root / LOG.decode()).write_bytes(b"damaged")

    desk.card.mounts.before = damage
    outcomes = await desk.round()
    assert all(outcome.wiped for outcome in outcomes.values())
    (what,) = desk.told
    assert what is not None
    assert "LOG/x.TXT" in what
    assert "integrity_failure" in desk.world.events()


def test_a_missing_file_is_believed_only_of_a_device_that_answers(desk: Desk) -> None:
    desk.camera.list(Steps())
    (desk.card.root / A.decode()).unlink()
    desk.card.mounts.before = failing("read-only")
    with pytest.raises(DeviceServiceError):
        desk.camera.list(Steps())
    desk.card.mounts.before = lambda step: None
    assert A not in desk.camera.list(Steps()).files


def test_a_device_that_is_gone_is_not_taken_for_an_empty_one(desk: Desk) -> None:
    desk.card.mounts.present = False
    with pytest.raises(CameraGoneError):
        desk.camera.list(Steps())
    with pytest.raises(CameraGoneError):
        desk.camera.is_gone(A)


def test_what_may_not_be_wiped_says_why(tmp_path: Path) -> None:
    card = Card(tmp_path / "device")
    try:
        plain = card.camera(profile=False)
        plain.attach()
        assert plain.may_wipe() == "no-profile"
        plain.leave()
        nameless = card.camera(serial=b"")
        nameless.attach()
        assert nameless.may_wipe() == "no-serial"
        nameless.leave()
        (disk,) = card.device().disks
        strange = replace(disk.volumes[0], number=2, name="other", kind="ntfs")
        partly = card.camera(disks=(replace(disk, volumes=(replace(disk.volumes[0], number=1), strange)),))
        partly.attach()
        assert partly.may_wipe() == "unread-partition"
        partly.leave()
        named = card.camera()
        named.attach()
        assert named.may_wipe() is None
    finally:
        card.close()


def test_a_card_that_holds_the_store_is_refused(tmp_path: Path) -> None:
    card = Card(tmp_path / "device")
    try:
        (card.root / "evidence").mkdir()
        camera = card.camera(forbidden=[card.root / "evidence"])
        with pytest.raises(NotDisjointError):
            camera.attach()
    finally:
        card.close()


def test_a_card_without_a_file_system_that_is_read_is_not_called_empty(tmp_path: Path) -> None:
    card = Card(tmp_path / "device")
    try:
        (disk,) = card.device().disks
        camera = card.camera(disks=(replace(disk, volumes=(replace(disk.volumes[0], kind="ntfs"),)),))
        with pytest.raises(DeviceServiceError, match="no file system that dockd reads"):
            camera.attach()
        assert card.mounts.steps == []
    finally:
        card.close()
