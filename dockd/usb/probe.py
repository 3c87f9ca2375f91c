"""Looks whether cameras could be read and wiped here: udev, its rule, udisks2, polkit's rule, dockd-block."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dockd.errors import DeviceServiceError
from dockd.usb.devices import accepted, what_interfaces_are
from dockd.usb.monitor import list_devices
from dockd.usb.mounts import POLKIT_RULE
from dockd.usb.sockets import SYS_USB, sockets
from dockd.usb.system_bus import CallFailed, SystemBus

PARTS: Final = {
    "the udev rule that write-protects cameras": "/usr/lib/udev/rules.d/70-dockd.rules",
    "the service that lifts the protection for a wipe": "/usr/lib/systemd/system/dockd-block@.service",
    "the polkit rule that lets dockd mount": POLKIT_RULE,
}
_UDISKS: Final = "org.freedesktop.UDisks2"


@dataclass(slots=True)
class UsbFindings:
    """`problems`: what stops cameras from being read or wiped; `doubts`: what a person should look at."""

    docked: int = 0
    mounts_by: str = ""
    problems: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)


def probe_usb(
    numbers: Mapping[str, int], *, bus: SystemBus | None = None, root: Path = Path("/"), sys_usb: Path = SYS_USB
) -> UsbFindings:
    """Look at all of it, and change nothing; `numbers`: the bays by their ports, `root`: where the parts lie."""
    found = UsbFindings()
    for what, place in PARTS.items():
        if _is_missing(root / place.lstrip("/")):
            found.problems.append(f"{what} is not there: {place}, of dockd's package")
    try:
        found.mounts_by = f"udisks2 {asyncio.run(_udisks_version(bus or SystemBus()))} mounts them"
    except (CallFailed, DeviceServiceError) as error:
        found.problems.append(f"udisks2 does not answer ({error}): apt-get install udisks2")
    known = {socket.port for socket in sockets(sys_usb)}
    lost = sorted((number, port) for port, number in numbers.items() if port not in known)
    if lost:
        told = ", ".join(f"{number} ({port})" for number, port in lost)
        found.doubts.append(f"this machine has no such port for bay {told}. Is the hub plugged in? See: dockd bays")
    _look_at_devices(numbers, found)
    return found


def _is_missing(path: Path) -> bool:
    """Whether it is not there; what this user may not look at (polkit's rules are polkit's) is not called missing."""
    try:
        path.stat()
    except FileNotFoundError:
        return True
    except PermissionError:
        pass
    return False


def _look_at_devices(numbers: Mapping[str, int], found: UsbFindings) -> None:
    try:
        devices = list_devices()
    except OSError as error:
        found.problems.append(f"udev cannot list devices: {error}")
        return
    for port, device in sorted(devices.items()):
        if port not in numbers:
            continue
        found.docked += 1
        if not accepted(device):
            found.doubts.append(f"what sits in bay {numbers[port]} is refused: it is {what_interfaces_are(device)}")


async def _udisks_version(bus: SystemBus) -> str:
    try:
        body = ["org.freedesktop.UDisks2.Manager", "Version"]
        path = "/org/freedesktop/UDisks2/Manager"
        (version,) = await bus.call(_UDISKS, path, "org.freedesktop.DBus.Properties", "Get", "ss", body)
        return str(version.value)
    finally:
        bus.close()
