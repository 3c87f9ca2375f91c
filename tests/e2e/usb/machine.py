"""A virtual machine with a stock Debian kernel, real USB, and a hub with eight bays.

Root port 1 has the hub, whose ports are the bays; root ports 2 to 4 are no bays.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from e2e.usb.talk import Agent, Done, Qmp, QmpError

MEMORY_MIB = 1024
SNAPSHOT = "booted"
BOOT_LIMIT_S = 600.0
HUB = "hub"


def command(build: Path, disk: Path, folder: Path, more: list[str]) -> list[str]:
    """QEMU's command line; it has to be the same for a snapshot and for whatever goes on from it."""
    return [
        *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "qemu64", "-smp", "2", "-m", str(MEMORY_MIB)),
        *("-M", "q35", "-nodefaults", "-display", "none", "-rtc", "base=utc"),
        *("-kernel", str(build / "vmlinuz"), "-initrd", str(build / "initrd")),
        *("-append", "console=ttyS0 quiet panic=-1 systemd.show_status=false rw"),
        *("-serial", f"file:{folder / 'console.log'}"),
        *("-drive", f"if=none,id=root,file={disk},format=qcow2,cache=unsafe", "-device", "virtio-blk-pci,drive=root"),
        *("-qmp", f"unix:{folder / 'qmp'},server=on,wait=off"),
        *("-chardev", f"socket,id=agent,path={folder / 'agent'},server=on,wait=off"),
        *("-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name=dockd.agent"),
        *("-device", "virtio-rng-pci"),
        *("-device", "qemu-xhci,id=xhci,p2=8,p3=8", "-device", f"usb-hub,id={HUB},bus=xhci.0,port=1,ports=8"),
        *(part for n in range(1, 5) for part in ("-device", f"pcie-root-port,id=rp{n},chassis={n},slot={n}")),
        *more,
    ]


