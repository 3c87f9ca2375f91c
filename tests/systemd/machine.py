"""A booted Debian: systemd as process 1, in a container of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import pytest

BOOT_LIMIT_S = 120.0
HALT_LIMIT_S = 60.0


class Machine:
    """One container from `tree`, which stays as it is; `binds` are host paths by their places inside."""

    def __init__(self, tree: Path, console: Path, binds: Mapping[str, Path], read_only: Mapping[str, Path]) -> None:
        self.tree = tree
        self.console = console
        self.binds = binds
        self.read_only = read_only
        self.process: subprocess.Popen[bytes] | None = None
        self.leader = 0

    def boot(self) -> Self:
        """Start it, and wait until systemd says that it is up."""
        options = [f"--bind={outside}:{inside}" for inside, outside in self.binds.items()]
        options += [f"--bind-ro={outside}:{inside}" for inside, outside in self.read_only.items()]
        with open(self.console, "ab") as console:
            self.process = subprocess.Popen(
                [
                    *("systemd-nspawn", "--quiet", "--boot", f"--directory={self.tree}", "--volatile=overlay"),
                    *("--register=no", "--keep-unit", "--link-journal=no", "--console=pipe"),
                    *(f"--machine=dockd-test-{os.getpid()}", "--hostname=dock-07", *options),
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + BOOT_LIMIT_S
        while self._state() not in ("running", "degraded"):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                pytest.fail(f"the machine does not boot:\n{self.console.read_text(errors='replace')}")
            time.sleep(0.1)
        return self

    def _state(self) -> str:
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        with contextlib.suppress(OSError):
            found = children.read_text().split()
            if found:
                self.leader = int(found[0])
                return self.ask("systemctl", "is-system-running", codes=range(256)).strip()
        return ""

    def ask(self, *command: str, codes: Sequence[int] = (0,), timeout_s: float = 120) -> str:
        """Run a program inside as root; its output. Fails on any other exit code."""
        done = self.run(*command, timeout_s=timeout_s)
        if done.returncode not in codes:
            pytest.fail(f"{' '.join(command)} gave {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def run(self, *command: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a program inside as root."""
        return subprocess.run(
            ["nsenter", f"--target={self.leader}", "--all", "--", *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout_s,
            check=False,
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "LANG": "C.UTF-8"},
        )

    def outside(self, pid: int) -> int:
        """The number that a process inside has outside."""
        space = os.readlink(f"/proc/{self.leader}/ns/pid")
        for status in Path("/proc").glob("[0-9]*/status"):
            with contextlib.suppress(OSError):
                seen = next(line.split()[1:] for line in status.read_text().splitlines() if line.startswith("NSpid:"))
                if seen[-1] == str(pid) and os.readlink(status.with_name("ns") / "pid") == space:
                    return int(seen[0])
        pytest.fail(f"there is no process {pid} inside")

    def halt(self) -> None:
        """Shut it down in good order."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(HALT_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(f"the machine does not halt:\n{self.console.read_text(errors='replace')}")

    def kill(self) -> None:
        """Pull its plug, if it runs."""
        if self.process is not None and self.process.poll() is None:
            # With process 1 of its own everything inside goes.
            if self.leader:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.leader, signal.SIGKILL)
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(HALT_LIMIT_S)
            self.process.kill()
            self.process.wait()
