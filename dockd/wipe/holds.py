"""Legal holds: kept in the store, so that every dock obeys them.

`{agency}/holds/{hold}.json` brings a hold into force, `{hold}.lifted.json` beside it lifts it, if an approver of
this dock's configuration signed that (`approval.py`): who can write to the store can place holds, and lift none.
A hold that the journal has seen stays in force until it is seen lifted: one that merely disappears was not lifted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from dockd.errors import NotApprovedError, StoreConflictError
from dockd.events import HoldAdded, HoldRemoved
from dockd.identity import display_name
from dockd.journal.transaction import Transaction
from dockd.stores.base import EvidenceStore

_LIFTED = ".lifted.json"
_HINT = "Nothing is wiped while a hold cannot be read. Correct the file in the store, or take it away if it is a copy."
_IN_THE_WAY = "Find out who put that there, move it away, and lift the hold again."


def _hex(text: str) -> str:
    bytes.fromhex(text)
    return text


HexBytes = Annotated[str, AfterValidator(_hex)]
# Whatever the store says has to fit into a record.
UserId = Annotated[int, Field(ge=0, lt=2**32)]


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
    uid: UserId | None = None
    sudo_user: str | None = None


class Lift(BaseModel):
    """The lifting of a hold; without request, signature and key, as earlier versions wrote it, it lifts nothing."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    hold: str
    reason: str
    by: str
    approver: str | None = None
    approver_key: str | None = None
    request: str | None = None
    signature: str | None = None
    uid: UserId | None = None
    sudo_user: str | None = None
    created: str
    dock: str


@dataclass(frozen=True, slots=True)
class Lifted:
    """A lift that was approved: who did, by this dock's configuration, and for which hold's file."""

    lift: Lift
    approver: str
    fingerprint: str
    is_for: Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class RefusedLift:
    """A lift that is not obeyed, and why; its hold stays in force."""

    hold: str
    why: str


@dataclass(frozen=True, slots=True)
class StoredHolds:
    """All holds that the store has: those in force, those that were lifted, and lifts that are not obeyed."""

    in_force: Sequence[Hold]
    lifted: Sequence[Lifted]
    refused: Sequence[RefusedLift] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    """Each hold's own file."""


def holds_prefix(agency: str) -> str:
    """The folder of the store that keeps holds."""
    return f"{agency}/holds"


def read_holds(store: EvidenceStore, agency: str, approvers: Sequence[str]) -> StoredHolds:
    """All holds in the store; raises what the store raises, and StoreConflictError for an unreadable hold.

    `approvers` are names with their keys, as in the configuration.
    """
    holds: dict[str, Hold] = {}
    texts: dict[str, str] = {}
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
                lifts[name.removesuffix(_LIFTED)] = Lift.model_validate_json(data)
            else:
                hold = Hold.model_validate_json(data)
                holds[_named(key, hold.hold, name.removesuffix(".json"))] = hold
                texts[hold.hold] = data.decode()
        except ValidationError as error:
            raise StoreConflictError(f"hold {key} cannot be read: {error.error_count()} problems", _HINT) from error
    lifted, refused = _judge(store, agency, approvers, lifts, texts)
    gone = {found.lift.hold for found in lifted}
    return StoredHolds([hold for name, hold in holds.items() if name not in gone], lifted, refused, texts)


def _judge(
    store: EvidenceStore, agency: str, approvers: Sequence[str], lifts: Mapping[str, Lift], texts: Mapping[str, str]
) -> tuple[list[Lifted], list[RefusedLift]]:
    lifted: list[Lifted] = []
    refused: list[RefusedLift] = []
    if not lifts:
        return lifted, refused
    # It takes 50 ms to import, which a store without lifts is spared.
    from dockd.wipe.approval import Approvals  # noqa: PLC0415 - as said

    approvals = Approvals(store.identify(), agency, approvers)
    for name, lift in lifts.items():
        try:
            lifted.append(approvals.lifted(name, lift, texts.get(name)))
        except NotApprovedError as error:
            refused.append(RefusedLift(name, error.message))
    return lifted, refused


def _named(key: str, says: str, name: str) -> str:
    """The hold's name, which its file must bear: a copy under another name could not be lifted."""
    if says != name:
        raise StoreConflictError(f"hold {key} says that it is hold {says!r}", _HINT)
    return name


def mirror_holds(tx: Transaction, stored: StoredHolds) -> Sequence[RefusedLift]:
    """Bring the journal's mirror up to what the store says, and record it; the lifts that are not obeyed, and why."""
    known: dict[str, str] = dict(tx.all("SELECT name, json FROM hold"))
    for hold in stored.in_force:
        if hold.hold not in known:
            _take_in(tx, hold, stored.texts[hold.hold])
    refused = list(stored.refused)
    for found in stored.lifted:
        lift = found.lift
        if lift.hold not in known:
            continue
        if not found.is_for(known[lift.hold]):
            refused.append(RefusedLift(lift.hold, "what was approved is not the hold that this dock took note of"))
            continue
        tx.run("DELETE FROM hold WHERE name = ?", lift.hold)
        tx.append(
            HoldRemoved(
                hold=lift.hold,
                reason=lift.reason,
                by=lift.by,
                approver=found.approver,
                approver_key=found.fingerprint,
                uid=lift.uid,
                sudo_user=lift.sudo_user,
            )
        )
    return refused


def _take_in(tx: Transaction, hold: Hold, text: str) -> None:
    tx.insert(
        "hold",
        name=hold.hold,
        camera=bytes.fromhex(hold.camera_hex),
        scope=hold.scope,
        recording=hold.recording,
        path=None if hold.path_hex is None else bytes.fromhex(hold.path_hex),
        blake3=hold.blake3,
        # The file as it is: a lift is approved for these bytes and no others.
        json=text,
    )
    subject = display_name(bytes.fromhex(hold.camera_hex)) if hold.scope == "camera" else str(hold.recording)
    tx.append(
        HoldAdded(
            hold=hold.hold,
            scope=hold.scope,
            subject=subject,
            reason=hold.reason,
            by=hold.by,
            uid=hold.uid,
            sudo_user=hold.sudo_user,
        )
    )


def publish_hold(store: EvidenceStore, agency: str, hold: Hold) -> None:
    """Bring a hold into force: durable in the store when this returns."""
    store.put_small(f"{holds_prefix(agency)}/{hold.hold}.json", hold.model_dump_json().encode())


def publish_lift(store: EvidenceStore, agency: str, lift: Lift) -> None:
    """Lift a hold; raises StoreConflictError where something else lies in the lift's place."""
    key = lift_key(agency, lift.hold)
    try:
        store.put_small(key, lift.model_dump_json().encode())
    except StoreConflictError as error:
        raise StoreConflictError(error.message, f"The hold stays in force. {_IN_THE_WAY}") from error


def lift_key(agency: str, hold: str) -> str:
    """Where the store keeps the lifting of a hold."""
    return f"{holds_prefix(agency)}/{hold}{_LIFTED}"
