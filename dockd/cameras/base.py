"""What dockd asks of a camera, whatever kind it is.

Every implementation MUST:
- list regular files only, and report everything else without following or opening it;
- never leave the camera's own file system, and never follow a link;
- open for reading only, and say what the file system tells of the very file that was opened;
- refuse (`NotSettledError`) a file that somebody has open for writing, where the system can tell;
- be closed for writing by anybody, as far as its kind can be, but for the time of a wipe;
- delete only the file that it is shown (device and inode), and raise if another one is in its place;
- raise CameraGoneError when it is no longer the camera that it was made for, and never take a missing
  camera for an empty one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from dockd.cameras.time_file import TimeFile
from dockd.digests import Progress
from dockd.direct_io import Buffer, Reader
from dockd.identity import CameraIdentity, Seen

WriteBlock = Literal["block", "mount", "none"]


@dataclass(frozen=True, slots=True)
class Listing:
    """One look at a camera: its recording files, and what was left alone, by reason.

    `complete` is False when a folder could not be read: nothing may be called gone then.
    """

    files: Mapping[bytes, Seen]
    left_alone: Mapping[str, int]
    complete: bool = True
    problems: Sequence[str] = field(default_factory=tuple)
    others: Mapping[bytes, Seen] = field(default_factory=dict)
    """Regular files that are no recordings; they are left alone."""


class OpenFile(Protocol):
    """One file on a camera, open for reading."""

    seen: Seen
    lease_held: bool

    def reader(self, buffer: Buffer, *, direct: bool) -> Reader:
        """Read it, past the page cache if `direct`."""

    def look(self) -> Seen:
        """What the file system says of the open file now."""

    def lease_intact(self) -> bool:
        """Whether a lease is held and nobody asked to write since."""


class Camera(Protocol):
    """One docked camera. Every call blocks, and is made in the camera's own thread."""

    identity: CameraIdentity
    bay: str
    write_block: WriteBlock
    stable_inodes: bool
    local_times: bool
    utc_times: bool
    """Whether its file systems are known to keep the times of files in UTC."""
    past_cache: bool
    """Whether `direct` reads are known to come from the device and not from this host's memory."""

    def attach(self) -> None:
        """Begin to use the camera; raises CameraGoneError, or NotDisjointError if it is the spool or the store."""

    def check(self) -> None:
        """Raise CameraGoneError unless this camera is still there."""

    def docked_for_s(self) -> float | None:
        """For how long it has been where it is, at least to the second; None if the system does not tell."""

    def read_time_file(self) -> TimeFile | None:
        """The file into which it writes its own clock's time when it is docked; None if none is known, or can be read.

        Raises CameraGoneError.
        """

    def list(self, progress: Progress) -> Listing:
        """Look at everything on the camera."""

    def open(self, path: bytes, *, lease: bool) -> AbstractContextManager[OpenFile]:
        """Open one recording; with `lease`, hold a read lease on it where the system has leases.

        Raises NotSettledError while somebody has it open for writing, RecordingUnreadableError,
        SourceChangedError if it is not there, CameraGoneError.
        """

    def may_wipe(self) -> str | None:
        """Why this camera is never wiped, or None."""

    def delete(self, path: bytes, seen: Seen) -> None:
        """Unlink one file, if it is still the one seen; the only call that changes a camera.

        Raises SourceChangedError if another file is in its place. Called by `dockd.wipe.execute` alone.
        """

    def settle_deletions(self, paths: Sequence[bytes]) -> None:
        """Make the deletions of `paths` durable."""

    def is_gone(self, path: bytes) -> bool:
        """Look for a file anew; True only if the camera is there and the file is not."""

    def leave(self) -> None:
        """Give the camera back to whoever holds it ready (unmount it); made in its thread, as its last call."""

    def close(self) -> None:
        """Let go of the camera."""


@runtime_checkable
class Device(Camera, Protocol):
    """A camera that is a block device: closed for writing but for the time of a wipe.

    It is wiped whole or not at all: on FAT, deleting one file may damage another.
    """

    def open_for_wipe(self) -> None:
        """Let go of all files, lift the write protection and mount it for writing.

        Raises CameraGoneError, DeviceServiceError, WriteProtectedError.
        """

    def close_after_wipe(self) -> None:
        """Unmount, set the write protection, see that the device answers a read, and mount it read-only anew.

        Raises CameraGoneError, DeviceServiceError; it was tried to protect the device in any case.
        """
