"""What the tests of reading, writing and storing share: content, progress, programs under a tracer."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import blake3
import pytest

from dockd.digests import Digests
from dockd.direct_io import Buffer, Reader
from dockd.durable import file_system_of, reads_past_cache
from dockd.errors import DockdError, StoppedError
from dockd.runtime.workers import Control

TESTS = Path(__file__).resolve().parents[1]
CHILD_LIMIT_S = 120.0

KIB = 1024
MIB = 1024 * KIB
SIZES = (0, 1, 4095, 4096, 4097, MIB - 1, MIB, MIB + 1, 8 * MIB + 5)
"""Where lengths are odd: around the alignment of direct reads, the unit of I/O, and a row of the ledger."""


def content(size: int, seed: int = 0) -> bytes:
    """Bytes that are alike in every run, and in no other seed."""
    return random.Random(f"{size} {seed}").randbytes(size)


def digests_of(data: bytes) -> Digests:
    """What the standard library and blake3 say of these bytes."""
    return Digests(len(data), blake3.blake3(data).hexdigest(), hashlib.sha256(data).hexdigest())


def plant(path: Path, data: bytes) -> Path:
    """Write a file, making its folders, and get it onto the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return path


def read_direct(path: Path) -> bytes:
    """What the disk holds, read by the code under test."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return b"".join(bytes(chunk) for chunk in Reader(fd, Buffer(), direct=True).chunks())
    finally:
        os.close(fd)


class Steps:
    """A progress that counts, and at step number `at` runs `act`, which may raise."""

    def __init__(self, at: int | None = None, act: Callable[[], object] | None = None) -> None:
        self.steps = 0
        self.done_bytes = 0
        self._at = at
        self._act = act

    def advance(self, size_bytes: int = 0) -> None:
        self.steps += 1
        self.done_bytes += size_bytes
        if self.steps == self._at and self._act is not None:
            self._act()

    def check(self) -> None:
        """It stops at its steps only."""


def stop() -> None:
    """What a progress does that was told to stop."""
    raise StoppedError("the test stops it")


class At(Control):
    """A thread's control that runs `act` once, when `at_bytes` were done in a phase, or when the phase begins."""

    def __init__(self, act: Callable[[], object], at_bytes: int = 0, phase: str = "offloading") -> None:
        super().__init__()
        self._act: Callable[[], object] | None = act
        self._at_bytes = at_bytes
        self._phase = phase

    def begin(self, phase: str, subject: str = "", total_bytes: int = 0) -> None:
        super().begin(phase, subject, total_bytes)
        self._now()

    def advance(self, size_bytes: int = 0) -> None:
        super().advance(size_bytes)
        self._now()

    def _now(self) -> None:
        if self._act is not None and self.phase == self._phase and self.done_bytes >= self._at_bytes:
            act, self._act = self._act, None
            act()


def stopping(at_bytes: int, reason: DockdError | None = None, phase: str = "offloading") -> At:
    """A control that is told to stop when so many bytes were done."""
    control = At(lambda: control.stop(reason), at_bytes, phase)
    return control


def wait_for(true: Callable[[], bool], what: str, limit_s: float = 20.0) -> None:
    """Wait until `true()`; fails the test when that takes too long."""
    deadline_s = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline_s, f"waited {limit_s} s for: {what}"
        time.sleep(0.01)


def need_direct(folder: Path) -> None:
    """Skip, loudly, where the tests' folder lies on a file system that cannot be read past the cache."""
    system = file_system_of(folder)
    if not reads_past_cache(system):
        pytest.skip(f"NOT TESTED: {folder} lies on {system.kind}, which cannot be read past the cache")


def need_root(what: str) -> None:
    """Skip, loudly, without root."""
    if os.geteuid() != 0:
        pytest.skip(f"NOT TESTED: {what} needs root")


def need_program(program: str, package: str) -> None:
    """Skip, loudly, without a program."""
    if shutil.which(program) is None:
        pytest.skip(f"NOT TESTED: {program} is not installed (apt-get install {package})")


# --- programs ----------------------------------------------------------------------------------------


