"""Judges from outside whether footage was lost or something false was said. Shares no code with dockd.

    python tests/oracle.py PLANT.json        exit 1, and one sentence per violation, if there are any

PLANT.json is one object; bytes are hex:

- `agency`, `store` (its path)
- `cameras`: [{serial, folder, docked, marker}]: where each camera's folder is now, also of those taken away
- `planted`: [{camera, path, size, blake3, sha256, flags}]: every version of every file ever put on a camera
- `status`: what `dockd status --json` said, or null; `custody`: the lines of `dockd custody export`
- `foreign`: [[camera, blake3]]: what other docks with the same store may have put there
- `damaged`: keys in the store that the test itself changed, removed or planted
- `chain_whole`: `custody` covers all that the journal knows; `wiping`: some run had the wipe mode `on`
- `finished`: nothing is under way any more; `complete`: beyond that, nothing stood in the way of anything

Flags: `overwritten_by_test`, `removed_by_test` (the test took these bytes off the camera), `not_a_recording`
(the configuration leaves it alone), `held` (never wiped), `blocked` (cannot be taken or wiped), `elsewhere`
(went to another dock or name with its camera).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from oracle_segments import segments
from oracle_world import BY_TEST, OBJECT_NAME, Content, Planted, World, load, named, part_of_key

BUCKETS = ("in_store", "on_docked_camera", "sole_copy", "awaiting_return", "unaccounted")
IN_STORE = frozenset({"confirmed", "wipe_intent", "wiped"})
UTC_MS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")


def footage(world: World) -> Iterator[str]:
    """Nothing is lost, and nothing leaves a camera that should stay."""
    for planted in world.planted:
        there = world.is_there(planted)
        if planted.gone_by_test or "elsewhere" in planted.flags:
            continue
        stays = not planted.is_recording or planted.content.size == 0 or "held" in planted.flags
        if stays and not there:
            yield f"{planted} should have stayed on its camera and did not"
        if not planted.is_recording or world.damaged_by_test(planted):
            continue
        held_by_store = world.holds(planted.camera, planted.content)
        if not there and not held_by_store:
            yield f"LOST: {planted} is neither on its camera nor whole in the store"
        if world.complete and "blocked" not in planted.flags and not held_by_store:
            yield f"{planted} should be in the store by now and is not"
    yield from camera_folders(world)


def camera_folders(world: World) -> Iterator[str]:
    """Cameras are only ever read and emptied; wiping needs leave, and is finished where it has it."""
    known = {(planted.camera, planted.path, planted.content) for planted in world.planted}
    for (serial, path), content in world.on_camera.items():
        if (serial, path, content) not in known:
            yield f"{serial!r} {path!r} on the camera has content that nobody planted: it was written to"
    cameras = {camera.serial: camera for camera in world.cameras}
    for planted in world.planted:
        camera = cameras.get(planted.camera)
        if camera is None or planted.gone_by_test or "elsewhere" in planted.flags:
            continue
        there, may_wipe = world.is_there(planted), world.wiping and camera.marker
        directory = os.path.join(os.fsencode(camera.folder), os.path.dirname(planted.path))
        if camera.folder.exists() and not os.path.isdir(directory):
            yield f"the directory of {planted} is gone from the camera"
        if not there and not may_wipe:
            yield f"{planted} left a camera that nothing may be wiped from"
        wipable = planted.is_recording and planted.content.size and not planted.flags & {"held", "blocked"}
        if world.complete and camera.docked and may_wipe and there and wipable:
            yield f"{planted} should have been wiped by now and was not"


def suffix(path: bytes) -> str:
    """A file's own suffix as keys have it: a dot and 1 to 8 ASCII letters or digits, lower case."""
    match = re.search(rb"[^/](\.[A-Za-z0-9]{1,8})\Z", path)
    return match[1].decode().lower() if match else ""


def store(world: World) -> Iterator[str]:
    """Every visible name is whole, is what it says, is somebody's, and is there once."""
    seen: Counter[tuple[str, str]] = Counter()
    for key, content in world.objects.items():
        if key in world.damaged:
            continue
        *folders, part, name = key.split("/")
        match = OBJECT_NAME.match(name)
        if len(folders) != 2 or match is None or content.size < 0:
            yield f"{key} in the store is not the name of a recording"
        elif match[1] != content.blake3:
            yield f"{key} in the store has BLAKE3 {content.blake3}: partial or altered"
        else:
            seen[part, match[1]] += 1
    for (part, digest), count in seen.items():
        if count > 1:
            yield f"the store holds {digest} of camera {part} {count} times"
    yield from origins(world)
    if world.finished:
        for path in sorted(world.store.rglob(".*.partial")):
            yield f"{path.relative_to(world.store)} was left behind in the store"


