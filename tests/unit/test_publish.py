"""The manifest of a docking: written once, true of what it names, and the same after any crash."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from contract.tools import content, digests_of, plant
from contract.world import AGENCY, DOCK, PATH, SERIAL, World

from dockd.alerts import AlertBoard
from dockd.errors import StoreUnavailableError
from dockd.lifecycle import DockingState
from dockd.runtime.randomness import SystemRandomness
from dockd.stages.publish import Publisher, manifest
from dockd.wipe.facts import StoreCalls


class Site:
    """A world and its publisher."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.calls = StoreCalls(world.store)
        self.alerts = AlertBoard(lambda: datetime(2026, 3, 1, tzinfo=UTC))
        self.quiet = False
        self.told = 0
        self.publisher = Publisher(
            world.journal,
            self.calls,
            self.alerts,
            AGENCY,
            DOCK,
            lambda docking: self.quiet,
            SystemRandomness(),
            self._published,
        )

    def _published(self) -> None:
        self.told += 1

    @property
    def folder(self) -> Path:
        return self.world.store.root / AGENCY / "dockings" / SERIAL

    @property
    def docking_name(self) -> str:
        ((name,),) = self.world.query("SELECT name FROM docking WHERE id = ?", self.world.docking_id)
        return str(name)

    @property
    def docking_state(self) -> str:
        ((state,),) = self.world.query("SELECT state FROM docking WHERE id = ?", self.world.docking_id)
        return str(state)

    def path(self, part: int = 1) -> Path:
        return self.folder / (self.docking_name + ("" if part == 1 else f".{part:04d}") + ".json")

    def read(self, part: int = 1) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.path(part).read_bytes())
        return found

    def named(self) -> dict[str, int | None]:
        """Which part names which recording, as the journal has it."""
        return dict(self.world.query("SELECT uid, part FROM seen JOIN recording ON recording.id = seen.recording"))

    def uid(self, recording: int) -> str:
        return self.world.row(recording).uid

    def add(self, data: bytes, path: bytes = PATH, *, store: bool = True) -> int:
        """One more recording in this docking, confirmed with `store`, else only found."""
        self.world.plant(data, path)
        with self.world.attached() as camera:
            recording = (self.world.note(camera) if self.world.docking_id else self.world.dock(camera))[path]
            if store:
                self.world.copy(camera, recording)
                self.world.store_it(recording)
        return recording

    def as_published_now(self) -> bytes:
        """The manifest of this docking as it would be written now."""
        rows = self.world.rows()
        docking_id = self.world.docking_id
        docking = self.world.journal.run_in_thread(lambda tx: tx.docking(docking_id))
        camera = self.world.journal.run_in_thread(lambda tx: tx.camera(docking.camera))
        return manifest(camera, docking, rows, 1, DOCK)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(World(tmp_path / "dock"))
    yield made
    made.calls.worker.close()
    made.world.close()


async def test_a_docking_that_ended_is_told_once(site: Site) -> None:
    data = content(5000)
    recording = site.add(data)
    site.world.leave()
    await site.publisher.step()
    assert site.docking_state == DockingState.CLOSED
    told = site.read()
    digests = digests_of(data)
    (entry,) = told["recordings"]
    assert (told["docking"], told["dock"], told["camera"]) == (site.docking_name, DOCK, SERIAL)
    assert (entry["recording"], entry["path"], entry["state"]) == (site.uid(recording), os.fsdecode(PATH), "confirmed")
    assert (entry["size"], entry["blake3"], entry["sha256"]) == (5000, digests.blake3, digests.sha256)
    assert (site.world.store.root / entry["key"]).read_bytes() == data
    assert entry["mtime_ns"] == os.stat(site.world.folder / os.fsdecode(PATH)).st_mtime_ns
    before = site.path().stat()
    for _ in range(3):
        await site.publisher.step()
    assert site.path().stat() == before
    assert len(list(site.folder.iterdir())) == 1


async def test_what_left_before_it_was_whole_is_told_as_it_was(site: Site) -> None:
    recording = site.add(b"not copied", store=False)
    site.world.leave()
    await site.publisher.step()
    (entry,) = site.read()["recordings"]
    assert (entry["recording"], entry["state"], entry["key"]) == (site.uid(recording), "found", None)


async def test_an_open_docking_is_told_only_when_it_is_quiet_and_all_is_stored(site: Site) -> None:
    site.add(b"one", b"1.MP4")
    await site.publisher.step()
    assert not site.folder.exists()
    site.quiet = True
    second = site.add(b"two", b"2.MP4", store=False)
    await site.publisher.step()
    assert not site.folder.exists()
    with site.world.attached() as camera:
        site.world.copy(camera, second)
    site.world.store_it(second)
    await site.publisher.step()
    assert len(site.read()["recordings"]) == 2
    assert site.docking_state != DockingState.CLOSED


async def test_what_comes_later_in_the_same_stay_is_told_in_a_further_part(site: Site) -> None:
    site.quiet = True
    first = site.add(b"one", b"1.MP4")
    await site.publisher.step()
    before = site.path().read_bytes()
    second = site.add(b"two", b"2.MP4")
    await site.publisher.step()
    site.world.leave()
    await site.publisher.step()
    assert site.path().read_bytes() == before
    assert [entry["recording"] for entry in site.read(1)["recordings"]] == [site.uid(first)]
    assert [entry["recording"] for entry in site.read(2)["recordings"]] == [site.uid(second)]
    assert site.read(2)["part"] == 2
    assert site.named() == {site.uid(first): 1, site.uid(second): 2}
    assert len(list(site.folder.iterdir())) == 2


