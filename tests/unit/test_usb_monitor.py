"""udev on the event loop: hears of devices, and is never deaf for long."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dockd.usb import monitor as module
from dockd.usb.devices import device_from, unescaped
from dockd.usb.monitor import UsbMonitor

STORY = Path(__file__).with_name("umockdev_story.py")
LIMIT_S = 60.0


def test_a_camera_comes_and_goes_in_a_testbed_of_udevs() -> None:
    if shutil.which("umockdev-wrapper") is None:
        assert not os.environ.get("DOCKD_CI"), "no umockdev"
        pytest.skip("NOT TESTED: udev events, for there is no umockdev")
    done = subprocess.run(
        ["umockdev-wrapper", sys.executable, STORY], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["first"]
    assert told["plugged"]
    assert told["unplugged"]
    assert told["before"] == told["after"] == {}
    assert told["restarts"] == 0
    # The hub is none of them.
    assert list(told["with"]) == ["1-1.4"]
    camera = told["with"]["1-1.4"]
    assert (camera["vendor"], camera["product"], camera["serial"], camera["number"]) == ("46f4", "0001", "CAM 1", 7)
    assert camera["interfaces"] == ["08"]
    (disk,) = camera["disks"]
    assert (disk["node"], disk["diskseq"], disk["size_bytes"]) == ("/dev/sda", 5, 2048 * 512)
    (volume,) = disk["volumes"]
    assert (volume["kind"], volume["uuid"], volume["label"]) == ("vfat", "AAAA-0001", "A B")


class PlayedNetlink:
    """A monitor as pyudev's, over a pipe; after `fail` each poll raises, as after an overrun: for ever."""

    def __init__(self, desk: list[PlayedNetlink]) -> None:
        self.reader, self.writer = os.pipe()
        self.failing = False
        desk.append(self)

    def fileno(self) -> int:
        return self.reader

    def poll(self, timeout: float) -> Any:
        if self.failing:
            raise OSError(None, "no number")
        os.read(self.reader, 1)
        return None

    def say(self) -> None:
        os.write(self.writer, b"x")

    def fail(self) -> None:
        self.failing = True
        self.say()

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


async def wait_until(condition: Any) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110 - of others' doing
            await asyncio.sleep(0.01)


def test_after_an_overrun_there_is_a_new_monitor_and_a_new_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN_S", 0.01)
    made: list[PlayedNetlink] = []
    changes: list[int] = []

    async def story() -> None:
        monitor = UsbMonitor(lambda: changes.append(1), lambda: PlayedNetlink(made))
        monitor.start(asyncio.get_running_loop())
        # Whoever was there before anybody listened is found by the listing that this causes.
        assert len(changes) == 1
        made[0].say()
        await wait_until(lambda: len(changes) == 2)
        for number in (1, 2):
            made[-1].fail()
            await wait_until(lambda n=number: len(made) == n + 1)
            assert monitor.restarts == number
            await wait_until(lambda n=number: len(changes) == n + 2)
        made[-1].say()
        await wait_until(lambda: len(changes) == 5)
        monitor.stop()

    asyncio.run(story())
    for one in made:
        one.close()


def test_udev_that_cannot_be_listened_to_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN_S", 0.01)
    made: list[PlayedNetlink] = []
    tries = 0

    def new() -> PlayedNetlink:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise OSError("no netlink")
        return PlayedNetlink(made)

    async def story() -> None:
        monitor = UsbMonitor(lambda: None, new)
        monitor.start(asyncio.get_running_loop())
        assert monitor.trouble == "udev cannot be listened to: no netlink"
        await wait_until(lambda: made)
        assert monitor.trouble is None
        monitor.stop()
        monitor.start(asyncio.get_running_loop())
        monitor.stop()

    asyncio.run(story())
    assert tries == 4
    for one in made:
        one.close()


def test_labels_are_taken_as_the_bytes_that_they_are() -> None:
    assert unescaped(r"A\x20B\x5cx41\xff") == b"A B\\x41\xff"
    assert unescaped("Über") == "Über".encode()


# --- one device, as udev tells of it ---------------------------------------------------------------


