"""What rows of the journal look like to the rest of the program."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, fields
from typing import Any, Self

from dockd.identity import CameraIdentity, Seen, name_fields
from dockd.lifecycle import DockingState, RecordingState

_WRAP = 2**64


def storable(value: Any) -> Any:
    """A value for SQLite, whose integers are signed: the kernel's large unsigned ones are wrapped."""
    if isinstance(value, int) and value >= _WRAP // 2:
        return value - _WRAP
    return value


def columns(kind: type[Any], *, table: str) -> str:
    """The column list for a SELECT that `from_row` of `kind` understands."""
    return ", ".join(f"{table}.{field.name}" for field in fields(kind))


@dataclass(frozen=True, slots=True)
class CameraRow:
    """One camera that was ever docked."""

    id: int
    vendor: str
    product: str
    serial: bytes

    @property
    def identity(self) -> CameraIdentity:
        """Who it is."""
        return CameraIdentity(self.serial, self.vendor, self.product)

    @classmethod
    def from_row(cls, row: sqlite3.Row | tuple[Any, ...]) -> Self:
        """The camera of a row in column order."""
        return cls(*row)


@dataclass(frozen=True, slots=True)
class DockingRow:
    """One stay of one camera in one bay."""

    id: int
    name: str
    camera: int
    bay: str
    state: DockingState
    started_utc: str
    ended_utc: str | None
    ended_why: str | None
    write_block: str
    manifest_parts: int
    manifest_upload: str | None
    left_alone: str
    camera_clock: str | None

    @classmethod
    def from_row(cls, row: sqlite3.Row | tuple[Any, ...]) -> Self:
        """The docking of a row in column order."""
        values = list(row)
        values[4] = DockingState(values[4])
        return cls(*values)


@dataclass(frozen=True, slots=True)
class RecordingRow:
    """One generation of one file of one camera, and everything that is known about it."""

    id: int
    uid: str
    camera: int
    path: bytes
    generation: int
    state: RecordingState
    docking: int | None
    on_device: bool
    size_bytes: int
    mtime_ns: int
    device: int
    inode: int
    ctime_ns: int
    blocks_wipe: str | None
    problem: str | None
    problem_detail: str | None
    begun_docking: int | None
    blake3: str | None
    sha256: str | None
    read_whole: bool
    reread_docking: int | None
    spool_name: str | None
    upload_id: str | None
    store_key: str | None
    store_version: str | None
    store_fault: str | None
    confirmed_utc: str | None
    confirmed_seen_s: float | None
    readback_boot_id: str | None
    readback_boottime_s: float | None
    wiped_utc: str | None
    wipe_refusal: str | None
    confirmed_chain: int | None
    confirmed_seq: int | None

    @property
    def seen(self) -> Seen:
        """What the file system said about the file when it was last taken note of."""
        return Seen(self.size_bytes, self.mtime_ns, self.device, self.inode, self.ctime_ns)

    @classmethod
    def from_row(cls, row: sqlite3.Row | tuple[Any, ...]) -> Self:
        """The recording of a row in column order."""
        values = list(row)
        values[5] = RecordingState(values[5])
        values[7] = bool(values[7])
        # `device` and `inode` are unsigned in the kernel and were wrapped by `storable`.
        values[10], values[11] = values[10] % _WRAP, values[11] % _WRAP
        values[19] = bool(values[19])
        return cls(*values)


def recording_names(camera: CameraRow, row: RecordingRow) -> dict[str, Any]:
    """The fields by which a custody record names a recording."""
    return {
        "recording": row.uid,
        "generation": row.generation,
        **name_fields("camera", camera.serial),
        **name_fields("path", row.path),
    }
