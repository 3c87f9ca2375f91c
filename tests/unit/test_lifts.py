"""Lifts: a hold ends on a second person's signed word for that very hold, and on nothing else in the store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import approvals
import pytest
from contract.tools import content, plant
from contract.wiping import Gate, at_the_gate
from contract.world import AGENCY
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dockd.custody.sshsig import CUSTODY, PublicKey
from dockd.errors import StoreConflictError, UsageError
from dockd.report.payloads import event_message
from dockd.wipe import mirror
from dockd.wipe.approval import Approvals, same_person
from dockd.wipe.holds import Hold, Lift, mirror_holds, publish_hold, publish_lift, read_holds

ONE = b"DCIM/one.MP4"
OTHER_KEY = Ed25519PrivateKey.generate()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    with at_the_gate(tmp_path / "dock", {ONE: content(5000)}) as made:
        yield made


def changed(lift: Lift, **fields: Any) -> Lift:
    return lift.model_copy(update=fields)


def signed_anew(lift: Lift, request: str, key: Ed25519PrivateKey = approvals.KEY, **more: str) -> Lift:
    public = PublicKey.of(key).line
    return changed(lift, request=request, signature=approvals.signature(request, key, **more), approver_key=public)


def put(gate: Gate, lift: Lift, name: str = "case-1") -> None:
    """Write a lift into the store as whoever can write there."""
    plant(gate.holds_folder() / f"{name}.lifted.json", lift.model_dump_json().encode())


def told(gate: Gate) -> list[str]:
    return [alert.what for alert in gate.alerts.standing() if alert.code == "hold_lift_refused"]


def old_format(gate: Gate) -> Lift:
    full = gate.approved().model_dump()
    return Lift.model_validate({key: full[key] for key in ("hold", "reason", "by", "created", "dock")})


def request_by(gate: Gate, by: str, reason: str = "closed") -> str:
    text = (gate.holds_folder() / "case-1.json").read_text()
    return Approvals(gate.world.store.identify(), AGENCY, ()).request(text, reason, by)


def of_another_store(gate: Gate) -> str:
    text = (gate.holds_folder() / "case-1.json").read_text()
    return Approvals("0" * 32, AGENCY, ()).request(text, "closed", "a clerk")


def request_of(gate: Gate, lift: Lift) -> str:
    assert lift.request is not None
    return lift.request


FORGED: dict[str, tuple[Callable[[Gate, Lift], Lift], str]] = {
    "as earlier versions wrote it": (lambda gate, lift: old_format(gate), "nobody's approval"),
    "without a signature": (lambda gate, lift: changed(lift, signature=None), "nobody's approval"),
    "without a request": (lambda gate, lift: changed(lift, request=None), "nobody's approval"),
    "without a key": (lambda gate, lift: changed(lift, approver_key=None), "nobody's approval"),
    "of no signature": (lambda gate, lift: changed(lift, signature="signed, j.doe"), "does not hold"),
    "of a spoilt signature": (
        lambda gate, lift: changed(lift, signature=approvals.signature("another text")),
        "does not hold",
    ),
    "signed for another purpose": (
        lambda gate, lift: signed_anew(lift, request_of(gate, lift), namespace=CUSTODY),
        "dockd-custody",
    ),
    "signed with a key that nobody knows": (
        lambda gate, lift: signed_anew(lift, request_of(gate, lift), OTHER_KEY),
        "none of the approvers'",
    ),
    "that names another key": (
        lambda gate, lift: changed(lift, approver_key=PublicKey.of(OTHER_KEY).line),
        "another key",
    ),
    "approved by who asked for it": (
        lambda gate, lift: changed(signed_anew(lift, request_by(gate, "J.DOE")), by="J.DOE"),
        "second person",
    ),
    "said to be asked for by somebody else": (
        lambda gate, lift: changed(lift, by="another clerk"),
        "what was approved",
    ),
    "for another reason": (lambda gate, lift: changed(lift, reason="no reason"), "what was approved"),
    "of another store": (lambda gate, lift: signed_anew(lift, of_another_store(gate)), "what was approved"),
    "of any text": (lambda gate, lift: signed_anew(lift, "I agree\n"), "what was approved"),
    "with a line too many": (
        lambda gate, lift: changed(
            signed_anew(lift, request_of(gate, lift).replace("by: a", "by: x\nby: a")), reason="closed\nby: x"
        ),
        "what was approved",
    ),
}


@pytest.mark.parametrize("kind", FORGED)
async def test_a_forged_lift_is_not_obeyed_and_is_told(gate: Gate, kind: str) -> None:
    gate.hold()
    forge, why = FORGED[kind]
    put(gate, forge(gate, gate.approved()))
    assert await gate.refused(ONE) == "hold"
    (what,) = told(gate)
    assert "case-1" in what
    assert why in what
    assert "hold_removed" not in gate.world.events()
    # Once it is moved away all is as before, and the hold can be lifted.
    (gate.holds_folder() / "case-1.lifted.json").unlink()
    assert await gate.refused(ONE) == "hold"
    assert told(gate) == []
    gate.lift()
    await gate.round()
    gate.assert_wiped(ONE)


async def test_a_lift_that_was_moved_to_another_holds_name_lifts_neither(gate: Gate) -> None:
    gate.hold("case-1")
    gate.hold("case-2")
    put(gate, gate.approved("case-1"), "case-2")
    assert await gate.refused(ONE) == "hold"
    (what,) = told(gate)
    assert "hold case-2: it is the lifting of another hold" in what
    # With the other name written into it as well.
    put(gate, changed(gate.approved("case-1"), hold="case-2"), "case-2")
    assert await gate.refused(ONE) == "hold"
    assert "what was approved" in told(gate)[0]


async def test_a_hold_that_is_renamed_to_a_lift_lifts_nothing_here(gate: Gate) -> None:
    """What a hold says is enough for a lift as earlier versions wrote it."""
    gate.hold()
    assert await gate.refused(ONE) == "hold"
    folder = gate.holds_folder()
    (folder / "case-1.json").rename(folder / "case-1.lifted.json")
    assert await gate.refused(ONE) == "hold"
    assert "nobody's approval" in told(gate)[0]


async def test_where_nobody_may_approve_nothing_is_lifted(gate: Gate) -> None:
    gate.hold()
    gate.mirror.approvers = ()
    gate.lift()
    assert await gate.refused(ONE) == "hold"
    assert "none of the approvers'" in told(gate)[0]


async def test_who_approved_is_what_this_docks_configuration_calls_the_key(gate: Gate) -> None:
    gate.hold()
    assert await gate.refused(ONE) == "hold"
    gate.mirror.approvers = (f"m.roe {PublicKey.of(OTHER_KEY).line}", f"jane.doe {approvals.PUBLIC.line}")
    put(gate, changed(gate.approved(), approver="the chief"))
    await gate.round()
    gate.assert_wiped(ONE)
    (record,) = [record for record in records(gate) if record["event"] == "hold_removed"]
    assert record["approver"] == "jane.doe"


# --- what was approved is this hold ------------------------------------------------------------------


async def test_a_hold_whose_file_was_rewritten_is_not_lifted_by_an_approval_of_the_new_text(gate: Gate) -> None:
    """Who approves sees what lies in the store; the dock knows what it took note of."""
    hold = gate.hold()
    assert await gate.refused(ONE) == "hold"
    other = hold.model_copy(update={"camera": "CAM-9", "camera_hex": b"CAM-9".hex()})
    plant(gate.holds_folder() / "case-1.json", other.model_dump_json().encode())
    put(gate, gate.approved())
    assert await gate.refused(ONE) == "hold"
    assert "took note of" in told(gate)[0]
    assert "hold_removed" not in gate.world.events()


async def test_a_hold_whose_file_was_rewritten_after_the_approval_is_in_force_as_it_stands(gate: Gate) -> None:
    hold = gate.hold()
    lift = gate.approved()
    again = hold.model_copy(update={"reason": "case 2"})
    plant(gate.holds_folder() / "case-1.json", again.model_dump_json().encode())
    put(gate, lift)
    assert await gate.refused(ONE) == "hold"
    assert "what was approved" in told(gate)[0]


async def test_a_lift_is_obeyed_where_only_the_journal_knows_the_hold(gate: Gate) -> None:
    gate.hold()
    assert await gate.refused(ONE) == "hold"
    gate.lift()
    (gate.holds_folder() / "case-1.json").unlink()
    await gate.round()
    gate.assert_wiped(ONE)


def test_the_request_is_bound_to_bytes_and_says_what_counts() -> None:
    """The display of a serial is not what a hold covers."""
    fields = {"camera": "CAM-9", "camera_hex": b"CAM 1\xff".hex(), "reason": "case\n7", "by": "a clerk"}
    hold = Hold(hold="ab12", scope="camera", created="2026-01-01T00:00:00.000Z", dock="d", **fields)
    text = hold.model_dump_json()
    made = Approvals("f" * 32, AGENCY, ()).request(text, "closed", "J. Smith")
    assert made.splitlines() == [
        "dockd hold removal",
        f"store: {'f' * 32}",
        "agency: calgary",
        "hold: ab12",
        "covers: camera CAM%201%FF",
        r"placed: 2026-01-01T00:00:00.000Z by a clerk: case\n7",
        made.splitlines()[6],
        "reason: closed",
        "by: J. Smith",
    ]
    assert made.endswith("\n")
    assert made != Approvals("f" * 32, AGENCY, ()).request(text.replace("{", "{ ", 1), "closed", "J. Smith")
    more = {"scope": "recording", "recording": "r1", "path_hex": b"DCIM/a b.MP4".hex(), "blake3": "c" * 64}
    covers = Approvals("f", AGENCY, ()).request(hold.model_copy(update=more).model_dump_json(), "closed", "x")
    assert f"covers: recording r1 of camera CAM%201%FF, path DCIM/a%20b.MP4, blake3 {'c' * 64}\n" in covers


@pytest.mark.parametrize(
    "text", ["", " closed", "closed\nby: another", "closed\u2028by: another", "\x1b[2J", "x" * 501]
)
def test_what_is_not_one_plain_line_is_no_reason_and_no_name(text: str) -> None:
    hold = Hold(hold="h", scope="camera", camera="c", camera_hex="63", reason="r", by="b", created="c", dock="d")
    for reason, by in ((text, "clerk"), ("closed", text)):
        with pytest.raises(UsageError):
            Approvals("f", AGENCY, ()).request(hold.model_dump_json(), reason, by)


@pytest.mark.parametrize("name", ["J.DOE", "j doe", "J. Doe", "jdoe", "\uff2a.Doe"])
def test_one_person_is_known_however_the_name_is_written(name: str) -> None:
    assert same_person(name, "j.doe")
    assert not same_person(name, "m.roe")


# --- what is recorded and said -----------------------------------------------------------------------


def records(gate: Gate) -> list[dict[str, Any]]:
    return [json.loads(line) for (line,) in gate.world.query("SELECT line FROM record ORDER BY chain, seq")]


async def test_both_persons_are_recorded_and_neither_is_said_over_mqtt(gate: Gate) -> None:
    gate.hold()
    assert await gate.refused(ONE) == "hold"
    gate.lift()
    await gate.round()
    (record,) = [record for record in records(gate) if record["event"] == "hold_removed"]
    fields = ("hold", "by", "approver", "approver_key", "uid", "sudo_user")
    assert [record[name] for name in fields] == [
        "case-1",
        "a clerk",
        approvals.NAME,
        approvals.PUBLIC.fingerprint,
        1000,
        "clerk7",
    ]
    said = event_message(record, "chain", "boot").model_dump_json(exclude_none=True)
    assert "case-1" in said
    for private in ("clerk", approvals.NAME, "SHA256:", "1000"):
        assert private not in said


async def test_who_placed_a_hold_is_recorded_as_its_dock_wrote_it_down(gate: Gate) -> None:
    hold = gate.hold().model_copy(update={"hold": "case-2", "uid": 1001, "sudo_user": "clerk8"})
    publish_hold(gate.world.store, AGENCY, hold)
    assert await gate.mirror.renew()
    first, second = (record for record in records(gate) if record["event"] == "hold_added")
    assert not {"uid", "sudo_user"} & set(first)
    assert (second["by"], second["uid"], second["sudo_user"]) == ("a clerk", 1001, "clerk8")
    assert "clerk" not in event_message(second, "chain", "boot").model_dump_json()


async def test_a_hold_that_says_more_than_this_version_knows_is_lifted_as_it_stands(gate: Gate) -> None:
    hold = json.loads(gate.hold().model_dump_json())
    plant(gate.holds_folder() / "case-1.json", json.dumps(hold | {"until": "2031"}).encode())
    assert await gate.refused(ONE) == "hold"
    gate.lift()
    await gate.round()
    gate.assert_wiped(ONE)


def test_a_number_that_no_record_can_hold_makes_a_hold_unreadable(gate: Gate) -> None:
    hold = json.loads(gate.hold().model_dump_json())
    plant(gate.holds_folder() / "case-1.json", json.dumps(hold | {"uid": 2**60}).encode())
    with pytest.raises(StoreConflictError):
        read_holds(gate.world.store, AGENCY, ())


def test_a_lift_is_never_replaced_and_what_is_in_its_way_is_named(gate: Gate) -> None:
    gate.hold()
    put(gate, old_format(gate))
    with pytest.raises(StoreConflictError) as caught:
        gate.lift()
    assert "move it away" in caught.value.hint
    assert "stays in force" in caught.value.hint


async def test_many_lifts_that_are_not_obeyed_are_one_alert_which_names_no_more_than_five(gate: Gate) -> None:
    for number in range(7):
        name = f"h{number}\x1b[2J"
        gate.hold(name)
        put(gate, changed(gate.approved(name), signature="none"), name)
    assert await gate.mirror.renew()
    (what,) = told(gate)
    assert [f"h{number}" in what for number in range(7)] == [True] * 5 + [False] * 2
    assert what.endswith("and 2 more")
    assert what.isprintable()


async def test_it_is_told_also_while_no_camera_asks(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "LOOK_S", 0.01)
    gate.hold()
    put(gate, old_format(gate))
    there = False
    changes: asyncio.Queue[bool] = asyncio.Queue()
    gate.alerts.on_change = lambda alert, stands: changes.put_nowait(stands)
    task = asyncio.create_task(gate.mirror.run(lambda: there))
    await asyncio.sleep(0.05)
    assert told(gate) == []
    there = True
    async with asyncio.timeout(30):
        assert await changes.get()
        (gate.holds_folder() / "case-1.lifted.json").unlink()
        assert not await changes.get()
    task.cancel()
    assert gate.world.events().count("hold_added") == 1


async def test_a_defect_met_while_reading_is_told_and_ends_nothing(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "LOOK_S", 0.01)
    with monkeypatch.context() as broken:
        broken.setattr(mirror, "read_holds", lambda *arguments: 1 // 0)
        changes: asyncio.Queue[str] = asyncio.Queue()
        gate.alerts.on_change = lambda alert, stands: changes.put_nowait(f"{alert.code} {stands}")
        task = asyncio.create_task(gate.mirror.run(lambda: True))
        async with asyncio.timeout(30):
            assert await changes.get() == "internal_error True"
    async with asyncio.timeout(30):
        assert await changes.get() == "internal_error False"
    task.cancel()


async def test_a_reading_that_was_begun_first_is_not_taken_in_last(gate: Gate) -> None:
    """Two cameras' rounds renew the holds at once: a hold must not seem to come back."""
    gate.hold()
    assert await gate.mirror.renew()
    real, started = gate.calls.run, 0

    async def slow(function: Callable[[], Any]) -> Any:
        nonlocal started
        started += 1
        first = started == 1
        found = await real(function)
        if first:
            gate.lift()
            await asyncio.sleep(0.2)
        return found

    gate.calls.run = slow  # type: ignore[method-assign]
    await asyncio.gather(gate.mirror.renew(), gate.mirror.renew())
    assert [name for name in gate.world.events() if name.startswith("hold_")] == ["hold_added", "hold_removed"]


def test_a_lift_of_a_hold_that_this_dock_never_saw_is_none_for_its_chain(gate: Gate) -> None:
    gate.hold()
    publish_lift(gate.world.store, AGENCY, gate.approved())
    stored = read_holds(gate.world.store, AGENCY, (approvals.LINE,))
    assert stored.in_force == []
    assert gate.world.journal.run_in_thread(lambda tx: mirror_holds(tx, stored)) == []
    assert [name for name in gate.world.events() if name.startswith("hold_")] == []
