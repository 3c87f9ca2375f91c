"""The configuration as frozen models: one class per TOML table.

A field's description says what would be right there: it becomes the `expected …` of a refusal.
Python names carry units (`min_free_bytes`); the key in the file is the alias (`min_free`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import rfc8785
from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from dockd.config import values
from dockd.config.values import GIB, MIB

Name = Annotated[str, BeforeValidator(values.name)]
AbsolutePath = Annotated[Path, BeforeValidator(values.path)]
Credential = Annotated[str, BeforeValidator(values.credential)]
UsbId = Annotated[str, BeforeValidator(values.usb_id)]
# TOML has lists only; a frozen model keeps tuples.
Patterns = Annotated[
    tuple[Annotated[str, BeforeValidator(values.pattern)], ...],
    Field(strict=False, min_length=1, max_length=1000),
]
Weakness = Literal["same-disk", "cached-readback"]

_ANY_RECORDING = ("**",)
_PATTERNS = 'an array of at least one pattern such as ["DCIM/**"]'
TimeFile = Annotated[str, BeforeValidator(values.file_below)]
_TIME_FILE = 'a file below the camera\'s root such as "LOG/TIME.TXT"'
_DAY_S = 86400.0


class Table(BaseModel):
    """What all tables share: nothing is converted silently, nothing unknown passes, nothing changes later."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", hide_input_in_errors=True)


class DockSettings(Table):
    """`[dock]`: whose dock this is, and where it keeps its own things."""

    agency: Name = Field(description="the agency's name: 1 to 20 of a-z, 0-9 and -")
    site: Name = Field(description="the site's name: 1 to 20 of a-z, 0-9 and -")
    name: Name = Field(description="the dock's name: 1 to 20 of a-z, 0-9 and -")
    state_dir: AbsolutePath = Field(default=Path("/var/lib/dockd"), description="an absolute path")
    stall_timeout_s: Annotated[float, BeforeValidator(values.duration(1.0, _DAY_S))] = Field(
        default=120.0, alias="stall_timeout", description='a duration such as "2m"'
    )


class SpoolSettings(Table):
    """`[spool]`: the dock's own disk, which recordings pass through."""

    min_free_bytes: Annotated[int, BeforeValidator(values.size())] = Field(
        default=5 * GIB, alias="min_free", description='a size such as "5GiB"'
    )


class FilesystemStoreSettings(Table):
    """`[store]` with kind "filesystem": a mounted folder."""

    kind: Literal["filesystem"] = Field(default="filesystem", description='"filesystem" or "s3"')
    path: AbsolutePath = Field(description="the store's folder as an absolute path")
    accept: Annotated[tuple[Weakness, ...], Field(strict=False)] = Field(
        default=(), description='an array of "same-disk" and "cached-readback"'
    )


class S3StoreSettings(Table):
    """`[store]` with kind "s3": a bucket."""

    kind: Literal["s3"] = Field(description='"filesystem" or "s3"')
    bucket: Annotated[str, BeforeValidator(values.bucket)] = Field(description="the bucket's name")
    endpoint_url: Annotated[str, BeforeValidator(values.endpoint_url)] | None = Field(
        default=None, description='a URL such as "https://s3.example"'
    )
    region: Annotated[str, BeforeValidator(values.region)] | None = Field(
        default=None, description='a region such as "eu-central-1"'
    )
    ca_file: AbsolutePath | None = Field(default=None, description="an absolute path")
    access_key_credential: Credential = Field(description="the name of the file that holds the access key")
    secret_key_credential: Credential = Field(description="the name of the file that holds the secret key")
    probe_access_key_credential: Credential | None = Field(
        default=None, description="the name of the file that holds the probe's access key"
    )
    probe_secret_key_credential: Credential | None = Field(
        default=None, description="the name of the file that holds the probe's secret key"
    )
    part_size_bytes: Annotated[int, BeforeValidator(values.size(5 * MIB, 5 * GIB))] = Field(
        default=16 * MIB, alias="part_size", description='a size such as "16MiB"'
    )
    addressing: Literal["path", "virtual"] = Field(default="path", description='"path" or "virtual"')
    payload_signing: Literal["signed", "unsigned"] = Field(default="signed", description='"signed" or "unsigned"')
    server_side_encryption: Literal["none", "AES256", "aws:kms"] = Field(
        default="none", description='"none", "AES256" or "aws:kms"'
    )
    object_lock_days: int = Field(default=0, ge=0, le=36500, description="a whole number of days from 0 to 36500")


def _store_kind(raw: object) -> str | None:
    if isinstance(raw, Mapping):
        kind = raw.get("kind", "filesystem")
        return kind if isinstance(kind, str) else ""
    return getattr(raw, "kind", None)


StoreSettings = FilesystemStoreSettings | S3StoreSettings
_Store = Annotated[
    Annotated[FilesystemStoreSettings, Tag("filesystem")] | Annotated[S3StoreSettings, Tag("s3")],
    Discriminator(_store_kind),
]


