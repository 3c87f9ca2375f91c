"""A dock as a station has it: the package is installed, systemd starts, watches and restarts the service."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from e2e.harness import STOP_LIMIT_S, WAIT_S, Dock, Done
from e2e.planting import MIB, Cameras
from systemd.machine import Machine

ROOT = Path(__file__).resolve().parents[2]
UNIT = "dockd.service"
PACKAGE = "/mnt/dockd.deb"
INSIDE_STATE = Path("/var/lib/dockd")
INSIDE_STORE = Path("/srv/evidence")
INSIDE_CAMERAS = Path("/srv/cameras")
BIG_BYTES = 96 * MIB
TRIES = 20


class Station(Dock):
    """One dock inside a machine. What the tests look at lies outside, the daemon sees it at a station's places."""

    def __init__(self, root: Path, build: Path, **settings: Any) -> None:
        self.etc, self.units = root / "etc", root / "units"
        self.srv = root / "srv"
        state = root / "var"
        for folder in (self.etc, self.units, self.srv, state):
            folder.mkdir(parents=True)
        self.machine = Machine(
            build / "tree",
            root / "console.log",
            binds={
                str(INSIDE_STATE): state,
                "/srv": self.srv,
                "/etc/dockd": self.etc,
                "/etc/systemd/system": self.units,
            },
            read_only={PACKAGE: build / "dockd.deb"},
        )
        super().__init__(root, store=self.srv / "evidence", state=state, init=False, **settings)
        self.cameras = Cameras(self.srv, seed=root.name)
        self.configure()

    def configure(self, **changes: Any) -> None:
        """Write /etc/dockd/config.toml."""
        super().configure(**changes)
        self.etc.joinpath("config.toml").write_text(self.settings.toml(INSIDE_STATE, INSIDE_STORE, INSIDE_CAMERAS))

    def drop_in(self, *lines: str) -> None:
        """What `systemctl edit dockd` would write."""
        folder = self.units / f"{UNIT}.d"
        folder.mkdir(exist_ok=True)
        (folder / "test.conf").write_text("\n".join(("[Service]", *lines, "")))
        self.machine.ask("systemctl", "daemon-reload")

    def boot(self) -> None:
        """Start the machine, and give the places that the tests made to the service's user."""
        self.machine.boot()
        owner = int(self.machine.ask("id", "--user", "dockd"))
        self.cameras.owner = owner
        for folder in (self.srv, self.cameras.docked):
            os.chown(folder, owner, owner)

    def init_store(self) -> None:
        self.run("store", "init")

    # --- what Dock does with a process of its own, done with systemctl and inside --------------------

    def run(self, *arguments: str, codes: Sequence[int] = (0,)) -> Done:
        """Run a command of dockd inside, as the user that the service runs as."""
        done = self.machine.run("runuser", "-u", "dockd", "--", "dockd", *arguments)
        if done.returncode not in codes:
            self.fail(f"dockd {' '.join(arguments)} gave {done.returncode}, not {codes}:\n{done.stdout}{done.stderr}")
        return Done(done.returncode, done.stdout, done.stderr)

    @property
    def running(self) -> bool:
        return self.show("ActiveState") == "active"

    def show(self, name: str) -> str:
        """One property of the unit."""
        return self.machine.ask("systemctl", "show", "--value", f"--property={name}", UNIT).strip()

    def start(
        self, prefix: Iterable[str] = (), environment: dict[str, str] | None = None, *, wait: bool = True
    ) -> None:
        """systemctl start, which returns once the daemon has said that it serves."""
        assert not tuple(prefix), "systemd starts it, nobody else"
        assert environment is None, "its environment is systemd's"
        self.started_ns = time.time_ns()
        self.machine.ask("systemctl", "start", UNIT)

    def term(self) -> int:
        """systemctl stop; the exit code."""
        begun_s = time.monotonic()
        self.machine.ask("systemctl", "stop", UNIT)
        took_s = time.monotonic() - begun_s
        assert took_s < STOP_LIMIT_S, f"systemctl stop took {took_s:.1f} s"
        return int(self.show("ExecMainStatus"))

    def kill(self) -> None:
        self.machine.ask("systemctl", "kill", "--signal=KILL", "--kill-whom=main", UNIT)

    def freeze_offloading(self, serial: str) -> bool:
        """Dock a camera and stop the daemon's process while it copies; False if that came too late.

        The process is met in the act whatever the machine's speed: it stands still until someone goes on with it,
        as systemd does with each stop.
        """
        pid = self.machine.outside(int(self.show("MainPID")))
        self.cameras.add(serial, {b"big.mp4": BIG_BYTES, b"b/b.mp4": 5000})
        self.until(lambda: self._copied_bytes() > 0 or self._is_emptied(serial), "it copies")
        os.kill(pid, signal.SIGSTOP)
        if 0 < self._copied_bytes() < BIG_BYTES:
            return True
        os.kill(pid, signal.SIGCONT)
        return False

    def _copied_bytes(self) -> int:
        """How much of the largest file the spool has."""
        with contextlib.suppress(FileNotFoundError):
            return max((path.stat().st_size for path in self.spool_files()), default=0)
        return 0

    def _is_emptied(self, serial: str) -> bool:
        return not self.cameras.file(serial, b"big.mp4").exists()

    def freeze_one_offloading(self) -> None:
        """Dock cameras until the daemon stands still with one half copied."""
        for number in range(TRIES):
            if self.freeze_offloading(f"CAM{number}"):
                return
            self.finish()
        self.fail(f"none of {TRIES} cameras was met while it was copied")

    def journal(self, *options: str) -> str:
        """What the machine's journal has."""
        return self.machine.ask("journalctl", "--no-pager", "--output=cat", *options)

    def log_tail(self, lines: int = 60) -> str:
        return self.journal(f"--unit={UNIT}", f"--lines={lines}")

    def wait_unit(self, wanted: Mapping[str, str], what: str, timeout_s: float = WAIT_S) -> None:
        """Until the unit's properties are as wanted."""
        self.until(lambda: all(self.show(name) == value for name, value in wanted.items()), what, timeout_s)

    def clear(self) -> None:
        super().clear()
        shutil.rmtree(self.srv, ignore_errors=True)
