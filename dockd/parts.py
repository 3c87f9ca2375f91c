"""Parts that both the daemon and the commands build from the configuration."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from dockd.config import Config
from dockd.errors import ConfigError
from dockd.paths import credential_path
from dockd.report.link import Message
from dockd.report.mqtt import BrokerSettings, connect
from dockd.report.reporter import Connect, printing
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


def broker_settings(config: Config) -> BrokerSettings | None:
    """Where the broker is and how to get in; None if the configuration names none."""
    mqtt = config.mqtt
    if mqtt is None:
        return None

    def secret(name: str | None) -> Path | None:
        return None if name is None else credential_path(name)

    return BrokerSettings(
        mqtt.host,
        mqtt.port,
        mqtt.tls,
        mqtt.ca_file,
        secret(mqtt.cert_credential),
        secret(mqtt.key_credential),
        mqtt.username,
        secret(mqtt.password_credential),
    )


def connector(config: Config, will: Message) -> Connect:
    """How to get a connection: to the broker that the configuration names, or else to standard output."""
    settings = broker_settings(config)
    if settings is None:
        return printing
    dock = config.dock
    return partial(connect, settings, f"dockd-{dock.agency}-{dock.site}-{dock.name}", will)
