"""A whole dock for one test: the installed dockd as a process, and folders for everything around it."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import approvals
import oracle
import pytest
from e2e.planting import Cameras, Name, as_bytes
from e2e.settings import Settings
from oracle_world import World, part_of_key

from dockd import cli

Status = dict[str, Any]

STOP_LIMIT_S = 10.0
"""The contract: after SIGTERM the daemon has exited by then, whatever hangs."""

WAIT_S = float(os.environ.get("DOCKD_TEST_WAIT_S", "120"))
"""How long a test waits for what has to come; generous, for slow machines."""

QUIET_S = 1.2
"""For how long nothing may change until it counts as finished: longer than the daemon waits between two words."""

STOPPED_STATES = frozenset({"ready", "waiting", "attention", "empty"})


@dataclass(frozen=True)
class Done:
    """What a command gave."""

    returncode: int
    stdout: str
    stderr: str


class Dock:
    """One dock: its configuration, cameras, store and daemon."""

    settings_class: type[Settings] = Settings

    def __init__(
        self,
        root: Path,
        *,
        store: Path | None = None,
        state: Path | None = None,
        init: bool = True,
        **settings: Any,
    ) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.settings = self.settings_class(**settings)
        self.cameras = Cameras(root, seed=root.name)
        self.store = store or root / "store"
        self.state = state or root / "state"
        self.config = root / "config.toml"
        self.log = root / "daemon.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.started_ns = 0
        self.damaged: set[str] = set()
        self.neighbours: list[Dock] = []
        self.chain_whole = True
        self.wiping = self.settings.wipe_mode == "on"
        self.configure()
        if init:
            self.run("store", "init")

    # --- configuration and commands ------------------------------------------------------------------

    def configure(self, **changes: Any) -> None:
        """Write config.toml, with `changes` from now on; a running daemon has not read it yet."""
        self.settings = now = replace(self.settings, **changes)
        self.wiping = self.wiping or now.wipe_mode == "on"
        self.config.write_text(now.toml(self.state, self.store, self.cameras.docked))

    def command(self, *arguments: str) -> list[str]:
        """A command line of dockd as a process of its own."""
        return [sys.executable, "-m", "dockd", *arguments, "--config", str(self.config)]

    def run(self, *arguments: str, codes: Sequence[int] = (0,)) -> Done:
        """Run a command of dockd and insist on its exit code.

        In this process: starting Python anew for each would take most of the tests' time.
        """
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            try:
                code = cli.main([*arguments, "--config", str(self.config)])
            except SystemExit as stop:
                code = int(stop.code or 0)
        if code not in codes:
            said = out.getvalue() + err.getvalue()
            self.fail(f"dockd {' '.join(arguments)} gave {code}, not {codes}:\n{said}")
        return Done(code, out.getvalue(), err.getvalue())

    def status(self) -> Status:
        """What `dockd status --json` says."""
        found: Status = json.loads(self.run("status", "--json").stdout)
        return found

    def quick_status(self) -> Status:
        """The same; of a running daemon its own file, which is what the command prints."""
        if self.running and self.is_fresh():
            return dict(json.loads((self.state / "status.json").read_bytes()))
        return self.status()

    def is_fresh(self) -> bool:
        """Whether this run of the daemon has said something already."""
        return self.told_ns() >= self.started_ns

    def told_ns(self) -> int:
        """When a daemon last wrote its status; 0 if it has not. A starting daemon removes what stands there."""
        try:
            return (self.state / "status.json").stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def counts(self) -> dict[str, int]:
        found: dict[str, int] = self.status()["counts"]
        return found

    def audit(self, *, codes: Sequence[int] = (0,)) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("audit", "--json", codes=codes).stdout)
        return found

    def explain(self, serial: str) -> str:
        return self.run("explain", serial).stdout

    def custody(self) -> list[str]:
        """The lines of the present chain. JSON may hold line separators, so only newlines part lines."""
        text = self.run("custody", "export").stdout
        return [line for line in text.split("\n") if line]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [record for record in map(json.loads, self.custody()) if record["event"] == name]

    def hold(self, serial: str, *, codes: Sequence[int] = (0,)) -> Done:
        return self.run("hold", "add", "--camera", serial, "--reason", "case 1", "--by", "a clerk", codes=codes)

    def hold_names(self) -> list[str]:
        """The holds in force, by the files in the store."""
        names = {path.name for path in (self.store / self.settings.agency / "holds").glob("[!.]*.json")}
        lifted = {name.removesuffix(".lifted.json") for name in names if name.endswith(".lifted.json")}
        return sorted({name.removesuffix(".json") for name in names if ".lifted." not in name} - lifted)

    def lift_holds(self, *names: str) -> None:
        for name in names or self.hold_names():
            approvals.lift(self.run, name, self.root)

    # --- the daemon ----------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(
        self, prefix: Iterable[str] = (), environment: dict[str, str] | None = None, *, wait: bool = True
    ) -> None:
        """Start the daemon; with `prefix` behind a tracer that leaves it our own child."""
        assert not self.running, "the daemon runs already"
        self.started_ns = time.time_ns()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*prefix, *self.command("run")],
                cwd=self.root,
                env=os.environ | (environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        if wait:
            self.until(lambda: self.is_fresh() or not self.running, "the daemon runs")
            self.wait(lambda status: status["daemon"]["running"], "the daemon runs")

    def kill(self) -> None:
        """SIGKILL: what a power cut leaves, but for the disk's own cache."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def term(self) -> int:
        """SIGTERM; the exit code. Fails unless the daemon has gone in time."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.fail(f"the daemon runs on {STOP_LIMIT_S} s after SIGTERM")

    def reload(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    def restart(self, **changes: Any) -> None:
        """Stop, if it runs, change the configuration, and start again."""
        if self.running:
            assert self.term() == 0
        if changes:
            self.configure(**changes)
        self.start()

    def refuses_to_start(self, code: int) -> str:
        """Start it and see it exit with `code`; what it said."""
        before = len(self.log.read_bytes()) if self.log.exists() else 0
        self.start(wait=False)
        assert self.process is not None
        try:
            found = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.fail(f"the daemon runs although it should refuse with {code}")
        said = self.log.read_bytes()[before:].decode(errors="replace")
        assert found == code, f"exit code {found}, not {code}:\n{said}"
        return said

    def log_tail(self, lines: int = 60) -> str:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def fail(self, why: str, status: Status | None = None) -> NoReturn:
        told = f"--- last status\n{json.dumps(status, indent=1)}\n--- end of the daemon's log\n{self.log_tail()}"
        pytest.fail(f"{why}\n{told}")

    # --- waiting -------------------------------------------------------------------------------------

    def wait(
        self, predicate: Callable[[Status], Any], what: str, timeout_s: float = WAIT_S, *, alive: bool = True
    ) -> Status:
        """Ask for the status until `predicate` likes it; that status. `alive`: the daemon must not end."""
        deadline = time.monotonic() + timeout_s
        while True:
            ended = alive and self.process is not None and self.process.poll() is not None
            status = self.quick_status()
            if predicate(status):
                return status
            if ended:
                assert self.process is not None
                self.fail(f"the daemon ended with {self.process.returncode} before: {what}", status)
            if time.monotonic() > deadline:
                self.fail(f"not within {timeout_s} s: {what}", status)
            time.sleep(0.05)

    def until(self, condition: Callable[[], Any], what: str, timeout_s: float = WAIT_S) -> None:
        """Look at the world, often, until `condition` holds."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                self.fail(f"not within {timeout_s} s: {what}", self.status())
            time.sleep(0.002)

    def wait_stored(self, count: int | None = None, timeout_s: float = WAIT_S) -> Status:
        """Until `count` recordings are in the store, by default all that were planted."""
        wanted = len(self.cameras.recordings()) if count is None else count
        return self.wait(lambda s: s["counts"]["in_store"] >= wanted, f"{wanted} in the store", timeout_s)

    def wait_idle(self, timeout_s: float = WAIT_S) -> Status:
        """Until no bay has anything under way, and the figures stand still."""
        last: tuple[Any, float] = (None, 0.0)

        def idle(status: Status) -> bool:
            nonlocal last
            bays = [(bay["bay"], bay["state"]) for bay in status["bays"]]
            if last[0] != (now := [status["counts"], bays]):
                last = (now, time.monotonic())
            docked = sum(self.cameras.is_docked(serial) for serial in self.cameras.markers)
            still = time.monotonic() - last[1] >= QUIET_S
            return still and len(bays) >= docked and {state for _, state in bays} <= STOPPED_STATES

        return self.wait(idle, "no bay has anything under way", timeout_s)

    def wait_emptied(self, timeout_s: float = WAIT_S) -> Status:
        """Until everything is stored and every docked camera that may be emptied is."""
        self.wait_stored(timeout_s=timeout_s)

        def emptied(status: Status) -> bool:
            left, wiped = self.cameras.to_wipe()
            return not left and status["counts"]["wiped"] >= wiped

        return self.wait(emptied, "the cameras are emptied", timeout_s)

    def wait_alert(self, code: str, timeout_s: float = WAIT_S) -> dict[str, Any]:
        """Until an alert stands; that alert."""
        status = self.wait(lambda s: alerts(s, code), f"alert {code}", timeout_s)
        return alerts(status, code)[0]

    def wait_no_alert(self, code: str, timeout_s: float = WAIT_S) -> None:
        self.wait(lambda s: not alerts(s, code), f"no alert {code}", timeout_s)

    def finish(self, timeout_s: float = WAIT_S) -> Status:
        """Until all is stored and emptied and quiet, which the oracle then has to confirm."""
        self.wait_emptied(timeout_s)
        status = self.wait_idle(timeout_s)
        self.judge(finished=True, complete=True)
        return status

    # --- looking -------------------------------------------------------------------------------------

    def find_bay(self, serial: Name, status: Status) -> dict[str, Any]:
        """A camera's bay in the status; empty if there is none."""
        name = f"folder-{part_of_key(as_bytes(serial))}"
        return next((bay for bay in status["bays"] if bay["bay"] == name), {})

    def bay(self, serial: Name, status: Status | None = None) -> dict[str, Any]:
        """A camera's bay in the status, which has to be there."""
        status = status or self.status()
        return self.find_bay(serial, status) or self.fail(f"there is no bay of {serial!r}", status)

    def objects(self, serial: Name | None = None) -> list[Path]:
        """The visible recordings in the store, of one camera or of all."""
        root = self.store / self.settings.agency / "recordings"
        folder = root if serial is None else root / part_of_key(as_bytes(serial))
        return sorted(path for path in folder.rglob("[!.]*") if path.is_file())

    def holds_content(self, serial: Name, path: Name) -> bool:
        """Whether the store has, whole, what was planted last at a place."""
        entry = self.cameras.newest(serial, path)
        return self.world().holds(entry.camera, entry.content)

    def manifests(self, serial: Name) -> list[dict[str, Any]]:
        """A camera's docking manifests."""
        folder = self.store / self.settings.agency / "dockings" / part_of_key(as_bytes(serial))
        return [json.loads(path.read_bytes()) for path in sorted(folder.glob("[!.]*.json"))]

    def spool_files(self) -> list[Path]:
        return sorted(path for path in (self.state / "spool").rglob("*") if path.is_file())

    def spooled_bytes(self) -> int:
        """How much is in the spool, by what takes room there."""
        total = 0
        for path in self.spool_files():
            try:
                total += min(path.stat().st_size, path.stat().st_blocks * 512)
            except FileNotFoundError:
                continue
        return total

    def partials(self) -> list[Path]:
        return sorted(self.store.rglob(".*.partial"))

    def damage(self, path: Path) -> str:
        """Say that the test itself lays hands on an object in the store."""
        key = path.relative_to(self.store).as_posix()
        self.damaged.add(key)
        return key

    # --- the oracle ----------------------------------------------------------------------------------

    def world(self, **judged: Any) -> World:
        foreign = {(e.camera, e.content.blake3) for dock in self.neighbours for e in dock.cameras.entries}
        return World(
            agency=self.settings.agency,
            store=self.store,
            cameras=self.cameras.now(),
            planted=self.cameras.planted(),
            foreign=frozenset(foreign),
            damaged=frozenset(self.damaged),
            chain_whole=self.chain_whole,
            wiping=self.wiping,
            **judged,
        )

    def judge(self, *, finished: bool = False, complete: bool = False) -> None:
        """Ask the oracle, and fail with everything that it finds wrong."""
        for last_try in (False, False, True):
            # The chain first: what it says must hold later, too.
            custody = self.custody()
            status = self.status()
            world = self.world(status=status, custody=custody, finished=finished, complete=complete)
            violations = oracle.judge(world)
            if not violations:
                return
            # Only what is said of a finished state may come a moment later than the state itself.
            if last_try or not finished or not self.running:
                shown = "\n".join(violations[:40])
                self.fail(f"the oracle names {len(violations)} violations:\n{shown}", status)
            time.sleep(QUIET_S)

    def clear(self) -> None:
        """Give back the room on the disk."""
        for folder in (self.cameras.docked, self.cameras.away, self.cameras.staging, self.store, self.state):
            shutil.rmtree(folder, ignore_errors=True)


def alerts(status: Status, code: str) -> list[dict[str, Any]]:
    """The standing alerts of one code."""
    return [alert for alert in status["alerts"] if alert["code"] == code]
