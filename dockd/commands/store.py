"""`dockd store …`."""

from __future__ import annotations

from pathlib import Path

from dockd.config import load_config
from dockd.parts import make_store
from dockd.runtime.randomness import SystemRandomness


def init(config_path: Path) -> int:
    """Make the configured folder or bucket known as a store."""
    store = make_store(load_config(config_path))
    store_id, new = store.initialise(SystemRandomness())
    print(f"{store.place} is {'now' if new else 'already'} a store, with id {store_id}")
    return 0
