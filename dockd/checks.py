"""`dockd check`: probes everything that the configuration names, one line each, and changes nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dockd.config import Config
from dockd.custody.keys import SigningKey
from dockd.custody.witness import witnessed
from dockd.durable import DEVICE_KINDS, file_system_of, reads_past_cache
from dockd.errors import DockdError, SigningKeyError
from dockd.identity import plain_text
from dockd.journal.database import check_database, check_recent_chain, guarded, open_for_reading
from dockd.journal.signing_key import registered_key
from dockd.journal.transaction import Transaction
from dockd.parts import accepted_weaknesses, broker_settings, check_places, dock_name, key_place
from dockd.paths import StatePaths, is_running
from dockd.report.mqtt import probe
from dockd.runtime.clock import SystemClock
from dockd.stores.base import EvidenceStore
from dockd.stores.probe import ProbeResult
from dockd.usb.probe import probe_usb
from dockd.wipe.holds import read_holds


@dataclass(frozen=True, slots=True)
class Check:
    """One line: what was looked at, how it is, and what that means."""

    name: str
    verdict: Literal["ok", "warning", "failed"]
    what: str


def run_checks(config: Config, store: EvidenceStore) -> Iterator[Check]:
    """Look at state directory, spool, store, cameras and clock."""
    paths = StatePaths(config.dock.state_dir)
    running = " (a dockd is running)" if is_running(paths) else ""
    yield _probe("state_dir", lambda: _state_dir(paths, running))
    yield _probe("disjoint", lambda: _disjoint(config, store.root))
    yield _probe("spool", lambda: _spool(config, paths))
    yield _probe("journal", lambda: _journal(paths))
    yield _probe("signing key", lambda: _key(config, paths))
    yield from _store(config, store, paths)
    yield _probe("cameras", lambda: _cameras(config))
    yield _clock()
    yield Check("wipe", "ok", f"mode {config.wipe.mode}, grace {config.wipe.grace_s:.0f} s")
    yield _probe("mqtt", lambda: _mqtt(config))
    if config.bays:
        yield _probe("usb", lambda: _usb(config))
    elif config.cameras:
        yield Check("usb", "warning", "[[camera]] without any [[bay]]: no USB camera will be found. See: dockd bays")


def _journal(paths: StatePaths) -> Check:
    try:
        connection = open_for_reading(paths.journal, in_use=is_running(paths))
    except FileNotFoundError:
        witnessed(paths.witness)
        return Check("journal", "ok", "none yet; the first start makes one")
    try:
        guarded(lambda: check_database(connection))
        guarded(lambda: check_recent_chain(connection))
        (records,) = connection.execute("SELECT coalesce(max(seq), 0) FROM record").fetchone()
    finally:
        connection.close()
    return Check("journal", "ok", f"readable, its newest records are whole ({records} in the longest chain)")


def _key(config: Config, paths: StatePaths) -> Check:
    place = key_place(config)
    try:
        connection = open_for_reading(paths.journal, in_use=is_running(paths))
    except FileNotFoundError:
        registered = None
    else:
        try:
            registered = guarded(lambda: registered_key(Transaction(connection, SystemClock(), dock_name(config))))
        finally:
            connection.close()
    if registered is None and not place.credential and not place.path.exists():
        return Check("signing key", "ok", "none yet; the first start makes one")
    public = SigningKey.load(place.path, credential=place.credential).public
    if registered not in (None, public):
        raise SigningKeyError(f"{place.path} holds {public.fingerprint}; this dock registered {registered.fingerprint}")
    return Check("signing key", "ok", f"{public.fingerprint}; for the registry of keys: dockd key show")


def _probe(name: str, probe: Callable[[], Check]) -> Check:
    """One line in any case: what stops one probe does not stop the others."""
    try:
        return probe()
    except (DockdError, OSError) as error:
        return _failed(name, error)


def _failed(name: str, error: DockdError | OSError) -> Check:
    hint = error.hint if isinstance(error, DockdError) else "Run it as root, or as the user that dockd runs as."
    return Check(name, "failed", f"{error}. {hint}")


def _state_dir(paths: StatePaths, running: str) -> Check:
    place = paths.state_dir
    while not place.exists() and place != place.parent:
        place = place.parent
    if not os.access(place, os.W_OK | os.X_OK):
        return Check("state_dir", "failed", f"{paths.state_dir} cannot be written to")
    return Check("state_dir", "ok", f"{paths.state_dir}{running}")


def _disjoint(config: Config, store_root: Path | None) -> Check:
    try:
        check_places(config, store_root)
    except DockdError as error:
        return Check("disjoint", "failed", error.message)
    return Check("disjoint", "ok", "spool, store and cameras are apart")


def _spool(config: Config, paths: StatePaths) -> Check:
    place = paths.spool
    while not place.exists() and place != place.parent:
        place = place.parent
    space = os.statvfs(place)
    free = space.f_bavail * space.f_frsize
    kind = file_system_of(place).kind
    text = f"{free / 2**30:.1f} GiB free on {kind}, {config.spool.min_free_bytes / 2**30:.1f} GiB are kept free"
    return Check("spool", "ok" if free > config.spool.min_free_bytes else "failed", text)


def _store(config: Config, store: EvidenceStore, paths: StatePaths) -> Iterator[Check]:
    try:
        store_id = store.identify()
        store.pin(store_id)
        place = paths.spool if paths.spool.exists() else paths.state_dir.parent
        status = store.status(place)
    except (DockdError, OSError) as error:
        yield _failed("store", error)
        return
    yield _probe("holds", lambda: _holds(config, store))
    free = "" if status.free_bytes is None else f", {status.free_bytes / 2**30:.1f} GiB free"
    yield Check("store", "ok", f"{status.place} on {status.kind}, id {store_id}{free}")
    yield _probed(ProbeResult.kept(paths.store_probe), store_id)
    weak = [name for name in status.weaknesses if name not in accepted_weaknesses(config)]
    if weak:
        yield Check(
            "store trust",
            "warning",
            f"{', '.join(weak)}: footage is taken in, but nothing is wiped (see store.accept)",
        )


def _probed(kept: ProbeResult | None, store_id: str) -> Check:
    if kept is None or kept.store_id != store_id:
        return Check("store probe", "ok", "never asked what it enforces; ask it with: dockd store probe")
    if kept.good:
        return Check("store probe", "ok", f"asked at {kept.at}; see: dockd store probe")
    wrong = ", ".join(finding.name for finding in kept.findings if finding.wrong)
    return Check("store probe", "warning", f"found wrong at {kept.at}: {wrong}. See: dockd store probe")


def _holds(config: Config, store: EvidenceStore) -> Check:
    stored = read_holds(store, config.dock.agency, config.custody.approvers)
    if stored.refused:
        refused = ", ".join(plain_text(lift.hold) for lift in stored.refused)
        return Check("holds", "warning", f"the lifting of {refused} is not obeyed. See: dockd hold list")
    nobody = "" if config.custody.approvers else "; without [custody] approvers none can be lifted"
    return Check("holds", "ok", f"{len(stored.in_force)} legal holds are in force{nobody}")


def _cameras(config: Config) -> Check:
    cameras = config.folder_cameras
    if cameras is None and config.bays:
        return Check("cameras", "ok", f"in {len(config.bays)} USB bays, see usb")
    if cameras is None:
        return Check("cameras", "warning", "neither [[bay]] nor [folder_cameras]: no camera will be found")
    if not cameras.path.is_dir():
        return Check("cameras", "warning", f"{cameras.path} is not there yet; it is looked for again and again")
    system = file_system_of(cameras.path)
    if not reads_past_cache(system, DEVICE_KINDS):
        text = f"{cameras.path} lies on {system.kind}, which cannot be read past the cache: nothing there is wiped"
        return Check("cameras", "warning", text)
    return Check("cameras", "ok", f"{cameras.path} on {system.kind}")


def _usb(config: Config) -> Check:
    found = probe_usb({bay.usb_port: bay.number for bay in config.bays})
    if found.problems:
        return Check("usb", "failed", ". ".join(found.problems))
    if found.doubts:
        return Check("usb", "warning", ". ".join(found.doubts))
    return Check("usb", "ok", f"{len(config.bays)} bays, {found.docked} of them taken; {found.mounts_by}")


def _mqtt(config: Config) -> Check:
    settings = broker_settings(config)
    if settings is None:
        return Check("mqtt", "ok", "no [mqtt]: the dock reports to nobody")
    # Under a name of its own: the running dock's connection is not to be taken over.
    asyncio.run(probe(settings, f"dockd-check-{os.getpid()}"))
    how = "TLS" if settings.tls else "without encryption"
    return Check("mqtt", "ok", f"the broker at {settings.host}:{settings.port} lets this dock in, {how}")


def _clock() -> Check:
    now = SystemClock().synchronised()
    if not now.synchronised:
        return Check("clock", "warning", "the kernel does not call the clock synchronised; records will say so")
    return Check("clock", "ok", f"synchronised ({now.source}), at most {now.uncertainty_ms} ms off")
