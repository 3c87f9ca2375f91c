"""The notary: when it signs, what it refuses to sign, and whose chain the store knows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from contract.tools import content
from contract.world import DOCK, World

from dockd.alerts import AlertBoard
from dockd.custody.segments import DigestList
from dockd.custody.sshsig import verify
from dockd.direct_io import Buffer
from dockd.errors import StoreUnavailableError
from dockd.events import ClockStepped, Head
from dockd.identity import custody_prefix
from dockd.journal import segments
from dockd.journal.chain_break import noted_break
from dockd.journal.startup import begin_after
from dockd.runtime.workers import Control
from dockd.stages import notary as notaries
from dockd.stages.heads import foreign_head
from dockd.stages.keyring import KeyPlace, Keyring
from dockd.stages.notary import Notary
from dockd.stages.verify import confirm_again

PREFIX = custody_prefix(DOCK)


class Office:
    """A world and its notary, which is asked by hand."""

    def __init__(self, root: Path) -> None:
        self.world = World(root)
        self.world.restarted()
        self.wipe_on = True
        self.stored = 0
        self.alerts = AlertBoard(lambda: datetime(2026, 3, 1, tzinfo=UTC))
        world = self.world
        self.notary = Notary(
            world.journal,
            world.store,
            world.clock,
            self.alerts,
            Keyring.open(KeyPlace(root / "state/keys/signing-key"), world.journal),
            DOCK,
            lambda: True,
            lambda: self.wipe_on,
            lambda tx, head: begin_after(tx, world.started, head),
            self._stored,
        )

    def _stored(self) -> None:
        self.stored += 1

    def step(self) -> None:
        asyncio.run(self.notary._step())

    def close(self) -> None:
        self.notary.worker.close()
        self.world.close()

    def rows(self) -> list[Any]:
        return self.world.journal.run_in_thread(lambda tx: segments.segments_of(tx, tx.chain))

    def covered(self) -> int:
        return self.world.journal.run_in_thread(lambda tx: segments.stored_through(tx, tx.chain))

    @property
    def head(self) -> Head:
        return self.world.journal.head

    def record(self, count: int = 1) -> None:
        self.world.journal.run_in_thread(lambda tx: [tx.append(ClockStepped(step_ms=n)) for n in range(count)])

    def folder(self) -> Path:
        return self.world.store.root / PREFIX / self.head.chain


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


# --- whose chain the store knows ---------------------------------------------------------------------


def strange(office: Office, first: int, last: int, chain: str, before: str = "1" * 64) -> Head:
    """Somebody else's segment in this dock's name."""
    digests = DigestList(
        first - 1, "0" * 64 if first == 1 else before, tuple(f"{n:064x}" for n in range(first, last + 1))
    )
    office.world.store.put_small(f"{PREFIX}/{chain}/{first:012d}-{last:012d}.sha256", digests.text())
    return Head(chain=chain, seq=last, sha256=digests.head)


def look(office: Office) -> Head | None:
    return foreign_head(office.world.store, office.world.journal, PREFIX)


def test_its_own_segments_are_no_strangers(office: Office) -> None:
    assert look(office) is None
    office.step()
    assert look(office) is None
    office.record()
    office.notary.want()
    asyncio.run(office.notary._cut())
    # Signed, and not in the store yet.
    assert look(office) is None
    office.step()
    assert look(office) is None


def test_another_chain_in_its_name_is_found_once_and_again_when_it_goes_on(office: Office) -> None:
    office.step()
    chain = office.head.chain
    head = strange(office, 1, 7, "ab" * 8)
    assert look(office) == head
    office.notary.heads_checked_s = None
    office.step()
    assert office.head.chain != chain
    assert look(office) is None
    acknowledged = office.world.query("SELECT acknowledged FROM chain ORDER BY id DESC LIMIT 1")
    assert acknowledged == [(0,)]
    assert strange(office, 8, 9, "ab" * 8) == look(office)


def test_what_goes_on_behind_its_own_chain_is_found(office: Office) -> None:
    office.step()
    assert look(office) is None
    assert strange(office, office.head.seq + 1, office.head.seq + 3, office.head.chain) == look(office)


def test_another_segment_under_the_name_of_its_own_is_found(office: Office) -> None:
    office.step()
    office.record(2)
    office.notary.want()
    asyncio.run(office.notary._cut())
    row = office.rows()[-1]
    assert strange(office, row.first, row.last, office.head.chain) == look(office)


def test_nothing_is_called_checked_before_the_store_was_asked(office: Office) -> None:
    assert not office.notary.state().heads_checked
    office.step()
    assert office.notary.state().heads_checked


def test_recordings_of_an_earlier_chain_are_confirmed_anew_in_the_present_one(office: Office) -> None:
    world = office.world
    world.plant(content(1000))
    with world.attached() as camera:
        (recording,) = world.dock(camera).values()
        world.copy(camera, recording)
        world.store_it(recording)
        strange(office, 1, 7, "ab" * 8)
        office.notary.heads_checked_s = None
        office.step()
        row = world.row(recording)
        assert row.confirmed_chain != world.journal.run_in_thread(lambda tx: tx.chain)
        assert confirm_again(world.storing, recording, Buffer(), Control())
        row = world.row(recording)
        assert row.confirmed_chain == world.journal.run_in_thread(lambda tx: tx.chain)
        assert row.confirmed_seq == office.head.seq
        # Once is enough.
        assert confirm_again(world.storing, recording, Buffer(), Control())
        assert world.row(recording).confirmed_seq == row.confirmed_seq
        assert world.events().count("recording_confirmed") == 2
