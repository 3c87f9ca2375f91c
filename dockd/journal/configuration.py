"""What the journal is told of the configuration: by which one it ran last, and what another one releases."""

from __future__ import annotations

from typing import Final

from dockd.events import ConfigurationChanged, DockStarted
from dockd.journal import queries
from dockd.journal.transaction import Transaction

_DIGEST: Final = "configuration_sha256"
_WIPE_MODE: Final = "wipe_mode"


def at_start(tx: Transaction, started: DockStarted, wipe_mode: str) -> int | None:
    """Record that the configuration is another one than the last run's; what it releases, None if it is the same.

    No camera counts as docked yet: what is released is counted, at most, on those that were when that run ended.
    """
    before, mode = tx.meta(_DIGEST), tx.meta(_WIPE_MODE)
    if before is None or before == started.configuration_sha256:
        _keep(tx, started.configuration_sha256, wipe_mode)
        return None
    switched_on = wipe_mode == "on" and mode != "on"
    releases = queries.releasable(tx) + queries.releasable_once_docked(tx) if switched_on else 0
    _record(tx, before, started.configuration_sha256, wipe_mode, releases)
    return releases


def reloaded(tx: Transaction, before_sha256: str, after_sha256: str, wipe_mode: str) -> int:
    """Record that a running daemon took over another configuration; how many recordings that releases."""
    switched_on = wipe_mode == "on" and tx.meta(_WIPE_MODE) != "on"
    releases = queries.releasable(tx) if switched_on else 0
    _record(tx, before_sha256, after_sha256, wipe_mode, releases)
    return releases


def _record(tx: Transaction, before_sha256: str, after_sha256: str, wipe_mode: str, releases: int) -> None:
    tx.append(
        ConfigurationChanged(
            before_sha256=before_sha256, after_sha256=after_sha256, wipe_mode=wipe_mode, releases=releases
        )
    )
    _keep(tx, after_sha256, wipe_mode)


def _keep(tx: Transaction, sha256: str, wipe_mode: str) -> None:
    tx.set_meta(_DIGEST, sha256)
    tx.set_meta(_WIPE_MODE, wipe_mode)