def origins(world: World) -> Iterator[str]:
    """Every whole object is what was planted on that camera, here or at another dock."""
    planted = {(part_of_key(p.camera), p.content.blake3): p for p in world.recordings}
    foreign = {(part_of_key(camera), digest) for camera, digest in world.foreign}
    endings = {(part_of_key(p.camera), p.content.blake3, suffix(p.path)) for p in world.recordings}
    for key, content in world.objects.items():
        *_, part, name = key.split("/")
        if key in world.damaged or name[:64] != content.blake3 or (part, content.blake3) in foreign:
            continue
        if (part, content.blake3) not in planted:
            yield f"{key} in the store holds bytes that were never planted as a recording of that camera"
        elif content != planted[part, content.blake3].content:
            yield f"{key} in the store has another size or SHA-256 than what was planted"
        elif (part, content.blake3, name[64:]) not in endings:
            yield f"{key} in the store has a suffix that none of the planted files has"


def status(world: World) -> Iterator[str]:
    """The figures add up and are true."""
    if world.status is None:
        return
    counts: dict[str, int] = world.status["counts"]
    stored = [p for p in world.recordings if world.holds(p.camera, p.content) or world.damaged_by_test(p)]
    spoilt = [p for p in world.recordings if p.gone_by_test or world.damaged_by_test(p)]
    if sum(counts[name] for name in BUCKETS) != counts["recordings"]:
        yield f"the counts do not add up to recordings: {counts}"
    if min(counts.values()) < 0:
        yield f"a count is negative: {counts}"
    for name, limit in (
        ("recordings", len(world.recordings)),
        ("in_store", len(stored)),
        ("wiped", min(counts["in_store"], world.gone.total())),
        ("unaccounted", len(spoilt)),
    ):
        if counts[name] > limit:
            yield f"status says {counts[name]} for {name}, at most {limit} can be true"
    if world.finished:
        yield from figures(world, counts)
    yield from bays(world)


def figures(world: World, counts: dict[str, int]) -> Iterator[str]:
    """When nothing moves, the figures, the chain and the world say the same."""
    if world.chain_whole and world.custody and not world.damaged:
        for count, event in (
            ("recordings", "recording_found"),
            ("in_store", "recording_confirmed"),
            ("wiped", "recording_wiped"),
        ):
            if counts[count] != len(world.ids(event)):
                yield f"status says {counts[count]} for {count}, the chain names {len(world.ids(event))}"
    if world.complete and world.chain_whole:
        least = [p for p in world.recordings if not p.flags & (BY_TEST | {"blocked", "elsewhere"})]
        if counts["in_store"] < len(least):
            yield f"status says {counts['in_store']} for in_store, {len(least)} recordings are there"


def bays(world: World) -> Iterator[str]:
    """A camera that is said to be safe to take has nothing that the store lacks."""
    assert world.status is not None
    found = {(named(r, "camera"), named(r, "path")) for r in world.events("recording_found")}
    serials = {camera.serial for camera in world.cameras}
    for bay in world.status["bays"]:
        serial = named(bay, "camera")
        if not bay["safe_to_take"]:
            continue
        if serial not in serials:
            yield f"bay {bay['bay']} says that {serial!r} is safe to take, a camera that nobody docked"
        for planted in world.recordings:
            if planted.camera != serial or not world.is_there(planted):
                continue
            # What was planted a moment ago nobody can have seen yet.
            unseen = not world.finished and (planted.camera, planted.path) not in found
            if not unseen and not (world.holds(serial, planted.content) or world.damaged_by_test(planted)):
                yield f"bay {bay['bay']} is said to be safe to take, yet {planted} is not in the store"


def chain(world: World) -> Iterator[str]:
    """Records are numbered without a gap, each names the one before it, and each is canonical JSON."""
    prev = "0" * 64
    for number, line in enumerate(world.custody, start=1):
        try:
            record = json.loads(line)
        except ValueError:
            yield f"custody line {number} is not JSON"
            return
        if not isinstance(record, dict) or record.get("seq") != number:
            yield f"custody line {number} does not have that seq"
            return
        if record.get("prev") != prev:
            yield f"custody record {number} does not name the line before it"
        if json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False) != line:
            yield f"custody record {number} is not in canonical form"
        if not UTC_MS.match(str(record.get("time"))):
            yield f"custody record {number} has the time {record.get('time')!r}"
        clock = record.get("clock")
        if not isinstance(clock, dict) or not {"synchronised", "source", "uncertainty_ms"} <= set(clock):
            yield f"custody record {number} does not say how good its clock was"
        if not record.get("dock") or not record.get("event"):
            yield f"custody record {number} lacks its dock or its event"
        prev = hashlib.sha256(line.encode()).hexdigest()


