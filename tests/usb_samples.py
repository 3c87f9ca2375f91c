"""USB devices as tests need them."""

from __future__ import annotations

from dockd.usb.devices import Disk, UsbDevice, Volume


def disk(
    *, name: str = "sda", diskseq: int = 5, size_bytes: int = 1 << 30, kind: str = "vfat", uuid: str = "AAAA-0001"
) -> Disk:
    """A disk with one file system and no partitions."""
    volume = Volume(f"/dev/{name}", name, 0, kind, uuid, b"CAMERA")
    return Disk(f"/dev/{name}", name, diskseq, size_bytes, (volume,))


def device(
    port: str = "1-1.4",
    *disks: Disk,
    serial: bytes = b"CAM1",
    number: int = 7,
    interfaces: tuple[str, ...] = ("08",),
    settled: bool = True,
    vendor: str = "46f4",
) -> UsbDevice:
    """A camera on a port; without disks it has one."""
    return UsbDevice(
        sys_path=f"/sys/devices/pci0000:00/usb1/{port}",
        port=port,
        number=number,
        vendor=vendor,
        product="0001",
        serial=serial,
        interfaces=interfaces,
        disks=disks or (disk(name=f"sd{port[-1]}"),),
        settled=settled,
    )
