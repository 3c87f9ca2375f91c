"""One transaction of the journal: `move` and `append` are the only ways to change a state and to record it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

from dockd.custody.chain import GENESIS, ClockReading, chain_name, line_digest, make_line
from dockd.errors import IllegalMoveError
from dockd.events import Event, Head
from dockd.journal.rows import CameraRow, DockingRow, RecordingRow, columns, storable
from dockd.lifecycle import DockingState, RecordingState, check_docking_move, check_recording_move
from dockd.runtime.clock import Clock

RECORDING_COLUMNS = columns(RecordingRow, table="recording")
DOCKING_COLUMNS = columns(DockingRow, table="docking")
CAMERA_COLUMNS = columns(CameraRow, table="camera")

_FREE_COLUMNS = frozenset(
    field for field in RecordingRow.__slots__ if field not in {"id", "uid", "camera", "path", "generation", "state"}
)


class Transaction:
    """A unit of work inside the writer thread; everything in it is stored, or nothing is."""

    def __init__(self, connection: sqlite3.Connection, clock: Clock, dock: str) -> None:
        self.connection = connection
        self.clock = clock
        self.dock = dock
        self._chain: int | None = None
        self._head = Head(chain="", seq=0, sha256=GENESIS)

    # --- reading -------------------------------------------------------------------------------------

    def one(self, sql: str, *values: object) -> tuple[Any, ...] | None:
        """The first row of a query, or None."""
        row: tuple[Any, ...] | None = self.connection.execute(sql, values).fetchone()
        return row

    def all(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        return self.connection.execute(sql, values).fetchall()

    def recordings(self, where: str, *values: object) -> list[RecordingRow]:
        """The recordings that a condition over table `recording` selects."""
        sql = f"SELECT {RECORDING_COLUMNS} FROM recording WHERE {where}"  # noqa: S608 - constant conditions
        return [RecordingRow.from_row(row) for row in self.all(sql, *values)]

    def recording(self, recording_id: int) -> RecordingRow:
        """One recording by its row id; raises KeyError."""
        found = self.recordings("id = ?", recording_id)
        if not found:
            raise KeyError(recording_id)
        return found[0]

    def camera(self, camera_id: int) -> CameraRow:
        """One camera by its row id; raises KeyError."""
        row = self.one(f"SELECT {CAMERA_COLUMNS} FROM camera WHERE id = ?", camera_id)  # noqa: S608
        if row is None:
            raise KeyError(camera_id)
        return CameraRow.from_row(row)

    def docking(self, docking_id: int) -> DockingRow:
        """One docking by its row id; raises KeyError."""
        row = self.one(f"SELECT {DOCKING_COLUMNS} FROM docking WHERE id = ?", docking_id)  # noqa: S608
        if row is None:
            raise KeyError(docking_id)
        return DockingRow.from_row(row)

    def meta(self, key: str) -> str | None:
        """A value of table `meta`."""
        row = self.one("SELECT value FROM meta WHERE key = ?", key)
        return None if row is None else str(row[0])

    # --- writing -------------------------------------------------------------------------------------

    def run(self, sql: str, *values: object) -> int:
        """Run a statement that changes no state; the number of rows it changed."""
        return self.connection.execute(sql, values).rowcount

    def insert(self, table: str, **values: object) -> int:
        """Insert a row; its id."""
        names = ", ".join(values)
        marks = ", ".join("?" * len(values))
        sql = f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608 - names are the program's own
        rowid = self.connection.execute(sql, tuple(map(storable, values.values()))).lastrowid
        assert rowid is not None
        return rowid

    def set_meta(self, key: str, value: str) -> None:
        """Store a value in table `meta`."""
        self.run("INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", key, value)

    def update(self, recording: RecordingRow, **values: object) -> None:
        """Change what is known of a recording, but not its state."""
        assert "state" not in values, "a state changes by a move"
        self._update(recording, values)

    def move(
        self,
        recording: RecordingRow,
        to: RecordingState,
        events: Iterable[Event],
        *,
        only_from: RecordingState | None = None,
        **values: object,
    ) -> None:
        """Move a recording to state `to` and record why; the only way to change a recording's state.

        Raises IllegalMoveError when the table of moves does not know the move, when the row is no longer in
        the state in which the caller saw it, or not in `only_from`, the one that the caller's reason is for.
        """
        if only_from is not None and recording.state is not only_from:
            raise IllegalMoveError(f"recording {recording.uid} is {recording.state}, not {only_from}")
        row = self.one("SELECT state FROM recording WHERE id = ?", recording.id)
        assert row is not None
        if row[0] != recording.state:
            raise IllegalMoveError(f"recording {recording.uid} is {row[0]} by now, not {recording.state}")
        check_recording_move(recording.state, to)
        written = 0
        for event in events:
            self.append(event)
            written += 1
        assert written, "a state change without a record"
        self._update(recording, {"state": to, **values})

    def _update(self, recording: RecordingRow, values: dict[str, Any]) -> None:
        unknown = values.keys() - _FREE_COLUMNS - {"state"}
        assert not unknown, unknown
        names = ", ".join(f"{name} = ?" for name in values)
        sql = f"UPDATE recording SET {names} WHERE id = ?"  # noqa: S608 - names are checked above
        self.connection.execute(sql, (*map(storable, values.values()), recording.id))

    def move_docking(self, docking: DockingRow, to: DockingState, **values: object) -> None:
        """Move a docking to state `to`; raises IllegalMoveError."""
        check_docking_move(docking.state, to)
        names = "".join(f", {name} = ?" for name in values)
        sql = f"UPDATE docking SET state = ?{names} WHERE id = ?"  # noqa: S608 - the program's own names
        self.connection.execute(sql, (to, *values.values(), docking.id))

    # --- the chain -----------------------------------------------------------------------------------

    @property
    def head(self) -> Head:
        """The last record of the present chain, as of this transaction."""
        return self._head

    @property
    def chain(self) -> int:
        """The journal's number of the present chain."""
        assert self._chain is not None, "no record was written yet"
        return self._chain

    def append(self, event: Event) -> int:
        """Add one record to the chain; its number."""
        seq = self._head.seq + 1
        now = self.clock.synchronised()
        line = make_line(
            seq=seq,
            prev=self._head.sha256,
            time=self.clock.now(),
            clock=ClockReading(now.synchronised, now.source, now.uncertainty_ms),
            dock=self.dock,
            event=event,
        )
        if self._chain is None:
            self._chain = self.insert("chain", name=chain_name(line), acknowledged=1)
            self._head = Head(chain=chain_name(line), seq=0, sha256=GENESIS)
        self.insert("record", chain=self._chain, seq=seq, line=line)
        self._head = Head(chain=self._head.chain, seq=seq, sha256=line_digest(line))
        return seq

    def begin_chain(self, event: Event, *, acknowledged: bool) -> None:
        """Begin a new chain with `event` as its first record."""
        self._chain = None
        self._head = Head(chain="", seq=0, sha256=GENESIS)
        self.append(event)
        self.run("UPDATE chain SET acknowledged = ? WHERE id = ?", acknowledged, self._chain)

    def load_head(self) -> None:
        """Find the present chain and its last record."""
        row = self.one("SELECT id, name FROM chain ORDER BY id DESC LIMIT 1")
        if row is None:
            return
        last = self.one("SELECT seq, CAST(line AS BLOB) FROM record WHERE chain = ? ORDER BY seq DESC LIMIT 1", row[0])
        self._chain = row[0]
        # One that has no records, or none that can be read, is found broken when the daemon starts.
        seq, line = (0, b"") if last is None else (last[0], last[1])
        digest = GENESIS if last is None else line_digest(line.decode("utf-8", "replace"))
        self._head = Head(chain=row[1], seq=seq, sha256=digest)

    def save_point(self) -> tuple[int | None, Head]:
        """What `roll_back_to` needs to take back appended records."""
        return self._chain, self._head

    def roll_back_to(self, point: tuple[int | None, Head]) -> None:
        """Forget the records appended since `save_point`, after their rows were rolled back."""
        self._chain, self._head = point
