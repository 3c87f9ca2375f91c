"""Faults that the kernel itself makes: reads that hang, system calls that fail or take long, small disks.

No mocks: the daemon under test runs as it is. What needs root, or a program that is not there, is skipped
with the reason; nothing here is skipped where the test runs as root on Debian with strace installed.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from contract.tools import need_program, need_root

FAN_CLASS_CONTENT, FAN_CLOEXEC, FAN_MARK_ADD = 0x4, 0x1, 0x1
FAN_OPEN_PERM, FAN_ACCESS_PERM = 0x10000, 0x20000
AT_FDCWD = -100

READS = "read,pread64,preadv,preadv2"
WRITES = "write,pwrite64,pwritev,pwritev2"
SYNCS = "fsync,fdatasync,sync_file_range,syncfs"
RENAMES = "rename,renameat,renameat2,link,linkat"
UNLINKS = "unlink,unlinkat"


# --- system calls ------------------------------------------------------------------------------------


def strace(*faults: str, watch: str = "", paths: tuple[Path, ...] = (), log: Path | None = None) -> list[str]:
    """A prefix that runs a program as its own process, with a tracer beside it.

    `faults` are such as `fsync,fdatasync:error=EIO`; `watch` names calls that are only logged. With `paths`,
    only calls on those very files count.
    """
    need_program("strace", "strace")
    calls = ",".join([*(fault.split(":")[0] for fault in faults), *([watch] if watch else [])])
    command = ["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-y", "-s", "0", "-e", "signal=none"]
    command += ["-o", str(log or "/dev/null"), "-e", f"trace={calls}"]
    for path in paths:
        command += ["-P", str(path)]
    for fault in faults:
        command += ["-e", f"inject={fault}"]
    return command


@contextmanager
def traced(pid: int, *faults: str) -> Iterator[None]:
    """The same for a process that runs already, until the end of the block; it goes on undisturbed then."""
    command = [part for part in strace(*faults) if part not in {"-D", "--seccomp-bpf"}]
    tracer = subprocess.Popen([*command, "-p", str(pid)])
    try:
        while f"TracerPid:\t{tracer.pid}\n" not in Path(f"/proc/{pid}/status").read_text():
            assert tracer.poll() is None, "strace could not attach"
            time.sleep(0.01)
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait()


def bytes_read(log: Path) -> int:
    """How many bytes the reads in a tracer's log returned."""
    total = 0
    if log.exists():
        for line in log.read_text(errors="replace").splitlines():
            result = line.rpartition("= ")[2].split(" ")[0]
            if result.isdigit():
                total += int(result)
    return total


# --- reads that hang ---------------------------------------------------------------------------------


@contextmanager
def hanging(path: Path, mask: int = FAN_ACCESS_PERM) -> Iterator[None]:
    """Whoever opens or reads `path` from now on waits in the kernel, like on a dying card, until the end.

    A permission event of fanotify that nobody answers: the reader cannot be interrupted, only killed.
    """
    need_root("a read that hangs in the kernel")
    libc = ctypes.CDLL(None, use_errno=True)
    group = libc.fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC, os.O_RDONLY | os.O_CLOEXEC)
    if group < 0:
        pytest.skip(f"NOT TESTED: no fanotify here: {os.strerror(ctypes.get_errno())}")
    try:
        where = ctypes.c_char_p(os.fsencode(path))
        if libc.fanotify_mark(group, FAN_MARK_ADD, ctypes.c_uint64(mask), AT_FDCWD, where) != 0:
            pytest.skip(f"NOT TESTED: fanotify refused: {os.strerror(ctypes.get_errno())}")
        yield
    finally:
        os.close(group)


# --- disks -------------------------------------------------------------------------------------------