def start_child(name: str, *, tracer: Sequence[str] = (), **arguments: Any) -> subprocess.Popen[str]:
    """Start the function `name` of `contract.children` in a process of its own."""
    search = [*filter(None, [os.environ.get("PYTHONPATH")]), str(TESTS)]
    return subprocess.Popen(
        [*tracer, sys.executable, "-P", "-m", "contract.children", name, json.dumps(arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(search)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result_of(child: subprocess.Popen[str]) -> Any:
    """What a child gave, once it has ended; fails the test if it ended badly."""
    try:
        out, err = child.communicate(timeout=CHILD_LIMIT_S)
    finally:
        child.kill()
    assert child.returncode == 0, f"the child ended with {child.returncode}: {err}"
    return json.loads(out)


def waits(child: subprocess.Popen[str]) -> None:
    """Wait until a child says that it waits."""
    assert child.stderr is not None
    line = child.stderr.readline()
    assert line == "ready\n", line + child.stderr.read()


def go_on(child: subprocess.Popen[str]) -> None:
    """Let a child go on that waits."""
    assert child.stdin is not None
    child.stdin.write("go\n")
    child.stdin.flush()


def in_child(name: str, *, tracer: Sequence[str] = (), **arguments: Any) -> Any:
    """Run the function `name` of `contract.children` in a process of its own; what it gave."""
    return result_of(start_child(name, tracer=tracer, **arguments))


WRITER = """
import os, signal, sys
signal.alarm(90)
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
os.write(fd, os.fsencode(sys.argv[2]))
print("open", flush=True)
sys.stdin.read()
"""


@contextmanager
def writer(path: Path | bytes, appends: str = "") -> Iterator[subprocess.Popen[str]]:
    """Another process that opens `path` for writing and keeps it open; it may have to wait for a lease."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, path, appends], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def is_open(process: subprocess.Popen[str]) -> bool:
    """Wait until a `writer` has its file open; False if it ended before that."""
    out: IO[str] | None = process.stdout
    assert out is not None
    return out.readline() == "open\n"


# --- system calls ------------------------------------------------------------------------------------


_PATH = re.compile(r'\d<([^>]*)>|"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Call:
    """One system call in a tracer's log; it began and ended at these lines of the log."""

    name: str
    text: str
    result: str
    begun: int
    ended: int

    @property
    def ok(self) -> bool:
        return not self.result.startswith("-1")

    @property
    def count(self) -> int:
        """What it returned, as a number."""
        return int(self.result.split(" ")[0])

    @property
    def paths(self) -> list[str]:
        """The files and folders that it names: those of descriptors, and paths as given."""
        return [fd or path for fd, path in _PATH.findall(self.text)]


def tracer(log: Path, calls: str, *options: str) -> list[str]:
    """A prefix that runs a program with a log of its system calls; skips, loudly, where that cannot be had."""
    need_program("strace", "strace")
    common = ["strace", "-f", "--seccomp-bpf", "-y", "-qq", "-o", str(log), "-e", "signal=none"]
    return [*common, "-e", f"trace={calls}", *options]


_LINE = re.compile(r"(\d+) +(?:<\.\.\. (?P<resumed>\w+) resumed>|(?P<name>\w+)\()(?P<rest>.*)$")
_RESULT = re.compile(r"\)\s+= (.*)$")


def calls_in(log: Path) -> list[Call]:
    """The system calls in a tracer's log, in the order in which they ended."""
    found: list[Call] = []
    pending: dict[str, tuple[str, str, int]] = {}
    for number, line in enumerate(log.read_text(errors="surrogateescape").splitlines()):
        match = _LINE.match(line)
        if match is None:
            continue
        process, rest = match[1], match["rest"]
        if match["resumed"]:
            name, before, begun = pending.pop(process)
            rest = before + rest
        else:
            name, begun = match["name"], number
            if rest.endswith("<unfinished ...>"):
                pending[process] = (name, rest.removesuffix("<unfinished ...>"), begun)
                continue
        result = _RESULT.search(rest)
        assert result is not None, line
        found.append(Call(name, rest[: result.start()], result[1], begun, number))
    return found
