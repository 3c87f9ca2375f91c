"""What a command costs: time, CPU, memory, and bytes as the kernel counts them."""

from __future__ import annotations

import os
import resource
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SAMPLE_S = 0.05
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = resource.getpagesize()


class CommandFailed(Exception):  # noqa: N818 - it names what happened
    """A measured command did not exit with 0."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run took, children included.

    `machine_cpu_s` is what all of the machine spent meanwhile: the kernel's own writing out of a page cache is
    charged to nobody, and shows only there. `peak_rss_bytes` is the largest sum over the processes of one moment.
    """

    wall_s: float
    cpu_s: float
    machine_cpu_s: float
    peak_rss_bytes: int
    read_bytes: int
    written_bytes: int
    extra: dict[str, Any] = field(default_factory=dict)

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.wall_s + other.wall_s,
            self.cpu_s + other.cpu_s,
            self.machine_cpu_s + other.machine_cpu_s,
            max(self.peak_rss_bytes, other.peak_rss_bytes),
            self.read_bytes + other.read_bytes,
            self.written_bytes + other.written_bytes,
            self.extra | other.extra,
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """All counters at one moment."""

    at_s: float
    cpu_s: float
    machine_cpu_s: float
    read_bytes: int
    written_bytes: int


def machine_cpu_s() -> float:
    """CPU seconds that all cores spent since boot, other than idle, waiting or stolen by the host."""
    fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
    user, nice, system, _idle, _iowait, irq, softirq = map(int, fields[:7])
    return (user + nice + system + irq + softirq) / _TICKS_PER_S


def busy_share(seconds: float = 2.0) -> float:
    """How much of the machine is in use right now, from 0 to 1: what other programs would disturb by."""
    before, start_s = machine_cpu_s(), time.monotonic()
    time.sleep(seconds)
    return (machine_cpu_s() - before) / (time.monotonic() - start_s) / (os.cpu_count() or 1)


def _io(pid: int) -> tuple[int, int]:
    """Bytes that a process, its threads and its children that have ended took from and gave to disks."""
    lines = Path(f"/proc/{pid}/io").read_text(encoding="ascii").splitlines()
    values = {name: int(value) for name, value in (line.split(": ") for line in lines)}
    return values["read_bytes"], values["write_bytes"]


def _descendants(pid: int) -> list[int]:
    found, waiting = [pid], [pid]
    while waiting:
        for tasks in Path(f"/proc/{waiting.pop()}/task").glob("*/children"):
            children = list(map(int, tasks.read_text(encoding="ascii").split()))
            found += children
            waiting += children
    return found


class Watched:
    """A command that runs in a process of its own and is watched from outside."""

    def __init__(self, command: Sequence[str], environment: dict[str, str] | None = None) -> None:
        self.command = list(command)
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._machine_s = machine_cpu_s()
        self._start_s = time.monotonic()
        self._process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        self.pid = self._process.pid
        self.peak_rss_bytes = 0
        self._ended = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()

    def _sample(self) -> None:
        # ru_maxrss is of no use here: a child inherits its parent's peak until it calls exec, this program's.
        while not self._ended.wait(SAMPLE_S):
            total = 0
            try:
                for pid in _descendants(self.pid):
                    total += int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
            except (OSError, ValueError, IndexError):
                continue
            self.peak_rss_bytes = max(self.peak_rss_bytes, total)

    def signal(self, number: int) -> None:
        """Send the process a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once, if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._finish()

    def ended(self) -> bool:
        """Whether it has exited; it is not reaped by that."""
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return self._process.returncode is not None or os.waitid(os.P_PID, self.pid, flags) is not None

    def output(self) -> str:
        """What it has printed so far, both streams."""
        self._output.seek(0)
        return self._output.read().decode(errors="replace")

    def read(self) -> Reading:
        """The counters now, of a process that runs and has no children."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
        return Reading(time.monotonic(), cpu_s, machine_cpu_s(), *_io(self.pid))

    def wait(self) -> tuple[Cost, str]:
        """Wait for the end; what all of it cost, and what it printed. Raises CommandFailed."""
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        wall_s, machine_s = time.monotonic() - self._start_s, machine_cpu_s() - self._machine_s
        # The process has ended and is not reaped yet: its counters can still be read, and are final.
        read_bytes, written_bytes = _io(self.pid)
        _, status, usage = os.wait4(self.pid, 0)
        self._process.returncode = code = os.waitstatus_to_exitcode(status)
        said = self._finish()
        if code != 0:
            raise CommandFailed(f"{' '.join(self.command)} exited with {code}:\n{said[-2000:]}")
        cpu_s = usage.ru_utime + usage.ru_stime
        return Cost(wall_s, cpu_s, machine_s, self.peak_rss_bytes, read_bytes, written_bytes), said

    def _finish(self) -> str:
        self._ended.set()
        self._sampler.join()
        if self._output.closed:
            return ""
        said = self.output()
        self._output.close()
        return said


def between(before: Reading, after: Reading, peak_rss_bytes: int, **extra: Any) -> Cost:
    """What happened from one reading to the next."""
    return Cost(
        after.at_s - before.at_s,
        after.cpu_s - before.cpu_s,
        after.machine_cpu_s - before.machine_cpu_s,
        peak_rss_bytes,
        after.read_bytes - before.read_bytes,
        after.written_bytes - before.written_bytes,
        extra,
    )


def measure(command: Sequence[str], environment: dict[str, str] | None = None) -> tuple[Cost, str]:
    """Run a command to its end; what it cost, and what it printed. Raises CommandFailed."""
    watched = Watched(command, environment)
    try:
        return watched.wait()
    except BaseException:
        watched.kill()
        raise
