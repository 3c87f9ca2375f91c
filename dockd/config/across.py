"""What is wrong between tables although each is right by itself.

These checks look at the raw values, so that they speak in the same run as the tables' own checks. They take
no offence at a value that is wrong by itself: that has been said already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from pydantic_core import PydanticCustomError

from dockd.config import values
from dockd.config.models import DockSettings, FolderCameraSettings
from dockd.config.places import Location
from dockd.config.problems import Problem, full_key, shown

_TLS_KEYS = ("ca_file", "cert_credential", "key_credential")


def across_tables(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """Everything that two values of `raw` cannot be at once."""
    yield from _nested_folders(raw)
    yield from _repeated(raw, "bay", "number", lambda bay: bay.get("number"))
    yield from _repeated(raw, "bay", "usb_port", lambda bay: bay.get("usb_port"))
    yield from _repeated(raw, "camera", "match", _match)
    yield from _broker_keys(_table(raw, "mqtt"))
    certificate, key = "cert_credential", "key_credential"
    yield from _together(raw, "mqtt", (certificate, key), (key, certificate), ("password_credential", "username"))
    yield from _store_keys(_table(raw, "store"))
    access, secret = "probe_access_key_credential", "probe_secret_key_credential"
    yield from _together(raw, "store", (access, secret), (secret, access))
    yield from _together(raw, "custody", ("tsa_url", "tsa_ca_file"), ("tsa_ca_file", "tsa_url"))


def _nested_folders(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """Lexically only: links and mounts are looked at when the folders are used."""
    folders: dict[Location, Path] = {}
    dock, store, cameras = _table(raw, "dock"), _table(raw, "store"), raw.get("folder_cameras")
    _add(
        folders,
        ("dock", "state_dir"),
        dock.get("state_dir", str(DockSettings.model_fields["state_dir"].default)),
    )
    if store.get("kind", "filesystem") == "filesystem":
        _add(folders, ("store", "path"), store.get("path"))
    if isinstance(cameras, dict):
        default = str(FolderCameraSettings.model_fields["path"].default)
        _add(folders, ("folder_cameras", "path"), cameras.get("path", default))
    for (one, one_path), (other, other_path) in combinations(folders.items(), 2):
        if one_path == other_path or one_path in other_path.parents or other_path in one_path.parents:
            relation = "is" if one_path == other_path else "lies in" if one_path in other_path.parents else "holds"
            yield Problem(
                other,
                f"{shown(str(other_path))}, which {relation} {full_key(one)} ({shown(str(one_path))})",
                "folders that lie apart from each other",
            )


def _add(folders: dict[Location, Path], where: Location, raw: object) -> None:
    try:
        folders[where] = values.path(raw)
    except PydanticCustomError:
        return


def _repeated(
    raw: Mapping[str, Any], table: str, key: str, value_of: Callable[[dict[str, Any]], object]
) -> Iterator[Problem]:
    seen: dict[object, int] = {}
    entries = raw.get(table)
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        value = value_of(entry) if isinstance(entry, dict) else None
        if isinstance(value, bool) or not isinstance(value, int | str | tuple):
            continue
        if value in seen:
            found = f"{' '.join(value) if isinstance(value, tuple) else shown(value)} a second time"
            yield Problem((table, index, key), found, f"each {key} once: {full_key((table, seen[value]))} has it")
        else:
            seen[value] = index


def _match(camera: dict[str, Any]) -> tuple[str, str] | None:
    match = _table(camera, "match")
    try:
        return values.usb_id(match.get("vendor")), values.usb_id(match.get("product"))
    except PydanticCustomError:
        return None


def _together(raw: Mapping[str, Any], table: str, *pairs: tuple[str, str]) -> Iterator[Problem]:
    """Of each pair the first is of no use without the second."""
    given = _table(raw, table)
    for key, needed in pairs:
        if key in given and needed not in given:
            yield Problem((table, needed), "nothing", f"a value, because {table}.{key} is there")


def _broker_keys(mqtt: Mapping[str, Any]) -> Iterator[Problem]:
    url = mqtt.get("url")
    if isinstance(url, str) and url.startswith("mqtt://"):
        for key in _TLS_KEYS:
            if key in mqtt:
                yield Problem(("mqtt", key), "a key for TLS", "none with an mqtt:// URL", "mqtts:// in mqtt.url")


def _store_keys(store: Mapping[str, Any]) -> Iterator[Problem]:
    url = store.get("endpoint_url")
    if not isinstance(url, str) or not url.startswith("http://"):
        return
    if "ca_file" in store:
        yield Problem(
            ("store", "ca_file"), "a key for TLS", "none with an http:// URL", "https:// in store.endpoint_url"
        )
    if store.get("payload_signing") == "unsigned":
        # Nothing else would tell the store that bytes were changed on their way.
        yield Problem(("store", "payload_signing"), shown("unsigned"), '"signed" with an http:// URL')


def _table(raw: Mapping[str, Any], key: str) -> dict[str, Any]:
    table = raw.get(key)
    return table if isinstance(table, dict) else {}
