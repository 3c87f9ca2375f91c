"""A world of the contract suite with its notary, which is asked by hand."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from contract.world import DOCK, World

from dockd.alerts import AlertBoard
from dockd.events import ClockStepped, Head
from dockd.identity import custody_prefix
from dockd.journal import segments
from dockd.journal.startup import begin_after
from dockd.stages.keyring import KeyPlace, Keyring
from dockd.stages.notary import Notary

PREFIX = custody_prefix(DOCK)


class Office:
    """A world and its notary, which is asked by hand."""

    def __init__(self, root: Path) -> None:
        self.world = World(root)
        self.world.restarted()
        self.wipe_on = True
        self.stored = 0
        self.alerts = AlertBoard(lambda: datetime(2026, 3, 1, tzinfo=UTC))
        world = self.world
        self.notary = Notary(
            world.journal,
            world.store,
            world.clock,
            self.alerts,
            Keyring.open(KeyPlace(root / "state/keys/signing-key"), world.journal),
            DOCK,
            lambda: True,
            lambda: self.wipe_on,
            lambda tx, head: begin_after(tx, world.started, head, self.notary.keyring.key),
            self._stored,
        )

    def _stored(self) -> None:
        self.stored += 1

    def step(self) -> None:
        asyncio.run(self.notary._step())

    def close(self) -> None:
        self.notary.worker.close()
        self.world.close()

    def rows(self) -> list[Any]:
        return self.world.journal.run_in_thread(lambda tx: segments.segments_of(tx, tx.chain))

    def covered(self) -> int:
        return self.world.journal.run_in_thread(lambda tx: segments.stored_through(tx, tx.chain))

    @property
    def head(self) -> Head:
        return self.world.journal.head

    def record(self, count: int = 1) -> None:
        self.world.journal.run_in_thread(lambda tx: [tx.append(ClockStepped(step_ms=n)) for n in range(count)])

    def folder(self) -> Path:
        return self.world.store.root / PREFIX / self.head.chain
