"""What sits on the bays' ports: who is served, who waits and why, and what is told of everybody else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from journal_desk import HandClock
from usb_samples import device, disk

from dockd.alerts import AlertBoard
from dockd.cameras.volumes import Profile
from dockd.paths import forbidden_places
from dockd.stages import ports
from dockd.stages.bays import Find
from dockd.stages.ports import PortFinder
from dockd.usb.devices import UsbDevice, Volume

NUMBERS = {"1-1.1": 1, "1-1.2": 2, "1-1.4": 4}
TWINS = "bays 1, 4 hold cameras that all call themselves CAM1"


class PlayedMonitor:
    """See `dockd.stages.ports.Monitor`; `there` is what sits where."""

    def __init__(self) -> None:
        self.restarts = 0
        self.there: list[UsbDevice] = []
        self.error: OSError | None = None
        self.stopped = False

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing to listen to."""

    def stop(self) -> None:
        self.stopped = True

    def devices(self) -> dict[str, UsbDevice]:
        if self.error is not None:
            raise self.error
        return {device.port: device for device in self.there}


class Dock:
    """A finder with the monitor and the alerts that it was given."""

    def __init__(self, tmp_path: Path) -> None:
        self.monitor = PlayedMonitor()
        self.alerts = AlertBoard(HandClock().now)
        self.profiles = {("46f4", "0001"): Profile(lambda path: path.startswith(b"DCIM/"))}
        self.finder = PortFinder(
            NUMBERS,
            lambda vendor, product: self.profiles.get((vendor, product)),
            self._make,
            cast("Any", None),
            self.alerts,
            lambda: forbidden_places(tmp_path),
        )
        self._loop = asyncio.new_event_loop()
        self._loop.run_until_complete(self._start())

    def _make(self, changed: Callable[[], None]) -> PlayedMonitor:
        self.monitor.there.clear()
        return self.monitor

    async def _start(self) -> None:
        self.finder.start(lambda place: None)

    def look(self, *there: UsbDevice) -> Mapping[bytes, Find]:
        self.monitor.there = list(there)
        return self._loop.run_until_complete(self.finder.look())

    def told(self, code: str) -> dict[str, str]:
        return {alert.subject: alert.what for alert in self.alerts.standing() if alert.code == code}

    def close(self) -> None:
        self.finder.stop()
        self._loop.close()


@pytest.fixture
def dock(tmp_path: Path) -> Any:
    made = Dock(tmp_path)
    yield made
    made.close()


def test_who_and_where_are_told_apart(dock: Dock) -> None:
    (place, find), *more = dock.look(device("1-1.4")).items()
    assert more == []
    assert (place, find.bay, find.subject, find.clash, find.waits) == (b"1-1.4", "4", "camera-CAM1", None, None)
    assert find.open_camera is not None
    camera = find.open_camera()
    assert (camera.identity.serial, camera.bay) == (b"CAM1", "4")
    moved = dock.look(device("1-1.1", number=8))
    assert moved[b"1-1.1"].subject == find.subject
    assert moved[b"1-1.1"].ident != find.ident


def test_empty_bays_are_bays(dock: Dock) -> None:
    assert dock.look() == {}
    assert dock.finder.bays == ["1", "2", "4"]


def test_a_device_is_served_once_udev_knows_all_of_it_and_from_then_on(dock: Dock) -> None:
    coming = dock.look(device(settled=False))[b"1-1.4"]
    assert coming.open_camera is None
    served = dock.look(device())[b"1-1.4"]
    assert served.open_camera is not None
    assert coming.ident != served.ident
    # udev looks at it once more: no other docking.
    again = dock.look(device(settled=False))[b"1-1.4"]
    assert again.ident == served.ident
    assert again.open_camera is not None


def parted(*partitions: str, settled: bool = True) -> UsbDevice:
    """A camera whose disk has these partitions, or shows itself without any."""
    volumes = [Volume(f"/dev/{name}", name, n, "vfat", name, b"") for n, name in enumerate(partitions, start=1)]
    whole = Volume("/dev/sd4", "sd4", 0, "", "", b"")
    return device("1-1.4", replace(disk(name="sd4"), volumes=tuple(volumes or [whole])), settled=settled)


def test_a_partition_that_comes_late_makes_another_docking_and_one_that_blinks_does_not(dock: Dock) -> None:
    first = dock.look(parted("sd41"))[b"1-1.4"]
    assert dock.look(parted(settled=False))[b"1-1.4"].ident == first.ident
    assert dock.look(parted())[b"1-1.4"].open_camera is not None
    both = dock.look(parted("sd41", "sd42"))[b"1-1.4"]
    assert both.ident != first.ident
    assert dock.look(parted("sd41"))[b"1-1.4"].ident == both.ident
    assert dock.look(parted("sd41", "sd42"))[b"1-1.4"].ident == both.ident


