"""The sockets of this machine's USB hubs, as the kernel lists them; source: Documentation/ABI/testing/sysfs-bus-usb."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SYS_USB: Final = Path("/sys/bus/usb/devices")
_HUB = re.compile(r"usb\d+|\d+-\d+(\.\d+)*")
_SOCKET = re.compile(r".*-port(\d+)")


@dataclass(frozen=True, slots=True)
class Socket:
    """One socket of a hub.

    `port` is the kernel's name of what is plugged in there; `hub` is empty for a socket of the machine itself; `peer`
    is the same socket's other name, where it has one for slow and one for fast devices; `holds_hub`: a hub is in it.
    """

    port: str
    hub: str
    peer: str
    holds_hub: bool


def sockets(root: Path = SYS_USB) -> list[Socket]:
    """Every socket of every hub, in order; empty on a machine without USB."""
    found = [socket for hub in _hubs(root) for socket in _of_hub(root, hub)]
    return sorted(found, key=lambda socket: _order(socket.port))


def _hubs(root: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return [path.name for path in root.iterdir() if _HUB.fullmatch(path.name) and _ports_of(path) > 0]
    return []


def _ports_of(device: Path) -> int:
    """How many sockets a device has: none, unless it is a hub."""
    with contextlib.suppress(OSError, ValueError):
        return int((device / "maxchild").read_text())
    return 0


def _of_hub(root: Path, hub: str) -> list[Socket]:
    own = hub.removeprefix("usb") + "-" if hub.startswith("usb") else f"{hub}."
    result = []
    for number in range(1, _ports_of(root / hub) + 1):
        port = f"{own}{number}"
        place = next((root / hub).glob(f"*:*/*-port{number}"), None)
        result.append(Socket(port, "" if hub.startswith("usb") else hub, _peer(place), _ports_of(root / port) > 0))
    return result


def _peer(place: Path | None) -> str:
    """What the kernel calls the other half of a socket; empty if it has none, or nobody knows."""
    if place is None or not (place / "peer").exists():
        return ""
    peer = (place / "peer").resolve()
    hub, found = peer.parent.parent.name, _SOCKET.fullmatch(peer.name)
    if found is None:
        return ""
    return f"{hub.removeprefix('usb')}-{found[1]}" if hub.startswith("usb") else f"{hub}.{found[1]}"


def _order(port: str) -> list[int]:
    return [int(number) for number in re.split(r"[-.]", port)]
