"""Opening the journal's file: settings, schema versions, and the checks that can be made in bounded time."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import TypeVar

from dockd.custody.chain import GENESIS, chain_name, find_break, line_digest
from dockd.errors import JournalBusyError, JournalDamagedError, JournalTooNewError, ServiceMissingError, SpoolFullError

T = TypeVar("T")

APPLICATION_ID = 0x646F636B  # "dock"
SCHEMA_VERSION = 2
CHECKED_RECORDS = 1000
"""How many of the newest records are checked at start; the whole chain is checked by an audit."""

LINE_BYTES = "CASE typeof(line) WHEN 'text' THEN CAST(line AS BLOB) ELSE x'' END"
"""A record's line for whoever must not stumble over one that was spoilt: what is no text, or no UTF-8, is no JSON."""

QUICK_CHECK_LIMIT_PAGES = 16_384
"""Journals up to this size (64 MiB) are checked whole at start; larger ones by an audit."""

_FULL = (sqlite3.SQLITE_FULL,)
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def translate(error: sqlite3.Error) -> Exception:
    """What a database error means: no room (goes away), or a journal that cannot be trusted."""
    code = getattr(error, "sqlite_errorcode", None)
    if code in _FULL:
        return SpoolFullError("there is no room for the journal on the disk that holds state_dir")
    if code in _BUSY:
        return JournalBusyError("another program holds the journal's lock")
    if isinstance(error, sqlite3.ProgrammingError | sqlite3.IntegrityError):
        return error
    return JournalDamagedError(f"the journal cannot be used: {error}")


def guarded(function: Callable[[], T]) -> T:
    """Run `function`, with database errors translated."""
    try:
        return function()
    except sqlite3.Error as error:
        raise translate(error) from error


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Open or make the journal, bring its schema up to date, and check it.

    Raises JournalTooNewError or JournalDamagedError, having changed nothing then.
    """
    _check_before_touching(path)
    return guarded(lambda: _open_for_writing(path))


def _check_before_touching(path: Path) -> None:
    """Look at an existing journal read-only: opening it for writing would already change its files."""
    try:
        connection = open_for_reading(path, any_version=True)
    except FileNotFoundError:
        return
    try:
        guarded(lambda: check_database(connection))
    finally:
        connection.close()


def _open_for_writing(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    try:
        _check_version(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA cache_size = -8192")
        connection.execute("PRAGMA temp_store = MEMORY")
        migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def open_for_reading(path: Path, *, in_use: bool = False, any_version: bool = False) -> sqlite3.Connection:
    """Open the journal without any way to write to it; `in_use` tells that a daemon has it open.

    Raises FileNotFoundError if there is no journal, or one that a daemon has only begun to make;
    JournalTooNewError, JournalDamagedError, and ServiceMissingError for an older one unless `any_version`.
    """
    if not path.exists() or path.stat().st_size == 0:
        raise FileNotFoundError(path)
    # After a clean stop there is no -wal file, and SQLite could not make one read-only.
    quiet = not in_use and not path.with_name(path.name + "-wal").exists()

    def connect() -> sqlite3.Connection:
        uri = f"{path.absolute().as_uri()}?mode=ro" + ("&immutable=1" if quiet else "")
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=10)
        try:
            _check_version(connection, path)
            version = connection.execute("PRAGMA user_version").fetchone()[0]
        except sqlite3.OperationalError as error:
            connection.close()
            if in_use and getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_CANTOPEN:
                raise FileNotFoundError(path) from error
            raise
        except BaseException:
            connection.close()
            raise
        if version == 0:
            connection.close()
            raise FileNotFoundError(path)
        if version < SCHEMA_VERSION and not any_version:
            connection.close()
            raise ServiceMissingError(
                f"{path} is of an earlier version of dockd",
                "Nothing is wrong with it: start dockd, which takes it over.",
            )
        return connection

    return guarded(connect)


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables and application != APPLICATION_ID:
        raise JournalDamagedError(f"{path} is not a journal of dockd")
    if version > SCHEMA_VERSION:
        raise JournalTooNewError(f"{path} has schema version {version}; this dockd knows {SCHEMA_VERSION}")


def schema_script(version: int) -> str:
    """The SQL that leads from schema `version - 1` to `version`."""
    return resources.files("dockd.journal").joinpath(f"schema_v{version}.sql").read_text(encoding="utf-8")


def migrate(connection: sqlite3.Connection, script: Callable[[int], str] = schema_script) -> None:
    """Bring the schema up to date, each version in one transaction: all of it or nothing.

    A new journal gets all of them in one: whoever reads it meanwhile finds it made, or not yet.
    """
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    steps = range(version + 1, SCHEMA_VERSION + 1)
    for versions in [steps] if version == 0 else [[step] for step in steps]:
        _migrate_to(connection, [(step, script(step)) for step in versions])


def _migrate_to(connection: sqlite3.Connection, scripts: Sequence[tuple[int, str]]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for version, script in scripts:
            for statement in _statements(script):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {version}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _statements(script: str) -> list[str]:
    """Split a script; `executescript` would commit the transaction that makes a migration all-or-nothing."""
    found: list[str] = []
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            found.append(pending)
            pending = ""
    assert not pending.strip(), "an unfinished statement in a schema file"
    return found


def check_database(connection: sqlite3.Connection, *, whole: bool = False) -> None:
    """Check the pages of a journal of bounded size, or of any size if `whole`; raises JournalDamagedError."""
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    if not whole and pages > QUICK_CHECK_LIMIT_PAGES:
        return
    problems = [row[0] for row in connection.execute("PRAGMA quick_check(5)")]
    if problems != ["ok"]:
        raise JournalDamagedError("the journal's pages are damaged: " + "; ".join(map(str, problems)))


def check_recent_chain(connection: sqlite3.Connection, limit: int = CHECKED_RECORDS) -> None:
    """Check the newest records of the present chain; raises JournalDamagedError at the first break."""
    chain = connection.execute("SELECT id, name FROM chain ORDER BY id DESC LIMIT 1").fetchone()
    if chain is None:
        return
    rows = connection.execute(
        f"SELECT seq, {LINE_BYTES} FROM record WHERE chain = ? ORDER BY seq DESC LIMIT ?",  # noqa: S608 - constant
        (chain[0], limit + 1),
    ).fetchall()[::-1]
    rows = [(seq, line.decode("utf-8", "replace")) for seq, line in rows]
    if not rows:
        raise JournalDamagedError(f"chain {chain[1]} has no records")
    if rows[0][0] == 1 or len(rows) <= limit:
        if chain_name(rows[0][1]) != chain[1]:
            raise JournalDamagedError(f"the first record of chain {chain[1]} is not the one that named it")
        found = find_break((row[1] for row in rows), seq=1, prev=GENESIS)
    else:
        found = find_break((row[1] for row in rows[1:]), seq=rows[1][0], prev=line_digest(rows[0][1]))
    if found is not None:
        raise JournalDamagedError(f"record {found.seq} of chain {chain[1]} breaks the chain: {found.what}")