async def test_a_docking_without_recordings_has_no_manifest(site: Site) -> None:
    with site.world.attached() as camera:
        site.world.dock(camera)
    site.world.leave()
    await site.publisher.step()
    assert site.docking_state == DockingState.CLOSED
    assert not site.folder.exists()


async def test_names_that_are_no_text_are_told_in_full(site: Site) -> None:
    site.add(b"x", b"latin\xe9.MP4")
    site.world.leave()
    await site.publisher.step()
    (entry,) = site.read()["recordings"]
    assert bytes.fromhex(entry["path_hex"]) == b"latin\xe9.MP4"


# --- crashes -----------------------------------------------------------------------------------------


async def test_after_a_crash_between_store_and_journal_the_same_part_stands(site: Site) -> None:
    recording = site.add(b"one", store=False)
    site.world.leave()
    there = plant(site.path(), site.as_published_now())
    before = there.read_bytes()
    # Since then more has become known, so that it would be written otherwise now.
    with site.world.attached() as camera:
        site.world.copy(camera, recording)
    site.world.store_it(recording)
    assert site.as_published_now() != before
    await site.publisher.step()
    assert there.read_bytes() == before
    assert site.named() == {site.uid(recording): 1}
    assert site.docking_state == DockingState.CLOSED
    assert [path.name for path in site.folder.iterdir()] == [there.name]


async def test_after_a_crash_what_the_part_does_not_name_is_told_in_the_next(site: Site) -> None:
    site.quiet = True
    first = site.add(b"one", b"1.MP4")
    there = plant(site.path(), site.as_published_now())
    before = there.read_bytes()
    second = site.add(b"two", b"2.MP4")
    await site.publisher.step()
    await site.publisher.step()
    assert there.read_bytes() == before
    assert site.named() == {site.uid(first): 1, site.uid(second): 2}
    assert [entry["recording"] for entry in site.read(2)["recordings"]] == [site.uid(second)]


@pytest.mark.parametrize("published", [False, True])
async def test_what_a_crash_left_half_written_goes_with_the_next_attempt(
    site: Site, monkeypatch: pytest.MonkeyPatch, published: bool
) -> None:
    """Also after a second start: the upload's id was in the journal before the first byte was in the store."""
    site.add(b"one")
    site.world.leave()

    def killed(key: str, data: bytes, upload_id: str) -> bool:
        if published:
            plant(site.path(), data)
        plant(site.folder / f".{upload_id}.partial", data[: len(data) // 2])
        raise StoreUnavailableError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(site.world.store, "put_small", killed)
        await site.publisher.step()
    assert len(list(site.folder.iterdir())) == 1 + published
    await site.publisher.step()
    assert [path.name for path in site.folder.iterdir()] == [site.path().name]
    assert site.docking_state == DockingState.CLOSED


# --- trouble -----------------------------------------------------------------------------------------


GARBAGE = [b"", b"garbage", b"{", b"[]", b"null", b"7", b'"text"', b"{}", b"\xff\xfe", b'{"docking": "another"}']


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_what_lies_in_its_place_is_left_and_nothing_is_claimed(site: Site, garbage: bytes) -> None:
    recording = site.add(b"one")
    site.world.leave()
    there = plant(site.path(), garbage)
    for _ in range(2):
        await site.publisher.step()
    assert there.read_bytes() == garbage
    assert site.named() == {site.uid(recording): None}
    assert site.docking_state == DockingState.ENDED
    assert site.alerts.codes_of(site.docking_name) == {"manifest_conflict"}
    there.unlink()
    await site.publisher.step()
    assert site.docking_state == DockingState.CLOSED
    assert site.alerts.codes_of(site.docking_name) == set()


async def test_a_manifest_of_this_docking_that_lists_nothing_readable_claims_nothing(site: Site) -> None:
    recording = site.add(b"one")
    site.world.leave()
    told = json.loads(site.as_published_now())
    wrongs: list[dict[str, Any]] = [{}, {"recordings": None}, {"recordings": [7]}, {"recordings": [{}]}]
    for wrong in wrongs:
        there = plant(site.path(), json.dumps({"docking": told["docking"], **wrong}).encode())
        await site.publisher.step()
        assert site.named() == {site.uid(recording): None}
        there.unlink()


async def test_one_docking_in_trouble_does_not_keep_the_others_waiting(site: Site) -> None:
    site.add(b"one", b"1.MP4")
    site.world.leave()
    plant(site.path(), b"garbage")
    with site.world.attached() as camera:
        site.world.dock(camera)
    site.add(b"two", b"2.MP4")
    site.world.leave()
    await site.publisher.step()
    assert site.docking_state == DockingState.CLOSED
    assert site.path().exists()


async def test_a_store_that_is_away_is_waited_for(site: Site) -> None:
    recording = site.add(b"one")
    site.world.leave()
    root = site.world.store.root
    os.rename(root, root.with_name("away"))
    await site.publisher.step()
    assert site.docking_state == DockingState.ENDED
    assert site.named() == {site.uid(recording): None}
    os.rename(root.with_name("away"), root)
    await site.publisher.step()
    assert site.docking_state == DockingState.CLOSED
    assert site.read()["recordings"][0]["recording"] == site.uid(recording)
