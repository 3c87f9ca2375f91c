"""The configuration: TOML in, frozen models out; what is unknown or impossible is refused, all at once."""

from __future__ import annotations

from dockd.config.load import config_from, load_config
from dockd.config.models import (
    BaySettings,
    CameraMatch,
    CameraProfile,
    Config,
    CustodySettings,
    DockSettings,
    FilesystemStoreSettings,
    FolderCameraSettings,
    MqttSettings,
    S3StoreSettings,
    SpoolSettings,
    StoreSettings,
    WipeSettings,
    config_digest,
)

__all__ = [
    "BaySettings",
    "CameraMatch",
    "CameraProfile",
    "Config",
    "CustodySettings",
    "DockSettings",
    "FilesystemStoreSettings",
    "FolderCameraSettings",
    "MqttSettings",
    "S3StoreSettings",
    "SpoolSettings",
    "StoreSettings",
    "WipeSettings",
    "config_digest",
    "config_from",
    "load_config",
]
