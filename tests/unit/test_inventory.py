"""Which files are whole: still for long enough, and nobody writes to them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from contract.cameras import FolderKind
from contract.tools import Steps, is_open, need_root, plant, stop, writer
from hypothesis import given
from hypothesis import strategies as st

from dockd.cameras.base import Camera, Listing
from dockd.errors import CameraGoneError, StoppedError
from dockd.identity import Seen
from dockd.stages.inventory import Inventory, without_writers

SEEN = Seen(size_bytes=10, mtime_ns=1, device=1, inode=1, ctime_ns=1)


def listing(**files: Seen) -> Listing:
    return Listing({os.fsencode(name): seen for name, seen in files.items()}, {})


# --- settling ----------------------------------------------------------------------------------------


def test_a_file_settles_after_it_was_still_for_long_enough() -> None:
    inventory = Inventory(2.0)
    assert inventory.sift(listing(a=SEEN), 100.0) == ({}, {b"a"})
    assert inventory.sift(listing(a=SEEN), 101.9) == ({}, {b"a"})
    assert inventory.sift(listing(a=SEEN), 102.0) == ({b"a": SEEN}, set())


@pytest.mark.parametrize("changed", ["size_bytes", "mtime_ns", "inode", "ctime_ns", "device"])
def test_whatever_changes_begins_the_wait_anew(changed: str) -> None:
    other = replace(SEEN, **{changed: 7})
    inventory = Inventory(2.0)
    inventory.sift(listing(a=SEEN), 100.0)
    assert inventory.sift(listing(a=other), 101.0) == ({}, {b"a"})
    assert inventory.sift(listing(a=other), 102.5) == ({}, {b"a"})
    assert inventory.sift(listing(a=other), 103.0) == ({b"a": other}, set())


def test_a_file_that_changes_for_ever_never_settles() -> None:
    inventory = Inventory(2.0)
    for step in range(50):
        news, moving = inventory.sift(listing(a=replace(SEEN, mtime_ns=step)), 100.0 + step)
        assert (news, moving) == ({}, {b"a"})


def test_a_file_that_was_away_begins_anew() -> None:
    inventory = Inventory(2.0)
    inventory.sift(listing(a=SEEN), 100.0)
    inventory.sift(listing(), 101.0)
    assert inventory.sift(listing(a=SEEN), 102.5) == ({}, {b"a"})


def test_without_a_time_to_settle_every_file_is_taken_at_once() -> None:
    assert Inventory(0.0).sift(listing(a=SEEN), 100.0) == ({b"a": SEEN}, set())


def test_what_was_noted_is_no_news_until_it_changes() -> None:
    inventory = Inventory(0.0)
    inventory.noted[b"a"] = SEEN
    assert inventory.sift(listing(a=SEEN), 100.0) == ({}, set())
    other = replace(SEEN, inode=2)
    assert inventory.sift(listing(a=other), 101.0) == ({b"a": other}, set())


def test_what_was_forgotten_or_went_away_is_news_again() -> None:
    inventory = Inventory(0.0)
    inventory.noted[b"a"] = SEEN
    inventory.forget(b"a")
    inventory.forget(b"never noted")
    assert inventory.sift(listing(a=SEEN), 100.0) == ({b"a": SEEN}, set())
    inventory.noted[b"a"] = SEEN
    inventory.sift(listing(), 101.0)
    assert inventory.sift(listing(a=SEEN), 102.0) == ({b"a": SEEN}, set())


def test_each_file_waits_for_itself() -> None:
    inventory = Inventory(2.0)
    inventory.sift(listing(a=SEEN), 100.0)
    assert inventory.sift(listing(a=SEEN, b=SEEN), 102.0) == ({b"a": SEEN}, {b"b"})
    assert inventory.sift(listing(a=SEEN, b=SEEN), 104.0) == ({b"a": SEEN, b"b": SEEN}, set())


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 3)), min_size=1, max_size=30), st.floats(0.1, 5))
def test_news_was_always_still_for_long_enough(steps: list[tuple[int, float]], settle_s: float) -> None:
    inventory = Inventory(settle_s)
    now_s, since_s, before = 100.0, 100.0, None
    for size, pause_s in steps:
        now_s += pause_s
        if size != before:
            since_s, before = now_s, size
        news, moving = inventory.sift(listing(a=replace(SEEN, size_bytes=size)), now_s)
        assert (b"a" in news) == (now_s - since_s >= settle_s)
        assert (b"a" in news) != (b"a" in moving)


# --- writers -----------------------------------------------------------------------------------------


@pytest.fixture
def kind(tmp_path: Path) -> FolderKind:
    made = FolderKind(tmp_path / "cameras" / "CAM-1")
    for name in ("a", "b", "c"):
        plant(made.root / name, b"footage")
    return made


@pytest.fixture
def camera(kind: FolderKind) -> Camera:
    return kind.docked()


def test_a_file_with_a_writer_is_not_whole_and_the_others_are(kind: FolderKind, camera: Camera) -> None:
    news = dict(camera.list(Steps()).files)
    with writer(kind.root / "b") as process:
        assert is_open(process)
        whole, written = without_writers(camera, news, Steps())
    assert whole.keys() == {b"a", b"c"}
    assert written == {b"b"}
    whole, written = without_writers(camera, news, Steps())
    assert (whole, written) == (news, set())


def test_a_file_that_changed_since_it_was_listed_is_not_whole(kind: FolderKind, camera: Camera) -> None:
    news = dict(camera.list(Steps()).files)
    with open(kind.root / "a", "ab") as file:
        file.write(b"more")
    os.rename(plant(kind.root / "new", b"footage"), kind.root / "b")
    (kind.root / "c").unlink()
    assert without_writers(camera, news, Steps()) == ({}, {b"a", b"b", b"c"})


def test_a_file_that_cannot_be_opened_is_taken_note_of(kind: FolderKind, camera: Camera) -> None:
    """That it cannot be read has to be known; a socket in its place is what root cannot open either."""
    need_root("an unreadable file that root cannot read")
    news = dict(camera.list(Steps()).files)
    (kind.root / "a").unlink()
    os.mknod(kind.root / "a", 0o140644)
    whole, written = without_writers(camera, news, Steps())
    assert whole.keys() == news.keys()
    assert written == set()


def test_a_camera_that_goes_is_no_camera_without_writers(kind: FolderKind, camera: Camera) -> None:
    news = dict(camera.list(Steps()).files)
    for name in ("a", "b", "c"):
        (kind.root / name).unlink()
    os.rename(kind.root, kind.root.with_name("away"))
    with pytest.raises(CameraGoneError):
        without_writers(camera, news, Steps())


def test_looking_for_writers_can_be_stopped(camera: Camera) -> None:
    with pytest.raises(StoppedError):
        without_writers(camera, dict(camera.list(Steps()).files), Steps(2, stop))
