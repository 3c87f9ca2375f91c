"""Mounting by udisks2, and the write protection of block devices by dockd-block, both over D-Bus.

dockd itself has no right to mount or to change a device. Calls are made in a camera's thread and carried out on the
event loop; none takes longer than its limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from dbus_fast import Message, Variant

from dockd.errors import CameraGoneError, DeviceServiceError
from dockd.usb.devices import Disk, Volume
from dockd.usb.system_bus import CallFailed, SystemBus

T = TypeVar("T")

POLKIT_RULE: Final = "/usr/share/polkit-1/rules.d/50-dockd.rules"
WAIT_S: Final = 120.0
"""How long a camera's thread waits for a call, its tries included."""

APPEAR_S: Final = 30.0
"""How long udisks2 may take to know a device that udev knows."""

TRY_AGAIN_S: Final = 0.25
_UDISKS: Final = "org.freedesktop.UDisks2"
_BLOCKS: Final = "/org/freedesktop/UDisks2/block_devices"
_FILE_SYSTEM: Final = "org.freedesktop.UDisks2.Filesystem"
_SYSTEMD: Final = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
_GUARDS: Final = "nosuid,nodev,noexec"
_NOT_KNOWN: Final = frozenset(
    {
        "org.freedesktop.DBus.Error.UnknownMethod",
        "org.freedesktop.DBus.Error.UnknownObject",
        "org.freedesktop.DBus.Error.UnknownInterface",
    }
)
_NO_SERVICE: Final = frozenset(
    {
        "org.freedesktop.DBus.Error.ServiceUnknown",
        "org.freedesktop.DBus.Error.NameHasNoOwner",
        "org.freedesktop.DBus.Error.NoReply",
        "org.freedesktop.DBus.Error.Spawn.ServiceNotFound",
    }
)
_DENIED: Final = frozenset(
    {
        "org.freedesktop.UDisks2.Error.NotAuthorized",
        "org.freedesktop.UDisks2.Error.NotAuthorizedCanObtain",
        "org.freedesktop.UDisks2.Error.NotAuthorizedDismissed",
        "org.freedesktop.DBus.Error.AccessDenied",
        "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
    }
)


class Mounts(Protocol):
    """What a camera's thread asks of the system; every call blocks, and raises CameraGoneError, DeviceServiceError."""

    def mount(self, volume: Volume, *, writable: bool) -> bytes:
        """Mount a volume with nosuid, nodev and noexec, read-only unless `writable`; the mount point."""

    def unmount(self, volume: Volume) -> None:
        """Unmount a volume, if it is mounted."""

    def set_writable(self, disk: Disk) -> None:
        """Lift the write protection of a disk and its partitions."""

    def set_read_only(self, disk: Disk) -> None:
        """Set the write protection, and see that the disk answers a read past every cache."""

    def is_read_only(self, disk: Disk) -> bool:
        """Whether the kernel refuses writes to the disk."""

    def same_disk(self, disk: Disk) -> bool:
        """Whether the very disk, with the very medium, is still there."""


def mount_options(volume: Volume, *, writable: bool) -> str:
    """The options for a mount; a journal must not be replayed where nothing may be written."""
    if writable:
        return f"rw,{_GUARDS}"
    return f"ro,{_GUARDS},noload" if volume.kind in ("ext3", "ext4") else f"ro,{_GUARDS}"


