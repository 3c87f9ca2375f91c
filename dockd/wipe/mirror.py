"""Keeps the journal's mirror of the holds up to the store, and tells of lifts that are not obeyed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from dockd.alerts import AlertBoard
from dockd.errors import DockdError, TransientError
from dockd.identity import plain_text
from dockd.journal.journal import Journal
from dockd.wipe.facts import StoreCalls
from dockd.wipe.holds import RefusedLift, mirror_holds, read_holds

log = structlog.get_logger()

LOOK_S: Final = 60.0
"""How often the holds are read where no wipe asks for them."""

_NAMED: Final = 5


@dataclass(slots=True)
class HoldMirror:
    """The holds of the store, as this dock obeys them; `approvers` are names with their keys."""

    journal: Journal
    calls: StoreCalls
    agency: str
    approvers: Sequence[str]
    alerts: AlertBoard
    _refused: frozenset[RefusedLift] = frozenset()
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def renew(self) -> bool:
        """Read the holds from the store into the journal; False if they cannot be read."""
        # What was read first must not be taken in last: a hold would seem to come back.
        async with self._one_at_a_time:
            try:
                stored = await self.calls.run(lambda: read_holds(self.calls.store, self.agency, self.approvers))
            except DockdError as error:
                log.warning("holds_unreadable", error=error.message, hint=error.hint)
                return False
            self._tell(await self.journal.run(lambda tx: mirror_holds(tx, stored)))
            return True

    async def run(self, usable: Callable[[], bool]) -> None:
        """Renew it now and then, until cancelled: a lift that is not obeyed is told also while no camera is docked."""
        while True:
            await asyncio.sleep(LOOK_S)
            if usable():
                try:
                    await self.renew()
                    self.alerts.put("internal_error", "holds", None)
                except TransientError as error:
                    log.warning("holds_wait", error=error.message, hint=error.hint)
                except Exception as error:
                    # Whatever somebody put into the store: it does not end the daemon.
                    log.exception("internal_error", error=str(error))
                    self.alerts.put("internal_error", "holds", f"the holds of the store: {error}", about="dock")

    def _tell(self, refused: Sequence[RefusedLift]) -> None:
        for each in set(refused) - self._refused:
            log.error("hold_lift_refused", hold=each.hold, why=each.why, hint="The hold stays in force.")
        self._refused = frozenset(refused)
        told = [plain_text(f"hold {each.hold}: {each.why}") for each in refused[:_NAMED]]
        more = [f"and {len(refused) - _NAMED} more"] if len(refused) > _NAMED else []
        self.alerts.put("hold_lift_refused", "dock", "; ".join(told + more))
