"""Reading and writing past the page cache, whatever the lengths, and where a file system refuses."""

from __future__ import annotations

import ctypes
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from contract.stores import refusing_direct
from contract.tools import KIB, MIB, SIZES, content, need_direct, plant
from hypothesis import given, settings
from hypothesis import strategies as st

from dockd.direct_io import ALIGNMENT_BYTES, UNIT_BYTES, Buffer, Reader, Writer, clear_direct, set_direct

SMALL_UNIT = 4 * ALIGNMENT_BYTES


@pytest.fixture
def refusing(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system that refuses O_DIRECT."""
    with refusing_direct(tmp_path / "ramfs") as folder:
        yield folder


def read(path: Path, start: int = 0, end: int | None = None, *, direct: bool = True, unit: int = UNIT_BYTES) -> bytes:
    fd = os.open(path, os.O_RDONLY)
    try:
        return b"".join(bytes(chunk) for chunk in Reader(fd, Buffer(unit), direct=direct).chunks(start, end))
    finally:
        os.close(fd)


def write(path: Path, data: bytes, offset: int = 0, *, pieces: list[int] | None = None) -> None:
    """Write `data` from an aligned buffer, in pieces of these sizes and the rest at once."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    buffer = Buffer(max(ALIGNMENT_BYTES, -(-len(data) // ALIGNMENT_BYTES) * ALIGNMENT_BYTES))
    try:
        writer = Writer(fd, offset)
        done = 0
        for size in [*(pieces or []), len(data)]:
            piece = data[done : done + size]
            buffer.view[: len(piece)] = piece
            writer.write(buffer.view[: len(piece)])
            done += len(piece)
        assert done == len(data)
        assert writer.offset_bytes == offset + len(data)
        writer.flush()
    finally:
        os.close(fd)


def is_direct(fd: int) -> bool:
    return bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT)


# --- buffers and flags -------------------------------------------------------------------------------


def test_a_buffer_begins_at_a_page() -> None:
    for size in (ALIGNMENT_BYTES, UNIT_BYTES, 3 * ALIGNMENT_BYTES):
        buffer = Buffer(size)
        assert len(buffer) == len(buffer.view) == size
        assert ctypes.addressof(ctypes.c_char.from_buffer(buffer.view)) % ALIGNMENT_BYTES == 0


def test_direct_is_turned_on_and_off(tmp_path: Path) -> None:
    need_direct(tmp_path)
    fd = os.open(plant(tmp_path / "file", b"x"), os.O_RDWR | os.O_APPEND)
    try:
        assert set_direct(fd)
        assert is_direct(fd)
        clear_direct(fd)
        assert not is_direct(fd)
        assert fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_APPEND
    finally:
        os.close(fd)


def test_a_file_system_that_refuses_direct_says_so(refusing: Path) -> None:
    fd = os.open(plant(refusing / "file", b"x"), os.O_RDWR)
    try:
        assert not set_direct(fd)
        assert not is_direct(fd)
    finally:
        os.close(fd)


def test_another_error_is_not_taken_for_a_refusal(tmp_path: Path) -> None:
    fd = os.open(plant(tmp_path / "file", b"x"), os.O_RDWR)
    os.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        set_direct(fd)


# --- reading -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("direct", [True, False])
def test_a_file_is_read_whole(tmp_path: Path, size: int, direct: bool) -> None:
    data = content(size)
    assert read(plant(tmp_path / "file", data), direct=direct) == data


@pytest.mark.parametrize("direct", [True, False])
def test_a_part_of_a_file_is_read(tmp_path: Path, direct: bool) -> None:
    data = content(9 * MIB + 5)
    path = plant(tmp_path / "file", data)
    for start, end in [(0, 0), (0, 1), (0, MIB), (MIB, MIB), (4096, 4097), (MIB, 9 * MIB), (8 * MIB, None)]:
        assert read(path, start, end, direct=direct) == data[start:end]
    assert read(path, 0, 20 * MIB, direct=direct) == data
    assert read(path, 16 * MIB, direct=direct) == b""


def test_reads_past_the_cache_come_from_the_disk_and_say_so(tmp_path: Path) -> None:
    need_direct(tmp_path)
    fd = os.open(plant(tmp_path / "file", content(3 * MIB + 1)), os.O_RDONLY)
    try:
        reader = Reader(fd, Buffer(), direct=True)
        assert reader.past_cache
        assert is_direct(fd)
        for _ in reader.chunks():
            pass
        assert reader.past_cache
    finally:
        os.close(fd)


def test_reads_that_did_not_ask_do_not_claim(tmp_path: Path) -> None:
    fd = os.open(plant(tmp_path / "file", b"x"), os.O_RDONLY)
    try:
        assert not Reader(fd, Buffer(), direct=False).past_cache
        assert not is_direct(fd)
    finally:
        os.close(fd)


