"""Keeps an eye on the store: that it is there, that it is the one this dock knows, and what it is worth."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import structlog

from dockd.alerts import AlertBoard
from dockd.custody.chain import rfc3339
from dockd.errors import DockdError, StoreUnavailableError, StoreUnknownError
from dockd.journal.journal import Journal
from dockd.paths import Forbidden
from dockd.stages.lane import StoreLane
from dockd.stores.base import StoreStatus
from dockd.wipe.facts import StoreCalls

log = structlog.get_logger()

LOOK_S: Final = 5.0
_KEY = "store_id"


@dataclass(slots=True)
class StoreKeeper:
    """Pins the store's id at first sight, and looks at the store again and again."""

    journal: Journal
    calls: StoreCalls
    lane: StoreLane
    alerts: AlertBoard
    spool: Path
    accepted: frozenset[str]
    look_at_places: Callable[[], Forbidden]
    now: Callable[[], datetime]
    forbidden: Forbidden = field(init=False)
    """Where no camera may lie; looked up in the store's thread, for a store that hangs must not stop a camera."""
    status: StoreStatus | None = None
    problem: str | None = None
    since: datetime = field(init=False)
    """Since when the store is usable, or is not."""

    def __post_init__(self) -> None:
        self.forbidden = self.look_at_places()
        self.since = self.now()

    @property
    def usable(self) -> bool:
        """Whether the store was there at the last look."""
        return self.status is not None

    async def run(self) -> None:
        """Look until cancelled."""
        pinned = await self.journal.run(lambda tx: tx.meta(_KEY))
        if pinned is not None:
            self.calls.store.pin(pinned)
        while True:
            try:
                if pinned is None:
                    pinned = await self._pin()
                self.forbidden = await self.calls.run(self.look_at_places)
                status = await self.calls.run(self._look)
                if self.status is None:
                    self.since = self.now()
                self.status = status
            except DockdError as error:
                self._down(error)
            except Exception as error:
                # A defect, or an answer that nobody thought of: the store is not used, and is looked at again.
                log.exception("internal_error", error=str(error))
                self._down(StoreUnavailableError(f"the store cannot be examined: {error}"))
            else:
                self._up()
            await asyncio.sleep(LOOK_S)

    async def _pin(self) -> str:
        """A dock takes the first initialised store that it sees for its own, and no other afterwards."""
        found = await self.calls.run(self.calls.store.identify)
        await self.journal.run(lambda tx: tx.set_meta(_KEY, found))
        self.calls.store.pin(found)
        self.lane.poke()
        return found

    def _look(self) -> StoreStatus:
        self.calls.store.check()
        return self.calls.store.status(self.spool)

    def _down(self, error: DockdError) -> None:
        if self.status is not None:
            self.since = self.now()
        self.status = None
        if self.problem is None:
            log.error("store_not_usable", error=error.message, hint=error.hint)
        self.problem = error.message
        unknown = isinstance(error, StoreUnknownError)
        self.alerts.put("store_not_initialised", "dock", error.message if unknown else None, hint=error.hint)
        self.alerts.put("store_unavailable", "dock", None if unknown else error.message, hint=error.hint)

    def _up(self) -> None:
        if self.problem is not None:
            log.info("store_usable_again")
            self.problem = None
            self.lane.end_pause()
        if self.lane.trouble is None:
            self.alerts.put("store_not_initialised", "dock", None)
            self.alerts.put("store_unavailable", "dock", None)

    def payload(self) -> dict[str, Any]:
        """The store's part of the status."""
        status = self.status
        weak = [] if status is None else [name for name in status.weaknesses if name not in self.accepted]
        return {
            "reachable": status is not None,
            "since": rfc3339(self.since),
            "kind": None if status is None else status.kind,
            "place": None if status is None else status.place,
            "free_bytes": None if status is None else status.free_bytes,
            "weaknesses": [] if status is None else list(status.weaknesses),
            "blocks_wipe": weak,
            "problem": self.problem or self.lane.trouble,
        }
