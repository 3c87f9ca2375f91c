"""What every evidence store must do when it is read: the read-back, versions, small objects."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from contract.stores import StoreKind, open_store
from contract.test_store_contract import FOLDER, UPLOAD, found, key_of, save
from contract.tools import MIB, SIZES, Steps, content, digests_of, stop

from dockd.direct_io import Buffer
from dockd.errors import DockdError, StoppedError, StoreConflictError
from dockd.stores.base import EvidenceStore

HOLDS = "calgary/holds"


def version(store: EvidenceStore, key: str) -> str:
    """The version of an object, which `version` and the read-back agree on."""
    told = store.version(key)
    read = store.read_back(key, Buffer(), Steps())
    assert told is not None
    assert read is not None
    assert read.version == told
    return told


def test_what_is_not_there_is_none(store: EvidenceStore) -> None:
    assert store.read_back(f"{FOLDER}/nothing", Buffer(), Steps()) is None
    assert store.version(f"{FOLDER}/nothing") is None
    assert store.get_small(f"{HOLDS}/nothing.json") is None
    assert list(store.list_small(HOLDS)) == []
    assert store.find_content(FOLDER, "0" * 64) is None


def test_what_disappeared_is_none(kind: StoreKind, store: EvidenceStore, spool: Path) -> None:
    data = content(5000)
    save(store, spool, data)
    kind.remove(key_of(data))
    assert found(store, key_of(data)) is None
    assert store.version(key_of(data)) is None


@pytest.mark.parametrize("size", SIZES)
def test_the_read_back_tells_of_every_byte(kind: StoreKind, store: EvidenceStore, size: int) -> None:
    data = content(size)
    kind.put(key_of(data), data)
    steps = Steps()
    read = store.read_back(key_of(data), Buffer(), steps)
    assert read is not None
    assert read.digests == digests_of(data)
    assert steps.done_bytes == size


@pytest.mark.parametrize("size", SIZES)
def test_what_is_read_back_is_handed_on(kind: StoreKind, store: EvidenceStore, size: int) -> None:
    data = content(size)
    kind.put(key_of(data), data)
    handed = bytearray()
    read = store.read_back(key_of(data), Buffer(), Steps(), handed.extend)
    assert read is not None
    assert bytes(handed) == data


def test_the_read_back_can_be_stopped(kind: StoreKind, store: EvidenceStore) -> None:
    data = content(3 * MIB)
    kind.put(key_of(data), data)
    with pytest.raises(StoppedError):
        store.read_back(key_of(data), Buffer(), Steps(2, stop))


@pytest.mark.parametrize("size", [1, 4096, 9 * MIB + 5])
def test_a_changed_byte_shows(kind: StoreKind, store: EvidenceStore, spool: Path, size: int) -> None:
    data = content(size)
    save(store, spool, data)
    before = version(store, key_of(data))
    for place in {0, size // 2, size - 1}:
        spoilt = data[:place] + bytes([data[place] ^ 0x80]) + data[place + 1 :]
        kind.put(key_of(data), spoilt)
        assert found(store, key_of(data)) == digests_of(spoilt)
        assert version(store, key_of(data)) != before


def test_a_version_is_of_one_object_only(kind: StoreKind, store: EvidenceStore, spool: Path) -> None:
    data = content(5000)
    save(store, spool, data)
    seen = [version(store, key_of(data))]
    assert version(store, key_of(data)) == seen[0]
    # The last is the same content again, put there anew.
    for other in (data[:-1], data + b"x", content(5000, seed=1), *([data] if kind.versions else [])):
        kind.put(key_of(data), other)
        seen.append(version(store, key_of(data)))
    assert len(set(seen)) == len(seen)


# --- content under another suffix --------------------------------------------------------------------


def test_content_is_found_whatever_its_suffix(kind: StoreKind, store: EvidenceStore, spool: Path) -> None:
    data, other = content(100), content(101)
    kind.put(key_of(data, ".mov"), data)
    kind.break_off(key_of(other), UPLOAD, other)
    assert store.find_content(FOLDER, digests_of(data).blake3) == key_of(data, ".mov")
    assert store.find_content(FOLDER, digests_of(other).blake3) is None
    save(store, spool, other, key=key_of(other, ""))
    assert store.find_content(FOLDER, digests_of(other).blake3) == key_of(other, "")
    assert store.find_content("calgary/recordings/CAM-2", digests_of(data).blake3) is None


# --- small objects -----------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"{}", b"\0\xff\n", content(3 * MIB + 1)])
def test_a_small_object_is_given_back_as_it_was(kind: StoreKind, store: EvidenceStore, data: bytes) -> None:
    assert store.put_small(f"{HOLDS}/a.json", data) is True
    assert store.get_small(f"{HOLDS}/a.json") == data
    assert kind.visible() == {f"{HOLDS}/a.json": data}
    assert kind.begun() == set()


def test_the_same_small_object_again_is_no_news(kind: StoreKind, store: EvidenceStore) -> None:
    assert store.put_small(f"{HOLDS}/a.json", b"one") is True
    before = store.version(f"{HOLDS}/a.json")
    assert store.put_small(f"{HOLDS}/a.json", b"one") is False
    assert store.version(f"{HOLDS}/a.json") == before
    assert kind.begun() == set()


@pytest.mark.parametrize("other", [b"", b"on", b"one ", b"two"])
def test_another_small_object_under_the_key_is_a_conflict(kind: StoreKind, store: EvidenceStore, other: bytes) -> None:
    store.put_small(f"{HOLDS}/a.json", b"one")
    with pytest.raises(StoreConflictError):
        store.put_small(f"{HOLDS}/a.json", other)
    assert kind.visible() == {f"{HOLDS}/a.json": b"one"}
    assert kind.begun() == set()


def test_one_of_many_small_objects_put_at_once_wins(kind: StoreKind) -> None:
    together = threading.Barrier(6)

    def put(number: int) -> bool | str:
        store = open_store(kind.spec)
        together.wait()
        try:
            return store.put_small(f"{HOLDS}/a.json", f"dock {number}".encode())
        except StoreConflictError:
            return "conflict"

    with ThreadPoolExecutor(6) as pool:
        told = list(pool.map(put, range(6)))
    assert told.count(True) == 1 if kind.exclusive else told.count(True) >= 1
    assert told.count("conflict") == 6 - told.count(True)
    winners = [f"dock {number}".encode() for number, one in enumerate(told) if one is True]
    assert kind.visible().keys() == {f"{HOLDS}/a.json"}
    assert kind.visible()[f"{HOLDS}/a.json"] in winners
    assert kind.begun() == set()


def test_a_listing_has_the_visible_objects_of_one_folder_only(kind: StoreKind, store: EvidenceStore) -> None:
    for name in ("b.json", "a.json", "%2Ehidden.json"):
        store.put_small(f"{HOLDS}/{name}", b"{}")
    store.put_small(f"{HOLDS}/deeper/c.json", b"{}")
    store.put_small("calgary/holdsx/d.json", b"{}")
    kind.break_off(f"{HOLDS}/e.json", UPLOAD, b"{")
    assert sorted(store.list_small(HOLDS)) == [f"{HOLDS}/{name}" for name in ("%2Ehidden.json", "a.json", "b.json")]


@pytest.mark.slow
def test_a_listing_goes_on_behind_a_key_and_tells_of_folders(kind: StoreKind, store: EvidenceStore) -> None:
    assert list(store.list_folders("calgary/custody/d")) == []
    for name in ("b/1.json", "b/2.json", "b/3.json", "a/1.json", "c.json", ".hidden/1.json"):
        kind.put(f"calgary/custody/d/{name}", b"{}")
    assert sorted(store.list_folders("calgary/custody/d")) == ["calgary/custody/d/a", "calgary/custody/d/b"]
    behind = store.list_small("calgary/custody/d/b", "calgary/custody/d/b/1.json")
    assert sorted(behind) == ["calgary/custody/d/b/2.json", "calgary/custody/d/b/3.json"]
    assert list(store.list_small("calgary/custody/d/b", "calgary/custody/d/b/3.json")) == []


def test_a_small_object_is_never_given_in_part(kind: StoreKind, store: EvidenceStore) -> None:
    data = bytes(64 * MIB) + b"the end"
    kind.put(f"{HOLDS}/large.json", data)
    try:
        read = store.get_small(f"{HOLDS}/large.json")
    except DockdError:
        return
    assert read is not None
    assert len(read) == len(data)
