"""The daemon's own audits: now and then by itself, and when it is told to; one at a time.

An audit goes on where it was when the daemon stops or the store goes away. A fault is recorded when it is found,
not when the audit ends, which may be days later.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from dockd.alerts import AlertBoard
from dockd.audit.reading import audit
from dockd.audit.report import AuditProgress, Finding
from dockd.audit.taking_up import record_audit, record_finding, record_good_again
from dockd.errors import (
    CommandError,
    DockdError,
    StoppedError,
    StoreFullError,
    StoreUnavailableError,
    StoreUnknownError,
    TransientError,
)
from dockd.journal.database import open_for_reading
from dockd.journal.journal import Journal
from dockd.journal.rows import RecordingRow
from dockd.journal.transaction import Transaction
from dockd.paths import StatePaths
from dockd.runtime.clock import Clock
from dockd.runtime.throttle import Throttled
from dockd.runtime.workers import Worker
from dockd.stores.base import EvidenceStore

log = structlog.get_logger()

LOOK_S: Final = 1.0
KEEP_S: Final = 5.0
FIRST_PAUSE_S: Final = 5.0
LONGEST_PAUSE_S: Final = 300.0
FAILED_S: Final = 3600.0
_DONE_AT: Final = "audit_seen_s"


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """What the configuration says of audits. `every_s`: 0 for never by itself; `sample`: None for everything."""

    every_s: float
    sample: int | None
    rate_bytes_per_s: int


@dataclass(slots=True)
class Auditor:
    """Makes the daemon's audits; `seen_s` tells the monotonic seconds that it saw pass in all its runs."""

    settings: AuditSettings
    dock: str
    paths: StatePaths
    clock: Clock
    journal: Journal
    store: EvidenceStore
    alerts: AlertBoard
    usable: Callable[[], bool]
    seen_s: Callable[[], float]
    on_found: Callable[[], None]
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _worker: Worker | None = None
    _come: AuditProgress | None = None
    _running: bool = False
    _asked: bool = False
    _asked_sample: int | None = None
    _not_before_s: float = 0.0
    _pause_s: float = FIRST_PAUSE_S
    _kept_s: float = 0.0

    def start(self, sample: int | None) -> None:
        """Begin an audit now; raises CommandError if one is under way, or the store is not there."""
        if self._running or self._asked or self._come is not None:
            raise CommandError("an audit runs already; its result becomes an event")
        if not self.usable():
            raise CommandError("the store cannot be used now, so it cannot be audited")
        self._asked, self._asked_sample = True, sample
        self._wake.set()

    def payload(self) -> dict[str, Any]:
        """What is going on, for the status."""
        come = self._come
        if not self._running and come is None:
            return {"running": False}
        if come is None:
            return {"running": True}
        figures = {"sample": come.sample, "checked": come.checked, "total": max(come.total, come.checked)}
        return {"running": self._running, **figures}

    def stop(self) -> None:
        """End an audit that still runs; the next run of the daemon goes on with it."""
        if self._worker is not None:
            self._worker.control.stop()
            self._worker.close()

    async def run(self) -> None:
        """Make audits until cancelled."""
        self._come = self._left_behind()
        await self._first_time()
        while True:
            if self.usable() and await self._due():
                await self._make()
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._wake.wait()

    # --- when ----------------------------------------------------------------------------------------

    async def _first_time(self) -> None:
        """A new dock has nothing to be audited yet: its first audit is due like all others."""
        now_s = self.seen_s()

        def note(tx: Transaction) -> None:
            if tx.meta(_DONE_AT) is None:
                tx.set_meta(_DONE_AT, repr(now_s))

        with contextlib.suppress(TransientError):
            await self.journal.run(note)

    async def _due(self) -> bool:
        if self._asked:
            return True
        if time.monotonic() < self._not_before_s:
            return False
        if self._come is not None:
            return True
        if not self.settings.every_s:
            return False
        done_s = await self.journal.run(lambda tx: tx.meta(_DONE_AT))
        return self.seen_s() - float(done_s or 0.0) >= self.settings.every_s

    # --- what ----------------------------------------------------------------------------------------

    async def _make(self) -> None:
        sample = self._asked_sample if self._asked else self.settings.sample
        self._worker = self._worker or Worker("audit")
        worker, loop, resume = self._worker, asyncio.get_running_loop(), self._come
        self._running, self._asked = True, False
        log.info("audit_begun", sample=sample, goes_on=resume is not None)
        try:
            await worker.run(lambda: self._in_thread(worker, loop, sample, resume))
        except StoppedError:
            return
        except (StoreUnavailableError, StoreFullError, StoreUnknownError, TransientError) as error:
            log.warning("audit_waits", error=error.message, hint="It goes on where it was.")
            self._not_before_s = time.monotonic() + self._pause_s
            self._pause_s = min(LONGEST_PAUSE_S, self._pause_s * 2)
        except (DockdError, OSError) as error:
            hint = "Nothing is claimed of what was not read. It begins anew in an hour; run: dockd audit"
            log.error("audit_failed", error=str(error), hint=hint)
            self.alerts.put("audit_failed", "dock", str(error))
            self._forget()
            self._not_before_s = time.monotonic() + FAILED_S
        else:
            self._pause_s = FIRST_PAUSE_S
            self.alerts.put("audit_failed", "dock", None)
        finally:
            self._running = False

    def _in_thread(
        self, worker: Worker, loop: asyncio.AbstractEventLoop, sample: int | None, resume: AuditProgress | None
    ) -> None:
        def begun(_: RecordingRow, come: AuditProgress) -> None:
            self._come = come

        def judged(row: RecordingRow, finding: Finding | None, come: AuditProgress) -> None:
            self._record(row, finding, loop)
            if time.monotonic() - self._kept_s >= KEEP_S:
                self._keep(come)

        connection = open_for_reading(self.paths.journal, in_use=True)
        try:
            tx = Transaction(connection, self.clock, self.dock)
            tx.load_head()
            throttled = Throttled(worker.control, self.settings.rate_bytes_per_s)
            report = audit(
                tx, self.store, throttled, sample=sample, resume=resume, on_recording=begun, on_judged=judged
            )
        except BaseException:
            if self._come is not None:
                self._keep(self._come)
            raise
        finally:
            connection.close()
        done_s, whole = self.seen_s(), report.sample is None
        enough = whole or (self.settings.sample is not None and (report.sample or 0) >= self.settings.sample)

        def record(tx: Transaction) -> None:
            record_audit(tx, report.hand_over())
            if enough:
                tx.set_meta(_DONE_AT, repr(done_s))

        self.journal.run_in_thread(record)
        self._forget()
        log.info("audit_done", checked=report.checked, missing=report.missing, altered=report.altered, good=report.good)

    def _record(self, row: RecordingRow, finding: Finding | None, loop: asyncio.AbstractEventLoop) -> None:
        """Record a fault, or that one is over, as soon as it is known."""
        if finding is not None:
            if self.journal.run_in_thread(lambda tx: record_finding(tx, finding)):
                log.error("store_fault", recording=row.uid, key=row.store_key, fault=finding.fault)
                loop.call_soon_threadsafe(self.on_found)
        elif row.store_fault is not None:
            self.journal.run_in_thread(lambda tx: record_good_again(tx, row.uid))
            loop.call_soon_threadsafe(self.on_found)

    # --- from one run to the next --------------------------------------------------------------------

    def _keep(self, come: AuditProgress) -> None:
        """Leave word of how far it has come; should that be lost, some of it is read again."""
        self._kept_s = time.monotonic()
        path = self.paths.audit_progress
        fresh = path.with_suffix(".new")
        try:
            fresh.write_text(json.dumps(come.payload()), encoding="utf-8")
            os.replace(fresh, path)
        except OSError as error:
            log.warning("audit_progress_not_kept", error=str(error), hint="After a restart it begins anew.")

    def _forget(self) -> None:
        self._come = None
        with contextlib.suppress(OSError):
            self.paths.audit_progress.unlink(missing_ok=True)

    def _left_behind(self) -> AuditProgress | None:
        """How far an audit of a former run has come, if it was of this chain."""
        try:
            come = AuditProgress.of(json.loads(self.paths.audit_progress.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("audit_progress_unusable", error=str(error), hint="The audit begins anew.")
            return None
        return come if come.chain == self.journal.head.chain else None
