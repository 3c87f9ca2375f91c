"""Whose chain the store knows in the dock's name, and what the notary does about another one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from contract.tools import content
from notary_office import PREFIX, Office

from dockd.custody.keys import SigningKey
from dockd.custody.segments import DigestList
from dockd.direct_io import Buffer
from dockd.events import Head
from dockd.journal import segments
from dockd.journal.startup import start
from dockd.runtime.workers import Control
from dockd.stages.heads import foreign_head
from dockd.stages.keyring import Keyring
from dockd.stages.verify import confirm_again


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path / "dock")
    yield made
    made.close()


def strange(office: Office, first: int, last: int, chain: str, before: str = "1" * 64) -> Head:
    """Somebody else's segment in this dock's name."""
    digests = DigestList(
        first - 1, "0" * 64 if first == 1 else before, tuple(f"{n:064x}" for n in range(first, last + 1))
    )
    key = f"{PREFIX}/{chain}/{first:012d}-{last:012d}.sha256"
    office.world.store.put_small(key, digests.text())
    office.world.store.put_small(f"{key}.sig", SigningKey.generate().sign(digests.text()).encode())
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


def test_a_clone_that_wrote_less_is_found_too(office: Office) -> None:
    office.step()
    fork = office.head.seq
    for _ in range(3):
        office.record(10)
        office.notary.want()
        office.step()
    assert look(office) is None
    # It sorts before what the true dock has written since.
    assert strange(office, fork + 1, fork + 4, office.head.chain) == look(office)


@pytest.mark.parametrize("what", ["unsigned", "another name", "no list"])
def test_what_nobody_signed_is_no_head_and_stops_the_wipe_until_it_is_gone(office: Office, what: str) -> None:
    office.step()
    chain = office.head.chain
    strange(office, 200, 201, chain)
    listed = office.folder() / "000000000200-000000000201.sha256"
    if what == "unsigned":
        listed.with_suffix(".sha256.sig").unlink()
    elif what == "another name":
        for path in list(office.folder().glob("000000000200-*")):
            path.rename(path.with_name(path.name.replace("000000000200", "000000000199")))
    else:
        listed.write_bytes(b"nothing of the kind")
    office.notary.heads_checked_s = None
    asyncio.run(office.notary._try())
    assert office.head.chain == chain
    problem = office.notary.state().problem
    assert problem is not None
    assert problem[0] == "custody-conflict"
    for path in [*office.folder().glob("000000000199-*"), *office.folder().glob("000000000200-*")]:
        path.unlink()
    asyncio.run(office.notary._try())
    assert office.notary.state().problem is None


def test_what_a_chain_left_unsigned_when_another_began_is_signed_and_stays_here(office: Office) -> None:
    office.step()
    office.record(7)
    chain, seq = office.world.journal.run_in_thread(lambda tx: (tx.chain, tx.head.seq))
    strange(office, office.covered() + 1, office.covered() + 3, office.head.chain)
    office.notary.heads_checked_s = None
    office.step()
    rows = office.world.journal.run_in_thread(lambda tx: segments.segments_of(tx, chain))
    assert rows[-1].last == seq
    # Another dock goes on with that chain: what this one did is not put into its folder.
    assert rows[-1].stored_utc is None
    new = office.world.journal.run_in_thread(lambda tx: segments.lines_between(tx, tx.chain, 1, 2))
    assert [json.loads(line)["event"] for line in new] == ["dock_started", "key_registered"]


def test_a_tail_of_an_earlier_chain_is_signed_at_the_next_start(office: Office) -> None:
    office.step()
    office.record(5)
    chain, seq = office.world.journal.run_in_thread(lambda tx: (tx.chain, tx.head.seq))
    away = Head(chain="ab" * 8, seq=9, sha256="0" * 64)
    office.world.journal.run_in_thread(lambda tx: start(tx, office.world.started, away, []))
    assert office.world.journal.run_in_thread(lambda tx: tx.chain) != chain
    Keyring.open(office.notary.keyring.place, office.world.journal)
    rows = office.world.journal.run_in_thread(lambda tx: segments.segments_of(tx, chain))
    assert rows[-1].last == seq


def test_a_check_that_is_long_ago_is_none(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    office.step()
    assert office.notary.state().heads_checked
    monkeypatch.setattr(office.notary, "heads_checked_s", office.world.clock.monotonic_s() - 7201)
    assert not office.notary.state().heads_checked


def test_nothing_is_signed_with_a_key_that_the_chain_does_not_name(office: Office) -> None:
    office.world.journal.run_in_thread(lambda tx: tx.begin_chain(office.world.started, acknowledged=True))
    key = office.notary.keyring.key
    assert key is not None
    office.world.journal.run_in_thread(lambda tx: segments.sign_rest(tx, key, "now"))
    assert office.rows() == []
    # Nor does the notary turn in circles over it.
    office.step()
    assert office.rows() == []


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
