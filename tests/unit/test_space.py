"""Room in the spool is set aside before the first byte, and what must stay free stays free."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from contract.tools import KIB, MIB, need_root, plant
from e2e.kernel import Mounts

from dockd.errors import SpoolFullError
from dockd.spool.space import SpaceBudget


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of our own, on which nobody else writes."""
    need_root("a disk of its own")
    mounts = Mounts(tmp_path)
    yield mounts.disk(tmp_path / "disk", 32 * MIB)
    mounts.close()


def test_what_does_not_fit_is_refused(disk: Path) -> None:
    budget = SpaceBudget(disk, 0)
    free = budget.free_bytes()
    assert 16 * MIB < free < 32 * MIB
    budget.reserve("a", free)
    with pytest.raises(SpoolFullError, match="lacks 1 bytes"):
        budget.reserve("b", 1)
    budget.release("a")
    with pytest.raises(SpoolFullError, match="lacks 1 bytes"):
        budget.reserve("a", free + 1)
    budget.reserve("b", free)


def test_what_must_stay_free_stays_free(disk: Path) -> None:
    free = SpaceBudget(disk, 0).free_bytes()
    budget = SpaceBudget(disk, 5 * MIB)
    budget.reserve("a", free - 5 * MIB)
    with pytest.raises(SpoolFullError):
        budget.reserve("b", 1)
    budget.release("a")
    with pytest.raises(SpoolFullError):
        budget.reserve("a", free - 5 * MIB + 1)


def test_not_even_nothing_fits_on_a_disk_that_is_too_full(disk: Path) -> None:
    budget = SpaceBudget(disk, 1024 * MIB)
    with pytest.raises(SpoolFullError):
        budget.reserve("a", 0)


def test_reservations_add_up(disk: Path) -> None:
    budget = SpaceBudget(disk, 0)
    part = budget.free_bytes() // 3
    for name in ("a", "b", "c"):
        budget.reserve(name, part)
    with pytest.raises(SpoolFullError):
        budget.reserve("d", 3)
    budget.release("b")
    budget.reserve("d", part)


def test_reserving_again_replaces_and_a_refusal_changes_nothing(disk: Path) -> None:
    budget = SpaceBudget(disk, 0)
    free = budget.free_bytes()
    budget.reserve("a", free - MIB)
    budget.reserve("a", free)
    with pytest.raises(SpoolFullError):
        budget.reserve("a", free + 1)
    with pytest.raises(SpoolFullError):
        budget.reserve("b", 1)
    budget.reserve("a", MIB)
    budget.reserve("b", free - MIB)


def test_what_is_written_counts_once(disk: Path) -> None:
    budget = SpaceBudget(disk, MIB)
    free = budget.free_bytes()
    budget.reserve("a", 8 * MIB)
    plant(disk / "a", bytes(6 * MIB))
    budget.written("a", 6 * MIB)
    room = free - 8 * MIB - MIB
    # A few blocks go into the file system's own books.
    budget.reserve("b", room - 256 * KIB)
    with pytest.raises(SpoolFullError):
        budget.reserve("b", room + 1)
    budget.written("a", 100 * MIB)
    budget.written("never reserved", MIB)
    budget.release("never reserved")
    with pytest.raises(SpoolFullError):
        budget.reserve("b", room + 3 * MIB)


def test_many_who_reserve_at_once_never_get_more_than_there_is(disk: Path) -> None:
    budget = SpaceBudget(disk, 2 * MIB)
    room = budget.free_bytes() - 2 * MIB
    together = threading.Barrier(16)

    def one(number: int) -> int:
        together.wait()
        got = 0
        for turn in range(20):
            try:
                budget.reserve(f"{number} {turn}", 256 * KIB)
            except SpoolFullError:
                continue
            got += 256 * KIB
        return got

    with ThreadPoolExecutor(16) as pool:
        got = sum(pool.map(one, range(16)))
    assert room - 256 * KIB < got <= room
