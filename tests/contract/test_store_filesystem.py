"""A store that is a folder: whose it is, what its disk does to it, and in which order it writes."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from contract.stores import FilesystemKind, open_store
from contract.test_store_contract import FOLDER, UPLOAD, found, key_of, save
from contract.test_store_keys import everything
from contract.tools import MIB, Steps, content, digests_of, need_direct, plant
from e2e.kernel import Mounts, fill

from dockd.direct_io import Buffer
from dockd.durable import STORE_SENTINEL
from dockd.errors import StoreConflictError, StoreFullError, StoreUnavailableError, StoreUnknownError
from dockd.runtime.randomness import SystemRandomness
from dockd.stores.base import Saved
from dockd.stores.filesystem import FilesystemStore, initialise

ID = "0123456789abcdef" * 2


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def folder_store(root: Path) -> FilesystemStore:
    initialise(root, SystemRandomness())
    store = FilesystemStore(root)
    store.pin(store.identify())
    return store


def names_in(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


# --- making it known ---------------------------------------------------------------------------------


def test_a_store_is_made_known_once(root: Path) -> None:
    store_id, new = initialise(root / "deep" / "er", SystemRandomness())
    assert new
    assert initialise(root / "deep" / "er", SystemRandomness()) == (store_id, False)
    assert (root / "deep" / "er" / STORE_SENTINEL).read_text() == f"{store_id}\n"
    assert names_in(root / "deep" / "er") == {STORE_SENTINEL}


def test_two_who_make_a_store_known_at_once_agree(root: Path) -> None:
    together = threading.Barrier(8)

    def one(_: int) -> tuple[str, bool]:
        together.wait()
        return initialise(root, SystemRandomness())

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(one, range(8)))
    assert len({store_id for store_id, _ in told}) == 1
    assert [new for _, new in told].count(True) == 1
    assert names_in(root) == {STORE_SENTINEL}


GARBAGE = [
    b"",
    b"\n",
    b"x",
    b"g" * 32,
    ID.upper().encode(),
    ID[:-1].encode(),
    f"{ID}0".encode(),
    b"\0" * 32,
    b"\xff" * 32,
]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_a_sentinel_that_says_nothing_is_not_written_over(root: Path, tmp_path: Path, garbage: bytes) -> None:
    plant(root / STORE_SENTINEL, garbage)
    with pytest.raises((StoreUnknownError, StoreUnavailableError)):
        initialise(root, SystemRandomness())
    store = FilesystemStore(root)
    store.pin(ID)
    for attempt in everything(store, plant(tmp_path / "spool.part", content(10))):
        with pytest.raises((StoreUnknownError, StoreUnavailableError)):
            attempt()
    assert (root / STORE_SENTINEL).read_bytes() == garbage
    assert names_in(root) == {STORE_SENTINEL}


# --- whose store it is -------------------------------------------------------------------------------


def gone(root: Path) -> None:
    os.rename(root, root.with_name("elsewhere"))


def emptied(root: Path) -> None:
    gone(root)
    root.mkdir()


def another(root: Path) -> None:
    gone(root)
    initialise(root, SystemRandomness())


def a_file(root: Path) -> None:
    gone(root)
    root.write_bytes(b"")


CASES = [
    (gone, StoreUnavailableError),
    (emptied, StoreUnknownError),
    (another, StoreUnknownError),
    (a_file, StoreUnavailableError),
]


@pytest.mark.parametrize(("happens", "raised"), CASES)
def test_what_is_not_our_store_takes_nothing(
    folder_store: FilesystemStore, root: Path, tmp_path: Path, happens: Callable[[Path], None], raised: type[Exception]
) -> None:
    happens(root)
    before = names_in(root)
    for attempt in everything(folder_store, plant(tmp_path / "spool.part", content(10))):
        with pytest.raises(raised):
            attempt()
    assert names_in(root) == before
    gone_root = root.with_name("elsewhere")
    assert names_in(gone_root) == {STORE_SENTINEL}


def test_a_store_that_was_never_pinned_takes_nothing(root: Path, tmp_path: Path) -> None:
    initialise(root, SystemRandomness())
    for attempt in everything(FilesystemStore(root), plant(tmp_path / "spool.part", content(10))):
        with pytest.raises(StoreUnknownError):
            attempt()
    assert names_in(root) == {STORE_SENTINEL}


@pytest.mark.parametrize("happens", [gone, emptied, another])
def test_a_store_that_goes_while_bytes_are_sent_is_not_published_to(
    folder_store: FilesystemStore, root: Path, spool: Path, happens: Callable[[Path], None]
) -> None:
    data = content(3 * MIB)
    with pytest.raises((StoreUnavailableError, StoreUnknownError)):
        save(folder_store, spool, data, steps=Steps(3, lambda: happens(root)))
    for place in (root, root.with_name("elsewhere")):
        assert not any(name.endswith(".mp4") for name in names_in(place))


def test_an_empty_mount_is_no_store(folder_store: FilesystemStore, root: Path, tmp_path: Path, mounts: Mounts) -> None:
    mounts.memory(root)
    for attempt in everything(folder_store, plant(tmp_path / "spool.part", content(10))):
        with pytest.raises(StoreUnknownError):
            attempt()
    assert names_in(root) == set()


def test_a_store_that_is_mounted_over_while_bytes_are_sent(
    folder_store: FilesystemStore, root: Path, spool: Path, mounts: Mounts
) -> None:
    data = content(3 * MIB)
    with pytest.raises(StoreUnknownError):
        save(folder_store, spool, data, steps=Steps(3, lambda: mounts.memory(root)))
    assert names_in(root) == set()
    mounts.unmount(root)
    assert not save(folder_store, spool, data).already_there
    assert found(folder_store, key_of(data)) == digests_of(data)


# --- its weaknesses ----------------------------------------------------------------------------------


def test_a_store_beside_the_spool_is_weak(folder_store: FilesystemStore, spool: Path) -> None:
    need_direct(spool)
    assert folder_store.status(spool).weaknesses == ["same-disk"]


def test_a_store_in_memory_is_weak_and_its_read_back_says_so(spool: Path, tmp_path: Path, mounts: Mounts) -> None:
    root = tmp_path / "memory"
    mounts.memory(root)
    kind = FilesystemKind("memory", root)
    store = open_store(kind.spec)
    data = content(100)
    save(store, spool, data)
    assert store.status(spool).weaknesses == ["cached-readback"]
    read = store.read_back(key_of(data), Buffer(), Steps())
    assert read is not None
    assert not read.past_cache


def test_a_store_on_a_disk_of_its_own_has_no_weakness(spool: Path, tmp_path: Path, mounts: Mounts) -> None:
    root = mounts.disk(tmp_path / "disk", 32 * MIB)
    kind = FilesystemKind("disk", root)
    store = open_store(kind.spec)
    data = content(100)
    save(store, spool, data)
    status = store.status(spool)
    assert (status.kind, list(status.weaknesses)) == ("ext4", [])
    assert status.free_bytes is not None
    assert 0 < status.free_bytes < 32 * MIB
    read = store.read_back(key_of(data), Buffer(), Steps())
    assert read is not None
    assert read.past_cache


# --- what disks do -----------------------------------------------------------------------------------


def test_corruption_of_the_disk_shows_though_this_host_remembers_better(
    spool: Path, tmp_path: Path, mounts: Mounts
) -> None:
    root = mounts.disk(tmp_path / "disk", 32 * MIB)
    store = open_store(FilesystemKind("disk", root).spec)
    data = content(3 * MIB)
    save(store, spool, data)
    path = root / key_of(data)
    os.sync()
    assert path.read_bytes() == data
    image = tmp_path / "0.img"
    place = image.read_bytes().index(data[MIB : MIB + 4096])
    with open(image, "r+b") as file:
        file.seek(place)
        file.write(b"\xee")
    spoilt = data[:MIB] + b"\xee" + data[MIB + 1 :]
    assert path.read_bytes() == data, "this host's memory was meant to still hold what was written"
    assert found(store, key_of(data)) == digests_of(spoilt)


def test_a_full_store_shows_nothing_and_goes_on_when_there_is_room(spool: Path, tmp_path: Path, mounts: Mounts) -> None:
    root = mounts.disk(tmp_path / "disk", 32 * MIB)
    kind = FilesystemKind("disk", root)
    store = open_store(kind.spec)
    filler = fill(root, 5 * MIB)
    data = content(9 * MIB)
    for _ in range(2):
        with pytest.raises(StoreFullError):
            save(store, spool, data)
        assert kind.visible().keys() == {"filler.bin"}
        assert found(store, key_of(data)) is None
    filler.unlink()
    assert not save(store, spool, data).already_there
    assert kind.visible() == {key_of(data): data}
    assert found(store, key_of(data)) == digests_of(data)


def test_a_full_store_takes_no_part_of_a_small_object(spool: Path, tmp_path: Path, mounts: Mounts) -> None:
    root = mounts.disk(tmp_path / "disk", 8 * MIB)
    kind = FilesystemKind("disk", root)
    store = open_store(kind.spec)
    store.put_small("calgary/holds/first.json", b"{}")
    fill(root)
    with pytest.raises(StoreFullError):
        store.put_small("calgary/holds/a.json", content(2 * MIB))
    assert list(store.list_small("calgary/holds")) == ["calgary/holds/first.json"]
    assert kind.begun() == set()


def test_a_read_only_store_is_unavailable(spool: Path, tmp_path: Path, mounts: Mounts) -> None:
    root = mounts.disk(tmp_path / "disk", 32 * MIB)
    store = open_store(FilesystemKind("disk", root).spec)
    data = content(100)
    save(store, spool, data)
    mounts.remount(root, "ro")
    with pytest.raises(StoreUnavailableError):
        save(store, spool, content(101))
    with pytest.raises(StoreUnavailableError):
        store.put_small("calgary/holds/a.json", b"{}")
    assert found(store, key_of(data)) == digests_of(data)


# --- what lies in the way ----------------------------------------------------------------------------


def test_a_link_in_place_of_the_hidden_file_is_not_followed(
    folder_store: FilesystemStore, root: Path, spool: Path, tmp_path: Path
) -> None:
    data = content(5000)
    victim = plant(tmp_path / "victim", b"untouched")
    hidden = (root / key_of(data)).with_name(f".{UPLOAD}.partial")
    hidden.parent.mkdir(parents=True)
    hidden.symlink_to(victim)
    with pytest.raises(StoreUnavailableError):
        save(folder_store, spool, data)
    assert victim.read_bytes() == b"untouched"
    folder_store.abandon(key_of(data), UPLOAD)
    assert victim.read_bytes() == b"untouched"


@pytest.mark.parametrize("target", ["victim", "nothing"])
def test_a_link_under_the_key_is_neither_followed_nor_replaced(
    folder_store: FilesystemStore, root: Path, spool: Path, tmp_path: Path, target: str
) -> None:
    data = content(5000)
    plant(tmp_path / "victim", data)
    path = root / key_of(data)
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / target)
    with pytest.raises(StoreUnavailableError):
        save(folder_store, spool, data)
    with pytest.raises(StoreUnavailableError):
        folder_store.read_back(key_of(data), Buffer(), Steps())
    assert path.is_symlink()
    assert not (tmp_path / "nothing").exists()


def test_a_folder_under_the_key_is_no_object(folder_store: FilesystemStore, root: Path, spool: Path) -> None:
    data = content(5000)
    (root / key_of(data)).mkdir(parents=True)
    with contextlib.suppress(StoreUnavailableError):
        save(folder_store, spool, data)
    with pytest.raises(StoreUnavailableError):
        folder_store.read_back(key_of(data), Buffer(), Steps())
    assert (root / key_of(data)).is_dir()


def test_a_crash_between_publishing_and_cleaning_up_is_made_good(
    folder_store: FilesystemStore, root: Path, spool: Path
) -> None:
    data = content(5000)
    hidden = plant((root / key_of(data)).with_name(f".{UPLOAD}.partial"), data)
    os.link(hidden, root / key_of(data))
    assert save(folder_store, spool, data) == Saved(already_there=True)
    assert (root / key_of(data)).read_bytes() == data
    assert not hidden.exists()
    assert os.stat(root / key_of(data)).st_nlink == 1


# --- the same file -----------------------------------------------------------------------------------


def test_the_same_file_is_told_by_device_and_inode(folder_store: FilesystemStore, root: Path, spool: Path) -> None:
    data = content(100)
    save(folder_store, spool, data)
    there = os.stat(root / key_of(data))
    assert folder_store.is_same_file(key_of(data), there.st_dev, there.st_ino)
    assert not folder_store.is_same_file(key_of(data), there.st_dev, there.st_ino + 1)
    assert not folder_store.is_same_file(key_of(data), there.st_dev + 1, there.st_ino)
    with pytest.raises(StoreUnavailableError):
        folder_store.is_same_file(f"{FOLDER}/nothing", 1, 1)


def test_a_version_names_inode_size_and_time_of_change(folder_store: FilesystemStore, root: Path, spool: Path) -> None:
    data = content(5000)
    save(folder_store, spool, data)
    path = root / key_of(data)
    seen = [folder_store.version(key_of(data))]
    plant(path.with_name("copy"), data)
    os.utime(path.with_name("copy"), ns=(0, os.stat(path).st_mtime_ns))
    os.rename(path.with_name("copy"), path)
    seen.append(folder_store.version(key_of(data)))
    with open(path, "r+b") as file:
        file.write(b"\0")
    os.utime(path, ns=(0, os.stat(path).st_mtime_ns))
    seen.append(folder_store.version(key_of(data)))
    os.truncate(path, 4999)
    seen.append(folder_store.version(key_of(data)))
    assert len(set(seen)) == len(seen)
    assert all(seen)


@pytest.mark.parametrize("what", ["folder", "link to a folder", "socket"])
def test_what_is_no_file_is_a_conflict_and_leaves_nothing_open(
    folder_store: FilesystemStore, root: Path, tmp_path: Path, what: str
) -> None:
    path = root / "calgary/holds/one.json"
    path.parent.mkdir(parents=True)
    if what == "folder":
        path.mkdir()
    elif what == "link to a folder":
        path.symlink_to(tmp_path)
    else:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises((StoreConflictError, StoreUnavailableError)):
            folder_store.get_small("calgary/holds/one.json")
    assert len(os.listdir("/proc/self/fd")) == before
