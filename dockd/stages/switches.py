"""What operators have switched: bays that are paused, and bays that are to be found by eye."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from dockd.journal.transaction import Transaction

IDENTIFY_S: Final = 30.0
EVERY_BAY: Final = "*"
_KEY: Final = "paused"


@dataclass(slots=True)
class Switches:
    """`now_s` gives monotonic seconds. Pauses outlive the daemon: an operator's word stands until it is taken back."""

    now_s: Callable[[], float]
    paused_bays: set[str] = field(default_factory=set)
    _identify_until_s: dict[str, float] = field(default_factory=dict)

    def load(self, tx: Transaction) -> None:
        """Take over what was paused in an earlier run."""
        self.paused_bays = set(json.loads(tx.meta(_KEY) or "[]"))

    def save(self, tx: Transaction, paused: set[str]) -> None:
        """Keep what is to be paused; it takes effect once it is durable, by `paused_bays`."""
        tx.set_meta(_KEY, json.dumps(sorted(paused)))

    def paused(self, bay: str) -> bool:
        """Whether nothing new is begun in this bay."""
        return EVERY_BAY in self.paused_bays or bay in self.paused_bays

    def identify(self, bay: str) -> None:
        """Show where the bay is, for half a minute."""
        self._identify_until_s[bay] = self.now_s() + IDENTIFY_S

    def identifying(self, bay: str) -> bool:
        """Whether somebody asked where the bay is, just now."""
        return self._identify_until_s.get(bay, 0.0) > self.now_s()

    def what(self) -> str | None:
        """What is paused, as a sentence; None if nothing is."""
        if EVERY_BAY in self.paused_bays:
            return "all bays are paused"
        return f"paused: {', '.join(sorted(self.paused_bays))}" if self.paused_bays else None
