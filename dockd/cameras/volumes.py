"""Which file systems a USB camera has, what its files are called, and who it is. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from dockd.identity import CameraIdentity
from dockd.usb.devices import Disk, UsbDevice, Volume

FILE_SYSTEMS: Final = frozenset({"vfat", "exfat", "ext2", "ext3", "ext4"})
"""What is mounted; anything else is left alone, and keeps its camera from being wiped."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What is known of a camera's model: which files are recordings, and what tells two of it apart.

    `time_file`: into which file it writes its own clock's time when it is docked, if it does.
    """

    is_recording: Callable[[bytes], bool]
    serial: Literal["usb", "filesystem"] = "usb"
    time_file: bytes | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """One volume of a camera; the paths of its files begin with `prefix`, which is empty where there is only one."""

    prefix: bytes
    disk: Disk
    volume: Volume

    @property
    def readable(self) -> bool:
        """Whether it has a file system that is mounted."""
        return self.volume.kind in FILE_SYSTEMS


def places_of(device: UsbDevice) -> tuple[Place, ...]:
    """The volumes of all disks that have a medium; partitions are told apart as `p1/`, disks as `d1p1/`."""
    disks = [disk for disk in device.disks if disk.size_bytes > 0]
    found = [(number, disk, volume) for number, disk in enumerate(disks, start=1) for volume in disk.volumes]
    return tuple(Place(_prefix(number, volume, len(disks), len(found)), disk, volume) for number, disk, volume in found)


def _prefix(number: int, volume: Volume, disks: int, volumes: int) -> bytes:
    if volumes == 1:
        return b""
    return f"p{volume.number}/".encode() if disks == 1 else f"d{number}p{volume.number}/".encode()


def identity_of(device: UsbDevice, places: tuple[Place, ...], serial: str) -> tuple[CameraIdentity, str | None]:
    """Who the camera is, and why that is no identity to wipe by, or None.

    `serial`: "usb", or "filesystem" for models whose USB serials are not unique.
    """
    uuids = [place.volume.uuid for place in places if place.volume.uuid]
    if serial == "filesystem" and uuids:
        return CameraIdentity(uuids[0].encode(), device.vendor, device.product), None
    if serial == "usb" and device.serial:
        return CameraIdentity(device.serial, device.vendor, device.product), None
    # Two cameras without a name must not be taken for one: what the card says, or else where it is, tells them apart.
    name = f"no-serial-{uuids[0] if uuids else device.port}".encode()
    return CameraIdentity(name, device.vendor, device.product), "no-serial"
