"""A loop over bytes that is to leave room for others: it sleeps where it would go faster than allowed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from dockd.digests import Progress

_CHECK_S: Final = 0.25
_BURST_S: Final = 1.0


@dataclass(slots=True)
class Throttled:
    """A `Progress` that lets at most `rate_bytes_per_s` pass, over any second or so; it can be stopped meanwhile."""

    progress: Progress
    rate_bytes_per_s: float
    clock_s: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _free_s: float = field(init=False)
    """When what has passed so far is paid for."""

    def __post_init__(self) -> None:
        self._free_s = self.clock_s()

    def advance(self, size_bytes: int = 0) -> None:
        """Say that `size_bytes` more were done, and wait until more may be done."""
        self.progress.advance(size_bytes)
        # What was not used is not saved up, but for a moment.
        self._free_s = max(self._free_s, self.clock_s() - _BURST_S) + size_bytes / self.rate_bytes_per_s
        while (wait_s := self._free_s - self.clock_s()) > 0:
            self.sleep(min(wait_s, _CHECK_S))
            self.progress.check()

    def check(self) -> None:
        """Raise what makes it stop, if something does."""
        self.progress.check()
