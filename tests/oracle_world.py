"""What the oracle judges: cameras, what was planted on them, the store, and what was said. See oracle.py."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import blake3

BY_TEST = frozenset({"overwritten_by_test", "removed_by_test"})
OBJECT_NAME = re.compile(r"([0-9a-f]{64})((?:\.[a-z0-9]{1,8})?)\Z")
PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.")


@dataclass(frozen=True)
class Content:
    """What a file holds, as digests."""

    size: int
    blake3: str
    sha256: str


@dataclass(frozen=True)
class Planted:
    """One version of one file that a test put on a camera."""

    camera: bytes
    path: bytes
    content: Content
    flags: frozenset[str] = frozenset()

    @property
    def gone_by_test(self) -> bool:
        return bool(self.flags & BY_TEST)

    @property
    def is_recording(self) -> bool:
        return "not_a_recording" not in self.flags

    @property
    def bare(self) -> Planted:
        """The same without flags: equal for equal content at the same place."""
        return Planted(self.camera, self.path, self.content)

    def __str__(self) -> str:
        return f"{self.camera!r} {self.path!r} ({self.content.size} bytes, {self.content.blake3[:12]})"


@dataclass(frozen=True)
class Camera:
    """Where a camera's folder is now; `folder` does not exist if a test threw it away."""

    serial: bytes
    folder: Path
    docked: bool = True
    marker: bool = True


NO_FILE = Content(-1, "", "")


def content_of(path: bytes | Path) -> Content:
    """Both digests of a file, read in pieces."""
    size, fast, slow = 0, blake3.blake3(), hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(4 << 20):
            size += len(piece)
            fast.update(piece)
            slow.update(piece)
    return Content(size, fast.hexdigest(), slow.hexdigest())


@cache
def part_of_key(raw: bytes) -> str:
    """A name from outside as one part of a key, after the contract's own words."""
    parts = [chr(b) if b in PLAIN and (i or b != 0x2E) else f"%{b:02X}" for i, b in enumerate(raw)]
    text = "".join(parts)
    return text if len(text) <= 200 else f"{text[:160]}~{blake3.blake3(raw).hexdigest()[:32]}"


def named(record: dict[str, Any], key: str) -> bytes:
    """A name in a record as the bytes that it was."""
    twin = record.get(f"{key}_hex")
    return bytes.fromhex(twin) if twin is not None else str(record.get(key, "")).encode()


@dataclass
class World:
    """Everything that is judged, and what was looked up about it, once."""

    agency: str
    store: Path
    cameras: list[Camera]
    planted: list[Planted]
    status: dict[str, Any] | None = None
    custody: list[str] = field(default_factory=list)
    foreign: frozenset[tuple[bytes, str]] = frozenset()
    damaged: frozenset[str] = frozenset()
    chain_whole: bool = True
    finished: bool = False
    complete: bool = False
    wiping: bool = True

    @cached_property
    def on_camera(self) -> dict[tuple[bytes, bytes], Content]:
        """Every regular file on every camera, by serial and path."""
        found = {}
        for camera in self.cameras:
            root = os.fsencode(camera.folder)
            for folder, _, names in os.walk(root):
                for name in names:
                    path = os.path.join(folder, name)
                    # Between the listing and the reading a file may be wiped.
                    with suppress(FileNotFoundError):
                        if stat.S_ISREG(os.lstat(path).st_mode):
                            found[camera.serial, os.path.relpath(path, root)] = content_of(path)
        return found

    @cached_property
    def objects(self) -> dict[str, Content]:
        """Every visible file below `recordings` in the store, by key."""
        root = self.store / self.agency / "recordings"
        found = {}
        for path in sorted(root.rglob("*")):
            if path.name.startswith(".") or (path.is_dir() and not path.is_symlink()):
                continue
            is_file = path.is_file() and not path.is_symlink()
            found[path.relative_to(self.store).as_posix()] = content_of(path) if is_file else NO_FILE
        return found

    @cached_property
    def stored(self) -> dict[tuple[str, str], Content]:
        """The whole objects, by the camera's part of the key and BLAKE3."""
        found = {}
        for key, content in self.objects.items():
            *_, part, name = key.split("/")
            if OBJECT_NAME.match(name) and name[:64] == content.blake3:
                found[part, content.blake3] = content
        return found

    def holds(self, camera: bytes, content: Content) -> bool:
        """Whether the store has this content of this camera, whole."""
        return self.stored.get((part_of_key(camera), content.blake3)) == content

    def damaged_by_test(self, planted: Planted) -> bool:
        """Whether the test itself laid hands on this content's object."""
        prefix = f"{self.agency}/recordings/{part_of_key(planted.camera)}/{planted.content.blake3}"
        return any(key.startswith(prefix) for key in self.damaged)

    def is_there(self, planted: Planted) -> bool:
        """Whether the file still lies on its camera as it was planted."""
        return self.on_camera.get((planted.camera, planted.path)) == planted.content

    @cached_property
    def gone(self) -> Counter[Planted]:
        """How often each recording must have been wiped to be as it is, by version without flags."""
        found: Counter[Planted] = Counter()
        for planted in self.recordings:
            found[planted.bare] += not planted.gone_by_test
        for planted in {planted.bare for planted in self.recordings}:
            found[planted] -= self.is_there(planted)
        return found

    @cached_property
    def recordings(self) -> list[Planted]:
        return [planted for planted in self.planted if planted.is_recording]

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """The custody records that can be read at all."""
        found = []
        for line in self.custody:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict):
                found.append(record)
        return found

    def events(self, name: str) -> list[dict[str, Any]]:
        return [record for record in self.records if record.get("event") == name]

    def ids(self, name: str) -> set[str]:
        return {str(record.get("recording")) for record in self.events(name)}


def load(text: str) -> World:
    """The world that a PLANT.json describes."""
    raw = json.loads(text)
    raw["store"] = Path(raw["store"])
    raw["cameras"] = [
        Camera(bytes.fromhex(camera.pop("serial")), Path(camera.pop("folder")), **camera) for camera in raw["cameras"]
    ]
    raw["planted"] = [
        Planted(
            bytes.fromhex(p["camera"]),
            bytes.fromhex(p["path"]),
            Content(p["size"], p["blake3"], p["sha256"]),
            frozenset(p.get("flags", ())),
        )
        for p in raw["planted"]
    ]
    raw["foreign"] = frozenset((bytes.fromhex(camera), digest) for camera, digest in raw.get("foreign", ()))
    raw["damaged"] = frozenset(raw.get("damaged", ()))
    return World(**raw)