def test_another_plugging_or_another_medium_is_another_docking(dock: Dock) -> None:
    idents = {
        dock.look(device())[b"1-1.4"].ident,
        dock.look(device(number=8))[b"1-1.4"].ident,
        dock.look(device("1-1.4", disk(name="sd4", diskseq=6)))[b"1-1.4"].ident,
    }
    assert len(idents) == 3


def test_no_medium_is_said_after_a_while_and_taken_back(dock: Dock, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = device("1-1.4", disk(size_bytes=0))
    assert dock.look(empty)[b"1-1.4"].waits is None
    assert dock.told("no_medium") == {}
    monkeypatch.setattr(ports, "MEDIUM_S", 0.0)
    assert dock.look(empty)[b"1-1.4"].waits == "the device shows no card that can be read"
    assert list(dock.told("no_medium")) == ["bay-4"]
    assert dock.look(device("1-1.4", disk(diskseq=6)))[b"1-1.4"].open_camera is not None
    assert dock.told("no_medium") == {}


@pytest.mark.parametrize(
    ("code", "name"), [("03", "a keyboard or mouse"), ("02", "a modem or network card"), ("42", "something else")]
)
def test_whatever_else_a_device_is_has_it_refused(dock: Dock, code: str, name: str) -> None:
    find = dock.look(device(interfaces=("08", code)))[b"1-1.4"]
    assert find.open_camera is None
    assert find.waits == f"the device 46f4:0001, CAM1, is also {name} (interface class {code})"
    assert dock.told("device_refused") == {"bay-4": find.waits}
    dock.look()
    assert dock.told("device_refused") == {}


def test_a_still_camera_that_is_storage_too_is_served(dock: Dock) -> None:
    assert dock.look(device(interfaces=("06", "08")))[b"1-1.4"].open_camera is not None


def test_of_two_with_one_identity_the_first_is_served_and_none_wiped(dock: Dock) -> None:
    dock.look(device("1-1.4"))
    both = dock.look(device("1-1.4"), device("1-1.1"))
    assert both[b"1-1.4"].open_camera is not None
    assert both[b"1-1.1"].open_camera is None
    assert {find.clash for find in both.values()} == {TWINS}
    assert "the camera in bay 4 calls itself the same" in str(both[b"1-1.1"].waits)
    # The first leaves: the other one is served, and may be wiped.
    left = dock.look(device("1-1.1"))[b"1-1.1"]
    assert left.open_camera is not None
    assert left.clash is None


def test_a_twin_that_comes_back_does_not_take_the_others_place(dock: Dock) -> None:
    dock.look(device("1-1.4"), device("1-1.1"))
    dock.look(device("1-1.4"))
    again = dock.look(device("1-1.4"), device("1-1.1", number=9))
    assert again[b"1-1.4"].open_camera is not None
    assert again[b"1-1.1"].open_camera is None


def test_models_without_serials_of_their_own_go_by_their_file_systems(dock: Dock) -> None:
    dock.profiles["46f4", "0001"] = Profile(lambda path: True, "filesystem")
    found = dock.look(device("1-1.1", disk(uuid="AAAA-0001")), device("1-1.2", disk(uuid="AAAA-0002")))
    assert {find.subject for find in found.values()} == {"camera-AAAA-0001", "camera-AAAA-0002"}
    assert {find.clash for find in found.values()} == {None}


def test_a_camera_on_a_port_that_is_no_bay_is_told_of_and_left_alone(dock: Dock) -> None:
    assert dock.look(device("1-1.3", serial=b"STRAY")) == {}
    assert dock.told("port_not_listed") == {"dock": "STRAY sits on USB port 1-1.3, which is no bay"}
    # The machine's own disk, elsewhere, is nobody's business; a known model anywhere is.
    dock.look(device("2-3", vendor="0bda"), device("1-1.3", interfaces=("03",)))
    assert dock.told("port_not_listed") == {}
    dock.look(device("2-3", serial=b"STRAY"))
    assert "2-3" in dock.told("port_not_listed")["dock"]


def test_that_udev_cannot_tell_is_no_empty_dock(dock: Dock) -> None:
    dock.look(device())
    dock.monitor.error = OSError("no udev")
    with pytest.raises(OSError, match="no udev"):
        dock.look()
    dock.monitor.error = None
    dock.monitor.restarts = 3
    assert dock.finder.restarts == 3
    dock.finder.stop()
    assert dock.monitor.stopped
