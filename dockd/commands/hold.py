"""`dockd hold …`: legal holds, kept in the store."""

from __future__ import annotations

from pathlib import Path

from dockd.commands.common import journal_read_only, known_store, print_json
from dockd.config import load_config
from dockd.custody.chain import rfc3339
from dockd.errors import EXIT_DONE, EXIT_FOUND_WRONG, UsageError
from dockd.identity import plain_name, plain_text
from dockd.journal.rows import RecordingRow
from dockd.lifecycle import RecordingState
from dockd.parts import dock_name
from dockd.runtime.clock import SystemClock
from dockd.runtime.randomness import SystemRandomness
from dockd.wipe.holds import Hold, Lift, publish_hold, publish_lift, read_holds
from dockd.wipe.placing import Wanted, knows_camera, make_holds, too_late


def add(config_path: Path, *, camera: str | None, recording: str | None, reason: str, by: str) -> int:
    """Bring a hold into force; 1 if it comes too late for something that it covers."""
    config = load_config(config_path)
    store = known_store(config)
    late: list[RecordingRow] = []
    wanted = Wanted(camera, recording, reason, by, rfc3339(SystemClock().now()), dock_name(config))
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


def remove(config_path: Path, name: str, *, reason: str, by: str) -> int:
    """Lift a hold."""
    config = load_config(config_path)
    store = known_store(config)
    if name not in {hold.hold for hold in read_holds(store, config.dock.agency).in_force}:
        raise UsageError(f"there is no hold {name} in force", "See: dockd hold list")
    created = rfc3339(SystemClock().now())
    lift = Lift(hold=name, reason=reason, by=by, created=created, dock=dock_name(config))
    publish_lift(store, config.dock.agency, lift)
    print(f"hold {name} is lifted")
    return EXIT_DONE


def show(config_path: Path, *, as_json: bool) -> int:
    """List the holds in force."""
    config = load_config(config_path)
    holds = read_holds(known_store(config), config.dock.agency).in_force
    if as_json:
        print_json([hold.model_dump(exclude_none=True) for hold in holds])
        return EXIT_DONE
    for hold in sorted(holds, key=lambda hold: hold.created):
        print(f"{hold.hold}  {hold.created}  {plain_text(f'{_subject(hold)}  by {hold.by}: {hold.reason}')}")
    if not holds:
        print("no hold is in force")
    return EXIT_DONE
