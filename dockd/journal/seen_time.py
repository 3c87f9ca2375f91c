"""The monotonic seconds that the daemon saw pass, over all its runs: what the grace time is counted in."""

from __future__ import annotations

from dockd.journal.journal import Journal
from dockd.journal.transaction import Transaction

_KEY = "seen_s"


class SeenTime:
    """Counts on from what the journal kept; a crash loses at most what passed since `save`."""

    def __init__(self, journal: Journal, base_s: float, clock_s: float) -> None:
        self._journal = journal
        self._offset_s = base_s - clock_s

    @staticmethod
    def load(tx: Transaction) -> float:
        """What former runs saw."""
        return float(tx.meta(_KEY) or 0.0)

    def at(self, clock_s: float) -> float:
        """The seconds seen when the monotonic clock shows `clock_s`."""
        return self._offset_s + clock_s

    async def save(self, clock_s: float) -> None:
        """Keep what was seen so far."""
        seen_s = self.at(clock_s)
        await self._journal.run(lambda tx: tx.set_meta(_KEY, repr(seen_s)))
