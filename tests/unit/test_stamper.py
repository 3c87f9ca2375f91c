"""Time stamps of an authority that is openssl's own: asked for, checked, kept, and never waited for."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from contract.world import DOCK, World
from tsa import Authority

from dockd.alerts import AlertBoard
from dockd.custody.timestamps import BadTimestampError, Request, roots_in, stamped_at
from dockd.events import ClockStepped
from dockd.stages.stamper import Stamper

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="NOT TESTED: time stamps, for want of openssl")


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Authority]:
    made = Authority(tmp_path / "tsa")
    yield made
    made.close()


class Office:
    """A world with one signed segment in its store, and its stamper."""

    def __init__(self, root: Path, authority: Authority) -> None:
        self.world = World(root)
        self.world.restarted()
        self.world.sign()
        self.alerts = AlertBoard(lambda: datetime(2026, 3, 1, tzinfo=UTC))
        world = self.world
        self.stamper = Stamper(
            world.journal, world.store, self.alerts, DOCK, authority.url, authority.ca_file, lambda: True
        )

    def step(self) -> bool:
        return asyncio.run(self.stamper.step())

    def stamps(self) -> list[Path]:
        return sorted(self.world.store.root.rglob("*.tsr"))

    def close(self) -> None:
        self.stamper.worker.close()
        self.world.close()


@pytest.fixture
def office(tmp_path: Path, authority: Authority) -> Iterator[Office]:
    made = Office(tmp_path / "dock", authority)
    yield made
    made.close()


def test_the_newest_segment_is_stamped_once_and_openssl_agrees(office: Office, authority: Authority) -> None:
    assert office.step()
    assert not office.step()
    (stamp,) = office.stamps()
    listed = stamp.with_name(stamp.name.removesuffix(".tsr"))
    checked = ["openssl", "ts", "-verify", "-data", listed, "-in", stamp, "-CAfile", authority.ca_file]
    subprocess.run(checked, check=True, capture_output=True)
    assert authority.asked == 1
    office.world.journal.run_in_thread(lambda tx: tx.append(ClockStepped(step_ms=1)))
    office.world.sign()
    assert office.step()
    assert len(office.stamps()) == 2


def test_an_answer_that_is_none_is_not_kept(office: Office, authority: Authority) -> None:
    authority.refusing = True
    with pytest.raises(BadTimestampError):
        office.step()
    assert office.stamps() == []
    authority.refusing = False
    assert office.step()


def test_an_authority_that_nobody_vouches_for_is_not_believed(
    office: Office, authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path / "other")
    other.close()
    authority.ca_file.write_bytes(other.ca_file.read_bytes())
    with pytest.raises(BadTimestampError):
        office.step()
    assert office.stamps() == []


def test_an_authority_that_is_away_is_an_error_that_names_it(office: Office, authority: Authority) -> None:
    authority.close()
    with pytest.raises(OSError, match="refused"):
        office.step()


def test_a_stamp_is_of_what_was_asked_and_of_no_other(authority: Authority) -> None:
    roots = roots_in(authority.ca_file.read_bytes())
    asked, other, again = Request.over(b"a list"), Request.over(b"another list"), Request.over(b"a list")
    answer = authority.answer(asked.der)
    assert abs(stamped_at(asked, answer, roots) - datetime.now(UTC)) < timedelta(minutes=10)
    for request in (other, again):
        # The second has asked for the same, with a number of its own.
        with pytest.raises(BadTimestampError):
            stamped_at(request, answer, roots)
