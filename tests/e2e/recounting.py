"""At the end of every end-to-end test: the records alone give the counts that the journal keeps."""

from __future__ import annotations

from e2e.harness import Dock

from dockd.audit.recounting import compare
from dockd.commands.common import journal_read_only
from dockd.config import load_config
from dockd.runtime.workers import Control


def recount(dock: Dock) -> None:
    """Fail with what the journal of a dock counts otherwise than its records."""
    if not dock.chain_whole or not (dock.state / "journal.db").exists():
        return
    with journal_read_only(load_config(dock.config), may_lack=True) as tx:
        compared = None if tx is None else compare(tx, Control())
    if compared is not None and not compared.agree:
        dock.fail("\n".join(compared.told()))
