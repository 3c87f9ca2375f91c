"""The notary: when it signs and what it refuses to sign."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from contract.tools import content
from notary_office import PREFIX, Office

from dockd.custody.segments import DigestList
from dockd.custody.sshsig import verify
from dockd.errors import StoreUnavailableError
from dockd.journal import segments
from dockd.journal.chain_break import noted_break
from dockd.stages import notary as notaries


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path / "dock")
    yield made
    made.close()


# --- when --------------------------------------------------------------------------------------------


def test_what_a_start_recorded_is_signed_and_then_only_what_somebody_waits_for(office: Office) -> None:
    office.step()
    assert office.covered() == office.head.seq
    office.record()
    office.step()
    assert office.covered() == office.head.seq - 1
    office.notary.want()
    office.step()
    assert office.covered() == office.head.seq
    assert office.stored == 2


def test_what_came_before_a_pause_is_signed(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    office.step()
    office.record()
    office.step()
    assert office.covered() == office.head.seq - 1
    monkeypatch.setattr(office.notary, "_last_s", office.world.clock.monotonic_s() - 3.0)
    office.step()
    assert office.covered() == office.head.seq


def test_an_hour_is_the_longest(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    office.step()
    office.record()
    monkeypatch.setattr(office.notary, "_cut_s", office.world.clock.monotonic_s() - 3599)
    office.step()
    assert office.covered() == office.head.seq - 1
    monkeypatch.setattr(office.notary, "_cut_s", office.world.clock.monotonic_s() - 3600)
    office.step()
    assert office.covered() == office.head.seq


@pytest.mark.parametrize("wipe_on", [True, False])
def test_confirmed_recordings_that_wait_for_their_wipe_are_signed_once_all_of_their_camera_are(
    office: Office, wipe_on: bool
) -> None:
    office.wipe_on = wipe_on
    world = office.world
    for number in range(2):
        world.plant(content(1000 + number), b"%d.mp4" % number)
    with world.attached() as camera:
        ids = world.dock(camera)
        office.step()
        for recording in ids.values():
            world.copy(camera, recording)
        first, second = ids.values()
        world.store_it(first)
        office.step()
        assert world.row(first).confirmed_seq not in range(office.covered() + 1)
        world.store_it(second)
        office.step()
    assert (office.covered() >= (world.row(second).confirmed_seq or 0)) == wipe_on


def test_long_stretches_become_several_segments(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notaries, "LONGEST_RECORDS", 10)
    office.record(35)
    office.step()
    rows = office.rows()
    assert [row.last - row.first + 1 for row in rows][:3] == [10, 10, 10]
    assert office.covered() == office.head.seq
    before = (0, "0" * 64)
    for row in rows:
        listed = (office.folder() / f"{row.first:012d}-{row.last:012d}.sha256").read_bytes()
        digests = DigestList.parse(listed)
        assert (digests.before_seq, digests.before_sha256) == before
        signature = (office.folder() / f"{row.first:012d}-{row.last:012d}.sha256.sig").read_text()
        assert verify(signature, "dockd-custody", listed).line == row.public_key
        before = (row.last, digests.head)
    assert before == (office.head.seq, office.head.sha256)


# --- what is in the way ------------------------------------------------------------------------------


def test_a_crash_before_the_store_has_it_is_made_good_with_the_same_bytes(office: Office) -> None:
    away = office.world.store.root.with_name("away")
    office.notary.heads_checked_s = office.world.clock.monotonic_s()
    office.world.store.root.rename(away)
    with pytest.raises(StoreUnavailableError):
        office.step()
    (row,) = office.rows()
    assert row.stored_utc is None
    assert office.covered() == 0
    away.rename(office.world.store.root)
    office.record(3)
    office.step()
    assert office.rows()[0].signature == row.signature
    assert (office.folder() / f"{row.first:012d}-{row.last:012d}.sha256.sig").read_text() == row.signature


def test_a_segment_that_the_store_gives_back_otherwise_is_not_called_stored(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = office.world.store.put_small
    monkeypatch.setattr(
        office.world.store, "put_small", lambda key, data, upload_id=None: put(key, data.replace(b"a", b"b"), upload_id)
    )
    with pytest.raises(Exception, match="does not give back"):
        office.step()
    assert office.covered() == 0


def test_a_record_that_was_altered_is_not_signed_and_is_named(office: Office) -> None:
    office.step()
    office.record(5)
    seq = office.head.seq - 2

    def alter(tx: Any) -> None:
        tx.run("DROP TRIGGER record_unchanged")
        tx.run("UPDATE record SET line = replace(line, 'step_ms', 'step_ns') WHERE seq = ?", seq)

    office.world.journal.run_in_thread(alter)
    office.notary.want()
    covered = office.covered()
    office.step()
    assert office.covered() == covered
    problem = office.notary.state().problem
    assert problem is not None
    assert f"record {seq + 1}" in problem[1]
    assert f"record {seq + 1}" in str(office.world.journal.run_in_thread(noted_break))


def test_what_was_altered_since_it_was_signed_is_not_brought_into_the_store(office: Office) -> None:
    office.step()
    covered = office.covered()
    office.record(5)
    asyncio.run(office.notary.finish())
    seq = office.head.seq - 2

    def alter(tx: Any) -> None:
        tx.run("DROP TRIGGER record_unchanged")
        tx.run("UPDATE record SET line = replace(line, 'step_ms', 'step_ns') WHERE seq = ?", seq)

    office.world.journal.run_in_thread(alter)
    office.step()
    office.step()
    assert office.covered() == covered
    unstored = office.world.journal.run_in_thread(segments.unstored_segments)
    assert [
        office.world.store.version(f"{PREFIX}/{row.chain_name}/{name}")
        for row in unstored
        for name in (f"{row.first:012d}-{row.last:012d}.sha256", f"{row.first:012d}-{row.last:012d}.jsonl")
    ] == [None, None]
    assert "were altered after they were signed" in str(office.world.journal.run_in_thread(noted_break))
    assert office.notary.state().problem is not None
