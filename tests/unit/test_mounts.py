"""udisks2 and systemd as dockd calls them, played on a D-Bus of the test's own."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus
from usb_samples import disk

from dockd.errors import CameraGoneError, DeviceServiceError
from dockd.usb import mounts as module
from dockd.usb.mounts import POLKIT_RULE, UdisksMounts, mount_options
from dockd.usb.probe import PARTS, probe_usb
from dockd.usb.system_bus import SystemBus

DISK = disk()
(VOLUME,) = DISK.volumes
UDISKS = "org.freedesktop.UDisks2"
SYSTEMD = "org.freedesktop.systemd1"
CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path={socket}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy></busconfig>
"""


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[str]:
    """The address of a bus on which nobody is yet."""
    daemon = shutil.which("dbus-daemon")
    if daemon is None:
        assert not os.environ.get("DOCKD_CI"), "no dbus-daemon"
        pytest.skip("NOT TESTED: calls over D-Bus, for there is no dbus-daemon")
    socket, config = tmp_path / "bus", tmp_path / "bus.conf"
    config.write_text(CONFIG.format(socket=socket))
    argv = [daemon, f"--config-file={config}", "--nofork", "--nopidfile", "--nosyslog", "--print-address"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield f"unix:path={socket}"
        process.terminate()


class PlayedServices:
    """udisks2 and systemd: write down what they are asked; answer by `answers`, each once, or as if all went well."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.asked: list[tuple[str, ...]] = []
        self.options: list[dict[str, Any]] = []
        self.answers: dict[str, list[tuple[str, str]]] = {}
        self.results: list[str] = []
        self.silent = False

    async def __aenter__(self) -> Self:
        self._bus = await MessageBus(bus_address=self._address).connect()
        for name in (UDISKS, SYSTEMD):
            await self._bus.request_name(name)
        self._bus.add_message_handler(self._answer)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._bus.disconnect()

    def _answer(self, call: Message) -> Message | None:
        if call.message_type is not MessageType.METHOD_CALL or call.destination not in (UDISKS, SYSTEMD):
            return None
        if self.silent:
            # Asked, and never answered.
            return Message.new_signal("/none", "org.example.None", "None")
        place = (call.path or "").rsplit("/", 1)[-1]
        self.asked.append((call.member or "", place, *(str(x) for x in call.body if isinstance(x, str))))
        if call.body and isinstance(call.body[-1], dict):
            self.options.append({key: value.value for key, value in call.body[-1].items()})
        errors = self.answers.get(call.member or "")
        if errors:
            return Message.new_error(call, *errors.pop(0))
        match call.member:
            case "Mount":
                return Message.new_method_return(call, "s", ["/media/dockd/A B"])
            case "StartUnit":
                asyncio.get_running_loop().call_later(0.05, self._end_job)
                return Message.new_method_return(call, "o", ["/org/freedesktop/systemd1/job/7"])
            case "Get":
                return Message.new_method_return(call, "v", [Variant("s", "2.9.4")])
        return Message.new_method_return(call)

    def _end_job(self) -> None:
        result = self.results.pop(0) if self.results else "done"
        for job, told in ((6, "failed"), (7, result)):
            body = [job, f"/org/freedesktop/systemd1/job/{job}", "x.service", told]
            signal = Message.new_signal(
                "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "JobRemoved", "uoss", body
            )
            self._bus.send(signal)


@pytest.fixture
def sys_block(tmp_path: Path) -> Path:
    place = tmp_path / "block"
    (place / "sda").mkdir(parents=True)
    (place / "sda/diskseq").write_text("5\n")
    (place / "sda/ro").write_text("1\n")
    return place


Story = Callable[[PlayedServices, UdisksMounts], Coroutine[Any, Any, None]]


@pytest.fixture
def played(bus: str, sys_block: Path) -> Callable[[Story], None]:
    """Runs a story with the services there."""

    def run(story: Story) -> None:
        async def whole() -> None:
            own = SystemBus(bus)
            async with PlayedServices(bus) as services:
                await story(services, UdisksMounts(own, asyncio.get_running_loop(), sys_block))
            own.close()

        asyncio.run(whole())

    return run


def test_a_journal_is_not_replayed_where_nothing_may_be_written() -> None:
    assert mount_options(disk(kind="ext4").volumes[0], writable=False) == "ro,nosuid,nodev,noexec,noload"
    assert mount_options(disk(kind="ext4").volumes[0], writable=True) == "rw,nosuid,nodev,noexec"
    assert mount_options(VOLUME, writable=False) == "ro,nosuid,nodev,noexec"


def test_mounts_and_unmounts_as_told(played: Callable[[Story], None]) -> None:
    async def story(services: PlayedServices, mounts: UdisksMounts) -> None:
        assert await asyncio.to_thread(mounts.mount, VOLUME, writable=False) == b"/media/dockd/A B"
        await asyncio.to_thread(mounts.unmount, VOLUME)
        assert services.asked == [("Mount", "sda"), ("Unmount", "sda")]
        assert services.options[0] == {"options": "ro,nosuid,nodev,noexec", "auth.no_user_interaction": True}

    played(story)


def test_what_somebody_else_mounted_is_mounted_anew_with_the_right_options(played: Callable[[Story], None]) -> None:
    async def story(services: PlayedServices, mounts: UdisksMounts) -> None:
        services.answers["Mount"] = [(f"{UDISKS}.Error.AlreadyMounted", "at /media/x")]
        await asyncio.to_thread(mounts.mount, VOLUME, writable=False)
        assert [member for member, _ in services.asked] == ["Mount", "Unmount", "Mount"]

    played(story)


def test_udisks_may_come_to_know_a_disk_later_than_udev(
    played: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TRY_AGAIN_S", 0.01)

    async def story(services: PlayedServices, mounts: UdisksMounts) -> None:
        services.answers["Mount"] = [("org.freedesktop.DBus.Error.UnknownObject", "no such")] * 3
        await asyncio.to_thread(mounts.mount, VOLUME, writable=False)
        assert len(services.asked) == 4

    played(story)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (f"{UDISKS}.Error.NotAuthorizedCanObtain", POLKIT_RULE),
        ("org.freedesktop.DBus.Error.ServiceUnknown", "apt-get install udisks2"),
        ("org.freedesktop.systemd1.UnitMasked", "apt-get install udisks2"),
        (f"{UDISKS}.Error.Failed", "could not be mounted: its own words"),
    ],
)
def test_a_refusal_says_what_to_do(played: Callable[[Story], None], name: str, wanted: str) -> None:
    async def story(services: PlayedServices, mounts: UdisksMounts) -> None:
        services.answers["Mount"] = [(name, "its own words")]
        with pytest.raises(DeviceServiceError) as caught:
            await asyncio.to_thread(mounts.mount, VOLUME, writable=False)
        assert wanted in f"{caught.value.message} {caught.value.hint}"

    played(story)


def test_a_disk_that_is_gone_is_no_fault_of_the_services(played: Callable[[Story], None], sys_block: Path) -> None:
    async def story(services: PlayedServices, mounts: UdisksMounts) -> None:
        (sys_block / "sda").rename(sys_block / "sdb")
        for member in ("Mount", "Unmount", "StartUnit"):
            services.answers[member] = [("org.freedesktop.DBus.Error.UnknownObject", "no such")]
        with pytest.raises(CameraGoneError):
            await asyncio.to_thread(mounts.mount, VOLUME, writable=True)
        # What is gone is not mounted either.
        await asyncio.to_thread(mounts.unmount, VOLUME)
        with pytest.raises(CameraGoneError):
            await asyncio.to_thread(mounts.set_writable, DISK)

    played(story)


def test_what_is_not_mounted_needs_no_unmounting_but_a_busy_one_does(played: Callable[[Story], None]) -> None:
    async def story(services: PlayedServices, mounts: UdisksMounts) -> None:
        services.answers["Unmount"] = [(f"{UDISKS}.Error.NotMounted", ""), (f"{UDISKS}.Error.DeviceBusy", "in use")]
        await asyncio.to_thread(mounts.unmount, VOLUME)
        with pytest.raises(DeviceServiceError, match="could not be unmounted: in use"):
            await asyncio.to_thread(mounts.unmount, VOLUME)

    played(story)


def test_the_write_protection_is_the_services_and_names_the_very_medium(played: Callable[[Story], None]) -> None:
    async def story(services: PlayedServices, mounts: UdisksMounts) -> None:
        services.answers["Subscribe"] = [("org.freedesktop.systemd1.AlreadySubscribed", "")]
        await asyncio.to_thread(mounts.set_writable, DISK)
        await asyncio.to_thread(mounts.set_read_only, DISK)
        units = [args[0] for member, _, *args in services.asked if member == "StartUnit"]
        assert units == ["dockd-block@writable:sda:5.service", "dockd-block@readonly:sda:5.service"]
        services.results = ["failed"]
        with pytest.raises(DeviceServiceError, match=r"could not be made writable \(the service ended with: failed\)"):
            await asyncio.to_thread(mounts.set_writable, DISK)

    played(story)


def test_what_the_kernel_says_of_a_disk(played: Callable[[Story], None], sys_block: Path) -> None:
    async def story(services: PlayedServices, mounts: UdisksMounts) -> None:
        assert mounts.is_read_only(DISK)
        assert mounts.same_disk(DISK)
        (sys_block / "sda/ro").write_text("0\n")
        (sys_block / "sda/diskseq").write_text("6\n")
        assert not mounts.is_read_only(DISK)
        assert not mounts.same_disk(DISK)
        (sys_block / "sda/ro").unlink()
        assert not mounts.is_read_only(DISK)

    played(story)


def test_a_service_that_does_not_answer_holds_nobody_for_ever(
    played: Callable[[Story], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0.3)

    async def story(services: PlayedServices, mounts: UdisksMounts) -> None:
        services.silent = True
        with pytest.raises(DeviceServiceError, match="did not answer"):
            await asyncio.to_thread(mounts.mount, VOLUME, writable=False)

    played(story)


def test_a_lost_connection_is_made_anew(bus: str, sys_block: Path) -> None:
    async def story() -> None:
        own = SystemBus(bus)
        mounts = UdisksMounts(own, asyncio.get_running_loop(), sys_block)
        for _ in range(2):
            async with PlayedServices(bus):
                await asyncio.to_thread(mounts.set_writable, DISK)
            own.close()
        with pytest.raises(DeviceServiceError, match="udisks2, which mounts cameras, is not there"):
            await asyncio.to_thread(mounts.mount, VOLUME, writable=False)
        own.close()

    asyncio.run(story())


def test_without_a_bus_it_says_so(tmp_path: Path, sys_block: Path) -> None:
    async def story() -> None:
        mounts = UdisksMounts(SystemBus(f"unix:path={tmp_path}/none"), asyncio.get_running_loop(), sys_block)
        with pytest.raises(DeviceServiceError, match="the system's D-Bus cannot be reached"):
            await asyncio.to_thread(mounts.mount, VOLUME, writable=False)

    asyncio.run(story())


# --- dockd check -----------------------------------------------------------------------------------


def test_check_names_each_part_that_is_missing(tmp_path: Path) -> None:
    found = probe_usb({"1-1.1": 3}, bus=SystemBus(f"unix:path={tmp_path}/none"), root=tmp_path, sys_usb=tmp_path)
    text = ". ".join(found.problems)
    assert all(place in text for place in PARTS.values())
    assert "apt-get install udisks2" in text
    assert found.doubts == ["this machine has no such port for bay 3 (1-1.1). Is the hub plugged in? See: dockd bays"]


def test_check_does_not_call_missing_what_its_user_may_not_look_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(path: Path, **more: object) -> None:
        raise PermissionError(path)

    bus = SystemBus(f"unix:path={tmp_path}/none")
    monkeypatch.setattr(Path, "stat", closed)
    found = probe_usb({}, bus=bus, root=tmp_path, sys_usb=tmp_path)
    assert not any(place in problem for place in PARTS.values() for problem in found.problems)


def test_check_finds_nothing_wrong_where_all_is_there(tmp_path: Path, bus: str) -> None:
    for place in PARTS.values():
        path = tmp_path / place.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    async def story() -> None:
        async with PlayedServices(bus):
            found = await asyncio.to_thread(probe_usb, {}, bus=SystemBus(bus), root=tmp_path, sys_usb=tmp_path)
        assert (found.problems, found.doubts, found.mounts_by) == ([], [], "udisks2 2.9.4 mounts them")

    asyncio.run(story())
