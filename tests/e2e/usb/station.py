"""A dock in a virtual machine: dockd's package, eight bays, a store on a disk of its own, and the oracle at the end."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import approvals
import blake3
import oracle
import pytest
from e2e.planting import pieces
from e2e.usb.images import Card, Volume, mounted, tool
from e2e.usb.machine import Machine
from oracle_world import Camera, Content, Planted, World

Status = dict[str, Any]
WAIT_S = float(os.environ.get("DOCKD_TEST_USB_WAIT_S", "420"))
"""How long a test waits for what has to come; emulation is slow, and machines are shared."""

QUIET_S = 3.0
BAYS = 8
PROFILE = '[[camera]]\nmatch = { vendor = "46f4", product = "0001" }\nrecordings = ["DCIM/**"]\n'
MIB = 1 << 20
SETTLED = frozenset({"ready", "waiting", "attention", "empty"})


@dataclass
class Cam:
    """A camera of the test: its card, and what was planted on it."""

    name: str
    card: Card
    serial: str
    planted: list[Planted] = field(default_factory=list)
    bay: int | None = None
    plugged: bool = False
    marker: bool = True

    def read_anew(self) -> None:
        """Take what the card shows after it was damaged for what was planted."""
        self.planted = [Planted(p.camera, p.path, digests(self.card.files()[p.path]), p.flags) for p in self.planted]

    def serial_from_uuid(self) -> None:
        """It is known by its file system's id."""
        told = subprocess.run(
            ["blkid", "-p", "-s", "UUID", "-o", "value", self.card.image], capture_output=True, check=True
        )
        self.serial = told.stdout.decode().strip()
        self.planted = [Planted(self.serial.encode(), p.path, p.content, p.flags) for p in self.planted]

    def flag(self, path: bytes, *flags: str) -> None:
        """Say something of what was planted at a path."""
        number = next(n for n, p in enumerate(self.planted) if p.path == path)
        old = self.planted[number]
        self.planted[number] = Planted(old.camera, old.path, old.content, old.flags | set(flags))


