"""Parts that both the daemon and the commands build from the configuration."""

from __future__ import annotations

from dockd.config import Config
from dockd.errors import ConfigError
from dockd.stores.filesystem import FilesystemStore


def make_store(config: Config) -> FilesystemStore:
    """The store that the configuration names; raises ConfigError for a kind that this version does not know."""
    if config.store.kind != "filesystem":
        raise ConfigError(
            f"store.kind: found {config.store.kind!r}; this version of dockd knows 'filesystem' only",
            "Nothing was started. Use a filesystem store, or a version of dockd that knows this kind.",
        )
    return FilesystemStore(config.store.path)


def accepted_weaknesses(config: Config) -> frozenset[str]:
    """The weaknesses of its store that this site accepts."""
    return frozenset(config.store.accept) if config.store.kind == "filesystem" else frozenset()


def dock_name(config: Config) -> str:
    """The dock's name in records: agency/site/name."""
    return f"{config.dock.agency}/{config.dock.site}/{config.dock.name}"
