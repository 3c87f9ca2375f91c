"""The spool's files: under its own names only, never through a link, durable by name."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from contract.tools import MIB, content, plant

from dockd.direct_io import Buffer, Writer
from dockd.errors import SpoolCorruptError, SpoolFullError
from dockd.spool.spool import Spool, spool_errors

NAME = "0123456789abcdef" * 2 + ".part"
BAD_NAMES = ["", ".part", "..", "../" + NAME, "a/" + NAME, NAME.upper(), NAME + "\n", NAME[1:], "x" + NAME, NAME + "\0"]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    folder = tmp_path / "spool"
    folder.mkdir()
    return Spool(folder)


def test_a_name_is_made_of_random_digits(spool: Spool) -> None:
    assert spool.new_name("ab" * 16) == "ab" * 16 + ".part"
    assert spool.path(spool.new_name("ab" * 16)) == spool.directory / ("ab" * 16 + ".part")


@pytest.mark.parametrize("name", BAD_NAMES)
def test_what_is_no_name_of_the_spool_is_never_touched(spool: Spool, name: str) -> None:
    victim = plant(spool.directory.parent / NAME, b"not the spool's")
    with pytest.raises(ValueError, match="spool"):
        spool.path(name)
    with pytest.raises(ValueError, match="spool"):
        spool.remove(name)
    with pytest.raises(ValueError, match="spool"), spool.writing(name):
        pass
    with pytest.raises(ValueError, match="spool"), spool.reading(name, Buffer()):
        pass
    assert victim.read_bytes() == b"not the spool's"
    assert list(spool.directory.iterdir()) == []


def test_what_was_written_is_read(spool: Spool) -> None:
    data = content(3 * MIB + 5)
    buffer = Buffer()
    with spool.writing(NAME) as fd:
        writer = Writer(fd)
        for start in range(0, len(data), MIB):
            piece = data[start : start + MIB]
            buffer.view[: len(piece)] = piece
            writer.write(buffer.view[: len(piece)])
        writer.flush()
    with spool.reading(NAME, buffer) as (reader, size):
        assert size == len(data)
        assert b"".join(bytes(chunk) for chunk in reader.chunks()) == data


def test_opening_for_writing_keeps_what_is_there(spool: Spool) -> None:
    plant(spool.path(NAME), b"kept")
    with spool.writing(NAME):
        pass
    assert spool.path(NAME).read_bytes() == b"kept"


def test_no_link_is_followed(spool: Spool) -> None:
    victim = plant(spool.directory.parent / "victim", b"x")
    spool.path(NAME).symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"), spool.writing(NAME):
        pass
    with pytest.raises(OSError, match="symbolic links"), spool.reading(NAME, Buffer()):
        pass
    spool.remove(NAME)
    assert victim.read_bytes() == b"x"


def test_removing_twice_is_no_matter(spool: Spool) -> None:
    plant(spool.path(NAME), b"x")
    spool.remove(NAME)
    spool.remove(NAME)
    assert list(spool.directory.iterdir()) == []


def test_others_files_are_not_counted(spool: Spool) -> None:
    names = {f"{number:032x}.part" for number in range(3)}
    for name in [*names, "README", "x.part", f"{0:032x}.part.bak", f"{0:031x}.part"]:
        plant(spool.directory / name, b"")
    assert set(spool.names()) == names


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_no_room_is_no_corruption(code: int) -> None:
    with pytest.raises(SpoolFullError), spool_errors():
        raise OSError(code, "no room")


@pytest.mark.parametrize("code", [errno.EIO, errno.EROFS, errno.ENOENT, errno.EACCES])
def test_whatever_else_goes_wrong_is_told_with_a_hint(code: int) -> None:
    with pytest.raises(SpoolCorruptError) as raised, spool_errors():
        raise OSError(code, "something")
    assert "camera keeps its footage" in raised.value.hint


def test_other_errors_pass(spool: Spool) -> None:
    with pytest.raises(ZeroDivisionError), spool_errors():
        raise ZeroDivisionError
