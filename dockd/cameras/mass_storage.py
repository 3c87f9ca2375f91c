"""A USB camera that shows itself as a disk.

It is closed for writing at the block device, where that can be had, and mounted read-only besides. Only a wipe opens
it, and closes it again. A pulled camera looks like an empty one (vfat lists nothing, an unlink says that the file is
gone already): so the disk's sequence number is looked at after every look, and what is missing is believed only of a
device that answers a read.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Final

import structlog

from dockd.cameras.base import Listing, OpenFile, WriteBlock
from dockd.cameras.time_file import TimeFile
from dockd.cameras.tree import Found, Tree
from dockd.cameras.volumes import FILE_SYSTEMS, Place, Profile, identity_of, places_of
from dockd.digests import Progress
from dockd.durable import overlap
from dockd.errors import CameraGoneError, DeviceServiceError, NotDisjointError, SourceChangedError
from dockd.identity import Seen
from dockd.paths import Forbidden
from dockd.usb.devices import Disk, UsbDevice, connected_s
from dockd.usb.mounts import Mounts

log = structlog.get_logger()

UNKNOWN_FILE_SYSTEM: Final = "unknown-file-system"
_GUARDS: Final = os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC


class MassStorageCamera:
    """One USB device with disks in a bay; without a profile everything on it is a recording, and it is never wiped."""

    def __init__(
        self, device: UsbDevice, bay: str, profile: Profile | None, mounts: Mounts, forbidden: Forbidden
    ) -> None:
        self.device = device
        self.bay = bay
        self._profile = profile
        self._mounts = mounts
        self._forbidden = forbidden
        self._places = places_of(device)
        self.identity, self._no_identity = identity_of(device, self._places, profile.serial if profile else "usb")
        self.write_block: WriteBlock = "none"
        self._trees: dict[bytes, Tree] = {}
        self._unread: list[str] = []
        self._known: frozenset[bytes] = frozenset()
        self._writable = False
        self.stable_inodes = False
        self.local_times = False
        self.utc_times = False
        self.past_cache = False

    @property
    def _disks(self) -> list[Disk]:
        return [disk for disk in self.device.disks if disk.size_bytes > 0]

    # --- coming and going ----------------------------------------------------------------------------

    def attach(self) -> None:
        """Close the device for writing, and mount it read-only."""
        self.check()
        if not any(place.readable for place in self._places):
            raise DeviceServiceError(
                f"no file system that dockd reads is on it ({', '.join(sorted(FILE_SYSTEMS))})",
                "Nothing was read of this card, so its recordings are on the camera only. It is tried again by itself; "
                "if that does not help keep the camera back and look at its card elsewhere.",
            )
        for disk in self._disks:
            if not self._mounts.is_read_only(disk):
                self._protect(disk)
        blocked = all(self._mounts.is_read_only(disk) for disk in self._disks)
        self.write_block = "block" if blocked else "mount"
        self._mount()

    def _protect(self, disk: Disk) -> None:
        try:
            self._mounts.set_read_only(disk)
        except DeviceServiceError as error:
            # Mounted read-only it still is; what was reached is recorded with the docking.
            log.warning("block_device_not_protected", disk=disk.name, error=error.message, hint=error.hint)

    def _mount(self) -> None:
        self._unread = []
        failed: DeviceServiceError | None = None
        for place in self._places:
            if not place.readable:
                continue
            try:
                self._trees[place.prefix] = self._mounted(place)
            except DeviceServiceError as error:
                self.check()
                failed = error
                self._unread.append(f"partition {place.volume.number} cannot be mounted: {error.message}")
        if failed is not None and not self._trees:
            raise failed
        trees = self._trees.values()
        self.stable_inodes = all(tree.stable_inodes for tree in trees)
        self.local_times = any(tree.local_times for tree in trees)
        self.utc_times = all(tree.utc_times for tree in trees)
        self.past_cache = all(tree.past_cache for tree in trees)

    def _mounted(self, place: Place) -> Tree:
        """Mount one volume, and see that what was mounted is this volume, and closed for what it should be."""
        point = self._mounts.mount(place.volume, writable=self._writable)
        fd = os.open(point, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            flags = os.fstatvfs(fd).f_flag
            same = os.fstat(fd).st_dev == os.stat(place.volume.node).st_rdev
            if not same or flags & _GUARDS != _GUARDS or bool(flags & os.ST_RDONLY) is self._writable:
                wanted = "for writing" if self._writable else "read-only"
                raise DeviceServiceError(
                    f"{place.volume.name} is not mounted {wanted} with nosuid, nodev and noexec"
                    if same
                    else f"what is mounted at {os.fsdecode(point)} is not {place.volume.name}"
                )
            time_file = self._profile.time_file if self._profile is not None else None
            tree = Tree(fd, self._is_recording, self.check, self._forbidden, time_file=time_file)
            for other in self._forbidden.places:
                if overlap(tree.system, other) is not False:
                    raise NotDisjointError(f"{place.volume.name} holds the spool or the store")
            return tree
        except BaseException:
            os.close(fd)
            raise

    def _is_recording(self, path: bytes) -> bool:
        return self._profile is None or self._profile.is_recording(path)

    def check(self) -> None:
        """Raise CameraGoneError unless the very disks that were docked are there."""
        if not self._disks:
            raise CameraGoneError("it has no medium")
        for disk in self._disks:
            if not self._mounts.same_disk(disk):
                raise CameraGoneError(f"it was taken out of bay {self.bay}, or its card was")

    def _answers(self) -> None:
        """Raise CameraGoneError or DeviceServiceError unless the devices answer a read past every cache."""
        for disk in self._disks:
            if not self._writable:
                self._mounts.set_read_only(disk)
        self.check()

    def leave(self) -> None:
        """Unmount it. It stays closed for writing."""
        self.close()
        for place in self._places:
            if place.readable:
                try:
                    self._mounts.unmount(place.volume)
                except (DeviceServiceError, CameraGoneError) as error:
                    log.info("camera_not_unmounted", volume=place.volume.name, error=error.message)

    def close(self) -> None:
        """Let go of all files."""
        for tree in self._trees.values():
            tree.close()
        self._trees.clear()

    # --- looking and reading -------------------------------------------------------------------------

    def docked_for_s(self) -> float | None:
        """For how long it has been plugged in."""
        return connected_s(self.device)

    def read_time_file(self) -> TimeFile | None:
        """See `Camera.read_time_file`."""
        return next((found for tree in self._trees.values() if (found := tree.read_time_file()) is not None), None)

    def list(self, progress: Progress) -> Listing:
        """Look at everything on the camera."""
        self.check()
        found = Found(problems=list(self._unread))
        for place in self._places:
            if not place.readable:
                found.leave(UNKNOWN_FILE_SYSTEM)
        for prefix, tree in self._trees.items():
            tree.walk(progress, found, prefix)
        if not self._known <= found.files.keys():
            # An error while a folder is read looks like an empty folder.
            self._answers()
        self.check()
        self._known = frozenset(found.files)
        return found.listing()

    def _tree(self, path: bytes) -> tuple[Tree, bytes]:
        for prefix, tree in self._trees.items():
            if path.startswith(prefix):
                return tree, path[len(prefix) :]
        self.check()
        raise SourceChangedError(f"{os.fsdecode(path)!r} lies on no partition that is there now")

    def open(self, path: bytes, *, lease: bool) -> AbstractContextManager[OpenFile]:
        """Open one recording; see `Camera.open`."""
        tree, inner = self._tree(path)
        return tree.open(inner, lease=lease)

    def is_gone(self, path: bytes) -> bool:
        """Look for a file anew; what is missing is believed only with `settle_deletions` behind it."""
        self.check()
        try:
            tree, inner = self._tree(path)
        except SourceChangedError:
            # Which partition it was on cannot be told any more, so neither can that it is gone.
            return False
        return tree.is_gone(inner)

    # --- wiping --------------------------------------------------------------------------------------

    def may_wipe(self) -> str | None:
        """Why this camera is never wiped, or None."""
        if self._profile is None:
            return "no-profile"
        if self._no_identity is not None:
            return self._no_identity
        if self._unread or not all(place.readable for place in self._places):
            return "unread-partition"
        return None

    def open_for_wipe(self) -> None:
        """Let go of all files, lift the write protection and mount it for writing."""
        self.check()
        self.close()
        for place in self._places:
            self._mounts.unmount(place.volume)
        self._writable = True
        for disk in self._disks:
            self._mounts.set_writable(disk)
        self._mount()
        if self._unread:
            raise DeviceServiceError("; ".join(self._unread))
        self.check()

    def close_after_wipe(self) -> None:
        """Unmount, protect, see that it answers, and mount it read-only anew."""
        self.close()
        self._writable = False
        errors: list[DeviceServiceError | CameraGoneError] = []
        for place in self._places:
            try:
                self._mounts.unmount(place.volume)
            except (DeviceServiceError, CameraGoneError) as error:
                errors.append(error)
        for disk in self._disks:
            try:
                self._mounts.set_read_only(disk)
            except (DeviceServiceError, CameraGoneError) as error:
                errors.append(error)
        self.check()
        if errors:
            raise errors[0]
        self._mount()

    def delete(self, path: bytes, seen: Seen) -> None:
        """Unlink one file, if it is still the one seen."""
        self.check()
        tree, inner = self._tree(path)
        tree.delete(inner, seen)
        self._known -= {path}

    def settle_deletions(self, paths: Sequence[bytes]) -> None:
        """Open for a wipe: make the deletions durable. Else: see that the device answers, so that looks at it count."""
        if not self._writable:
            self._answers()
            return
        for prefix, tree in self._trees.items():
            below = [path[len(prefix) :] for path in paths if path.startswith(prefix)]
            if below:
                tree.settle_deletions(below)
        self.check()
