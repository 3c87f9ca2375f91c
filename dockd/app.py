"""The composition root: builds the parts, runs them in one TaskGroup, and stops them in order."""

from __future__ import annotations

import asyncio
import platform
import signal
from functools import partial
from pathlib import Path
from typing import Final, Literal

import structlog

from dockd.alerts import AlertBoard
from dockd.config import Config, config_digest
from dockd.custody.witness import Witness
from dockd.errors import DockdError
from dockd.events import DockStarted
from dockd.intake import Intake
from dockd.journal import configuration
from dockd.journal.journal import Journal
from dockd.journal.rows import RecordingRow
from dockd.journal.seen_time import SeenTime
from dockd.journal.startup import Started, begin_after, start
from dockd.parts import accepted_weaknesses, check_places, connector, dock_name, make_store
from dockd.paths import StatePaths, forbidden_places, lock_state_dir
from dockd.proving import Proving, make_proving
from dockd.reloading import reloaded
from dockd.report.live import LiveReport
from dockd.report.mqtt import quiet_handler
from dockd.report.snapshot import DockNames
from dockd.report.status_file import StatusFile
from dockd.report.systemd import Systemd
from dockd.runtime.clock import Clock, SystemClock
from dockd.runtime.randomness import SystemRandomness
from dockd.runtime.workers import Worker, within
from dockd.spool.space import SpaceBudget
from dockd.spool.spool import Spool
from dockd.stages.bays import Bays
from dockd.stages.keeper import StoreKeeper
from dockd.stages.lane import StoreLane
from dockd.stages.offload import OffloadParts
from dockd.stages.publish import Publisher
from dockd.stages.stalls import Stalls
from dockd.stages.switches import Switches
from dockd.stages.trash import empty_trash
from dockd.stages.upload import StoreParts
from dockd.talk import Talk, TalkParts
from dockd.upkeep import Upkeep, tell_of_start
from dockd.usb.monitor import UsbMonitor
from dockd.usb.mounts import UdisksMounts
from dockd.usb.system_bus import SystemBus
from dockd.version import package_digest, version
from dockd.wipe.facts import StoreCalls
from dockd.wipe.mirror import HoldMirror

log = structlog.get_logger()

STOP_S: Final = 5.0
LAST_WORDS_S: Final = 2.0
CLOSE_S: Final = 1.5
"""Together these stay below the 10 s that a stop may take, with everything hanging at once."""


