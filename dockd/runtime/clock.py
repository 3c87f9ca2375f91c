"""Time, as far as the machine can vouch for it.

Durations never come from the wall clock: it can be set. `seen_s` of a run is CLOCK_MONOTONIC; whether a
read-back is recent is told by CLOCK_BOOTTIME together with the kernel's boot id.
"""

from __future__ import annotations

import ctypes
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

_STA_UNSYNC = 0x0040
_TIME_ERROR = 5


class _Timex(ctypes.Structure):
    """struct timex of adjtimex(2), read only (modes = 0)."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("time_s", ctypes.c_long),
        ("time_us", ctypes.c_long),
        ("tick", ctypes.c_long),
        ("rest", ctypes.c_byte * 128),
    )


class Clock(Protocol):
    """What dockd asks of time."""

    @property
    def boot_id(self) -> str:
        """The kernel's id of this boot."""

    def now(self) -> datetime:
        """The wall clock, UTC."""

    def monotonic_s(self) -> float:
        """Seconds that never go back within this run."""

    def boottime_s(self) -> float:
        """Seconds since boot, suspended time included."""

    def synchronised(self) -> tuple[bool, int | None]:
        """Whether the kernel calls the wall clock synchronised, and its largest error in ms if it is."""


class SystemClock:
    """The kernel's clocks."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()

    @property
    def boot_id(self) -> str:
        """The kernel's id of this boot."""
        return self._boot_id

    def now(self) -> datetime:
        """The wall clock, UTC."""
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        """CLOCK_MONOTONIC."""
        return time.monotonic()

    def boottime_s(self) -> float:
        """CLOCK_BOOTTIME."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def synchronised(self) -> tuple[bool, int | None]:
        """From adjtimex(2), which needs no privilege to be read; unsynchronised where it cannot be told."""
        timex = _Timex()
        state = self._libc.adjtimex(ctypes.byref(timex))
        if state < 0 or state == _TIME_ERROR or timex.status & _STA_UNSYNC:
            return False, None
        return True, -(-int(timex.maxerror) // 1000)
