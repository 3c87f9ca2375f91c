"""What tests let happen in a process of its own: `python -m contract.children NAME JSON`, answered in JSON.

Each imports what it needs alone: under a tracer every call counts.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def save(
    store: dict[str, Any], key: str, source: str, digests: list[Any], upload_id: str, wait: bool = False
) -> dict[str, Any]:
    """Save one file; with `wait`, say that the store is open and begin when a line comes."""
    from contract.stores import open_store, upload_of
    from contract.tools import Steps

    from dockd.digests import Digests
    from dockd.direct_io import Buffer

    client = open_store(store)
    buffer = Buffer()
    if wait:
        _wait()
    saved = client.save(key, Path(source), Digests(*digests), upload_of(upload_id), buffer, Steps())
    return {"already_there": saved.already_there}


def put_small(store: dict[str, Any], key: str, text: str) -> dict[str, Any]:
    """Put a small object."""
    from contract.stores import open_store

    return {"new": open_store(store).put_small(key, text.encode())}


def init(root: str) -> dict[str, Any]:
    """Make a store known."""
    from dockd.runtime.randomness import SystemRandomness
    from dockd.stores.filesystem import initialise

    store_id, new = initialise(Path(root), SystemRandomness())
    return {"store_id": store_id, "new": new}


def publish(hidden: str, visible: str) -> dict[str, Any]:
    """Publish a file without replacing; the errno if that is refused."""
    from dockd.durable import publish_noreplace

    try:
        publish_noreplace(Path(hidden), Path(visible))
    except OSError as error:
        return {"errno": error.errno}
    return {"errno": None}


def copy(folder: str, recording: int, wait_at: int | None = None) -> dict[str, Any]:
    """Copy a recording of the camera of a `World` into its spool; its digests, or the error.

    With `wait_at`, say so when that many bytes were copied and go on when a line comes.
    """
    from contract.tools import At
    from contract.world import World

    from dockd.direct_io import Buffer
    from dockd.errors import DockdError
    from dockd.runtime.workers import Control
    from dockd.stages.offload import copy_recording

    world = World(Path(folder))
    control = Control() if wait_at is None else At(_wait, wait_at)
    try:
        with world.attached() as camera:
            digests = copy_recording(world.offload, camera, recording, Buffer(), control)
    except DockdError as error:
        return {"error": type(error).__name__, "message": error.message}
    finally:
        world.close()
    return {"size": digests.size_bytes, "blake3": digests.blake3, "sha256": digests.sha256}


def _wait() -> None:
    print("ready", file=sys.stderr, flush=True)
    sys.stdin.readline()


def store(folder: str, recording: int) -> dict[str, Any]:
    """Upload and confirm a spooled recording of a `World`; its state."""
    from contract.world import World

    world = World(Path(folder))
    try:
        return {"state": world.store_it(recording).state}
    finally:
        world.close()


def list_as_nobody(folder: str) -> dict[str, Any]:
    """List a folder camera without any privilege."""
    from contract.tools import Steps, digests_of

    from dockd.cameras.folder import FolderCamera
    from dockd.cameras.patterns import matcher
    from dockd.direct_io import Buffer
    from dockd.errors import DockdError
    from dockd.paths import Forbidden

    camera = FolderCamera(os.fsencode(folder), matcher(["**"]), Forbidden())
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    camera.attach()
    listing = camera.list(Steps())
    problems = []
    for path in listing.files:
        try:
            with camera.open(path, lease=True) as opened:
                digests_of(b"".join(bytes(chunk) for chunk in opened.reader(Buffer(), direct=False).chunks()))
        except DockdError as error:
            problems.append(type(error).__name__)
    return {
        "files": sorted(os.fsdecode(path) for path in listing.files),
        "complete": listing.complete,
        "problems": list(listing.problems),
        "unreadable": problems,
    }


def look(folder: str) -> dict[str, Any]:
    """List a folder camera and look at every recording's content; the recordings, and what was left alone."""
    from contract.tools import Steps, digests_of

    from dockd.cameras.folder import FolderCamera
    from dockd.cameras.patterns import matcher
    from dockd.direct_io import Buffer
    from dockd.paths import Forbidden

    camera = FolderCamera(os.fsencode(folder), matcher(["**"]), Forbidden())
    camera.attach()
    listing = camera.list(Steps())
    found = {}
    for path in listing.files:
        with camera.open(path, lease=True) as opened:
            data = b"".join(bytes(chunk) for chunk in opened.reader(Buffer(), direct=True).chunks())
            found[os.fsdecode(path)] = digests_of(data).blake3
    return {"files": found, "left_alone": dict(listing.left_alone)}


def delete(folder: str, paths: list[str]) -> dict[str, Any]:
    """Delete files of a folder camera, durably."""
    from contract.tools import Steps

    from dockd.cameras.folder import FolderCamera
    from dockd.cameras.patterns import matcher
    from dockd.paths import Forbidden

    camera = FolderCamera(os.fsencode(folder), matcher(["**"]), Forbidden())
    camera.attach()
    files = camera.list(Steps()).files
    raw = [os.fsencode(path) for path in paths]
    for path in raw:
        camera.delete(path, files[path])
    camera.settle_deletions(raw)
    return {"gone": [camera.is_gone(path) for path in raw]}


_ALL = (save, put_small, init, publish, copy, store, list_as_nobody, look, delete)
COMMANDS: dict[str, Callable[..., dict[str, Any]]] = {function.__name__: function for function in _ALL}


if __name__ == "__main__":
    print(json.dumps(COMMANDS[sys.argv[1]](**json.loads(sys.argv[2]))))
