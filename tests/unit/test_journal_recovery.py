"""Opening a journal: migrations, versions from the future, damage, power cuts, and reading beside a writer."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from journal_desk import DOCK, Desk, HandClock, closed_journal, desk_in, raw

from dockd.custody.chain import find_break
from dockd.errors import DockdError, JournalDamagedError, JournalTooNewError, ServiceMissingError
from dockd.events import ClockStepped
from dockd.journal import database
from dockd.journal.database import (
    APPLICATION_ID,
    SCHEMA_VERSION,
    migrate,
    open_for_reading,
    open_for_writing,
    schema_script,
)
from dockd.journal.journal import Journal
from dockd.lifecycle import RecordingState


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with desk_in(tmp_path) as made:
        yield made


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    return closed_journal(tmp_path)


def files(path: Path) -> dict[str, bytes]:
    """The journal and what lies beside it; a -shm is an index of the -wal and holds nothing."""
    return {file.name: file.read_bytes() for file in path.parent.glob("journal.db*") if not file.name.endswith("-shm")}


def refused(path: Path, kind: type[DockdError]) -> DockdError:
    """The journal is refused for writing, with a hint and unchanged."""
    before = files(path)
    with pytest.raises(kind) as caught:
        Journal.open(path, clock=HandClock(), dock=DOCK)
    assert caught.value.hint
    assert files(path) == before
    return caught.value


def pulled_plug(path: Path, to: Path) -> Path:
    """What a disk holds after a power cut while the journal was open."""
    to.mkdir()
    for suffix in ("", "-wal"):
        shutil.copyfile(f"{path}{suffix}", to / f"{path.name}{suffix}")
    return to / path.name


# --- migrations --------------------------------------------------------------------------------------


def tables(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    return connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()


def fresh(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def test_a_migration_that_fails_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    def broken(version: int) -> str:
        return "CREATE TABLE half (x);\nINSERT INTO half VALUES (1);\nCREATE TABLE half (y);\n"

    with closing(fresh(tmp_path / "journal.db")) as connection:
        with pytest.raises(sqlite3.OperationalError):
            migrate(connection, script=broken)
        assert not connection.in_transaction
        assert tables(connection) == []
        assert connection.execute("PRAGMA user_version").fetchone() == (0,)
        assert connection.execute("PRAGMA application_id").fetchone() == (0,)
        # And nothing stands in the way of the true one.
        migrate(connection)
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)


def test_of_two_migrations_the_first_stands_when_the_second_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(version: int) -> str:
        return "ALTER TABLE meta ADD COLUMN more TEXT;\nDROP TABLE record;\nSELECT no_such_function();\n"

    with closing(fresh(tmp_path / "journal.db")) as connection:
        migrate(connection)
        monkeypatch.setattr(database, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
        with pytest.raises(sqlite3.OperationalError):
            migrate(connection, script=script)
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        names = [name for name, _ in tables(connection)]
        assert "record" in names
        assert [row[1] for row in connection.execute("PRAGMA table_info(meta)")] == ["key", "value"]


def test_a_migration_of_a_journal_in_use_keeps_what_is_in_it(closed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    with closing(fresh(closed)) as connection:
        before = connection.execute("SELECT line FROM record ORDER BY seq").fetchall()
        migrate(connection, script=lambda version: "CREATE TABLE extra (x);\n")
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION + 1,)
        assert connection.execute("SELECT line FROM record ORDER BY seq").fetchall() == before
        migrate(connection, script=lambda version: pytest.fail("it is up to date"))


def test_a_new_journal_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    """Whoever looks while it is made must not find a schema that no dockd has ever worked with."""
    path, seen = tmp_path / "journal.db", []

    def script(version: int) -> str:
        with closing(fresh(path)) as other:
            seen.append(other.execute("PRAGMA user_version").fetchone()[0])
        return schema_script(version)

    with closing(fresh(path)) as connection:
        migrate(connection, script=script)
    assert seen == [0] * SCHEMA_VERSION


def test_a_journal_of_an_earlier_version_is_nothing_damaged(closed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    with pytest.raises(ServiceMissingError, match="earlier version"):
        open_for_reading(closed)
    monkeypatch.setattr(database, "schema_script", lambda version: "CREATE TABLE extra (x);\n")
    monkeypatch.setattr(database.migrate, "__defaults__", (database.schema_script,))
    open_for_writing(closed).close()
    open_for_reading(closed).close()


def test_a_schema_file_that_ends_within_a_statement_is_refused(tmp_path: Path) -> None:
    with closing(fresh(tmp_path / "journal.db")) as connection:
        with pytest.raises(AssertionError):
            migrate(connection, script=lambda version: "CREATE TABLE a (x);\nCREATE TABLE b (\n")
        assert tables(connection) == []


# --- from the future, or no journal ------------------------------------------------------------------


def test_a_journal_of_a_later_version_is_refused_unchanged(closed: Path) -> None:
    raw(closed, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    error = refused(closed, JournalTooNewError)
    assert str(SCHEMA_VERSION + 1) in error.message
    with pytest.raises(JournalTooNewError):
        open_for_reading(closed, in_use=False)


def test_a_journal_of_a_later_version_that_lost_its_power_is_refused_unchanged(desk: Desk, tmp_path: Path) -> None:
    """Its newest commits lie in the -wal: folding them in would change the file that a later version made."""
    desk.ask("PRAGMA wal_autocheckpoint = 0")
    desk.bring_to(RecordingState.WIPED)
    desk.ask(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    path = pulled_plug(desk.path, tmp_path / "after")
    refused(path, JournalTooNewError)


def test_a_damaged_journal_that_lost_its_power_is_refused_unchanged(desk: Desk, tmp_path: Path) -> None:
    desk.bring_to(RecordingState.WIPED)
    raw(desk.path, "PRAGMA wal_checkpoint(TRUNCATE)")
    desk.do(lambda tx: tx.append(ClockStepped(step_ms=1)))
    path = pulled_plug(desk.path, tmp_path / "after")
    middle_pages(path)
    refused(path, JournalDamagedError)


def test_another_programs_database_is_refused_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    raw(path, "CREATE TABLE theirs (x)", "INSERT INTO theirs VALUES (1)")
    refused(path, JournalDamagedError)
    with pytest.raises(JournalDamagedError):
        open_for_reading(path, in_use=False)


# --- damage ------------------------------------------------------------------------------------------

PAGE = 4096


def spoil(path: Path, start: int, size: int, seed: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[start : start + size] = random.Random(seed).randbytes(size)
    path.write_bytes(data)


def header(path: Path) -> None:
    spoil(path, 0, 100)


def first_page(path: Path) -> None:
    spoil(path, 100, PAGE - 100)


def middle_pages(path: Path) -> None:
    pages = path.stat().st_size // PAGE
    for page in range(2, pages):
        spoil(path, page * PAGE, 64, seed=page)


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 // PAGE * PAGE])


def text(path: Path) -> None:
    path.write_bytes(b"this is no database\n" * 1000)


def an_index_that_lost_a_row(path: Path) -> None:
    """Right pages with wrong contents: rows that an index does not know."""
    raw(
        path,
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = 'CREATE INDEX docking_of_camera ON docking (id, camera)' "
        "WHERE name = 'docking_of_camera'",
    )
    raw(
        path,
        "INSERT INTO docking (name, camera, bay, state, started_utc, write_block) VALUES ('x', 1, 1, 'ended', '', '')",
    )


@pytest.mark.parametrize("damage", [header, first_page, middle_pages, cut_in_half, text])
def test_a_damaged_journal_is_refused_unchanged(closed: Path, damage: Callable[[Path], None]) -> None:
    damage(closed)
    refused(closed, JournalDamagedError)


@pytest.mark.parametrize("damage", [header, text])
def test_what_is_no_database_is_refused_for_reading_too(closed: Path, damage: Callable[[Path], None]) -> None:
    damage(closed)
    with pytest.raises(JournalDamagedError):
        open_for_reading(closed, in_use=False)


def test_a_sound_journal_is_opened_again_and_again(closed: Path) -> None:
    for _ in range(3):
        open_for_writing(closed).close()


# --- power cuts, and reading -------------------------------------------------------------------------


def counted(connection: sqlite3.Connection) -> tuple[int, int]:
    records = connection.execute("SELECT count(*) FROM record").fetchone()[0]
    return records, connection.execute("SELECT count(*) FROM recording").fetchone()[0]


def cannot_write(connection: sqlite3.Connection) -> None:
    for statement in (
        "INSERT INTO meta VALUES ('a', 'b')",
        "UPDATE chain SET acknowledged = 1",
        "CREATE TABLE other (x)",
        "PRAGMA user_version = 99",
    ):
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute(statement)


def test_what_was_committed_survives_a_power_cut(desk: Desk, tmp_path: Path) -> None:
    desk.bring_to(RecordingState.WIPED)
    lines = desk.lines()
    for name in ("once", "twice"):
        path = pulled_plug(desk.path, tmp_path / name)
        with desk_in(path.parent) as after:
            assert after.lines() == lines
            assert after.newest().state is RecordingState.WIPED
            after.do(lambda tx: tx.append(ClockStepped(step_ms=1)))
            assert find_break(after.lines()) is None


def test_half_a_commit_is_none(desk: Desk, tmp_path: Path) -> None:
    """The end of the -wal is torn: the last commit is gone whole, and the chain ends before it."""
    desk.do(lambda tx: tx.append(ClockStepped(step_ms=1)))
    lines = desk.lines()
    size = desk.path.with_name("journal.db-wal").stat().st_size
    desk.do(lambda tx: tx.append(ClockStepped(step_ms=2)))
    path = pulled_plug(desk.path, tmp_path / "after")
    wal = path.with_name("journal.db-wal")
    wal.write_bytes(wal.read_bytes()[: size + 2000])
    with desk_in(path.parent) as after:
        assert after.lines() == lines


def test_a_journal_is_read_while_it_is_written(desk: Desk) -> None:
    desk.bring_to(RecordingState.SPOOLED)
    with closing(open_for_reading(desk.path, in_use=True)) as reader:
        before = counted(reader)
        assert before == (len(desk.lines()), 1)
        cannot_write(reader)
        desk.bring_to(RecordingState.FOUND, b"two.mp4")
        assert counted(reader) == (len(desk.lines()), 2)
    desk.do(lambda tx: tx.set_meta("still", "writable"))


def test_a_journal_that_was_left_in_the_middle_is_read_with_all_that_was_committed(desk: Desk, tmp_path: Path) -> None:
    desk.bring_to(RecordingState.SPOOLED)
    path = pulled_plug(desk.path, tmp_path / "after")
    before = files(path)
    with closing(open_for_reading(path, in_use=False)) as reader:
        assert counted(reader) == (len(desk.lines()), 1)
        cannot_write(reader)
    assert files(path) == before


def test_a_closed_journal_is_read_and_stays_as_it_is(closed: Path) -> None:
    before = {file.name: file.read_bytes() for file in closed.parent.iterdir()}
    assert list(before) == ["journal.db"]
    with closing(open_for_reading(closed, in_use=False)) as reader:
        assert counted(reader)[1] == 12
        cannot_write(reader)
    assert {file.name: file.read_bytes() for file in closed.parent.iterdir()} == before


@pytest.mark.parametrize("in_use", [False, True])
def test_where_there_is_no_journal_none_is_made_by_looking(tmp_path: Path, in_use: bool) -> None:
    with pytest.raises(FileNotFoundError):
        open_for_reading(tmp_path / "journal.db", in_use=in_use)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("in_use", [False, True])
def test_a_journal_that_was_only_begun_counts_as_none(tmp_path: Path, in_use: bool) -> None:
    (tmp_path / "journal.db").touch()
    with pytest.raises(FileNotFoundError):
        open_for_reading(tmp_path / "journal.db", in_use=in_use)
    raw(tmp_path / "journal.db", "PRAGMA journal_mode = WAL")
    with pytest.raises(FileNotFoundError):
        open_for_reading(tmp_path / "journal.db", in_use=in_use)


def test_a_name_with_marks_of_an_address_in_it_is_read_as_a_name(tmp_path: Path) -> None:
    folder = tmp_path / "a b?mode=rw#c%41"
    folder.mkdir()
    with desk_in(folder) as desk:
        desk.dock()
        with closing(open_for_reading(desk.path, in_use=True)) as reader:
            assert counted(reader) == (1, 0)
            cannot_write(reader)
