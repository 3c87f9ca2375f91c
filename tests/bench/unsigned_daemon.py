"""`dockd run` without a notary, whose part the bench wants to know: nothing is signed, and the gate asks for nothing.

It exists here alone. Nothing that an installed dockd reads or is told can switch this off.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

from dockd.cli import main
from dockd.stages import wiping
from dockd.stages.notary import Notary
from dockd.wipe import facts


async def _nothing(self: Notary) -> None:
    self.heads_checked_s = 0.0


_look = facts.SiteFacts.look


async def _looked(self: facts.SiteFacts, *given: Any) -> list[Any]:
    return [replace(one, heads_checked=True, record_in_store=True) for one in await _look(self, *given)]


if __name__ == "__main__":
    Notary._step = _nothing  # type: ignore[method-assign]
    facts.SiteFacts.look = _looked  # type: ignore[method-assign]
    wiping._in_custody = lambda tx, rows: dict.fromkeys([row.id for row in rows], True)
    sys.exit(main(sys.argv[1:]))