class UdisksMounts:
    """See `Mounts`. `sys_block` is where the kernel shows block devices."""

    def __init__(
        self, bus: SystemBus, loop: asyncio.AbstractEventLoop, sys_block: Path = Path("/sys/class/block")
    ) -> None:
        self._bus = bus
        self._loop = loop
        self._sys_block = sys_block

    # --- what the kernel says ------------------------------------------------------------------------

    def is_read_only(self, disk: Disk) -> bool:
        """Whether the kernel refuses writes to the disk."""
        return self._attribute(disk.name, "ro") == "1"

    def same_disk(self, disk: Disk) -> bool:
        """Whether the very disk, with the very medium, is still there."""
        return self._attribute(disk.name, "diskseq") == str(disk.diskseq)

    def _attribute(self, name: str, attribute: str) -> str:
        try:
            return (self._sys_block / name / attribute).read_text().strip()
        except OSError:
            return ""

    # --- udisks2 -------------------------------------------------------------------------------------

    def mount(self, volume: Volume, *, writable: bool) -> bytes:
        """See `Mounts`."""
        return self._wait(self._mount(volume, mount_options(volume, writable=writable)))

    def unmount(self, volume: Volume) -> None:
        """See `Mounts`."""
        self._wait(self._unmount(volume))

    async def _mount(self, volume: Volume, options: str) -> bytes:
        arguments = {"options": Variant("s", options), "auth.no_user_interaction": Variant("b", True)}
        deadline_s = self._loop.time() + APPEAR_S
        while True:
            try:
                (point,) = await self._filesystem(volume, "Mount", arguments)
            except CallFailed as error:
                late = self._loop.time() > deadline_s
                if error.name == f"{_UDISKS}.Error.AlreadyMounted" and not late:
                    # By a former run of the daemon, or by somebody who had other options in mind.
                    await self._unmount(volume)
                elif error.name in _NOT_KNOWN and not late and self._is_there(volume):
                    # udev has told us a moment before udisks2 was ready with it.
                    await asyncio.sleep(TRY_AGAIN_S)
                else:
                    raise self._meaning(error, volume, "mounted") from error
            else:
                return str(point).encode("utf-8", "surrogateescape").rstrip(b"\0")

    async def _unmount(self, volume: Volume) -> None:
        arguments = {"auth.no_user_interaction": Variant("b", True)}
        try:
            await self._filesystem(volume, "Unmount", arguments)
        except CallFailed as error:
            gone = error.name in _NOT_KNOWN and not self._is_there(volume)
            if error.name != f"{_UDISKS}.Error.NotMounted" and not gone:
                raise self._meaning(error, volume, "unmounted") from error

    async def _filesystem(self, volume: Volume, member: str, arguments: dict[str, Variant]) -> list[Any]:
        path = f"{_BLOCKS}/{volume.name}"
        return await self._bus.call(_UDISKS, path, _FILE_SYSTEM, member, "a{sv}", [arguments])

    def _is_there(self, volume: Volume) -> bool:
        return (self._sys_block / volume.name).exists()

    def _meaning(self, error: CallFailed, volume: Volume, what: str) -> CameraGoneError | DeviceServiceError:
        if not self._is_there(volume):
            return CameraGoneError(f"{volume.name} is gone")
        if error.name in _NO_SERVICE or error.name.startswith("org.freedesktop.systemd1."):
            return DeviceServiceError(
                "udisks2, which mounts cameras, is not there",
                "The footage stays on the camera. Install and start it: apt-get install udisks2",
            )
        if error.name in _DENIED:
            return DeviceServiceError(
                f"udisks2 does not let dockd have {volume.name} {what}",
                f"The footage stays on the camera. The rule that lets it is {POLKIT_RULE}, of dockd's package: "
                "apt-get install --reinstall dockd",
            )
        return DeviceServiceError(f"{volume.name} could not be {what}: {error.text or error.name}")

    # --- dockd-block ---------------------------------------------------------------------------------

    def set_writable(self, disk: Disk) -> None:
        """See `Mounts`."""
        self._wait(self._switch("writable", disk))

    def set_read_only(self, disk: Disk) -> None:
        """See `Mounts`."""
        self._wait(self._switch("readonly", disk))

    async def _switch(self, verb: str, disk: Disk) -> None:
        unit = f"dockd-block@{verb}:{disk.name}:{disk.diskseq}.service"
        results: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

        def heard(message: Message) -> None:
            if message.member == "JobRemoved" and len(message.body) == 4:
                results.put_nowait((str(message.body[1]), str(message.body[3])))

        try:
            await self._subscribe()
            rule = f"type='signal',sender='{_SYSTEMD[0]}',interface='{_SYSTEMD[2]}',member='JobRemoved'"
            stop = await self._bus.listen(rule, heard)
            try:
                (job,) = await self._bus.call(*_SYSTEMD, "StartUnit", "ss", [unit, "replace"])
                while (found := await results.get())[0] != job:
                    pass
            finally:
                stop()
        except CallFailed as error:
            raise self._block_failed(disk, verb, str(error)) from error
        if found[1] != "done":
            raise self._block_failed(disk, verb, f"the service ended with: {found[1]}")

    async def _subscribe(self) -> None:
        """Have systemd tell of jobs; once for each connection is enough, and more is an error."""
        try:
            await self._bus.call(*_SYSTEMD, "Subscribe")
        except CallFailed as error:
            if error.name != "org.freedesktop.systemd1.AlreadySubscribed":
                raise

    def _block_failed(self, disk: Disk, verb: str, why: str) -> CameraGoneError | DeviceServiceError:
        if not self.same_disk(disk):
            return CameraGoneError(f"{disk.name} is gone")
        meant = "writable" if verb == "writable" else "read-only"
        return DeviceServiceError(
            f"{disk.name} could not be made {meant} ({why})",
            "Nothing is lost, and nothing is wiped. A card may be write-protected by its switch, or worn out. See: "
            "journalctl -u 'dockd-block@*'",
        )

    # --- from a camera's thread ----------------------------------------------------------------------

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(WAIT_S)
        except FutureTimeoutError as error:
            future.cancel()
            raise DeviceServiceError(f"a system service did not answer within {WAIT_S:.0f} s") from error