class PlayedBlock:
    """A block device as pyudev's."""

    def __init__(self, path: Path, kind: str, *, known: bool = True, **properties: str) -> None:
        self.sys_path = str(path)
        self.sys_name = path.name
        self.device_node = f"/dev/{path.name}"
        self.device_type = kind
        self.is_initialized = known
        self.properties = properties


@pytest.fixture
def usb(tmp_path: Path) -> Any:
    folder = tmp_path / "1-1.4"
    disk = folder / "1-1.4:1.0/host0/block/sda"
    (disk / "sda1").mkdir(parents=True)
    for path, text in {
        "devnum": "7",
        "idVendor": "46F4",
        "idProduct": "0001",
        "bDeviceClass": "00",
        "1-1.4:1.0/bInterfaceClass": "08",
        "1-1.4:1.0/host0/block/sda/size": "2048",
        "1-1.4:1.0/host0/block/sda/diskseq": "5",
        "1-1.4:1.0/host0/block/sda/sda1/partition": "1",
    }.items():
        (folder / path).write_text(f"{text}\n")
    return type("Usb", (), {"sys_path": str(folder), "sys_name": "1-1.4"})


def test_a_device_is_settled_once_udev_knows_every_partition_of_the_medium_that_is_there(usb: Any) -> None:
    place = Path(usb.sys_path) / "1-1.4:1.0/host0/block/sda"
    told = {"DISKSEQ": "5", "DOCKD_DISKSEQ": "5", "ID_FS_TYPE": "exfat"}
    disk = PlayedBlock(place, "disk", **told)
    part = PlayedBlock(place / "sda1", "partition", **told)

    def settled(*blocks: PlayedBlock) -> bool:
        device = device_from(usb, blocks)
        assert device is not None
        return device.settled

    assert settled(disk, part)
    assert not settled(disk)
    assert not settled(disk, PlayedBlock(place / "sda1", "partition", known=False, **told))
    # What is known of another medium, which was there before.
    assert not settled(PlayedBlock(place, "disk", **(told | {"DOCKD_DISKSEQ": "4"})), part)
    # udev has the kernel read the table anew: for a moment the disk has no partitions.
    table = {"DISKSEQ": "5", "DOCKD_DISKSEQ": "5", "ID_PART_TABLE_TYPE": "gpt"}
    (place / "sda1/partition").rename(place / "partition-was-here")
    assert not settled(PlayedBlock(place, "disk", **table))
    assert settled(PlayedBlock(place, "disk", **table, ID_FS_TYPE="vfat"))
    (place / "partition-was-here").rename(place / "sda1/partition")
    assert settled(PlayedBlock(place, "disk", **table), part)
    # Without dockd's rule nobody writes that down.
    assert settled(PlayedBlock(place, "disk"), PlayedBlock(place / "sda1", "partition"))


def test_a_device_is_what_its_files_say_and_one_that_goes_is_none(usb: Any) -> None:
    place = Path(usb.sys_path) / "1-1.4:1.0/host0/block/sda"
    blocks = [
        PlayedBlock(place, "disk"),
        PlayedBlock(place / "sda1", "partition", ID_FS_TYPE="vfat"),
        PlayedBlock(Path("/sys/devices/elsewhere/sdb"), "disk"),
    ]
    device = device_from(usb, blocks)
    assert device is not None
    assert (device.vendor, device.port, device.interfaces) == ("46f4", "1-1.4", ("08",))
    (disk,) = device.disks
    assert [(volume.name, volume.number, volume.kind) for volume in disk.volumes] == [("sda1", 1, "vfat")]
    (Path(usb.sys_path) / "devnum").unlink()
    assert device_from(usb, blocks) is None
    (Path(usb.sys_path) / "devnum").write_text("7\n")
    (Path(usb.sys_path) / "bDeviceClass").write_text("09\n")
    assert device_from(usb, blocks) is None


def test_what_is_no_file_system_is_not_mounted(usb: Any) -> None:
    place = Path(usb.sys_path) / "1-1.4:1.0/host0/block/sda"
    raid = {"ID_FS_TYPE": "linux_raid_member", "ID_FS_USAGE": "raid"}
    device = device_from(usb, [PlayedBlock(place, "disk"), PlayedBlock(place / "sda1", "partition", **raid)])
    assert device is not None
    assert device.disks[0].volumes[0].kind == ""
