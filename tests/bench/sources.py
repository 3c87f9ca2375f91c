"""The cameras that everything is measured on: made once, the same for all, in the same state before each run."""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

BLOCK_BYTES = 1 << 20
_PAGE_BYTES = mmap.PAGESIZE


@dataclass(frozen=True, slots=True)
class Pool:
    """All cameras' files, of random bytes, and their SHA-256 by camera and name."""

    root: Path
    size_bytes: int
    sha256: dict[str, str]


@dataclass(frozen=True, slots=True)
class Site:
    """What one scenario works on: `sources` holds a folder per camera; `target` is empty before each run."""

    cameras: int
    files: int
    sources: Path
    target: Path
    total_bytes: int
    sha256: dict[str, str]
    cache: str

    @property
    def camera_names(self) -> list[str]:
        return [camera_name(number) for number in range(self.cameras)]

    def source_files(self) -> list[Path]:
        return sorted(path for path in self.sources.rglob("*") if path.is_file())

    def prepare(self) -> None:
        """Before a run: nothing in the target, nothing left to write out, the sources' bytes (not) in memory."""
        shutil.rmtree(self.target, ignore_errors=True)
        self.target.mkdir()
        subprocess.run(["sync", "-f", str(self.target)], check=True)
        # Freed blocks are told to the disk behind our back; that is not the next one's cost.
        time.sleep(0.5)
        for path in self.source_files():
            if self.cache == "cold":
                drop_from_cache(path)
            else:
                read_through(path)


def camera_name(number: int) -> str:
    return f"CAM{number + 1}"


def plant(root: Path, cameras: int, files: int, size_bytes: int) -> Pool:
    """Make `files` files in each of so many cameras, `size_bytes` in each camera together."""
    digests: dict[str, str] = {}
    sizes = [size_bytes // files] * files
    sizes[-1] += size_bytes - sum(sizes)
    for camera in map(camera_name, range(cameras)):
        (root / camera).mkdir(parents=True)
        for number, size in enumerate(sizes):
            name = f"{camera}/clip-{number:05d}.mp4"
            digests[name] = _write(root / name, size)
    return Pool(root, size_bytes, digests)


def _write(path: Path, size_bytes: int) -> str:
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        left = size_bytes
        while left:
            block = os.urandom(min(BLOCK_BYTES, left))
            digest.update(block)
            file.write(block)
            left -= len(block)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def lay_out(pool: Pool, work: Path, cameras: int, cache: str) -> Site:
    """A scenario's own folder of cameras: hard links into the pool, which cost nothing."""
    sources, target = work / f"sources-{cameras}", work / "target"
    names = [name for name in pool.sha256 if int(name.split("/")[0].removeprefix("CAM")) <= cameras]
    link_tree(pool.root, sources, names)
    files = len(names) // cameras
    digests = {name: pool.sha256[name] for name in names}
    return Site(cameras, files, sources, target, pool.size_bytes * cameras, digests, cache)


def link_tree(source: Path, target: Path, names: list[str]) -> None:
    """Hard links of the named files, in the same folders."""
    for name in names:
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(source / name, path)


def read_through(path: Path) -> None:
    """Have the page cache hold a file."""
    buffer = bytearray(BLOCK_BYTES)
    with open(path, "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def drop_from_cache(path: Path) -> None:
    """Have the page cache hold nothing of a file; raises RuntimeError if it does not let go.

    File by file, which needs no privilege: the machine-wide drop would also take the programs' own code out of
    memory, so that starting them from the disk would be measured instead of copying.
    """
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    kept = cached_bytes(path)
    if kept > path.stat().st_size // 50:
        raise RuntimeError(f"{path.name}: {kept} bytes stay in the page cache; use --cache warm")


def cached_bytes(path: Path) -> int:
    """How much of a file is in the page cache, by mincore(2)."""
    size = path.stat().st_size
    if size == 0:
        return 0
    pages = -(-size // _PAGE_BYTES)
    found = (ctypes.c_ubyte * pages)()
    with open(path, "rb") as file:
        area = mmap.mmap(file.fileno(), size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    start = ctypes.c_char.from_buffer(area)
    libc = ctypes.CDLL(None, use_errno=True)
    failed = libc.mincore(ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_size_t(size), found)
    code = ctypes.get_errno()
    del start
    area.close()
    if failed:
        raise OSError(code, os.strerror(code), str(path))
    return sum(page & 1 for page in found) * _PAGE_BYTES
