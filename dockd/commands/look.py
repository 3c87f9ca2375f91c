"""`dockd check`, `dockd status`, `dockd explain`: commands that only look."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dockd.checks import run_checks
from dockd.commands.common import journal_read_only, print_json
from dockd.config import Config, load_config
from dockd.errors import EXIT_DONE, EXIT_FOUND_WRONG, UsageError
from dockd.identity import encode_part, plain_name
from dockd.journal import queries
from dockd.parts import make_store
from dockd.paths import StatePaths, is_running
from dockd.report.explain import explain as explain_recording
from dockd.report.remedies import of_camera, of_stranger
from dockd.report.snapshot import DockNames, Live, bays_without_daemon, empty_status, plain_alerts
from dockd.report.snapshot import status as build_status
from dockd.version import version

WATCH_S = 1.0


def check(config_path: Path, *, as_json: bool) -> int:
    """Probe what the configuration names; 1 if something failed."""
    config = load_config(config_path)
    store = make_store(config)
    checks = list(run_checks(config, store))
    if as_json:
        print_json([{"name": one.name, "verdict": one.verdict, "what": one.what} for one in checks])
    else:
        from dockd.report.tables import print_checks

        print_checks([(one.name, one.verdict, one.what) for one in checks])
    return EXIT_FOUND_WRONG if any(one.verdict == "failed" for one in checks) else EXIT_DONE


def read_status(config: Config) -> dict[str, Any]:
    """The dock's status: the running daemon's own word, else what the journal last knew."""
    paths = StatePaths(config.dock.state_dir)
    running = is_running(paths)
    if running:
        try:
            found: dict[str, Any] = json.loads(paths.status.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            # It has only just started, or its disk is full: the journal knows the counts.
            found = {}
        if found.get("daemon", {}).get("running"):
            return found
    names = DockNames(config.dock.agency, config.dock.site, config.dock.name, version())
    with journal_read_only(config) as tx:
        if tx is None:
            return empty_status(names, config.wipe.mode)
        counts = queries.counts(tx)
        live = Live(running=running, wipe_mode=config.wipe.mode, alerts=plain_alerts(tx, counts))
        return build_status(tx, names, live, bays_without_daemon(tx))


def status(config_path: Path, *, as_json: bool, watch: bool) -> int:
    """Show the status, once or again and again."""
    config = load_config(config_path)
    from dockd.report.tables import print_status, watch_status

    if watch:
        watch_status(lambda: read_status(config), WATCH_S)
        return EXIT_DONE
    found = read_status(config)
    if as_json:
        print_json(found)
    else:
        print_status(found)
    return EXIT_DONE


def explain(config_path: Path, camera: str) -> int:
    """One sentence for each recording of a camera."""
    config = load_config(config_path)
    now = read_status(config)
    with journal_read_only(config) as tx:
        cameras = [] if tx is None else queries.find_cameras(tx, camera)
        strange = [] if cameras else of_stranger(camera, now)
        for sentence in strange:
            print(sentence)
        if strange:
            return EXIT_DONE
        if not cameras or tx is None:
            raise UsageError(f"this dock has never seen a camera {camera}", "See the serials in: dockd status")
        if len(cameras) > 1:
            print(f"{len(cameras)} cameras go by this name; each is told of:")
        for row in cameras:
            if len(cameras) > 1:
                print(f"camera {encode_part(row.serial)} {row.vendor}:{row.product}")
            for sentence in of_camera(tx, row, now):
                print(sentence)
            left = tx.one("SELECT left_alone FROM docking WHERE camera = ? ORDER BY id DESC LIMIT 1", row.id)
            entries = json.loads(left[0]) if left is not None else {}
            for why, count in sorted(entries.items()):
                print(f"{count} entries on {plain_name(row.serial)} were left alone: {why}.")
            for recording in tx.recordings("camera = ? ORDER BY path, generation", row.id):
                sentence = explain_recording(tx, recording, config.wipe.mode, config.wipe.grace_s)
                print(f"{recording.uid}  {sentence}")
    return EXIT_DONE
