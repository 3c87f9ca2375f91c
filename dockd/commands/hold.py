"""`dockd hold …`: legal holds, kept in the store."""

from __future__ import annotations

import io
import shlex
import sys
from pathlib import Path
from typing import Final

from dockd.commands.common import acting_user, journal_read_only, known_store, print_json
from dockd.config import load_config
from dockd.custody.chain import rfc3339
from dockd.errors import EXIT_DONE, EXIT_FOUND_WRONG, ConfigError, NotApprovedError, UsageError
from dockd.identity import plain_name, plain_text
from dockd.journal.rows import RecordingRow
from dockd.lifecycle import RecordingState
from dockd.parts import dock_name
from dockd.runtime.clock import SystemClock
from dockd.runtime.randomness import SystemRandomness
from dockd.wipe.holds import Hold, Lift, StoredHolds, lift_key, publish_hold, publish_lift, read_holds
from dockd.wipe.placing import Wanted, knows_camera, make_holds, too_late

_SIGNATURE_LIMIT_BYTES: Final = 64 * 1024


def add(config_path: Path, *, camera: str | None, recording: str | None, reason: str, by: str) -> int:
    """Bring a hold into force; 1 if it comes too late for something that it covers."""
    config = load_config(config_path)
    store = known_store(config)
    late: list[RecordingRow] = []
    wanted = Wanted(camera, recording, reason, by, rfc3339(SystemClock().now()), dock_name(config), *acting_user())
    with journal_read_only(config, may_lack=True) as tx:
        holds = make_holds(tx, wanted, lambda: SystemRandomness().token(8))
        if camera is not None and not knows_camera(tx, camera):
            print("this dock has never seen a camera of that name; the hold is for the name exactly as it was given")
    for hold in holds:
        publish_hold(store, config.dock.agency, hold)
        subject = plain_text(_subject(hold))
        print(f"hold {hold.hold} is in force: {subject} is not wiped by any dock that sees this store")
        # Looked at only now: whatever is not about to be wiped by now finds the hold.
        with journal_read_only(config, may_lack=True) as tx:
            late += [] if tx is None else too_late(tx, hold)
    for row in late:
        done = "is wiped already" if row.state is RecordingState.WIPED else "was about to be wiped"
        print(f"too late: {plain_name(row.path)} {done}; it is in the store as {row.store_key}")
    return EXIT_FOUND_WRONG if late else EXIT_DONE


def _subject(hold: Hold) -> str:
    return f"camera {hold.camera}" if hold.scope == "camera" else f"recording {hold.recording} of {hold.camera}"


def remove(config_path: Path, name: str, *, reason: str, by: str, approval: Path | None) -> int:
    """Lift a hold that a second person signed for; without a signature say what is to be signed, and give 1.

    Raises ConfigError where nobody may approve, and NotApprovedError.
    """
    from dockd.wipe.approval import Approvals

    config = load_config(config_path)
    approvers = config.custody.approvers
    if not approvers:
        raise ConfigError(
            "nobody may approve that a hold is lifted: [custody] approvers is empty",
            f"Hold {plain_text(name)} stays in force. Name approvers with their keys, in the configuration of every "
            "dock of this store, and restart dockd.",
        )
    agency = config.dock.agency
    store = known_store(config)
    stored = read_holds(store, agency, approvers)
    _insist_on_hold(stored, name, lift_key(agency, name))
    reason, by = reason.strip(), by.strip()
    approvals = Approvals(store.identify(), agency, approvers)
    request = approvals.request(stored.texts[name], reason, by)
    if approval is None:
        _ask(request, name, reason, by, approvals.others(by))
        return EXIT_FOUND_WRONG
    signature = _signature(approval)
    try:
        approver = approvals.approver(request, signature, by)
    except NotApprovedError as error:
        hint = "The hold stays in force. Without --approval the same command prints what is to be signed."
        raise NotApprovedError(f"{approval} does not lift hold {name}: {error.message}", hint) from error
    uid, sudo_user = acting_user()
    lift = Lift(
        hold=name,
        reason=reason,
        by=by,
        approver=approver.name,
        approver_key=approver.key.line,
        request=request,
        signature=signature,
        uid=uid,
        sudo_user=sudo_user,
        created=rfc3339(SystemClock().now()),
        dock=dock_name(config),
    )
    publish_lift(store, agency, lift)
    print(f"hold {name} is lifted; {approver.name} approved it ({approver.key.fingerprint})")
    return EXIT_DONE


def _insist_on_hold(stored: StoredHolds, name: str, key: str) -> None:
    """Raise UsageError unless the hold is in force, and NotApprovedError if something lies in its lifting's place."""
    if name not in {hold.hold for hold in stored.in_force}:
        raise UsageError(f"there is no hold {plain_text(name)} in force", "See: dockd hold list")
    for refused in stored.refused:
        if refused.hold == name:
            raise NotApprovedError(
                f"the store has a lifting of hold {name} already, which is not obeyed: {refused.why}",
                f"The hold stays in force. Find out who put {key} there, and move it away first.",
            )


def _ask(request: str, name: str, reason: str, by: str, others: list[str]) -> None:
    """The request on standard output, exactly as it is to be signed; what to do with it beside it."""
    from dockd.custody.sshsig import APPROVAL

    if isinstance(sys.stdout, io.TextIOWrapper):
        # Whatever this terminal's language: every dock makes the same bytes.
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    print(request, end="", flush=True)
    again = shlex.join(["dockd", "hold", "remove", name, "--reason", reason, "--by", by])
    who = ", ".join(others) or f"nobody yet, for no approver is another person than {by}"
    print(
        f"dockd: hold {name} stays in force until a second person approves: {who}\n"
        f"  1. {again} > request.txt\n"
        "  2. the approver reads request.txt, and signs it: "
        f"ssh-keygen -Y sign -f KEY -n {APPROVAL} request.txt\n"
        f"  3. {again} --approval request.txt.sig",
        file=sys.stderr,
    )


def _signature(path: Path) -> str:
    with open(path, "rb") as file:
        data = file.read(_SIGNATURE_LIMIT_BYTES)
    return data.decode("ascii", errors="replace")


def show(config_path: Path, *, as_json: bool) -> int:
    """List the holds in force, who placed them, and which of them somebody tried to lift without approval."""
    config = load_config(config_path)
    stored = read_holds(known_store(config), config.dock.agency, config.custody.approvers)
    refused = {lift.hold: lift.why for lift in stored.refused}
    if as_json:
        found = [(hold.model_dump(exclude_none=True), refused.get(hold.hold)) for hold in stored.in_force]
        print_json([fields if why is None else fields | {"lift_refused": why} for fields, why in found])
        return EXIT_DONE
    for hold in sorted(stored.in_force, key=lambda hold: hold.created):
        print(f"{hold.hold}  {hold.created}  {plain_text(f'{_subject(hold)}  by {_adder(hold)}: {hold.reason}')}")
    for name, why in refused.items():
        print(plain_text(f"{name}: its lifting, {lift_key(config.dock.agency, name)}, is not obeyed: {why}"))
    if not stored.in_force:
        print("no hold is in force")
    return EXIT_DONE


def _adder(hold: Hold) -> str:
    claims = [f"uid {hold.uid}"] if hold.uid is not None else []
    if hold.sudo_user is not None:
        claims.append(f"sudo by {hold.sudo_user}")
    return f"{hold.by} ({', '.join(claims)}) at {hold.dock}" if claims else f"{hold.by} at {hold.dock}"