class Machine:
    """One machine; files of its own lie in `folder`, whose name must be short enough for a socket's path."""

    def __init__(self, build: Path, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.build = build
        self.folder = folder
        self.disk = folder / "root.qcow2"
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self._nodes: dict[str, list[str]] = {}
        self.qmp: Qmp
        self.agent: Agent

    # --- on and off ----------------------------------------------------------------------------------

    def start(self, *, booted: bool = True) -> None:
        """Go on from the snapshot, or boot; returns once the guest answers."""
        if booted:
            shutil.copyfile(self.build / "booted.qcow2", self.disk)
        for name in ("qmp", "agent"):
            (self.folder / name).unlink(missing_ok=True)
        more = ["-loadvm", SNAPSHOT] if booted else []
        with open(self.folder / "qemu.log", "ab") as log:
            self._process = subprocess.Popen(
                command(self.build, self.disk, self.folder, more),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._nodes.clear()
        self.qmp = Qmp(self.folder / "qmp")
        self.agent = Agent(self.folder / "agent")
        self._answers()
        if booted:
            self.agent.ask("clock", now_s=time.time())

    def _answers(self) -> None:
        deadline = time.monotonic() + BOOT_LIMIT_S
        while True:
            with contextlib.suppress(TimeoutError):
                self.agent.ask("ping", 5)
                return
            if time.monotonic() > deadline or not self.running:
                raise AssertionError(f"the guest does not answer: {self.console()[-2000:]}")

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def cut_power(self) -> None:
        """End it at once; what the guest had not written yet is lost."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process = None
        self.qmp.close()
        self.agent.close()

    def console(self) -> str:
        path = self.folder / "console.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def ask(self, *argv: str, codes: tuple[int, ...] = (0,), timeout_s: float = 300) -> str:
        """Run a program as root; its output. Fails on any other exit code."""
        done = self.agent.run(*argv, timeout_s=timeout_s)
        assert done.code in codes, f"{' '.join(argv)} gave {done.code}:\n{done.out}{done.err}"
        return done.out

    def shell(self, line: str, timeout_s: float = 300) -> Done:
        return self.agent.run("/bin/sh", "-c", line, timeout_s=timeout_s)

    # --- disks ---------------------------------------------------------------------------------------

    def add_disk(self, image: Path, port: str, serial: str) -> None:
        """Hot-plug a disk of the dock's own; /dev/disk/by-id/virtio-SERIAL."""
        node = self._node(image, serial)
        self.qmp("device_add", driver="virtio-blk-pci", id=f"disk-{serial}", drive=node, bus=port, serial=serial)

    def add_network(self) -> None:
        """Hot-plug a network card behind which there is this host's loopback alone that anybody speaks to: 10.0.2.2."""
        self.qmp("netdev_add", type="user", id="net")
        self.qmp("device_add", driver="virtio-net-pci", id="card", netdev="net", bus="rp3")
        done = self.shell(
            "n=0; while ! ls /sys/class/net | grep -qv '^lo$' && [ $n -lt 600 ]; do sleep 0.1; n=$((n+1)); done;"
            " card=$(ls /sys/class/net | grep -v '^lo$' | head -1);"
            " ip address add 10.0.2.15/24 dev $card && ip link set $card up"
        )
        assert done.code == 0, done.err

    def _node(self, image: Path, name: str, **more: Any) -> str:
        """A block device of QEMU's for an image, in layers; the outermost is what is plugged in.

        `bps`: bytes a second; `read_errors`, `write_errors`: sectors that give errors, None for all; `read_only`.
        """
        number = next(self._numbers)
        read_only = bool(more.get("read_only"))
        made = [f"{name}-file-{number}", f"{name}-{number}"]
        base = {"driver": "file", "filename": str(image), "locking": "off", "node-name": made[0]}
        self.qmp("blockdev-add", **base, **{"read-only": read_only})
        rules = [
            {"event": "none", "iotype": kind, "errno": 5, "immediately": True, "once": False, "sector": sector}
            for kind in ("read", "write")
            for sector in more.get(f"{kind}_errors", ())
        ]
        if more.get("no_writes"):
            rules.append({"event": "none", "iotype": "write", "errno": 5, "immediately": True, "once": False})
        inner: Any = made[0]
        if rules:
            debug = f"{name}-debug-{number}"
            self.qmp(
                "blockdev-add",
                **{"driver": "blkdebug", "node-name": debug, "image": inner, "inject-error": rules},
                **{"read-only": read_only},
            )
            made.insert(1, debug)
            inner = debug
        if "bps" in more:
            group = f"group-{name}-{number}"
            limits = {"bps-read": more["bps"], "bps-read-max": more["bps"]}
            self.qmp("object-add", **{"qom-type": "throttle-group", "id": group, "limits": limits})
            slow = f"{name}-slow-{number}"
            self.qmp(
                "blockdev-add",
                **{"driver": "throttle", "node-name": slow, "throttle-group": group, "file": inner},
                **{"read-only": read_only},
            )
            made.insert(len(made) - 1, slow)
            inner = slow
        self.qmp("blockdev-add", driver="raw", **{"node-name": made[-1], "file": inner, "read-only": read_only})
        self._nodes[name] = made
        return made[-1]

    def full_speed(self, name: str) -> None:
        """Take the brake off a camera that was plugged with `bps`."""
        group = next(node for node in self._nodes[name] if "-slow-" in node).replace(f"{name}-slow", f"group-{name}")
        limits = {"bps-read": 0, "bps-read-max": 0}
        self.qmp("qom-set", path=f"/objects/{group}", property="limits", value=limits)

    # --- cameras -------------------------------------------------------------------------------------

    def plug(
        self, name: str, image: Path, bay: int | None = None, *, root: int = 2, serial: str, **faults: Any
    ) -> None:
        """Plug a camera into a bay of the hub, or into a root port that is none."""
        node = self._node(image, name, **faults)
        port = f"1.{bay}" if bay is not None else str(root)
        self.qmp("device_add", driver="usb-storage", id=name, drive=node, bus="xhci.0", port=port, serial=serial)

    def pull(self, *names: str) -> None:
        """Pull cameras, at once."""
        for name in names:
            self.qmp("device_del", id=name)
        for name in names:
            self.qmp.wait_deleted(name)
            self._let_go(name)

    def unplug_hub(self, *names: str) -> None:
        """Pull the hub with the cameras that are in it."""
        self.qmp("device_del", id=HUB)
        self.qmp.wait_deleted(HUB)
        for name in names:
            self._let_go(name)

    def plug_hub(self) -> None:
        self.qmp("device_add", driver="usb-hub", id=HUB, bus="xhci.0", port="1", ports=8)

    def _let_go(self, name: str) -> None:
        """Take a camera's image out of QEMU's hands, so that it can be looked at; it needs a moment for that."""
        for node in reversed(self._nodes.pop(name)):
            for _ in range(200):
                try:
                    self.qmp("blockdev-del", **{"node-name": node})
                    break
                except QmpError as error:
                    last = error
                    time.sleep(0.05)
            else:
                raise last

    def add_keyboard(self, bay: int, name: str = "kbd") -> None:
        self.qmp("device_add", driver="usb-kbd", id=name, bus="xhci.0", port=f"1.{bay}", serial="KBD1")

    def bytes_read(self, name: str) -> int:
        """How much was read from a plugged camera so far."""
        for entry in self.qmp("query-blockstats"):
            if entry.get("qdev", "").endswith(f"/{name}/{name}.0/legacy[0]") or f"/{name}/" in entry.get("qdev", ""):
                return int(entry["stats"]["rd_bytes"])
        raise AssertionError(f"QEMU counts nothing of {name}")


def make_snapshot(build: Path) -> None:
    """Boot once, warm up, and keep what every test goes on from."""
    folder = build / "first"
    shutil.rmtree(folder, ignore_errors=True)
    machine = Machine(build, folder)
    run = subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(build / "root.raw"), str(machine.disk)],
        capture_output=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    try:
        machine.start(booted=False)
        machine.shell("systemctl is-system-running --wait", timeout_s=BOOT_LIMIT_S)
        for unit in ("dbus", "polkit", "udisks2"):
            machine.ask("systemctl", "start", f"{unit}.service")
        for module in ("usb-storage", "vfat", "exfat", "ext4", "nls_utf8", "nls_iso8859-1", "nls_cp437", "nls_ascii"):
            machine.shell(f"modprobe {module}")
        # What dockd and its service's programs are made of is in memory then.
        machine.ask("/opt/dockd/bin/python", "-c", "import dockd.app, dockd.commands.look, dockd.commands.run")
        machine.shell("sync; echo 1 > /proc/sys/vm/compact_memory")
        said = machine.qmp.human(f"savevm {SNAPSHOT}")
        assert not said.strip(), said
    finally:
        machine.cut_power()
    machine.disk.replace(build / "booted.qcow2")
    shutil.rmtree(folder)
