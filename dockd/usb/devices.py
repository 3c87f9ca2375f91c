"""USB devices as udev's database tells of them; frozen, so that one can be compared with what is there later."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HUB_CLASS = "09"
STORAGE = "08"
STILL_IMAGE = "06"
_CLASSES = {
    "01": "a sound card",
    "02": "a modem or network card",
    "03": "a keyboard or mouse",
    "07": "a printer",
    "0a": "a modem or network card",
    "0b": "a smart card reader",
    "0e": "a video camera",
    "e0": "a wireless adapter",
    "ff": "something that only its maker knows",
}
_ESCAPED = re.compile(rb"\\x([0-9a-fA-F]{2})")
SECTOR_BYTES = 512


@dataclass(frozen=True, slots=True)
class Volume:
    """One place on a disk where a file system may be; `number` is the partition's, 0 for the whole disk."""

    node: str
    name: str
    number: int
    kind: str
    uuid: str
    label: bytes


@dataclass(frozen=True, slots=True)
class Disk:
    """One disk of a device.

    `diskseq` is the kernel's: another medium, another number. `size_bytes` is 0 without a medium.
    """

    node: str
    name: str
    diskseq: int
    size_bytes: int
    volumes: tuple[Volume, ...]


@dataclass(frozen=True, slots=True)
class UsbDevice:
    """One device on a port, hubs excepted.

    `port` is the kernel's name such as 1-1.4; `number` is another one for each plugging; `interfaces` are class codes
    of two hex digits; `settled`: udev knows all of its disks and partitions.
    """

    sys_path: str
    port: str
    number: int
    vendor: str
    product: str
    serial: bytes
    interfaces: tuple[str, ...]
    disks: tuple[Disk, ...]
    settled: bool

    @property
    def ident(self) -> tuple[object, ...]:
        """Another one as soon as anything was plugged anew, or a medium changed."""
        media = tuple((disk.name, disk.diskseq, bool(disk.size_bytes)) for disk in self.disks)
        return (self.sys_path, self.number, media)


def connected_s(device: UsbDevice) -> float | None:
    """For how long it has been plugged in, by the kernel's own count; None if it does not tell."""
    try:
        text = Path(device.sys_path, "power", "connected_duration").read_text(encoding="ascii")
        return int(text) / 1000
    except (OSError, ValueError):
        return None


def accepted(device: UsbDevice) -> bool:
    """Whether a device is storage or a still camera, and nothing else."""
    return not _others(device)


def what_interfaces_are(device: UsbDevice) -> str:
    """What a device is besides, in words."""
    told = [f"{_CLASSES.get(code, 'something else')} (interface class {code})" for code in _others(device)]
    return " and ".join(told)


def _others(device: UsbDevice) -> list[str]:
    return [code for code in device.interfaces if code not in (STORAGE, STILL_IMAGE)]


def unescaped(text: str) -> bytes:
    """The bytes of what udev writes as ID_FS_LABEL_ENC, with \\x20 for a blank and the like."""
    return _ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), text.encode("utf-8", "surrogateescape"))


def device_from(usb: Any, blocks: Iterable[Any]) -> UsbDevice | None:
    """The device of a pyudev usb_device and the block devices below it; None for hubs, and what is gone meanwhile."""
    folder = Path(usb.sys_path)
    classes = _interface_classes(folder)
    kind = _text(folder / "bDeviceClass")
    number = _text(folder / "devnum")
    if not number.isdecimal() or HUB_CLASS in (kind, *classes):
        return None
    below = [block for block in blocks if block.sys_path.startswith(f"{usb.sys_path}/")]
    disks = [block for block in below if block.device_type == "disk"]
    parts = [block for block in below if block.device_type == "partition"]
    found = tuple(_disk(disk, parts) for disk in sorted(disks, key=lambda disk: str(disk.sys_name)))
    settled = all(_known(block) for block in below) and all(_whole(disk, parts) for disk in disks)
    return UsbDevice(
        sys_path=str(usb.sys_path),
        port=str(usb.sys_name),
        number=int(number),
        vendor=_text(folder / "idVendor"),
        product=_text(folder / "idProduct"),
        serial=_bytes(folder / "serial"),
        interfaces=tuple(classes),
        disks=found,
        settled=settled,
    )


def _interface_classes(folder: Path) -> list[str]:
    """The class codes of all interfaces; an interface that a rule has switched off is there all the same."""
    return sorted({_text(path) for path in folder.glob("*:*/bInterfaceClass")} - {""})


def _disk(disk: Any, parts: Iterable[Any]) -> Disk:
    own = [part for part in parts if part.sys_path.startswith(f"{disk.sys_path}/")]
    volumes = [_volume(part) for part in own] or [_volume(disk)]
    sectors = _text(Path(disk.sys_path) / "size")
    return Disk(
        node=str(disk.device_node),
        name=str(disk.sys_name),
        diskseq=int(_text(Path(disk.sys_path) / "diskseq") or 0),
        size_bytes=int(sectors or 0) * SECTOR_BYTES,
        volumes=tuple(sorted(volumes, key=lambda volume: volume.number)),
    )


def _volume(block: Any) -> Volume:
    number = _text(Path(block.sys_path) / "partition")
    told = block.properties
    return Volume(
        node=str(block.device_node),
        name=str(block.sys_name),
        number=int(number or 0),
        kind=str(told.get("ID_FS_TYPE", "")) if told.get("ID_FS_USAGE", "filesystem") == "filesystem" else "",
        uuid=str(told.get("ID_FS_UUID", "")),
        label=unescaped(str(told.get("ID_FS_LABEL_ENC", ""))),
    )


def _known(block: Any) -> bool:
    """Whether udev has looked at the medium that is there now; of another one before it, it still knows the old."""
    looked_at = block.properties.get("DOCKD_DISKSEQ")
    return bool(block.is_initialized) and looked_at in (None, "", block.properties.get("DISKSEQ"))


def _whole(disk: Any, parts: Iterable[Any]) -> bool:
    """Whether udev knows every partition that the kernel has found on a disk."""
    known = {str(part.sys_name) for part in parts if part.sys_path.startswith(f"{disk.sys_path}/")}
    if not known and disk.properties.get("ID_PART_TABLE_TYPE") and not disk.properties.get("ID_FS_TYPE"):
        # udev has the kernel read the table once more, and for that moment there are no partitions.
        return False
    return all(path.parent.name in known for path in Path(disk.sys_path).glob("*/partition"))


def _text(path: Path) -> str:
    return _bytes(path).decode("utf-8", "replace").lower()


def _bytes(path: Path) -> bytes:
    """What an attribute says; empty for one that is not there, or whose device is going just now."""
    try:
        return path.read_bytes().rstrip(b"\n")
    except OSError:
        return b""
