"""Parts that both the daemon and the commands build from the configuration."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dockd.alerts import AlertBoard
from dockd.config import Config, S3StoreSettings
from dockd.errors import StoreUnavailableError
from dockd.journal.journal import Journal
from dockd.paths import StatePaths, check_disjoint, credential_path
from dockd.report.link import Message
from dockd.report.mqtt import BrokerSettings, connect
from dockd.report.reporter import Connect, printing
from dockd.stores.base import EvidenceStore
from dockd.stores.filesystem import FilesystemStore
from dockd.stores.probe import NOTHING_KNOWN, ProbeResult, S3Knowledge

if TYPE_CHECKING:
    from dockd.stages.keyring import KeyPlace
    from dockd.stages.stamper import Stamper
    from dockd.stores.s3_bucket import S3Settings


def check_places(config: Config, store_root: Path | None) -> None:
    """Raise NotDisjointError if state, store and cameras do not lie apart."""
    places = {"dock.state_dir": config.dock.state_dir}
    if store_root is not None:
        places["store.path"] = store_root
    if config.folder_cameras is not None:
        places["folder_cameras.path"] = config.folder_cameras.path
    check_disjoint(places)


def make_store(config: Config) -> EvidenceStore:
    """The store that the configuration names; nothing is asked of it yet."""
    if config.store.kind == "filesystem":
        return FilesystemStore(config.store.path)
    # It takes a quarter of a second and 25 MB to import, which a dock with a folder is spared.
    from dockd.stores.s3 import S3Store  # noqa: PLC0415 - as said

    return S3Store(s3_settings(config, config.store))


def s3_settings(config: Config, store: S3StoreSettings, *, probing: bool = False) -> S3Settings:
    """How to speak to the bucket; `probing`: with the probe's own key, if there is one."""
    from dockd.stores.s3_bucket import S3Settings, place_of  # noqa: PLC0415 - see above

    kept = ProbeResult.kept(StatePaths(config.dock.state_dir).store_probe)
    return S3Settings(
        store.bucket,
        store.endpoint_url,
        store.region,
        store.ca_file,
        store.addressing,
        store.part_size_bytes,
        store.object_lock_days,
        store.payload_signing == "signed",
        None if store.server_side_encryption == "none" else store.server_side_encryption,
        dock_name(config),
        partial(_s3_keys, store, probing=probing),
        NOTHING_KNOWN if probing else S3Knowledge.of(kept, place_of(store.endpoint_url, store.bucket)),
    )


def _s3_keys(store: S3StoreSettings, *, probing: bool) -> tuple[str, str]:
    """Access key and secret key; raises StoreUnavailableError where a file cannot be read."""
    access, secret = store.probe_access_key_credential, store.probe_secret_key_credential
    if not probing or access is None or secret is None:
        access, secret = store.access_key_credential, store.secret_key_credential
    return _secret(access), _secret(secret)


def _secret(name: str) -> str:
    path = credential_path(name)
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StoreUnavailableError(
            f"the credential {name} of the store cannot be read: {error}",
            "Footage is taken in and kept; nothing is wiped. Put the key into /etc/dockd/credentials (root, 0600), "
            "and restart dockd.",
        ) from error
    if not text:
        raise StoreUnavailableError(f"the credential {name} of the store is empty: {path}")
    return text


def accepted_weaknesses(config: Config) -> frozenset[str]:
    """The weaknesses of its store that this site accepts."""
    return frozenset(config.store.accept) if config.store.kind == "filesystem" else frozenset()


def key_place(config: Config) -> KeyPlace:
    """Where the dock's signing key lies."""
    # What goes with it takes 50 ms to import, which commands that sign nothing are spared.
    from dockd.stages.keyring import KeyPlace  # noqa: PLC0415 - as said

    name = config.custody.key_credential
    if name is None:
        return KeyPlace(StatePaths(config.dock.state_dir).signing_key)
    return KeyPlace(credential_path(name), credential=True)


def make_stamper(
    config: Config, journal: Journal, store: EvidenceStore, alerts: AlertBoard, usable: Callable[[], bool]
) -> Stamper | None:
    """Who asks for time stamps; None if the configuration names no authority."""
    custody = config.custody
    if custody.tsa_url is None or custody.tsa_ca_file is None:
        return None
    # What it needs is imported by docks that have an authority.
    from dockd.stages.stamper import Stamper  # noqa: PLC0415 - as said

    return Stamper(journal, store, alerts, dock_name(config), custody.tsa_url, custody.tsa_ca_file, usable)


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
