"""Legal holds: kept in the store, so that every dock obeys them.

`{agency}/holds/{hold}.json` brings a hold into force, `{hold}.lifted.json` beside it lifts it. A hold that
the journal has seen stays in force until it is seen lifted: one that merely disappears was not lifted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from dockd.errors import StoreConflictError
from dockd.events import HoldAdded, HoldRemoved
from dockd.identity import display_name
from dockd.journal.transaction import Transaction
from dockd.stores.base import EvidenceStore

_LIFTED = ".lifted.json"
_HINT = "Nothing is wiped while a hold cannot be read. Correct the file in the store, or take it away if it is a copy."


def _hex(text: str) -> str:
    bytes.fromhex(text)
    return text


HexBytes = Annotated[str, AfterValidator(_hex)]


class Hold(BaseModel):
    """One legal hold, as it lies in the store; bytes are hex."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    hold: str
    scope: Literal["camera", "recording"]
    camera: str
    camera_hex: HexBytes
    recording: str | None = None
    path_hex: HexBytes | None = None
    blake3: str | None = None
    reason: str
    by: str
    created: str
    dock: str


class Lift(BaseModel):
    """The lifting of a hold."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    hold: str
    reason: str
    by: str
    created: str
    dock: str


@dataclass(frozen=True, slots=True)
class StoredHolds:
    """All holds that the store has: those in force, and those that were lifted."""

    in_force: Sequence[Hold]
    lifted: Sequence[Lift]


def holds_prefix(agency: str) -> str:
    """The folder of the store that keeps holds."""
    return f"{agency}/holds"


def read_holds(store: EvidenceStore, agency: str) -> StoredHolds:
    """All holds in the store; raises what the store raises, and StoreConflictError for an unreadable hold."""
    holds: dict[str, Hold] = {}
    lifts: dict[str, Lift] = {}
    for key in store.list_small(holds_prefix(agency)):
        name = key.rsplit("/", 1)[-1]
        if not name.endswith(".json"):
            continue
        data = store.get_small(key)
        try:
            if data is None:
                raise StoreConflictError(f"hold {key} disappeared while it was read")
            if name.endswith(_LIFTED):
                lift = Lift.model_validate_json(data)
                lifts[_named(key, lift.hold, name.removesuffix(_LIFTED))] = lift
            else:
                hold = Hold.model_validate_json(data)
                holds[_named(key, hold.hold, name.removesuffix(".json"))] = hold
        except ValidationError as error:
            raise StoreConflictError(f"hold {key} cannot be read: {error.error_count()} problems", _HINT) from error
    in_force = [hold for name, hold in holds.items() if name not in lifts]
    return StoredHolds(in_force, list(lifts.values()))


def _named(key: str, says: str, name: str) -> str:
    """The hold's name, which its file must bear: a copy under another name could not be lifted."""
    if says != name:
        raise StoreConflictError(f"hold {key} says that it is hold {says!r}", _HINT)
    return name


def mirror_holds(tx: Transaction, stored: StoredHolds) -> None:
    """Bring the journal's mirror up to what the store says; new and lifted holds are recorded."""
    known = {name for (name,) in tx.all("SELECT name FROM hold")}
    for hold in stored.in_force:
        if hold.hold in known:
            continue
        tx.insert(
            "hold",
            name=hold.hold,
            camera=bytes.fromhex(hold.camera_hex),
            scope=hold.scope,
            recording=hold.recording,
            path=None if hold.path_hex is None else bytes.fromhex(hold.path_hex),
            blake3=hold.blake3,
            json=hold.model_dump_json(),
        )
        subject = display_name(bytes.fromhex(hold.camera_hex)) if hold.scope == "camera" else str(hold.recording)
        tx.append(HoldAdded(hold=hold.hold, scope=hold.scope, subject=subject, reason=hold.reason, by=hold.by))
    for lift in stored.lifted:
        if lift.hold in known:
            tx.run("DELETE FROM hold WHERE name = ?", lift.hold)
            tx.append(HoldRemoved(hold=lift.hold, reason=lift.reason, by=lift.by))


def publish_hold(store: EvidenceStore, agency: str, hold: Hold) -> None:
    """Bring a hold into force: durable in the store when this returns."""
    store.put_small(f"{holds_prefix(agency)}/{hold.hold}.json", hold.model_dump_json().encode())


def publish_lift(store: EvidenceStore, agency: str, lift: Lift) -> None:
    """Lift a hold."""
    store.put_small(f"{holds_prefix(agency)}/{lift.hold}{_LIFTED}", lift.model_dump_json().encode())