@pytest.mark.parametrize("size", SIZES)
def test_where_direct_is_refused_the_cache_is_used_and_not_denied(refusing: Path, size: int) -> None:
    data = content(size)
    path = refusing / "file"
    write(path, data)
    fd = os.open(path, os.O_RDONLY)
    try:
        reader = Reader(fd, Buffer(), direct=True)
        assert not reader.past_cache
        assert b"".join(bytes(chunk) for chunk in reader.chunks()) == data
        assert not reader.past_cache
    finally:
        os.close(fd)


def test_a_read_that_is_refused_midway_falls_back_and_no_longer_claims(tmp_path: Path) -> None:
    """An offset that direct reads do not take: what comes then comes through the cache."""
    need_direct(tmp_path)
    data = content(3 * MIB)
    fd = os.open(plant(tmp_path / "file", data), os.O_RDONLY)
    try:
        reader = Reader(fd, Buffer(), direct=True)
        assert reader.past_cache
        assert b"".join(bytes(chunk) for chunk in reader.chunks(5)) == data[5:]
        assert not reader.past_cache
        assert not is_direct(fd)
    finally:
        os.close(fd)


def test_a_read_error_is_raised_as_it_is(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(IsADirectoryError):
            next(Reader(fd, Buffer(), direct=False).chunks())
    finally:
        os.close(fd)


def test_what_is_appended_while_reading_is_for_a_later_look(tmp_path: Path) -> None:
    data = content(2 * MIB + 5)
    path = plant(tmp_path / "file", data)
    fd = os.open(path, os.O_RDONLY)
    try:
        chunks = Reader(fd, Buffer(), direct=True).chunks()
        got = bytes(next(chunks)) + bytes(next(chunks)) + bytes(next(chunks))
        with open(path, "ab") as file:
            file.write(b"more" * 5000)
        rest = b"".join(bytes(chunk) for chunk in chunks)
    finally:
        os.close(fd)
    assert (got + rest).startswith(data)
    assert (got + rest) == path.read_bytes()[: len(got + rest)]


def test_a_buffer_serves_many_readers_one_after_the_other(tmp_path: Path) -> None:
    buffer = Buffer()
    for size in (9000, 10, 0, MIB + 3):
        data = content(size)
        fd = os.open(plant(tmp_path / "file", data), os.O_RDONLY)
        try:
            assert b"".join(bytes(chunk) for chunk in Reader(fd, buffer, direct=True).chunks()) == data
        finally:
            os.close(fd)


# --- writing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_a_file_is_written_whole(tmp_path: Path, size: int) -> None:
    data = content(size)
    write(tmp_path / "file", data)
    assert (tmp_path / "file").read_bytes() == data
    assert read(tmp_path / "file") == data


def test_writing_goes_on_behind_what_is_there(tmp_path: Path) -> None:
    data = content(3 * MIB + 9)
    path = plant(tmp_path / "file", data[:MIB])
    write(path, data[MIB:], MIB)
    assert path.read_bytes() == data


@pytest.mark.parametrize("offset", [1, 4095, 4097, MIB + 512])
def test_writing_begins_at_an_aligned_offset(tmp_path: Path, offset: int) -> None:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        with pytest.raises(ValueError, match="aligned"):
            Writer(fd, offset)
    finally:
        os.close(fd)


def test_whole_units_are_written_past_the_cache(tmp_path: Path) -> None:
    need_direct(tmp_path)
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT, 0o600)
    buffer = Buffer()
    try:
        writer = Writer(fd)
        writer.write(buffer.view)
        assert is_direct(fd)
        writer.write(buffer.view[:100])
        assert not is_direct(fd)
    finally:
        os.close(fd)
    assert (tmp_path / "file").read_bytes() == bytes(MIB + 100)


# --- any sizes and offsets ---------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(0, 100 * KIB),
    start_pages=st.integers(0, 8),
    pieces=st.lists(st.integers(0, 6).map(lambda pages: pages * ALIGNMENT_BYTES), max_size=6),
    start=st.integers(0, 20).map(lambda pages: pages * ALIGNMENT_BYTES),
    end=st.none() | st.integers(0, 130 * KIB),
    unit=st.sampled_from([ALIGNMENT_BYTES, SMALL_UNIT, 5 * ALIGNMENT_BYTES, UNIT_BYTES]),
)
def test_whatever_the_sizes_and_offsets_the_bytes_come_back(
    size: int, start_pages: int, pieces: list[int], start: int, end: int | None, unit: int
) -> None:
    offset = start_pages * ALIGNMENT_BYTES
    data = content(size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        write(path, data, offset, pieces=pieces)
        whole = path.read_bytes()
        assert whole[offset:] == data
        assert whole[:offset] == bytes(len(whole[:offset]))
        for direct in (True, False):
            assert read(path, start, end, direct=direct, unit=unit) == whole[start:end]
