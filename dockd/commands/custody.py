"""`dockd custody …`."""

from __future__ import annotations

import os
from pathlib import Path

from dockd.commands.common import journal_read_only
from dockd.config import load_config
from dockd.errors import ServiceMissingError
from dockd.events import CustodyAcknowledged
from dockd.journal.chain_break import acknowledge_break
from dockd.journal.journal import Journal
from dockd.journal.transaction import Transaction
from dockd.parts import dock_name
from dockd.paths import StatePaths, lock_state_dir
from dockd.runtime.clock import SystemClock


def export(config_path: Path) -> int:
    """Print the present chain, one record a line, as it stands in the journal."""
    with journal_read_only(load_config(config_path)) as tx:
        if tx is None:
            raise ServiceMissingError("there is no journal yet", "Start dockd once.")
        query = """SELECT line FROM record WHERE chain = (SELECT max(id) FROM chain) ORDER BY seq"""
        for (line,) in tx.connection.execute(query):
            print(line)
    return 0


def acknowledge(config_path: Path, *, by: str) -> int:
    """Let wiping go on after a chain broke, or began without a proven predecessor; the daemon must be stopped."""
    config = load_config(config_path)
    paths = StatePaths(config.dock.state_dir)
    if not paths.journal.exists():
        raise ServiceMissingError("there is no journal yet", "Start dockd once.")
    lock = lock_state_dir(paths)
    journal = Journal.open(paths.journal, clock=SystemClock(), dock=dock_name(config))

    def tell(tx: Transaction) -> bool:
        waiting = tx.one("SELECT id FROM chain WHERE acknowledged = 0 ORDER BY id DESC LIMIT 1")
        if not acknowledge_break(tx) and waiting is None:
            return False
        tx.append(CustodyAcknowledged(by=by))
        tx.run("UPDATE chain SET acknowledged = 1")
        return True

    try:
        told = journal.run_in_thread(tell)
    finally:
        journal.close()
        os.close(lock)
    print("acknowledged: wiping may go on" if told else "nothing waits to be acknowledged")
    return 0
