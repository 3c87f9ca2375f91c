"""The SHA-256 of a file's parts, taken while it is copied; and what is read back differently each time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from contract.tools import MIB, Steps, content, digests_of
from hypothesis import given
from hypothesis import strategies as st

from dockd.digests import Hasher, ReadBack
from dockd.direct_io import Buffer
from dockd.errors import StoreUnavailableError
from dockd.stores.compare import read_and_compare
from dockd.stores.s3_errors import S3LostError, S3RefusedError
from dockd.stores.s3_retries import ATTEMPTS, Retries
from dockd.stores.s3_upload import MOST_PARTS, part_size_for


@given(data=st.binary(max_size=400), part=st.integers(1, 50), cuts=st.lists(st.integers(1, 70), max_size=30))
def test_parts_are_hashed_wherever_the_pieces_end(data: bytes, part: int, cuts: list[int]) -> None:
    hasher = Hasher(part)
    rest = memoryview(data)
    for cut in cuts:
        hasher.update(rest[:cut])
        rest = rest[cut:]
    hasher.update(rest)
    found = hasher.parts()
    assert found is not None
    expected = [hashlib.sha256(data[start : start + part]).digest() for start in range(0, len(data), part)]
    assert [found[index] for index in range(len(found))] == expected
    assert hasher.digests() == digests_of(data)


def test_without_a_part_size_there_are_none() -> None:
    assert Hasher().parts() is None


@pytest.mark.parametrize("size", [0, 1, 16 * MIB, 10_000 * 16 * MIB, 10_000 * 16 * MIB + 1, 5 << 40])
def test_no_file_has_more_parts_than_there_may_be(size: int) -> None:
    part = part_size_for(size, 16 * MIB)
    assert part >= 16 * MIB
    assert part % MIB == 0
    assert -(-size // part) <= MOST_PARTS
    assert part == 16 * MIB or size > 10_000 * 16 * MIB


class Unsteady:
    """A store whose read-backs are these, one after the other."""

    def __init__(self, *contents: bytes | None) -> None:
        self._contents = list(contents)

    def read_back(self, key: str, buffer: Buffer, progress: Steps) -> ReadBack | None:
        data = self._contents.pop(0)
        return None if data is None else ReadBack(digests_of(data), "version=1", past_cache=True)


GOOD, BAD, WORSE = content(10), content(10, seed=1), content(10, seed=2)


@pytest.mark.parametrize("contents", [(GOOD,), (None,), (BAD, BAD)])
def test_what_is_read_the_same_twice_is_believed(contents: tuple[bytes | None, ...]) -> None:
    read = read_and_compare(Unsteady(*contents), "k", digests_of(GOOD), Buffer(), Steps())  # type: ignore[arg-type]
    assert (None if read is None else read.digests) == (None if contents[0] is None else digests_of(contents[0]))


@pytest.mark.parametrize("contents", [(BAD, GOOD), (BAD, WORSE), (BAD, None)])
def test_what_is_read_differently_each_time_tells_nothing(contents: tuple[bytes | None, ...]) -> None:
    with pytest.raises(StoreUnavailableError, match="different bytes"):
        read_and_compare(Unsteady(*contents), "k", digests_of(GOOD), Buffer(), Steps())  # type: ignore[arg-type]


def attempts(retries: Retries, fails: Callable[[int], Exception | None]) -> int:
    """How many attempts were made until one went well."""
    for number in range(1, 100):
        with retries:
            error = fails(number)
            if error is not None:
                raise error
            return number
    raise AssertionError("it never ends")


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dockd.stores.s3_retries.FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr("dockd.stores.s3_retries.LONGEST_PAUSE_S", 0.0)


def test_what_may_help_is_tried_again_and_not_for_ever(at_once: None) -> None:
    busy = S3RefusedError("SlowDown", "x")
    assert attempts(Retries(lambda: None), lambda number: busy if number < ATTEMPTS else None) == ATTEMPTS
    with pytest.raises(S3RefusedError, match="SlowDown"):
        attempts(Retries(lambda: None), lambda number: busy)
    with pytest.raises(S3LostError):
        attempts(Retries(lambda: None), lambda number: S3LostError("cut"))


def test_what_a_person_has_to_mend_is_told_at_once(at_once: None) -> None:
    tried = []
    with pytest.raises(S3RefusedError, match="AccessDenied"):
        attempts(Retries(lambda: None), lambda number: tried.append(number) or S3RefusedError("AccessDenied", "x"))
    assert tried == [1]


def test_whoever_waits_can_be_stopped() -> None:
    def stop() -> None:
        raise StoreUnavailableError("stopped")

    with pytest.raises(StoreUnavailableError, match="stopped"):
        attempts(Retries(stop), lambda number: S3LostError("cut"))
