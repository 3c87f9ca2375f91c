"""What every evidence store must do about uploads, keys and stores that are not its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from contract.stores import StoreKind, known, upload_of
from contract.test_store_contract import FOLDER, OTHER_UPLOAD, UPLOAD, found, key_of, save
from contract.tools import MIB, Steps, content, digests_of, plant

from dockd.direct_io import Buffer
from dockd.errors import StoreUnknownError
from dockd.identity import encode_part
from dockd.stores.base import EvidenceStore, Upload

# --- cleaning up -------------------------------------------------------------------------------------


def test_abandoning_takes_away_what_this_upload_left_and_nothing_else(
    kind: StoreKind, store: EvidenceStore, spool: Path
) -> None:
    data = content(2 * MIB)
    save(store, spool, data, upload="ef" * 16)
    kind.break_off(key_of(data), UPLOAD, data[:MIB])
    kind.break_off(key_of(data), OTHER_UPLOAD, data[:MIB])
    store.abandon(key_of(data), known(UPLOAD))
    assert kind.begun() == {OTHER_UPLOAD}
    assert kind.visible() == {key_of(data): data}
    store.abandon(key_of(data), known(UPLOAD))
    store.abandon(f"{FOLDER}/never-begun", known(UPLOAD))
    assert kind.begun() == {OTHER_UPLOAD}


def test_saving_what_is_there_clears_what_its_own_upload_left_and_no_other(
    kind: StoreKind, store: EvidenceStore, spool: Path
) -> None:
    data = content(2 * MIB)
    save(store, spool, data, upload="ef" * 16)
    kind.break_off(key_of(data), UPLOAD, data)
    kind.break_off(key_of(data), OTHER_UPLOAD, data[:MIB])
    assert save(store, spool, data).already_there
    assert kind.begun() == {OTHER_UPLOAD}


@pytest.mark.parametrize("upload", ["", "x", "..", "a/b", UPLOAD.upper(), UPLOAD + "\n", UPLOAD + "0", "../" + UPLOAD])
def test_what_is_no_upload_id_is_refused(kind: StoreKind, store: EvidenceStore, spool: Path, upload: str) -> None:
    data = content(10)
    source = plant(spool / "one.part", data)
    with pytest.raises(ValueError, match="upload"):
        store.save(key_of(data), source, digests_of(data), Upload(upload, lambda _: None), Buffer(), Steps())
    with pytest.raises(ValueError, match="upload"):
        store.abandon(key_of(data), upload)
    assert kind.visible() == {}


# --- keys --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "serial",
    [
        b"..",
        b".",
        b".hidden",
        b"a/b",
        b"/etc/passwd",
        b"\n",
        b"\0",
        b"%",
        b"~",
        b"\xff" * 255,
        "é😀".encode(),
        b"C:\\x",
    ],
)
def test_whatever_a_camera_is_called_its_key_stays_within_the_store(
    kind: StoreKind, store: EvidenceStore, spool: Path, serial: bytes
) -> None:
    data = content(100)
    key = f"calgary/recordings/{encode_part(serial)}/{digests_of(data).blake3}"
    save(store, spool, data, key=key)
    assert found(store, key) == digests_of(data)
    assert kind.visible() == {key: data}
    folder = key.rpartition("/")[0]
    assert list(store.list_small(folder)) == [key]
    assert store.find_content(folder, digests_of(data).blake3) == key


BAD_KEYS = ["", "/", "/x", "x/", "a//b", ".", "..", "a/../b", "a/./b", "../x", "a/..", "a\0b", "a/b\0", "\0"]


@pytest.mark.parametrize("key", BAD_KEYS)
def test_what_is_no_key_is_refused(kind: StoreKind, store: EvidenceStore, spool: Path, key: str) -> None:
    data = content(10)
    source = plant(spool / "one.part", data)
    attempts: list[Callable[[], object]] = [
        lambda: store.save(key, source, digests_of(data), upload_of(UPLOAD), Buffer(), Steps()),
        lambda: store.put_small(key, b"x"),
        lambda: store.get_small(key),
        lambda: store.abandon(key, UPLOAD),
        lambda: store.read_back(key, Buffer(), Steps()),
        lambda: store.version(key),
        lambda: list(store.list_small(key)),
        lambda: store.find_content(key, digests_of(data).blake3),
    ]
    for attempt in attempts:
        with pytest.raises(ValueError, match="key"):
            attempt()
    assert kind.visible() == {}


# --- which store it is -------------------------------------------------------------------------------


def everything(store: EvidenceStore, source: Path) -> list[Callable[[], object]]:
    """Every call that must not be answered by a store that is not ours."""
    data = source.read_bytes()
    return [
        store.check,
        lambda: store.save(key_of(data), source, digests_of(data), upload_of(UPLOAD), Buffer(), Steps()),
        lambda: store.abandon(key_of(data), known(UPLOAD)),
        lambda: store.read_back(key_of(data), Buffer(), Steps()),
        lambda: store.version(key_of(data)),
        lambda: store.find_content(FOLDER, digests_of(data).blake3),
        lambda: store.put_small("calgary/holds/x.json", b"{}"),
        lambda: store.get_small("calgary/holds/x.json"),
        lambda: list(store.list_small("calgary/holds")),
    ]


def test_a_store_of_another_id_takes_nothing_and_says_nothing(
    kind: StoreKind, store: EvidenceStore, spool: Path
) -> None:
    kind.break_off(key_of(content(10)), UPLOAD, b"x")
    store.pin("0" * 32)
    for attempt in everything(store, plant(spool / "one.part", content(10))):
        with pytest.raises(StoreUnknownError):
            attempt()
    assert kind.visible() == {}
    assert kind.begun() == {UPLOAD}


def test_what_a_store_raises_has_a_hint(store: EvidenceStore) -> None:
    store.pin("0" * 32)
    with pytest.raises(StoreUnknownError) as raised:
        store.check()
    assert raised.value.hint