class Station:
    """One dock; `build` is what `build.py` made."""

    INIT = "[ -e /srv/evidence/.dockd-store ] || runuser -u dockd -- dockd store init"

    def __init__(self, root: Path, build: Path, **settings: Any) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.build = build
        self.machine = Machine(build, root / "vm")
        self.cams: dict[str, Cam] = {}
        self.wipe_mode = settings.get("wipe_mode", "on")
        self.profile = settings.get("profile", PROFILE)
        self.more = settings.get("more", "")
        self.disk_size = settings.get("disk_size", 2048 * MIB)
        self.state_disk, self.store_disk = root / "state.img", root / "store.img"
        self.finished = False
        self._make_disks()

    # --- making --------------------------------------------------------------------------------------

    def _make_disks(self) -> None:
        owner = next(
            line.split(":")[2:4] for line in (self.build / "passwd").read_text().splitlines() if "dockd:" in line
        )
        for image in (self.state_disk, self.store_disk):
            with open(image, "wb") as file:
                file.truncate(self.disk_size)
            tool(
                "mke2fs", "-q", "-F", "-t", "ext4", "-E", f"root_owner={owner[0]}:{owner[1]},lazy_itable_init=1", image
            )

    def config(self) -> str:
        bays = "".join(f'[[bay]]\nnumber = {n}\nusb_port = "1-1.{n}"\n' for n in range(1, BAYS + 1))
        return f"""[dock]
agency = "calgary"
site = "district-4"
name = "dock-07"
stall_timeout = "5m"
[spool]
min_free = "16MiB"
[store]
{self.store_table()}
[wipe]
mode = "{self.wipe_mode}"
[custody]
approvers = {json.dumps([approvals.LINE])}
{bays}{self.profile}{self.more}"""

    def store_table(self) -> str:
        """What stands in `[store]`."""
        return 'path = "/srv/evidence"'

    @contextmanager
    def stored(self) -> Iterator[Path]:
        """The store as a folder, while the machine is off."""
        with mounted(self.store_disk) as store:
            yield store

    def boot(self) -> None:
        """Switch the machine on, with its disks and configuration; dockd does not run yet."""
        self.machine.start()
        self.machine.add_disk(self.state_disk, "rp1", "state")
        self.machine.add_disk(self.store_disk, "rp2", "store")
        self.machine.agent.write("/etc/dockd/config.toml", self.config().encode())
        done = self.machine.shell(
            "for d in state store; do n=0; while [ ! -e /dev/disk/by-id/virtio-$d ] && [ $n -lt 600 ]; do sleep 0.1;"
            " n=$((n+1)); done; done; mount /dev/disk/by-id/virtio-state /var/lib/dockd &&"
            " mount /dev/disk/by-id/virtio-store /srv/evidence"
        )
        assert done.code == 0, done.err

    def start(self) -> None:
        """Boot, make the store if there is none yet, and start dockd."""
        if not self.machine.running:
            self.boot()
        done = self.machine.shell(f"{self.INIT}; systemctl start dockd")
        if done.code != 0:
            self.fail(f"dockd does not start: {done.err}")

    def cut_power(self) -> None:
        """Cut the dock's power; cameras stay in their bays."""
        self.machine.cut_power()

    def power_on(self) -> None:
        """The dock is switched on again, its cameras still in their bays."""
        self.boot()
        for cam in self.cams.values():
            if cam.plugged and cam.bay is not None:
                self.machine.plug(cam.name, cam.card.image, cam.bay, serial=cam.serial)
        self.start()

    # --- cameras -------------------------------------------------------------------------------------

    def content(self, name: str, size: int) -> bytes:
        """Content of a size that no other file has."""
        return b"".join(pieces(f"{self.root.name}/{name}", size))

    def card(self, name: str, *volumes: Volume, table: str = "", serial: str | None = None) -> Cam:
        """A camera with a card of its own."""
        card = Card(self.root / f"{name}.img", *volumes, table=table)
        cam = self.cams[name] = Cam(name, card, serial or name)
        for path, data in card.planted().items():
            inner = path.split(b"/", 1)[1] if len(card.volumes) > 1 else path
            flags = set() if inner.startswith(b"DCIM/") or not self.profile else {"not_a_recording"}
            cam.planted.append(Planted(cam.serial.encode(), path, digests(data), frozenset(flags)))
        return cam

    def camera(self, name: str, kind: str, sizes: Mapping[str, int], *, table: str = "", **more: Any) -> Cam:
        """A camera with one volume, and in its DCIM files of these sizes."""
        files = {f"DCIM/{path}".encode(): self.content(f"{name}/{path}", size) for path, size in sizes.items()}
        room = max(48 * MIB, sum(sizes.values()) + 24 * MIB) // MIB * MIB
        return self.card(name, Volume(kind, files, size=room, label=name[:11]), table=table, **more)

    def plug(self, cam: Cam, bay: int | None, **faults: Any) -> None:
        cam.bay, cam.plugged = bay, True
        self.machine.plug(cam.name, cam.card.image, bay, serial=cam.serial, **faults)

    def pull(self, *cams: Cam) -> None:
        self.machine.pull(*(cam.name for cam in cams))
        for cam in cams:
            cam.plugged = False

    # --- looking -------------------------------------------------------------------------------------

    def status(self) -> Status:
        """What the running daemon last wrote of itself."""
        return dict(json.loads(self.machine.agent.read("/var/lib/dockd/status.json")))

    def dockd(self, *argv: str, codes: tuple[int, ...] = (0,)) -> str:
        return self.machine.ask("runuser", "-u", "dockd", "--", "dockd", *argv, codes=codes)

    def explain(self, serial: str) -> str:
        return self.dockd("explain", serial)

    def custody(self) -> list[str]:
        return [line for line in self.dockd("custody", "export").split("\n") if line]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [record for record in map(json.loads, self.custody()) if record["event"] == name]

    def docked_after_s(self) -> float:
        """What passed from the first disk that the kernel showed to the first camera that was mounted and docked."""
        disk = self.machine.shell("stat -c %.3Z /dev/sd? | sort -n | head -1").out
        docked = "journalctl -u dockd -o short-unix --no-pager | grep 'camera docked' | head -1 | cut -d' ' -f1"
        return round(float(self.machine.shell(docked).out) - float(disk), 2)

    def log(self) -> str:
        return self.machine.shell("journalctl -u dockd -u 'dockd-block@*' -u udisks2 --no-pager -o cat | tail -60").out

    def wait(
        self, wanted: Callable[[Status], Any], what: str, timeout_s: float = WAIT_S, pause_s: float = 0.5
    ) -> Status:
        """Ask for the status until `wanted` likes it; that status."""
        deadline = time.monotonic() + timeout_s
        status: Status = {}
        while not (status and wanted(status)):
            if time.monotonic() > deadline:
                self.fail(f"not within {timeout_s} s: {what}", status)
            time.sleep(0.5)
            with suppress(OSError):
                status = self.status()
        return status

    def fail(self, why: str, status: Status | None = None) -> NoReturn:
        log = self.log() if self.machine.running else self.machine.console()[-3000:]
        pytest.fail(f"{why}\n--- last status\n{json.dumps(status, indent=1)}\n--- log\n{log}")

    def bay(self, status: Status, number: int) -> dict[str, Any]:
        return next(bay for bay in status["bays"] if bay["bay"] == str(number))

    def wait_bay(self, number: int, state: str, timeout_s: float = WAIT_S) -> Status:
        return self.wait(lambda s: self.bay(s, number)["state"] == state, f"bay {number} is {state}", timeout_s)

    def wait_counts(self, **counts: int) -> Status:
        return self.wait(lambda s: all(s["counts"][k] >= n for k, n in counts.items()), f"at least {counts}")

    def wait_alert(self, code: str) -> dict[str, Any]:
        status = self.wait(lambda s: alerts(s, code), f"alert {code}")
        return alerts(status, code)[0]

    def wait_quiet(self) -> Status:
        """Until no bay has anything under way, and the figures stand still."""
        last: tuple[Any, float] = (None, 0.0)

        def quiet(status: Status) -> bool:
            nonlocal last
            now = [status["counts"], [(bay["bay"], bay["state"], bay["camera"]) for bay in status["bays"]]]
            if last[0] != now:
                last = (now, time.monotonic())
            docked = sum(cam.plugged and cam.bay is not None for cam in self.cams.values())
            shown = sum(bay["state"] != "empty" for bay in status["bays"])
            rest = {bay["state"] for bay in status["bays"]} <= SETTLED
            return rest and shown >= docked and time.monotonic() - last[1] >= QUIET_S

        return self.wait(quiet, "no bay has anything under way")

    # --- the oracle ----------------------------------------------------------------------------------

    def judge(self, *, finished: bool = False, complete: bool = False) -> None:
        """Switch everything off in good order, look at cards and store from outside, and ask the oracle."""
        status = custody = None
        if self.machine.running:
            custody = self.custody()
            status = json.loads(self.dockd("status", "--json"))
            self.machine.shell("systemctl stop dockd udisks2; umount -a -t vfat,exfat; umount /srv/evidence; sync")
            self.machine.cut_power()
        self.judge_cards(status, custody or [], finished=finished, complete=complete)

    def judge_cards(self, status: Status | None, custody: list[str], **judged: Any) -> None:
        cards = self.root / "cards"
        shutil.rmtree(cards, ignore_errors=True)
        cameras, planted = [], []
        for cam in self.cams.values():
            folder = cards / cam.name
            folder.mkdir(parents=True)
            _lay_out(folder, cam.card)
            cameras.append(Camera(cam.serial.encode(), folder, cam.plugged and cam.bay is not None, cam.marker))
            planted += cam.planted
        with self.stored() as store:
            world = World(
                agency="calgary",
                store=store,
                cameras=cameras,
                planted=planted,
                status=status,
                custody=custody,
                wiping=self.wipe_mode == "on" and bool(self.profile),
                **judged,
            )
            violations = oracle.judge(world)
        shutil.rmtree(cards)
        if violations:
            shown = "\n".join(violations[:40])
            pytest.fail(f"the oracle names {len(violations)} violations:\n{shown}")

    def finish(self) -> Status:
        """Until everything is stored and emptied and quiet, which the oracle then has to confirm."""
        wanted = [p for cam in self.cams.values() for p in cam.planted if p.is_recording and "blocked" not in p.flags]
        self.wait(lambda s: s["counts"]["in_store"] >= len(wanted), f"{len(wanted)} in the store")
        wiped = [p for p in wanted if p.content.size and not p.flags & {"held", "blocked"}]
        if self.wipe_mode == "on":
            self.wait(lambda s: s["counts"]["wiped"] >= len(wiped), f"{len(wiped)} wiped")
        status = self.wait_quiet()
        self.judge(finished=True, complete=True)
        return status

    def close(self) -> None:
        self.machine.cut_power()
        shutil.rmtree(self.root, ignore_errors=True)


def _lay_out(folder: Path, card: Card) -> None:
    """What is on a card now, as files; with the directories that are there although nothing is in them."""
    for path in card.planted():
        os.makedirs(os.path.join(os.fsencode(folder), os.path.dirname(path)), exist_ok=True)
    for path, data in card.files().items():
        target = os.path.join(os.fsencode(folder), path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as file:
            file.write(data)


def digests(data: bytes) -> Content:
    """Both digests of some bytes."""
    return Content(len(data), blake3.blake3(data).hexdigest(), hashlib.sha256(data).hexdigest())


def alerts(status: Status, code: str) -> list[dict[str, Any]]:
    """The standing alerts of one code."""
    return [alert for alert in status["alerts"] if alert["code"] == code]
