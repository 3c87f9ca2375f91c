"""A camera at the gate: a world whose recordings are confirmed, and the real parts that wipe them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import approvals
from contract.tools import need_direct
from contract.world import AGENCY, World

from dockd.alerts import AlertBoard
from dockd.cameras.folder import FolderCamera
from dockd.journal import queries
from dockd.journal.rows import RecordingRow
from dockd.lifecycle import RecordingState
from dockd.runtime.workers import Control, Worker
from dockd.wipe.approval import Approvals
from dockd.wipe.execute import Outcome, Wipe, settle_intents
from dockd.wipe.facts import CustodyState, SiteFacts, StoreCalls
from dockd.wipe.gate import Standing
from dockd.wipe.holds import Hold, Lift, publish_hold, publish_lift
from dockd.wipe.mirror import HoldMirror


@dataclass
class Facts:
    """The real facts, with places to let something happen: after the look, before and after holds are read."""

    real: SiteFacts
    before: Callable[[], object] | None = None
    after: Callable[[], object] | None = None
    looked_at: Callable[[], object] | None = None
    renewed: int = 0

    async def look(self, rows: Sequence[RecordingRow], camera_refusal: str | None) -> list[Standing]:
        journal = self.real.journal
        intended = await journal.run(lambda tx: any(tx.recording(row.id).state == "wipe_intent" for row in rows))
        if not intended:
            told = await self.real.look(rows, camera_refusal)
            if self.looked_at is not None:
                self.looked_at()
            return told
        # The second look, between intent and unlink.
        self.renewed += 1
        if self.before is not None:
            self.before()
        told = await self.real.look(rows, camera_refusal)
        if self.after is not None:
            self.after()
        return told


@dataclass
class Gate:
    """One docked camera with confirmed recordings, and everything that a wipe needs."""

    world: World
    camera: FolderCamera
    ids: dict[bytes, int]
    wipe_on: bool = True
    grace_left_s: float | None = 0.0
    clash: bool = False
    custody: CustodyState = field(default_factory=lambda: CustodyState(None, heads_checked=True))
    accepted: frozenset[str] = frozenset({"same-disk"})
    worker: Worker = field(default_factory=lambda: Worker("camera"))
    calls: StoreCalls = field(init=False)
    alerts: AlertBoard = field(init=False)
    mirror: HoldMirror = field(init=False)
    facts: Facts = field(init=False)

    def __post_init__(self) -> None:
        self.calls = StoreCalls(self.world.store)
        self.alerts = AlertBoard(self.world.clock.now)
        self.mirror = HoldMirror(self.world.journal, self.calls, AGENCY, (approvals.LINE,), self.alerts)
        self.facts = Facts(
            SiteFacts(
                self.world.journal,
                self.calls,
                self.world.clock,
                lambda: self.mirror.renew(),  # noqa: PLW0108 - a test may exchange it
                self.world.spool.directory,
                self.accepted,
                self.camera,
                lambda: self.wipe_on,
                lambda row: self.grace_left_s,
                lambda: self.clash,
                lambda: self.custody,
            )
        )

    async def round(self, *paths: bytes, observe: bool = False) -> dict[bytes, Outcome]:
        """Take these recordings, or all that are due, to the gate."""
        docking_id = self.world.docking_id
        rows = self.world.journal.run_in_thread(lambda tx: queries.to_wipe(tx, docking_id, 0))
        wipe = Wipe(self.world.journal, self.camera, docking_id, self.worker, self.facts)
        outcomes = await wipe.round([row for row in rows if not paths or row.path in paths], observe=observe)
        return {outcome.row.path: outcome for outcome in outcomes}

    async def refused(self, path: bytes) -> str:
        """Take one recording to the gate, which must refuse it and leave everything as it is; the reason."""
        before = self.row(path)
        (outcome,) = (await self.round(path)).values()
        assert not outcome.wiped
        assert outcome.refusal is not None
        self.assert_kept(path)
        assert self.row(path).state is before.state
        return outcome.refusal.reason

    def settle(self) -> None:
        """What the next docking does about wipes that were interrupted."""
        camera_id = self.row(next(iter(self.ids))).camera
        rows = self.world.journal.run_in_thread(lambda tx: queries.intents(tx, camera_id))
        settle_intents(self.world.journal, self.camera, rows, self.world.docking_id, Control())

    def row(self, path: bytes) -> RecordingRow:
        return self.world.row(self.ids[path])

    def file(self, path: bytes) -> Path:
        return self.world.folder / path.decode()

    def assert_kept(self, *paths: bytes) -> None:
        """These are on the camera, confirmed, and nothing says that they were wiped."""
        for path in paths:
            assert self.file(path).exists()
            assert self.row(path).state is RecordingState.CONFIRMED
        assert self.world.events().count("recording_wiped") == len(self.ids) - len(self._left())

    def assert_wiped(self, *paths: bytes) -> None:
        """These are gone from the camera and in the store."""
        stored = self.world.stored()
        for path in paths:
            assert not self.file(path).exists()
            assert self.row(path).state is RecordingState.WIPED
            assert self.row(path).store_key in stored

    def _left(self) -> list[bytes]:
        return [path for path in self.ids if self.row(path).state is not RecordingState.WIPED]

    def hold(self, name: str = "case-1", **more: str) -> Hold:
        """A hold over this camera, or over one recording with `recording`, `blake3` or `path_hex`."""
        serial = self.camera.identity.serial
        hold = Hold(
            hold=name,
            scope="recording" if more else "camera",
            camera=serial.decode(),
            camera_hex=serial.hex(),
            reason="case 1",
            by="a clerk",
            created="2026-01-01T00:00:00.000Z",
            dock="calgary/district-4/dock-01",
            **more,
        )
        publish_hold(self.world.store, AGENCY, hold)
        return hold

    def approved(self, name: str = "case-1", *, reason: str = "closed", by: str = "a clerk") -> Lift:
        """The lifting of a hold as an approver has signed it; not in the store yet."""
        text = (self.holds_folder() / f"{name}.json").read_text()
        request = Approvals(self.world.store.identify(), AGENCY, ()).request(text, reason, by)
        return Lift(
            hold=name,
            reason=reason,
            by=by,
            approver=approvals.NAME,
            approver_key=approvals.PUBLIC.line,
            request=request,
            signature=approvals.signature(request),
            uid=1000,
            sudo_user="clerk7",
            created="2026-01-02T00:00:00.000Z",
            dock="calgary/district-4/dock-01",
        )

    def lift(self, name: str = "case-1") -> None:
        """Lift a hold, with its approval."""
        publish_lift(self.world.store, AGENCY, self.approved(name))

    def holds_folder(self) -> Path:
        folder = self.world.store.root / AGENCY / "holds"
        folder.mkdir(parents=True, exist_ok=True)
        return folder


@contextmanager
def at_the_gate(root: Path, files: dict[bytes, bytes], *, marker: bool = True) -> Iterator[Gate]:
    """A camera with these files, all confirmed; skips, loudly, where nothing could be wiped."""
    root.mkdir(exist_ok=True)
    need_direct(root)
    world = World(root)
    if marker:
        world.plant(b"", b".dockd-camera")
    for path, data in files.items():
        world.plant(data, path)
    with world.attached() as camera:
        ids = dict(world.dock(camera))
        for recording in ids.values():
            world.copy(camera, recording)
            world.store_it(recording)
        if ids:
            world.sign()
        gate = Gate(world, camera, ids)
        try:
            yield gate
        finally:
            gate.worker.close()
            gate.calls.worker.close()
    world.close()
