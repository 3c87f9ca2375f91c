"""What came in on one day, a row for each recording: where it is, and since when that is proven."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final, TextIO

from dockd.identity import display_name, name_fields, plain_text
from dockd.journal.transaction import Transaction
from dockd.lifecycle import IN_STORE, RecordingState

_QUERY: Final = """
    SELECT uid, serial, docking.bay, docking.name, docking.started_utc, found_utc, path, generation, size_bytes, sha256,
           store_key, recording.state, bucket, store_fault, confirmed_utc, wiped_utc, record.line
    FROM recording JOIN camera ON camera.id = recording.camera
    LEFT JOIN docking ON docking.id = (SELECT min(docking) FROM seen WHERE recording = recording.id)
    LEFT JOIN record ON record.chain = confirmed_chain AND record.seq = confirmed_seq
    WHERE found_utc >= ? AND found_utc < ? ORDER BY docking.id, path, generation"""

_FORMULA: Final = tuple("=+-@＝＋－＠")  # noqa: RUF001 - spreadsheets take the wide ones for formulas, too
CSV_COLUMNS: Final = (
    *("camera", "camera_hex", "bay", "docking", "docked_at", "recording", "found_at", "path", "path_hex", "generation"),
    *("size_bytes", "sha256", "state", "place", "key", "store_fault"),
    *("confirmed_at", "confirmed_clock_synchronised", "confirmed_clock_uncertainty_ms", "wiped_at"),
)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One recording that was found on the day. Times are RFC 3339, UTC, of the dock's clock.

    `place` is the count that it belongs to; `key` is where the store holds it, None unless that was seen.
    `clock` is what the kernel said of its clock when it was confirmed, None if that is not known.
    """

    recording: str
    camera: bytes
    bay: str | None
    docking: str | None
    docked_at: str | None
    found_at: str
    path: bytes
    generation: int
    size_bytes: int
    sha256: str | None
    key: str | None
    state: str
    place: str
    store_fault: str | None
    confirmed_at: str | None
    wiped_at: str | None
    clock: Mapping[str, Any] | None

    def payload(self) -> dict[str, Any]:
        """The row for JSON."""
        found = {name: getattr(self, name) for name in self.__slots__ if name not in ("camera", "path", "clock")}
        return {
            **name_fields("camera", self.camera),
            **name_fields("path", self.path),
            **found,
            "confirmed_clock": self.clock,
        }


def arrivals(tx: Transaction, day: date) -> Iterator[Arrival]:
    """The recordings that were found for the first time on `day` (UTC), by docking and path."""
    for row in tx.connection.execute(_QUERY, (day.isoformat(), (day + timedelta(days=1)).isoformat())):
        values = dict(zip(Arrival.__slots__, row, strict=True))
        if RecordingState(values["state"]) not in IN_STORE:
            # A key is known before anything is there.
            values["key"] = None
        if values["clock"] is not None:
            values["clock"] = json.loads(values["clock"])["clock"]
        yield Arrival(**values)


def write_csv(found: Sequence[Arrival], to: TextIO) -> None:
    """The rows as CSV with a line of names above; what a spreadsheet would take for a formula begins with a '."""
    writer = csv.writer(to, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for row in found:
        camera, path = _cell(display_name(row.camera)), _cell(display_name(row.path))
        clock = row.clock or {}
        cells = {
            **{name: getattr(row, name) for name in row.__slots__ if name in CSV_COLUMNS},
            "camera": camera,
            "camera_hex": _hex(camera, row.camera),
            "path": path,
            "path_hex": _hex(path, row.path),
            "confirmed_clock_synchronised": _yes_or_no(clock.get("synchronised")),
            "confirmed_clock_uncertainty_ms": clock.get("uncertainty_ms"),
        }
        writer.writerow([_cell("" if cells[name] is None else str(cells[name])) for name in CSV_COLUMNS])


def _yes_or_no(told: bool | None) -> str:
    return "" if told is None else "yes" if told else "no"


def _cell(text: str) -> str:
    plain = plain_text(text)
    return f"'{plain}" if plain.startswith(_FORMULA) else plain


def _hex(cell: str, raw: bytes) -> str:
    """The name's bytes, where its cell is not the very name."""
    return "" if cell.encode() == raw else raw.hex()
