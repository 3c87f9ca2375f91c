"""Cards for cameras: made, filled, damaged and read on the host, which has no driver for most of them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from e2e.usb.exfat import Exfat
from e2e.usb.fat import Fat32

MIB = 1 << 20
SECTOR = 512
FIRST = MIB
"""Where the first partition begins."""

ENVIRONMENT = {
    "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
    "LC_ALL": "C.UTF-8",
    "MTOOLS_SKIP_CHECK": "1",
}
TYPES = {"vfat": "c", "exfat": "7", "ext4": "83", "": "da"}


@dataclass
class Volume:
    """One file system of a card; files by their paths in it. `kind` "" is no file system at all."""

    kind: str
    files: dict[bytes, bytes] = field(default_factory=dict)
    size: int = 40 * MIB
    label: str = "CAMERA"
    start: int = 0


def tool(*argv: str | Path, **more: object) -> None:
    done = subprocess.run(
        [str(arg) for arg in argv],
        capture_output=True,
        check=False,
        env=os.environ
        | {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8", "MTOOLS_SKIP_CHECK": "1"},
        **more,  # type: ignore[call-overload]
    )
    assert done.returncode == 0, f"{argv} gave {done.returncode}: {done.stdout!r} {done.stderr!r}"


class Card:
    """The image of a card with one or more volumes; `table`: "", "dos" or "gpt"."""

    def __init__(self, image: Path, *volumes: Volume, table: str = "") -> None:
        self.image = image
        self.volumes = list(volumes)
        self.table = table
        self._make()

    def _make(self) -> None:
        at = FIRST if self.table else 0
        for volume in self.volumes:
            volume.start, at = at, at + volume.size
        with open(self.image, "wb") as file:
            file.truncate(at + (MIB if self.table else 0))
        if self.table:
            lines = [f"label: {self.table}"]
            for volume in self.volumes:
                kind = TYPES[volume.kind] if self.table == "dos" else "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
                lines.append(f"start={volume.start // SECTOR}, size={volume.size // SECTOR}, type={kind}")
            tool("sfdisk", "-q", self.image, input="\n".join(lines).encode())
        for volume in self.volumes:
            if volume.kind:
                self._fill(volume)

    def _fill(self, volume: Volume) -> None:
        part = self.image.with_suffix(".part")
        with open(part, "wb") as file:
            file.truncate(volume.size)
        {"vfat": _vfat, "exfat": _exfat, "ext4": _ext4}[volume.kind](part, volume)
        tool("dd", f"if={part}", f"of={self.image}", "bs=1M", f"seek={volume.start // MIB}", "conv=notrunc,sparse")
        part.unlink()

    def prefix(self, volume: Volume) -> bytes:
        """What dockd puts before the paths of a volume's files."""
        if len(self.volumes) == 1:
            return b""
        return b"p%d/" % (self.volumes.index(volume) + 1)

    def planted(self) -> dict[bytes, bytes]:
        """All files as dockd calls them."""
        return {self.prefix(v) + path: data for v in self.volumes for path, data in v.files.items()}

    def files(self) -> dict[bytes, bytes]:
        """All files that are on it now, as dockd calls them."""
        found = {}
        for volume in self.volumes:
            inner = self._read(volume)
            found.update({self.prefix(volume) + path: data for path, data in inner.items()})
        return found

    def _read(self, volume: Volume) -> dict[bytes, bytes]:
        if not volume.kind:
            return {}
        if volume.kind == "ext4":
            folder = self.image.with_suffix(".dump")
            folder.mkdir()
            tool("debugfs", "-R", f"rdump / {folder}", f"{self.image}?offset={volume.start}")
            found = _below(folder)
            shutil.rmtree(folder)
            return found
        with open(self.image, "rb") as file:
            kind = Fat32 if volume.kind == "vfat" else Exfat
            return kind(file, volume.start).files()

    @contextmanager
    def fat(self) -> Iterator[Fat32]:
        """The first volume, to be damaged."""
        with open(self.image, "r+b") as file:
            yield Fat32(file, self.volumes[0].start)

    def sector_of(self, path: bytes, offset: int = 0) -> int:
        """The sector in which a file's byte lies, of a file that lies in one piece."""
        volume = self.volumes[0]
        if volume.kind == "ext4":
            told = subprocess.run(
                ["debugfs", "-R", f"bmap /{path.decode()} {offset // 4096}", f"{self.image}?offset={volume.start}"],
                capture_output=True,
                check=True,
                text=True,
            )
            return (volume.start + int(told.stdout.strip()) * 4096) // SECTOR
        with open(self.image, "rb") as file:
            if volume.kind == "exfat":
                return (Exfat(file, volume.start).where(path) + offset) // SECTOR
            fat = Fat32(file, volume.start)
            clusters = list(fat.clusters(fat.entry(path).cluster))
            return fat.cluster_at(clusters[offset // fat.cluster_bytes]) // SECTOR


def _stage(folder: Path, files: Mapping[bytes, bytes]) -> None:
    for path, data in files.items():
        target = os.path.join(os.fsencode(folder), path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as file:
            file.write(data)


def _vfat(part: Path, volume: Volume) -> None:
    tool("mkfs.vfat", "-F", "32", "-s", "1", "-n", volume.label, part)
    staged = part.with_suffix(".stage")
    _stage(staged, volume.files)
    tops = sorted(os.listdir(staged))
    if tops:
        tool("mcopy", "-Q", "-s", "-m", "-i", part, *(staged / top for top in tops), "::")
    shutil.rmtree(staged)


def _exfat(part: Path, volume: Volume) -> None:
    tool("mkfs.exfat", "-L", volume.label[:11], part)
    with open(part, "r+b") as file:
        Exfat(file).add(volume.files)


def _ext4(part: Path, volume: Volume) -> None:
    staged = part.with_suffix(".stage")
    staged.mkdir()
    _stage(staged, volume.files)
    # The service's user is not the camera's: what it may not do on ext4 it cannot do.
    for folder, _, names in os.walk(staged):
        os.chmod(folder, 0o777)
        for name in names:
            os.chmod(os.path.join(folder, name), 0o666)
    tool("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-L", volume.label[:16], "-d", staged, part)
    shutil.rmtree(staged)


@contextmanager
def mounted(image: Path) -> Iterator[Path]:
    """An ext4 image, mounted on the host for a moment."""
    folder = image.with_suffix(".mnt")
    folder.mkdir(exist_ok=True)
    tool("mount", "-t", "ext4", "-o", "loop", image, folder)
    try:
        yield folder
    finally:
        tool("umount", folder)
        with suppress(OSError):
            folder.rmdir()


def _below(folder: Path) -> dict[bytes, bytes]:
    found = {}
    top = os.fsencode(folder)
    for parent, folders, names in os.walk(top):
        if parent == top and b"lost+found" in folders:
            folders.remove(b"lost+found")
        for name in names:
            path = os.path.join(parent, name)
            if os.path.isfile(path) and not os.path.islink(path):
                with open(path, "rb") as file:
                    found[os.path.relpath(path, top)] = file.read()
    return found
