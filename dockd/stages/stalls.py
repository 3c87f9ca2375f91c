"""Stalls: threads that have made no progress for too long, in words that stay the same while it lasts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from weakref import WeakKeyDictionary

import structlog

from dockd.runtime.workers import Control

log = structlog.get_logger()


@dataclass(slots=True)
class Stalls:
    """What is said of threads that hang for longer than `timeout_s`; `now` is the wall clock."""

    timeout_s: float
    now: Callable[[], datetime]
    _named: WeakKeyDictionary[Control, tuple[float, str]] = field(default_factory=WeakKeyDictionary)

    def hangs(self, control: Control) -> bool:
        """Whether the thread has made no progress for too long."""
        return control.still_s() > self.timeout_s

    def what(self, control: Control, **where: str) -> str | None:
        """Since when the thread hangs, and in what; None if it does not.

        It names no file: it is shown and published where file names have no business. The log, which `where` goes
        into, does.
        """
        last_s, still_s = control.last_s, control.still_s()
        if still_s <= self.timeout_s:
            self._named.pop(control, None)
            return None
        named = self._named.get(control)
        if named is None or named[0] != last_s:
            since = self.now() - timedelta(seconds=still_s)
            named = (last_s, f"no progress since {since:%Y-%m-%d %H:%M:%S} UTC while {control.phase}")
            self._named[control] = named
            log.warning("stalled", what=named[1], path=control.subject, **where)
        return named[1]