def claims(world: World) -> Iterator[str]:
    """What the chain says of recordings is true, and was said in the right order."""
    versions = {planted.bare for planted in world.recordings}
    places = {(planted.camera, planted.path) for planted in world.recordings}
    confirmed: dict[str, Planted] = {}
    started: set[str] = set()
    wiped: Counter[Planted] = Counter()
    for record in world.records:
        event, uid = record.get("event"), str(record.get("recording"))
        where = (named(record, "camera"), named(record, "path"))
        said = f"custody record {record.get('seq')} ({event})"
        if event == "recording_found" and where not in places:
            yield f"{said} names {where!r}, where no recording was planted"
        elif event in {"recording_copied", "recording_confirmed"}:
            proven = Planted(*where, content_in(record))
            # A copy put together in two dockings is no proof yet, and says so.
            patched = event == "recording_copied" and record.get("read_in_one_docking") is False
            if proven not in versions and not patched:
                yield f"{said} names content that was never planted: {proven}"
            if event == "recording_confirmed":
                confirmed[uid] = proven
                yield from key_is_true(world, said, record, proven)
        elif event == "wipe_started":
            started.add(uid)
        elif event == "recording_wiped":
            if uid not in confirmed or uid not in started:
                yield f"{said}: recording {uid} was not confirmed, or its wipe not begun, before"
            else:
                wiped[confirmed[uid]] += 1
    yield from wipes(world, wiped)


def content_in(record: dict[str, Any]) -> Content:
    """The digests that a record or a manifest's entry names."""
    return Content(record.get("size", -1), str(record.get("blake3")), str(record.get("sha256")))


def key_is_true(world: World, said: str, record: dict[str, Any], proven: Planted) -> Iterator[str]:
    """A confirmed key follows the contract, and is in the store with that content."""
    key = str(record.get("key"))
    prefix = f"{world.agency}/recordings/{part_of_key(proven.camera)}/{proven.content.blake3}"
    if not key.startswith(prefix):
        yield f"{said} names the key {key}, which does not begin with {prefix}"
    if world.objects.get(key) != proven.content and key not in world.damaged:
        yield f"{said}: {key} is not in the store with that content"


def wipes(world: World, wiped: Counter[Planted]) -> Iterator[str]:
    """What is said to be wiped is gone; what is gone was said to be wiped."""
    elsewhere = Counter(p.bare for p in world.recordings if "elsewhere" in p.flags)
    for planted in sorted(set(world.gone) | set(wiped), key=str):
        said, gone = wiped[planted], world.gone[planted]
        if said > gone:
            yield f"{planted} is said to be wiped {said} times, and is gone {gone} times at most"
        if said and not planted.content.size:
            yield f"{planted} was wiped although it is empty"
        if world.finished and world.chain_whole and world.custody and said < gone - elsewhere[planted]:
            yield f"{planted} is gone from its camera, and the chain does not say why"


def manifests(world: World) -> Iterator[str]:
    """Docking manifests name only what is there."""
    for path in sorted((world.store / world.agency / "dockings").rglob("*")):
        if path.is_dir() or path.name.startswith("."):
            continue
        name = path.relative_to(world.store)
        try:
            entries = json.loads(path.read_bytes())["recordings"]
        except (ValueError, KeyError, TypeError):
            yield f"{name} is no docking manifest"
            continue
        for entry in entries:
            key, state = str(entry.get("key")), entry.get("state")
            there = key in world.damaged or world.objects.get(key) == content_in(entry)
            if state in IN_STORE and not there:
                yield f"{name} says {state} of {key}, which is not in the store as said"


def judge(world: World) -> list[str]:
    """Every violation, as a sentence; empty if there is none."""
    checks = (footage, store, status, chain, claims, manifests, segments)
    return [sentence for check in checks for sentence in check(world)]


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(__doc__)
        return 64
    violations = judge(load(Path(arguments[0]).read_text(encoding="utf-8")))
    print("\n".join(violations) if violations else "oracle: content")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
