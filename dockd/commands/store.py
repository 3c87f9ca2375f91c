"""`dockd store …`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from dockd.commands.common import known_store, print_json
from dockd.config import Config, load_config
from dockd.custody.chain import rfc3339
from dockd.errors import EXIT_DONE, EXIT_FOUND_WRONG, AccessError, ServiceMissingError
from dockd.parts import make_store, s3_settings
from dockd.paths import StatePaths, is_running
from dockd.report.tables import print_probe
from dockd.runtime.clock import SystemClock
from dockd.runtime.randomness import SystemRandomness
from dockd.stores.base import EvidenceStore
from dockd.stores.filesystem_probe import FilesystemProbe
from dockd.stores.probe import Finding, ProbeResult


def init(config_path: Path) -> int:
    """Make the configured folder or bucket known as a store."""
    store = make_store(load_config(config_path))
    store_id, new = store.initialise(SystemRandomness())
    print(f"{store.place} is {'now' if new else 'already'} a store, with id {store_id}")
    return EXIT_DONE


def probe(config_path: Path, *, as_json: bool) -> int:
    """Ask the store what it enforces, keep what was found for the daemon, and show it; 1 if something is wrong."""
    config = load_config(config_path)
    paths = StatePaths(config.dock.state_dir)
    if not paths.state_dir.is_dir():
        raise ServiceMissingError(
            f"there is no folder {paths.state_dir}, in which the result is kept",
            "Run dockd setup, or start dockd once.",
        )
    store = known_store(config)
    left: list[str] = []
    findings = []
    for finding in _asked(config, store, left):
        if sys.stderr.isatty() and not as_json:
            print(f"  {finding.name}: {finding.verdict}", file=sys.stderr)
        findings.append(finding)
    sentinel = f"the id is {store.identify()}"
    known = Finding("sentinel", "the store says which one it is", "enforced", sentinel, "send nothing to any other")
    result = ProbeResult(store.identify(), store.place, rfc3339(SystemClock().now()), (known, *findings), tuple(left))
    try:
        result.keep(paths.store_probe)
    except OSError as error:
        raise AccessError(
            f"what was found cannot be kept in {paths.store_probe}: {error.strerror}",
            "The daemon goes on as it did. Run it as root, or as the user that dockd runs as.",
        ) from error
    if as_json:
        print_json(result.payload())
    else:
        print_probe(result)
        if is_running(paths):
            print("dockd is running; it goes by this after: systemctl restart dockd")
    return EXIT_DONE if result.good else EXIT_FOUND_WRONG


def _asked(config: Config, store: EvidenceStore, left: list[str]) -> Iterator[Finding]:
    """Each finding as it is made; `left` is filled with what stays in the store."""
    token = SystemRandomness().token(4)
    if store.root is not None:
        yield from FilesystemProbe(store.root, store.root / config.dock.agency / "probe", token).run()
        return
    from dockd.stores.s3_bucket import Bucket
    from dockd.stores.s3_probe import S3Probe

    assert config.store.kind == "s3"
    own = Bucket(s3_settings(config, config.store))
    stranger = Bucket(s3_settings(config, config.store, probing=True))
    yield from S3Probe(stranger, own, f"{config.dock.agency}/probe", token, left).run()
