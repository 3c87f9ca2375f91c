"""`dockd bays`: the USB ports of this machine, as TOML to paste."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path

from dockd.commands.setup import DEFAULT_PLACE
from dockd.config import load_config
from dockd.errors import EXIT_DONE, EXIT_SERVICE_MISSING, DeviceServiceError
from dockd.identity import plain_name
from dockd.usb.devices import STORAGE, UsbDevice, accepted, what_interfaces_are
from dockd.usb.monitor import list_devices
from dockd.usb.sockets import Socket, sockets

HEADER = """\
# The USB ports of this machine. Paste those that are bays into the configuration, with the numbers on their stickers.
# To see which is which: plug a camera into one bay, and run it again."""


def bays(config_path: Path) -> int:
    """Print a table for each port; reads the configuration only for the numbers that are in it, if there is one."""
    numbers: dict[str, int] = {}
    # It is asked before there is a configuration; one that is named has to be there.
    if config_path.exists() or config_path != DEFAULT_PLACE:
        numbers = {bay.usb_port: bay.number for bay in load_config(config_path).bays}
    try:
        devices = list_devices()
    except OSError as error:
        raise DeviceServiceError(f"udev cannot list USB devices: {error}", "Look at: systemctl status udev") from error
    found = sockets()
    lines = list(ports_as_toml(found, devices, numbers))
    print("\n".join([HEADER, *lines] if lines else ["# This machine has no USB port."]))
    return EXIT_DONE if lines else EXIT_SERVICE_MISSING


def ports_as_toml(
    found: Sequence[Socket], devices: Mapping[str, UsbDevice], numbers: Mapping[str, int]
) -> Iterator[str]:
    """The lines: those of configured ports as they are, others with the next numbers that are free."""
    taken, next_number = set(numbers.values()), 1
    have_hub = any(socket.hub for socket in found)
    known = {socket.port: socket for socket in found}
    for socket in found:
        device = devices.get(socket.port)
        if socket.holds_hub or not _worth_a_line(socket, device, known, devices, numbers, have_hub=have_hub):
            continue
        yield ""
        told = _told(socket, device, configured=socket.port in numbers)
        if socket.port not in numbers and not _may_be_bay(device):
            # Not even as a comment: a port that the configuration names at all is one where nobody may type.
            yield f"# {socket.port} is no bay: {told}"
            continue
        number = numbers.get(socket.port)
        if number is None:
            number = next_number = next(n for n in count(next_number) if n not in taken)
            taken.add(number)
        yield f"# {told}"
        yield "[[bay]]"
        yield f"number = {number}"
        yield f'usb_port = "{socket.port}"'
    for port, number in numbers.items():
        if port not in known:
            yield ""
            yield "# In the configuration, but this machine has no such port now: is its hub plugged in?"
            yield f'[[bay]]\nnumber = {number}\nusb_port = "{port}"'


def _worth_a_line(
    socket: Socket,
    device: UsbDevice | None,
    known: Mapping[str, Socket],
    devices: Mapping[str, UsbDevice],
    numbers: Mapping[str, int],
    *,
    have_hub: bool,
) -> bool:
    """Whether a socket is to be shown: one of the machine itself only with something in it, and each socket once."""
    if device is not None or socket.port in numbers:
        return True
    if socket.hub == "" and have_hub:
        return False
    if socket.peer in known:
        # The half that is in use stands for both; of an empty one that for slow devices, which most cameras are.
        first = min((socket.port, socket.peer)) == socket.port
        return first and socket.peer not in devices and socket.peer not in numbers
    return True


def _may_be_bay(device: UsbDevice | None) -> bool:
    return device is None or (STORAGE in device.interfaces and accepted(device))


def _told(socket: Socket, device: UsbDevice | None, *, configured: bool) -> str:
    where = f"hub {socket.hub}" if socket.hub else "the machine itself"
    also = f"; the same socket is {socket.peer} to devices of another speed" if socket.peer else ""
    mine = "in the configuration; " if configured else ""
    if device is None:
        return f"{where}; {mine}empty{also}"
    name = plain_name(device.serial) or "without a serial"
    if not accepted(device):
        what = f"also {what_interfaces_are(device)}: refused in a bay"
    elif STORAGE not in device.interfaces:
        what = "no storage"
    else:
        media = [disk for disk in device.disks if disk.size_bytes]
        kinds = sorted({volume.kind or "unknown" for disk in media for volume in disk.volumes})
        what = f"storage, {sum(disk.size_bytes for disk in media) / 2**30:.1f} GiB, {', '.join(kinds) or 'no medium'}"
    return f"{where}; {mine}holds {device.vendor}:{device.product} {name} ({what}){also}"
