"""Time, as far as the machine can vouch for it.

Durations never come from the wall clock: it can be set. `seen_s` of a run is CLOCK_MONOTONIC; whether a
read-back is recent is told by CLOCK_BOOTTIME together with the kernel's boot id.
"""

from __future__ import annotations

import ctypes
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, Protocol

_STA_PPSTIME: Final = 0x0004
_STA_UNSYNC: Final = 0x0040
_STA_PPSSIGNAL: Final = 0x0100
_STA_CLOCKERR: Final = 0x1000
_BY_PULSE: Final = _STA_PPSTIME | _STA_PPSSIGNAL
_TIME_ERROR: Final = 5


@dataclass(frozen=True, slots=True)
class Synchronised:
    """What the kernel says of the wall clock, and nothing that it does not say.

    `source`: "kernel" if a program such as chrony or systemd-timesyncd tells the kernel so, "kernel-pps" if a pulse per
    second steers it, "unknown" if it is not synchronised. `uncertainty_ms`: the largest error that the kernel grants,
    which grows until the clock is set right again; None if it is not synchronised.
    """

    synchronised: bool
    uncertainty_ms: int | None
    source: Literal["kernel", "kernel-pps", "unknown"]


NOT_SYNCHRONISED: Final = Synchronised(False, None, "unknown")


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

    def synchronised(self) -> Synchronised:
        """Whether the kernel calls the wall clock synchronised, by what, and its largest error if it is."""


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

    def synchronised(self) -> Synchronised:
        """From adjtimex(2), which needs no privilege to be read; unsynchronised where it cannot be told."""
        timex = _Timex()
        state = self._libc.adjtimex(ctypes.byref(timex))
        if state < 0 or state == _TIME_ERROR or timex.status & (_STA_UNSYNC | _STA_CLOCKERR) or timex.maxerror < 0:
            return NOT_SYNCHRONISED
        by_pulse = timex.status & _BY_PULSE == _BY_PULSE
        return Synchronised(True, -(-int(timex.maxerror) // 1000), "kernel-pps" if by_pulse else "kernel")
