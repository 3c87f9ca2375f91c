"""Run under umockdev-wrapper: a USB camera comes, changes and goes in a testbed, and the monitor tells what it sees."""

from __future__ import annotations

import asyncio
import ctypes
import json
from dataclasses import asdict

from dockd.usb.monitor import UsbMonitor

USB = "/devices/pci0000:00/usb1/1-1/1-1.4"
HUB = "/devices/pci0000:00/usb1/1-1"
DISK = f"{USB}/1-1.4:1.0/host0/target0/block/sda"
LIMIT_S = 60.0

umockdev = ctypes.CDLL("libumockdev.so.0")
umockdev.umockdev_testbed_new.restype = ctypes.c_void_p


class Testbed:
    """A system without any device but those that are added."""

    def __init__(self) -> None:
        self._bed = ctypes.c_void_p(umockdev.umockdev_testbed_new())

    def add(self, path: str, *lines: str) -> None:
        text = "\n".join([f"P: {path}", *lines, ""])
        assert umockdev.umockdev_testbed_add_from_string(self._bed, text.encode(), None), path

    def remove(self, path: str) -> None:
        umockdev.umockdev_testbed_uevent(self._bed, f"/sys{path}".encode(), b"remove")
        umockdev.umockdev_testbed_remove_device(self._bed, f"/sys{path}".encode())

    def camera(self) -> None:
        usb = ("E: SUBSYSTEM=usb", "E: DEVTYPE=usb_device")
        self.add(HUB, *usb, "A: idVendor=0409", "A: idProduct=0055", "A: devnum=2", "A: bDeviceClass=09")
        ids = ("A: idVendor=46f4", "A: idProduct=0001", "A: serial=CAM 1", "A: devnum=7", "A: bDeviceClass=00")
        self.add(USB, *usb, *ids)
        self.add(f"{USB}/1-1.4:1.0", "E: SUBSYSTEM=usb", "E: DEVTYPE=usb_interface", "A: bInterfaceClass=08")
        block = ("N: sda", "E: SUBSYSTEM=block", "E: DEVTYPE=disk", "E: DEVNAME=/dev/sda", "A: size=2048")
        told = (
            "E: ID_FS_TYPE=vfat",
            "E: ID_FS_USAGE=filesystem",
            "E: ID_FS_UUID=AAAA-0001",
            r"E: ID_FS_LABEL_ENC=A\x20B",
        )
        self.add(DISK, *block, *told, "A: diskseq=5", "E: DISKSEQ=5")


async def main() -> None:
    """Print one line of JSON: what was there at each time, and that the monitor told of each change by itself."""
    bed, changes = Testbed(), asyncio.Queue[int]()
    monitor = UsbMonitor(lambda: changes.put_nowait(1))

    async def changed() -> bool:
        async with asyncio.timeout(LIMIT_S):
            await changes.get()
        return True

    def there() -> dict[str, object]:
        return {port: asdict(device) for port, device in monitor.devices().items()}

    monitor.start(asyncio.get_running_loop())
    first = await changed()
    told: dict[str, object] = {"first": first, "before": there()}
    bed.camera()
    told |= {"plugged": await changed(), "with": there()}
    while not changes.empty():
        changes.get_nowait()
    bed.remove(DISK)
    told |= {"unplugged": await changed()}
    for path in (f"{USB}/1-1.4:1.0", USB):
        bed.remove(path)
    told |= {"after": there(), "restarts": monitor.restarts}
    monitor.stop()
    print(json.dumps(told, default=lambda raw: raw.decode()))


asyncio.run(main())