class Mounts:
    """Mounts made for one test, undone in reverse order."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._mounted: list[Path] = []

    def _mount(self, target: Path, *arguments: str) -> None:
        need_root("a mount")
        target.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", *arguments, str(target)], check=True, capture_output=True)
        self._mounted.append(target)

    def disk(self, target: Path, size: int, *mkfs: str) -> Path:
        """A small ext4 of its own, mounted at `target`."""
        need_root("a disk of its own")
        need_program("mkfs.ext4", "e2fsprogs")
        image = self._root / f"{len(self._mounted)}.img"
        with open(image, "wb") as file:
            file.truncate(size)
        options = ["-q", "-m", "0", "-O", "^has_journal", *mkfs]
        subprocess.run(["mkfs.ext4", *options, str(image)], check=True, capture_output=True)
        self._mount(target, "-o", "loop", str(image))
        shutil.rmtree(target / "lost+found", ignore_errors=True)
        return target

    def memory(self, target: Path) -> None:
        """An empty tmpfs over `target`."""
        self._mount(target, "-t", "tmpfs", "tmpfs")

    def bind(self, source: Path, target: Path) -> None:
        """`source` once more at `target`."""
        if not any(line.split()[4] == "/" for line in Path("/proc/self/mountinfo").read_text().splitlines()):
            pytest.skip("NOT TESTED: bind mounts in a chroot that is no mount point; dockd takes no camera there")
        self._mount(target, "--bind", str(source))

    def remount(self, target: Path, option: str) -> None:
        """Make a mounted disk `ro` or `rw`; waits until no file there is open for writing."""
        command = ["mount", "-o", f"remount,{option}", str(target)]
        for _ in range(600):
            if subprocess.run(command, capture_output=True, check=False).returncode == 0:
                return
            time.sleep(0.1)
        pytest.fail(f"{target} cannot be made {option}: something keeps files there open")

    def unmount(self, target: Path) -> None:
        subprocess.run(["umount", "--lazy", str(target)], check=True, capture_output=True)
        self._mounted.remove(target)

    def close(self) -> None:
        for target in list(reversed(self._mounted)):
            self.unmount(target)


def fill(folder: Path, leave: int = 0) -> Path:
    """Write a filler until `leave` bytes are free on the disk that holds `folder`."""
    filler = folder / "filler.bin"
    with open(filler, "wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            while os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize > leave + size:
                file.write(bytes(size))
                os.fsync(file.fileno())
    return filler


# --- the clock ---------------------------------------------------------------------------------------


SHIM = r"""
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long off_by(void) {
    long seconds = 0;
    FILE *file = fopen(getenv("CLOCK_OFF_BY"), "re");
    if (file) { if (fscanf(file, "%ld", &seconds) != 1) seconds = 0; fclose(file); }
    return seconds;
}
int clock_gettime(clockid_t id, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, id, now);
    if (result == 0 && id == CLOCK_REALTIME) now->tv_sec += off_by();
    return result;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec fine;
    clock_gettime(CLOCK_REALTIME, &fine);
    now->tv_sec = fine.tv_sec; now->tv_usec = fine.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *where) {
    struct timespec fine;
    clock_gettime(CLOCK_REALTIME, &fine);
    if (where) *where = fine.tv_sec;
    return fine.tv_sec;
}
"""


class WallClock:
    """A wall clock that a test can move while the daemon runs; the other clocks stay true.

    A small library of our own, loaded before libc: libfaketime breaks CPython's time.sleep.
    """

    def __init__(self, root: Path) -> None:
        need_program("cc", "gcc libc6-dev")
        self._control = root / "clock"
        source, library = root / "clock.c", root / "clock.so"
        source.write_text(SHIM)
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], check=True)
        self.environment = {"LD_PRELOAD": str(library), "CLOCK_OFF_BY": str(self._control)}
        self.move(0)

    def move(self, seconds: int) -> None:
        """From now on the clock is off by `seconds`."""
        fresh = self._control.with_suffix(".new")
        fresh.write_text(f"{seconds}\n")
        os.replace(fresh, self._control)