class Daemon:
    """`dockd run`."""

    def __init__(
        self, config: Config, config_path: Path, clock: Clock | None = None, *, print_messages: bool = False
    ) -> None:
        self.config = config.model_copy(update={"mqtt": None}) if print_messages else config
        self._speaks = print_messages or config.mqtt is not None
        self._config_path = config_path
        self.clock: Clock = clock if clock is not None else SystemClock()
        self._random = SystemRandomness()
        self._boot = self._random.token(8)
        self.paths = StatePaths(config.dock.state_dir)
        self.systemd = Systemd.from_environment()
        self.stalls = Stalls(config.dock.stall_timeout_s, self.clock.now)
        self._stop = asyncio.Event()
        self._failure: DockdError | None = None
        self._clean = True
        self.wipe_mode: Literal["on", "observe", "off"] = config.wipe.mode
        self._grace_s = config.wipe.grace_s

    @property
    def dock(self) -> str:
        """The dock's name in records."""
        return dock_name(self.config)

    async def run(self) -> int:
        """Run until SIGTERM; the exit code. Raises DockdError when it cannot start."""
        loop = self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.set_exception_handler(quiet_handler)
        self._build()
        await self.talk.open()
        loop.add_signal_handler(signal.SIGHUP, self.systemd.while_reloading, self.reload)
        log.info("dockd_started", version=version(), dock=self.dock, wipe_mode=self.wipe_mode)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self.lane.run(), name="lane"),
                    group.create_task(self.keeper.run(), name="keeper"),
                    group.create_task(self.upkeep.run(), name="upkeep"),
                    group.create_task(self.holds.run(lambda: self.keeper.usable), name="holds"),
                    group.create_task(self.status_file.run(), name="status"),
                ]
                tasks += [group.create_task(work, name=name) for name, work in self.proving.tasks]
                if self.bays is not None:
                    tasks.append(group.create_task(self.bays.run(), name="bays"))
                # The last one: once it runs, all others do.
                tasks.append(group.create_task(self.systemd.run(self.journal), name="systemd"))
                await self._stop.wait()
                await self._stop_work()
                for task in tasks:
                    task.cancel()
        except BaseExceptionGroup:
            # A journal that failed makes every task fail that uses it; the one cause is told below.
            if self._failure is None:
                raise
        finally:
            clean = await self._close()
        if self._failure is not None:
            raise self._failure
        log.info("dockd_stopped", threads_left_behind=not clean)
        return 0

    # --- building ------------------------------------------------------------------------------------

    def _build(self) -> None:
        config = self.config
        store = make_store(config)
        check_places(config, store.root)
        self.paths.prepare()
        self._lock = lock_state_dir(self.paths)
        # What a former run said of itself is not true of this one.
        self.paths.status.unlink(missing_ok=True)
        self.journal = Journal.open(self.paths.journal, clock=self.clock, dock=self.dock)
        self.journal.on_fatal = self._fatal
        self.witness = Witness(self.paths.witness)
        self.alerts = AlertBoard(self.clock.now)
        self.spool = Spool(self.paths.spool)
        started = self._begin()
        self.journal.listen(self.witness.note)
        base_s = self.journal.run_in_thread(SeenTime.load)
        self.seen = SeenTime(self.journal, base_s, self.clock.monotonic_s())
        self.budget = SpaceBudget(self.paths.spool, config.spool.min_free_bytes)
        parts = StoreParts(self.journal, self.spool, store, self._random)
        self.lane = StoreLane(parts, self.alerts, self.seen_s, self._stored)
        self.calls = StoreCalls(store)
        approvers = config.custody.approvers
        self.holds = HoldMirror(self.journal, self.calls, config.dock.agency, approvers, self.alerts)
        forbidden = partial(
            forbidden_places, self.paths.state_dir, self.paths.spool, *([] if store.root is None else [store.root])
        )
        self.keeper = StoreKeeper(
            self.journal,
            self.calls,
            self.lane,
            self.alerts,
            self.paths.spool,
            accepted_weaknesses(config),
            forbidden,
            self.clock.now,
        )
        self.proving = self._make_proving()
        self.switches = Switches(self.clock.monotonic_s)
        self.journal.run_in_thread(self.switches.load)
        self.bays = self._make_bays()
        self.report = self._make_report()
        self.publisher = Publisher(
            self.journal,
            self.calls,
            self.alerts,
            config.dock.agency,
            self.dock,
            self.report.is_quiet,
            self._random,
            self.proving.notary.want,
        )
        self.status_file = StatusFile(self.paths.status, self.report.build)
        self.status_file.listeners.append(self.systemd.take)
        self.talk = self._make_talk()
        self.upkeep = Upkeep(
            self.journal,
            self.clock,
            self.seen,
            self.paths,
            self.bays,
            self.report,
            self.keeper,
            self.publisher,
            self.status_file.poke,
        )
        self.alerts.on_change = lambda alert, stands: self._alert_changed(alert.code, alert.what, stands)
        empty_trash(self.journal, self.spool, started.trash)
        self.orphans = len(started.orphans)
        tell_of_start(self.alerts, started)

    def _make_report(self) -> LiveReport:
        dock = self.config.dock
        return LiveReport(
            DockNames(dock.agency, dock.site, dock.name, version()),
            self.journal,
            self.alerts,
            self.lane,
            self.keeper,
            self.budget,
            self.bays,
            stalls=self.stalls,
            min_free_bytes=self.config.spool.min_free_bytes,
            switches=self.switches,
            mqtt=lambda: self.talk.payload(),  # noqa: PLW0108 - it is made later
            wipe_mode=lambda: self.wipe_mode,
            orphans=lambda: self.orphans,
            audit=self.proving.auditor.payload,
            custody=self.proving.notary.payload,
        )

    def _make_proving(self) -> Proving:
        return make_proving(
            self.config,
            self.paths,
            self.clock,
            self.journal,
            self.calls.store,
            self.alerts,
            usable=lambda: self.keeper.usable,
            wipe_on=lambda: self.wipe_mode != "off",
            begin_chain=lambda tx, head: begin_after(tx, self._started_event(), head, self.proving.notary.keyring.key),
            seen_s=self.seen_s,
            poke=lambda: self.bays.poke_all() if self.bays is not None else None,
        )

    def _make_talk(self) -> Talk:
        return Talk.build(
            TalkParts(
                self.config.dock,
                self._boot,
                self.paths,
                self.clock,
                self.journal,
                self.calls,
                self.lane,
                self.bays,
                self.switches,
                self.proving.auditor,
                self.alerts,
                self.status_file,
            ),
            (config_digest(self.config), partial(connector, self.config)) if self._speaks else None,
        )

    def _started_event(self) -> DockStarted:
        return DockStarted(
            version=version(),
            package_sha256=package_digest(),
            configuration_sha256=config_digest(self.config),
            python=platform.python_version(),
            kernel=platform.release(),
            boot=self._boot,
        )

    def _begin(self) -> Started:
        event = self._started_event()
        witness = self.witness.read()
        names = sorted(self.spool.names())
        return self.journal.run_in_thread(lambda tx: start(tx, event, witness, names, self.wipe_mode))

    def _make_bays(self) -> Bays | None:
        config = self.config
        parts = OffloadParts(
            self.journal, self.spool, self.budget, self._random, config.dock.agency, self.calls.store.part_size_bytes
        )
        return Intake(
            config,
            parts,
            self.spool,
            self.lane,
            self.calls,
            self.holds,
            self.clock,
            self.alerts,
            self.stalls,
            self._random,
            lambda: self.wipe_mode,
            self.grace_left_s,
            self.switches.paused,
            lambda: self.keeper.forbidden,
            self.proving.notary.state,
            UsbMonitor,
            self._make_mounts,
        ).bays()

    def _make_mounts(self) -> UdisksMounts:
        self._system_bus = SystemBus()
        return UdisksMounts(self._system_bus, self._loop)

    # --- while it runs -------------------------------------------------------------------------------

    def seen_s(self) -> float:
        """The monotonic seconds that the daemon saw pass, over all its runs."""
        return self.seen.at(self.clock.monotonic_s())

    def grace_left_s(self, row: RecordingRow) -> float | None:
        """How much of a confirmed recording's grace time is left; None if that cannot be told."""
        if row.confirmed_seen_s is None:
            return None
        return max(0.0, self._grace_s - (self.seen_s() - row.confirmed_seen_s))

    def _stored(self, camera_id: int) -> None:
        if self.bays is not None:
            self.bays.stored(camera_id)
        self.status_file.poke()

    def _alert_changed(self, code: str, what: str, stands: bool) -> None:
        log.log(30 if stands else 20, "alert" if stands else "alert_over", code=code, what=what)

    def reload(self) -> None:
        """SIGHUP: take over what can be changed while running; the rest needs a restart."""
        taken = reloaded(self.config, self._config_path)
        before, after = config_digest(self.config), config_digest(taken)
        if before == after:
            return
        mode = taken.wipe.mode
        self._grace_s = taken.wipe.grace_s
        released = self.journal.run_in_thread(lambda tx: configuration.reloaded(tx, before, after, mode))
        log.warning("configuration_reloaded", wipe_mode=mode, releases_recordings=released)
        self.wipe_mode = mode
        self.config = taken
        if self.bays is not None:
            for session in self.bays.sessions():
                session.wiping.forget_refusals()
            self.bays.poke_all()

    def _fatal(self, error: DockdError) -> None:
        """Called in the journal's thread: without a journal nothing may happen any more."""
        self._failure = error
        self._loop.call_soon_threadsafe(self._stop.set)

    # --- stopping ------------------------------------------------------------------------------------

    async def _stop_work(self) -> None:
        log.info("dockd_stopping")
        self.systemd.stopping()
        await self.talk.stop()
        self.proving.auditor.stop()
        for worker in self._store_workers():
            worker.control.stop()
        self.lane.poke()
        if self.bays is not None:
            self._clean = await self.bays.stop(STOP_S)

    def _store_workers(self) -> list[Worker]:
        return [*self.lane.workers, self.calls.worker, *self.proving.workers]

    async def _close(self) -> bool:
        """Close the journal; False if threads are stuck in the kernel and were left behind."""
        last = (self.seen.save(self.clock.monotonic_s()), self.status_file.write(), self.talk.finish())
        for error in await within(LAST_WORDS_S, self.proving.notary.finish(), *last):
            log.warning("last_words_failed", error=str(error))
        self.witness.flush()
        closed = self.journal.close(CLOSE_S)
        for worker in self._store_workers():
            worker.close()
        self.systemd.close()
        return closed and self._clean