class MqttSettings(Table):
    """`[mqtt]`: the broker. Without this table the dock runs without one."""

    url: Annotated[str, BeforeValidator(values.mqtt_url)] = Field(description='a URL such as "mqtt://127.0.0.1:1883"')
    ca_file: AbsolutePath | None = Field(default=None, description="an absolute path")
    cert_credential: Credential | None = Field(
        default=None, description="the name of the file that holds the certificate"
    )
    key_credential: Credential | None = Field(
        default=None, description="the name of the file that holds the certificate's key"
    )
    username: Annotated[str, BeforeValidator(values.plain_text)] | None = Field(
        default=None, description="a user's name"
    )
    password_credential: Credential | None = Field(
        default=None, description="the name of the file that holds the password"
    )

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return urlsplit(self.url).scheme == "mqtts"

    @property
    def host(self) -> str:
        """The broker's name or address."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The broker's port; 1883 or, encrypted, 8883 when the URL names none."""
        return urlsplit(self.url).port or (8883 if self.tls else 1883)


class WipeSettings(Table):
    """`[wipe]`: whether, and how long after being confirmed, recordings leave their camera."""

    mode: Literal["on", "observe", "off"] = Field(default="off", description='"on", "observe" or "off"')
    grace_s: Annotated[float, BeforeValidator(values.duration(0.0, 3650 * _DAY_S))] = Field(
        default=0.0, alias="grace", description='a duration such as "72h"'
    )


class AuditSettings(Table):
    """`[audit]`: how often, how much and how fast the daemon reads the store again by itself."""

    every_s: Annotated[float, BeforeValidator(values.duration(0.0, 3650 * _DAY_S))] = Field(
        default=7 * _DAY_S, alias="every", description='a duration such as "7d", or "0s" for never'
    )
    sample: int = Field(default=100, ge=0, le=10**9, description="a whole number of recordings, 0 for all")
    rate_limit_bytes_per_s: Annotated[int, BeforeValidator(values.size(64 * values.KIB))] = Field(
        default=20 * MIB, alias="rate_limit", description='a size a second such as "20MiB"'
    )


class CustodySettings(Table):
    """`[custody]`: who signs the custody log, and who may lift a hold."""

    key_credential: Credential | None = Field(
        default=None, description="the name of the file that holds the dock's signing key"
    )
    approvers: Annotated[tuple[Annotated[str, BeforeValidator(values.signer)], ...], Field(strict=False)] = Field(
        default=(), description='an array of names with their keys: ["j.doe ssh-ed25519 AAAA…"]'
    )
    tsa_url: Annotated[str, BeforeValidator(values.endpoint_url)] | None = Field(
        default=None, description='a URL such as "https://tsa.example/tsr"'
    )
    tsa_ca_file: AbsolutePath | None = Field(default=None, description="an absolute path")


class BaySettings(Table):
    """One `[[bay]]`: a USB port and the number on its sticker."""

    number: int = Field(ge=1, le=999, description="a whole number from 1 to 999")
    usb_port: Annotated[str, BeforeValidator(values.usb_port)] = Field(description='a port such as "1-1.4"')


class FolderCameraSettings(Table):
    """`[folder_cameras]`: a folder whose sub-folders act as cameras."""

    path: AbsolutePath = Field(default=Path("/run/dockd/cameras"), description="an absolute path")
    settle_s: Annotated[float, BeforeValidator(values.duration(0.01, 3600.0))] = Field(
        default=2.0, alias="settle", description='a duration such as "2s"'
    )
    rescan_s: Annotated[float, BeforeValidator(values.duration(0.01, 3600.0))] = Field(
        default=10.0, alias="rescan", description='a duration such as "10s"'
    )
    recordings: Patterns = Field(default=_ANY_RECORDING, description=_PATTERNS)
    time_file: TimeFile | None = Field(default=None, description=_TIME_FILE)


class CameraMatch(Table):
    """Which USB cameras a profile is for; lower-case hex."""

    vendor: UsbId = Field(description='4 hex digits such as "46f4"')
    product: UsbId = Field(description='4 hex digits such as "0001"')


class CameraProfile(Table):
    """One `[[camera]]`: where a model keeps its recordings, and what tells two of it apart."""

    match: CameraMatch = Field(description='a table such as { vendor = "46f4", product = "0001" }')
    recordings: Patterns = Field(default=_ANY_RECORDING, description=_PATTERNS)
    serial: Literal["usb", "filesystem"] = Field(default="usb", description='"usb" or "filesystem"')
    time_file: TimeFile | None = Field(default=None, description=_TIME_FILE)


class Config(Table):
    """A whole configuration; made by `load_config`, which also checks what no table can tell by itself."""

    dock: DockSettings = Field(description="a table with agency, site and name")
    spool: SpoolSettings = Field(default=SpoolSettings(), description="a table")
    store: _Store = Field(description="a table with kind and path, or with kind and bucket")
    mqtt: MqttSettings | None = Field(default=None, description="a table with url")
    wipe: WipeSettings = Field(default=WipeSettings(), description="a table")
    audit: AuditSettings = Field(default=AuditSettings(), description="a table")
    custody: CustodySettings = Field(default=CustodySettings(), description="a table")
    bays: Annotated[tuple[BaySettings, ...], Field(strict=False, max_length=999)] = Field(
        default=(), alias="bay", description="an array of tables: [[bay]]"
    )
    folder_cameras: FolderCameraSettings | None = Field(default=None, description="a table with path")
    cameras: Annotated[tuple[CameraProfile, ...], Field(strict=False, max_length=999)] = Field(
        default=(), alias="camera", description="an array of tables: [[camera]]"
    )


def config_digest(config: Config) -> str:
    """The SHA-256 of the configuration as it took effect, in hex: equal settings, equal digest.

    Secrets are not in it: the configuration holds the names of their files only.
    """
    return hashlib.sha256(rfc8785.dumps(config.model_dump(mode="json"))).hexdigest()
