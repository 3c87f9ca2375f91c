"""What proves, beside the work itself: the notary, the stamper and the auditor, built from the configuration."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from dockd.alerts import AlertBoard
from dockd.audit.schedule import Auditor, AuditSettings
from dockd.config import Config
from dockd.events import Head
from dockd.journal.journal import Journal
from dockd.journal.transaction import Transaction
from dockd.parts import dock_name, key_place, make_stamper
from dockd.paths import StatePaths
from dockd.runtime.clock import Clock
from dockd.runtime.workers import Worker
from dockd.stages.keyring import Keyring
from dockd.stages.notary import Notary
from dockd.stages.stamper import Stamper
from dockd.stores.base import EvidenceStore


@dataclass(frozen=True, slots=True)
class Proving:
    """The three of them; `tasks` are what the daemon runs, `workers` what it stops."""

    notary: Notary
    stamper: Stamper | None
    auditor: Auditor

    @property
    def tasks(self) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        """What runs until it is cancelled, by name; asked for once."""
        found = [("notary", self.notary.run()), ("auditor", self.auditor.run())]
        return found if self.stamper is None else [*found, ("stamper", self.stamper.run())]

    @property
    def workers(self) -> list[Worker]:
        """Their threads; the auditor stops its own."""
        return [self.notary.worker] if self.stamper is None else [self.notary.worker, self.stamper.worker]


def make_proving(
    config: Config,
    paths: StatePaths,
    clock: Clock,
    journal: Journal,
    store: EvidenceStore,
    alerts: AlertBoard,
    *,
    usable: Callable[[], bool],
    wipe_on: Callable[[], bool],
    begin_chain: Callable[[Transaction, Head], None],
    seen_s: Callable[[], float],
    poke: Callable[[], None],
) -> Proving:
    """Load the key, and build them; `poke` has all cameras asked about again."""
    dock, wanted = dock_name(config), config.audit
    notary = Notary(
        journal,
        store,
        clock,
        alerts,
        Keyring.open(key_place(config), journal),
        dock,
        usable,
        wipe_on,
        begin_chain,
        poke,
    )
    auditor = Auditor(
        AuditSettings(wanted.every_s, wanted.sample or None, wanted.rate_limit_bytes_per_s),
        dock,
        paths,
        clock,
        journal,
        store,
        alerts,
        usable,
        seen_s,
        poke,
    )
    return Proving(notary, make_stamper(config, journal, store, alerts, usable), auditor)
