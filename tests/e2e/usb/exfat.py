"""exFAT as it lies on a card: files are put on one that mkfs.exfat has made, and read back, without a kernel.

Source: Microsoft's "exFAT file system specification".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import BinaryIO

FILE, STREAM, NAME, BITMAP = 0x85, 0xC0, 0xC1, 0x81
DIRECTORY = 0x10
END = 0xFFFFFFF8
PIECE = 1 << 20
# 2026-01-02 03:04:06
WHEN = (46 << 25) | (1 << 21) | (2 << 16) | (3 << 11) | (4 << 5) | 3
UTC = 0x80


class Exfat:
    """An exFAT file system that begins at `base` bytes of an image."""

    def __init__(self, image: BinaryIO, base: int = 0) -> None:
        self.image = image
        boot = self._at(base, 512)
        assert boot[3:11] == b"EXFAT   ", "not exFAT"
        sector = 1 << boot[108]
        self.cluster_bytes = sector << boot[109]
        fat, _, heap, self.count, self.root = struct.unpack_from("<IIIII", boot, 80)
        self.fat_at = base + fat * sector
        self.heap_at = base + heap * sector
        self.bitmap_at = 0
        for raw in self._records(self.root, 0, chained=True):
            if raw[0] == BITMAP:
                self.bitmap_at = self.cluster_at(struct.unpack_from("<I", raw, 20)[0])

    def _at(self, offset: int, size: int) -> bytes:
        self.image.seek(offset)
        return self.image.read(size)

    def _write(self, offset: int, data: bytes) -> None:
        self.image.seek(offset)
        self.image.write(data)

    def cluster_at(self, number: int) -> int:
        return self.heap_at + (number - 2) * self.cluster_bytes

    # --- reading -------------------------------------------------------------------------------------

    def _clusters(self, first: int, size: int, *, chained: bool) -> Iterator[int]:
        if not chained:
            yield from range(first, first + -(-size // self.cluster_bytes))
            return
        while 2 <= first < END:
            yield first
            (first,) = struct.unpack("<I", self._at(self.fat_at + 4 * first, 4))

    def _records(self, first: int, size: int, *, chained: bool) -> Iterator[bytes]:
        for number in self._clusters(first, size, chained=chained):
            data = self._at(self.cluster_at(number), self.cluster_bytes)
            for offset in range(0, len(data), 32):
                if data[offset] == 0:
                    return
                yield data[offset : offset + 32]

    def files(self) -> dict[bytes, bytes]:
        """Every file's content by its path."""
        found = {}
        for path, first, size, chained, is_directory in self._walk(self.root, 0, True, b""):
            if not is_directory:
                data = b"".join(
                    self._at(self.cluster_at(n), self.cluster_bytes)
                    for n in (self._clusters(first, size, chained=chained) if first else ())
                )
                found[path] = data[:size]
        return found

    def where(self, path: bytes) -> int:
        """Where a file's first byte lies in the image."""
        return next(self.cluster_at(first) for name, first, *_ in self._walk(self.root, 0, True, b"") if name == path)

    def _walk(self, first: int, size: int, chained: bool, below: bytes) -> Iterator[tuple[bytes, int, int, bool, bool]]:
        records = self._records(first, size, chained=chained)
        for raw in records:
            if raw[0] != FILE:
                continue
            is_directory = bool(struct.unpack_from("<H", raw, 4)[0] & DIRECTORY)
            stream = next(records)
            names = b"".join(next(records)[2:] for _ in range(raw[1] - 1))
            text = names[: stream[3] * 2].decode("utf-16-le", "surrogatepass")
            cluster, length = struct.unpack_from("<IQ", stream, 20)
            path = below + text.encode("utf-8", "surrogatepass")
            chain = not stream[1] & 2
            yield path, cluster, length, chain, is_directory
            if is_directory:
                yield from self._walk(cluster, length, chain, path + b"/")

    # --- writing -------------------------------------------------------------------------------------

    def add(self, files: Mapping[bytes, bytes]) -> None:
        """Put files on a fresh file system; the root may not hold more than fits into its first cluster."""
        tree: dict[bytes, object] = {}
        for path, data in files.items():
            *folders, name = path.split(b"/")
            here = tree
            for folder in folders:
                here = here.setdefault(folder, {})  # type: ignore[assignment]
            here[name] = data
        records = list(self._records(self.root, 0, chained=True))
        made = b"".join(records) + self._sets(tree)
        assert len(made) < self.cluster_bytes, "too many names for the root"
        self._write(self.cluster_at(self.root), made)

    def _sets(self, tree: Mapping[bytes, object]) -> bytes:
        made = b""
        for name, what in tree.items():
            if isinstance(what, bytes):
                made += _entry_set(name, self._put(what) if what else 0, len(what), is_directory=False)
            else:
                assert isinstance(what, dict)
                inner = self._sets(what)
                size = -(-(len(inner) + 1) // self.cluster_bytes) * self.cluster_bytes
                made += _entry_set(name, self._put(inner.ljust(size, b"\0")), size, is_directory=True)
        return made

    def _put(self, data: bytes) -> int:
        """Write data into clusters in a row; the first of them."""
        bitmap = bytearray(self._at(self.bitmap_at, -(-self.count // 8)))
        wanted = -(-len(data) // self.cluster_bytes)
        used = [n for n in range(self.count) if bitmap[n // 8] >> n % 8 & 1]
        first = max(used) + 1
        assert first + wanted <= self.count, "the card is full"
        for n in range(first, first + wanted):
            bitmap[n // 8] |= 1 << n % 8
        self._write(self.bitmap_at, bytes(bitmap))
        for at in range(0, len(data), PIECE):
            piece = data[at : at + PIECE]
            # What is nothing but zeros is so already, and costs no room.
            if piece.count(0) < len(piece):
                self._write(self.cluster_at(first + 2) + at, piece)
        return first + 2


def _entry_set(name: bytes, first: int, size: int, *, is_directory: bool) -> bytes:
    text = name.decode("utf-8", "surrogatepass")
    units = text.encode("utf-16-le", "surrogatepass")
    pieces = [units[at : at + 30].ljust(30, b"\0") for at in range(0, len(units), 30)]
    attributes = DIRECTORY if is_directory else 0x20
    head = bytearray(32)
    struct.pack_into("<BBHHHIII", head, 0, FILE, 1 + len(pieces), 0, attributes, 0, WHEN, WHEN, WHEN)
    head[22:25] = bytes([UTC, UTC, UTC])
    stream = bytearray(32)
    flags = 3 if first else 1
    struct.pack_into("<BBBBHHQIIQ", stream, 0, STREAM, flags, 0, len(units) // 2, _hash(text), 0, size, 0, first, size)
    whole = bytes(head) + bytes(stream) + b"".join(bytes([NAME, 0]) + piece for piece in pieces)
    check = 0
    for index, byte in enumerate(whole):
        if index not in (2, 3):
            check = ((check << 15 | check >> 1) & 0xFFFF) + byte & 0xFFFF
    return whole[:2] + struct.pack("<H", check) + whole[4:]


def _hash(text: str) -> int:
    """The hash of a name in upper case, as the kernel compares it before the name itself."""
    upper = "".join(c.upper() if len(c.upper()) == 1 and ord(c) < 0x10000 else c for c in text)
    found = 0
    for byte in upper.encode("utf-16-le", "surrogatepass"):
        found = ((found << 15 | found >> 1) & 0xFFFF) + byte & 0xFFFF
    return found
