"""FAT32 as it lies on a card: read without a kernel, and damaged where a test wants it.

Source: Microsoft's "FAT32 File System Specification", 1.03.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

END = 0x0FFFFFF8
LONG_NAME = 0x0F
DIRECTORY = 0x10
LABEL = 0x08


@dataclass(frozen=True)
class Entry:
    """One entry of a directory; `at` is where its 32 bytes lie in the image."""

    path: bytes
    at: int
    cluster: int
    size: int
    is_directory: bool


class Fat32:
    """A FAT32 file system that begins at `base` bytes of an image."""

    def __init__(self, image: BinaryIO, base: int = 0) -> None:
        self.image = image
        self.base = base
        boot = self._at(base, 512)
        sector, per_cluster, reserved, fats = struct.unpack_from("<HBHB", boot, 11)
        (fat_sectors,) = struct.unpack_from("<I", boot, 36)
        (self.root,) = struct.unpack_from("<I", boot, 44)
        self.fat_copies = [base + (reserved + n * fat_sectors) * sector for n in range(fats)]
        self.data_at = base + (reserved + fats * fat_sectors) * sector
        self.cluster_bytes = sector * per_cluster

    def _at(self, offset: int, size: int) -> bytes:
        self.image.seek(offset)
        return self.image.read(size)

    def _write(self, offset: int, data: bytes) -> None:
        self.image.seek(offset)
        self.image.write(data)

    def clusters(self, first: int) -> Iterator[int]:
        """The clusters of a chain."""
        seen = set()
        while 2 <= first < END and first not in seen:
            seen.add(first)
            yield first
            (first,) = struct.unpack("<I", self._at(self.fat_copies[0] + 4 * first, 4))
            first &= 0x0FFFFFFF

    def cluster_at(self, number: int) -> int:
        """Where a cluster begins in the image."""
        return self.data_at + (number - 2) * self.cluster_bytes

    def entries(self, cluster: int | None = None, below: bytes = b"") -> Iterator[Entry]:
        """All files and directories, each directory before what is in it."""
        long_name: list[tuple[int, bytes]] = []
        for number in self.clusters(self.root if cluster is None else cluster):
            start = self.cluster_at(number)
            data = self._at(start, self.cluster_bytes)
            for offset in range(0, len(data), 32):
                raw = data[offset : offset + 32]
                if raw[0] == 0:
                    return
                if raw[11] == LONG_NAME and raw[0] != 0xE5:
                    long_name.append((raw[0] & 0x3F, raw[1:11] + raw[14:26] + raw[28:32]))
                    continue
                name, long_name = _name(raw, long_name), []
                if raw[0] == 0xE5 or raw[11] & LABEL or name in (b".", b".."):
                    continue
                high, low = struct.unpack_from("<H", raw, 20)[0], struct.unpack_from("<H", raw, 26)[0]
                (size,) = struct.unpack_from("<I", raw, 28)
                is_directory = bool(raw[11] & DIRECTORY)
                entry = Entry(below + name, start + offset, high << 16 | low, size, is_directory)
                yield entry
                if is_directory:
                    yield from self.entries(entry.cluster, entry.path + b"/")

    def files(self) -> dict[bytes, bytes]:
        """Every file's content by its path."""
        return {entry.path: self.content(entry) for entry in self.entries() if not entry.is_directory}

    def content(self, entry: Entry) -> bytes:
        """What is in a file, as far as its chain goes."""
        data = b"".join(self._at(self.cluster_at(n), self.cluster_bytes) for n in self.clusters(entry.cluster))
        return data[: entry.size]

    def entry(self, path: bytes) -> Entry:
        return next(entry for entry in self.entries() if entry.path == path)

    # --- damage --------------------------------------------------------------------------------------

    def forget_size(self, path: bytes) -> None:
        """Make a file's length zero; its clusters stay its own."""
        self._write(self.entry(path).at + 28, b"\0\0\0\0")

    def cross_link(self, path: bytes, other: bytes) -> None:
        """Have one file's entry lead to another one's clusters as well."""
        mine, theirs = self.entry(path), self.entry(other)
        self._write(mine.at + 20, struct.pack("<H", theirs.cluster >> 16))
        self._write(mine.at + 26, struct.pack("<H", theirs.cluster & 0xFFFF))
        self._write(mine.at + 28, struct.pack("<I", theirs.size))


def _name(raw: bytes, long_name: list[tuple[int, bytes]]) -> bytes:
    if long_name:
        units = b"".join(piece for _, piece in sorted(long_name))
        text = units.decode("utf-16-le", "surrogatepass").split("\0")[0]
        return text.encode("utf-8", "surrogatepass")
    stem, suffix = raw[:8].rstrip(b" "), raw[8:11].rstrip(b" ")
    # Bits of byte 12: the name, or its suffix, is to be shown in lower case.
    stem = stem.lower() if raw[12] & 0x08 else stem
    suffix = suffix.lower() if raw[12] & 0x10 else suffix
    return stem + (b"." + suffix if suffix else b"")
