"""Names and data made durable, and never replaced; and what lies where."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from contract.tools import MIB, calls_in, in_child, need_root, plant, tracer
from e2e.kernel import Mounts

from dockd.durable import (
    DEVICE_KINDS,
    READ_BACK_KINDS,
    FileSystem,
    file_system_of,
    fsync_dir,
    fsync_up_to,
    make_dirs,
    open_below,
    overlap,
    publish_noreplace,
    reads_past_cache,
    syncfs,
    write_new_file,
)

TOKEN = "ab" * 16


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[Mounts]:
    made = Mounts(tmp_path)
    yield made
    made.close()


# --- publishing --------------------------------------------------------------------------------------


def test_a_name_is_given_once(tmp_path: Path) -> None:
    hidden = plant(tmp_path / ".x.partial", b"new")
    publish_noreplace(hidden, tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"new"
    assert not hidden.exists()


def in_the_way(path: Path, what: str) -> None:
    if what == "file":
        path.write_bytes(b"old")
    elif what == "folder":
        path.mkdir()
    elif what == "link":
        path.symlink_to("somewhere")
    else:
        os.mkfifo(path)


@pytest.mark.parametrize("what", ["file", "folder", "link", "pipe"])
@pytest.mark.parametrize("links", ["granted", "refused"])
def test_a_name_that_is_taken_is_never_replaced(tmp_path: Path, what: str, links: str) -> None:
    hidden = plant(tmp_path / ".x.partial", b"new")
    in_the_way(tmp_path / "x", what)
    before = os.lstat(tmp_path / "x")
    assert publish_in_child(tmp_path, links) == {"errno": errno.EEXIST}
    after = os.lstat(tmp_path / "x")
    assert (after.st_ino, after.st_size, after.st_mode) == (before.st_ino, before.st_size, before.st_mode)
    assert hidden.read_bytes() == b"new"


REFUSALS = {"granted": (), "refused": ("-e", "inject=link,linkat:error=EPERM")}


def publish_in_child(folder: Path, links: str, *more: str) -> dict[str, Any]:
    """Publish under a tracer, which lets the kernel refuse hard links as some file systems do."""
    prefix = tracer(folder / "calls", "link,linkat,rename,renameat,renameat2,unlink", *REFUSALS[links], *more)
    told: dict[str, Any] = in_child(
        "publish", tracer=prefix, hidden=str(folder / ".x.partial"), visible=str(folder / "x")
    )
    return told


@pytest.mark.parametrize("code", ["EPERM", "EOPNOTSUPP", "EMLINK"])
def test_where_links_are_refused_a_rename_that_replaces_nothing_is_used(tmp_path: Path, code: str) -> None:
    hidden = plant(tmp_path / ".x.partial", b"new")
    assert publish_in_child(tmp_path, "granted", "-e", f"inject=link,linkat:error={code}") == {"errno": None}
    assert (tmp_path / "x").read_bytes() == b"new"
    assert not hidden.exists()
    renames = [call for call in calls_in(tmp_path / "calls") if call.name.startswith("rename")]
    assert [(call.name, call.ok) for call in renames] == [("renameat2", True)]
    assert "RENAME_NOREPLACE" in renames[0].text


def test_another_refusal_of_a_link_is_no_reason_to_rename(tmp_path: Path) -> None:
    hidden = plant(tmp_path / ".x.partial", b"new")
    told = publish_in_child(tmp_path, "granted", "-e", "inject=link,linkat:error=EIO")
    assert told == {"errno": errno.EIO}
    assert hidden.exists()
    assert not (tmp_path / "x").exists()


def test_a_disk_without_hard_links(tmp_path: Path, mounts: Mounts) -> None:
    """FAT has none: the first publication succeeds, the second is refused."""
    need_root("a FAT disk")
    if shutil.which("mkfs.vfat") is None or "vfat" not in Path("/proc/filesystems").read_text():
        pytest.skip("NOT TESTED: a FAT disk, for this machine has no mkfs.vfat or no vfat")
    image, disk = tmp_path / "fat.img", tmp_path / "fat"
    image.write_bytes(bytes(8 * MIB))
    subprocess.run(["mkfs.vfat", image], check=True, capture_output=True)
    mounts._mount(disk, "-o", "loop", str(image))
    for number, data in enumerate((b"one", b"two")):
        hidden = plant(disk / f".{number}.partial", data)
        with contextlib.nullcontext() if number == 0 else pytest.raises(FileExistsError):
            publish_noreplace(hidden, disk / "x")
    assert (disk / "x").read_bytes() == b"one"


def test_one_of_many_who_publish_at_once_wins(tmp_path: Path) -> None:
    together = threading.Barrier(8)
    for number in range(8):
        plant(tmp_path / f".{number}.partial", str(number).encode())

    def one(number: int) -> bool:
        together.wait()
        try:
            publish_noreplace(tmp_path / f".{number}.partial", tmp_path / "x")
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(one, range(8)))
    assert won.count(True) == 1
    assert (tmp_path / "x").read_bytes() == str(won.index(True)).encode()
    assert os.stat(tmp_path / "x").st_nlink == 1


# --- small files -------------------------------------------------------------------------------------


def test_a_small_file_is_whole_or_not_there(tmp_path: Path) -> None:
    write_new_file(tmp_path / "a", b"one", token=TOKEN, root=tmp_path)
    assert (tmp_path / "a").read_bytes() == b"one"
    with pytest.raises(FileExistsError):
        write_new_file(tmp_path / "a", b"two", token=TOKEN, root=tmp_path)
    assert (tmp_path / "a").read_bytes() == b"one"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_somebody_elses_hidden_file_is_not_touched(tmp_path: Path) -> None:
    plant(tmp_path / f".{TOKEN}.partial", b"another's")
    with pytest.raises(FileExistsError):
        write_new_file(tmp_path / "a", b"two", token=TOKEN, root=tmp_path)
    assert (tmp_path / f".{TOKEN}.partial").read_bytes() == b"another's"
    assert not (tmp_path / "a").exists()


# --- folders -----------------------------------------------------------------------------------------


def test_folders_are_made_down_from_the_root(tmp_path: Path) -> None:
    make_dirs(tmp_path / "a" / "b" / "c", tmp_path)
    assert (tmp_path / "a" / "b" / "c").is_dir()
    make_dirs(tmp_path / "a" / "b" / "c", tmp_path)
    make_dirs(tmp_path / "a" / "b" / "d", tmp_path)
    make_dirs(tmp_path, tmp_path)
    assert os.stat(tmp_path / "a").st_mode & 0o007 == 0


@pytest.mark.parametrize("what", ["file", "link"])
def test_what_is_no_folder_is_not_taken_for_one(tmp_path: Path, what: str) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "nothing") if what == "link" else (tmp_path / "a").write_bytes(b"")
    with pytest.raises(OSError, match=r"exists|Not a directory|No such"):
        make_dirs(tmp_path / "a" / "b", tmp_path)
    assert not (tmp_path / "nothing").exists()


def test_many_who_make_the_same_folders_at_once_agree(tmp_path: Path) -> None:
    together = threading.Barrier(8)

    def one(number: int) -> None:
        together.wait()
        make_dirs(tmp_path / "a" / "b" / str(number), tmp_path)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(8)))
    assert len(list((tmp_path / "a" / "b").iterdir())) == 8


def test_durability_is_asked_for_below_the_root_only(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    fsync_up_to(tmp_path / "a" / "b" / "file", tmp_path)
    for outside in (tmp_path.parent / "x", tmp_path.with_name(tmp_path.name + "x") / "y"):
        with pytest.raises(ValueError, match="not below"):
            fsync_up_to(outside, tmp_path)
    with pytest.raises(FileNotFoundError):
        fsync_up_to(tmp_path / "nothing" / "file", tmp_path)
    with pytest.raises(NotADirectoryError):
        fsync_dir(plant(tmp_path / "file", b""))


def test_a_failed_syncfs_is_told(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    syncfs(fd)
    os.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        syncfs(fd)


# --- below a folder ----------------------------------------------------------------------------------


@contextlib.contextmanager
def opened(root: Path, path: bytes, **more: Any) -> Iterator[int]:
    fd = os.open(root, os.O_RDONLY)
    try:
        with open_below(fd, path, os.O_RDONLY, **more) as (found, _):
            yield found
    finally:
        os.close(fd)


def test_a_file_is_opened_below_a_folder(tmp_path: Path) -> None:
    plant(tmp_path / "a" / "b" / "c", b"here")
    before = len(os.listdir("/proc/self/fd"))
    with opened(tmp_path, b"a/b/c", device=os.stat(tmp_path).st_dev) as fd:
        assert os.read(fd, 10) == b"here"
    with pytest.raises(FileNotFoundError), opened(tmp_path, b"a/b/nothing"):
        pass
    with pytest.raises(NotADirectoryError), opened(tmp_path, b"a/b/c/d"):
        pass
    assert len(os.listdir("/proc/self/fd")) == before


LINKS: list[tuple[bytes, Callable[[Path, Path], None]]] = [
    (b"link", lambda root, outside: (root / "link").symlink_to(outside / "file")),
    (b"folder/file", lambda root, outside: (root / "folder").symlink_to(outside)),
    (b"a/folder/file", lambda root, outside: (root / "a" / "folder").symlink_to(outside)),
    (b"own", lambda root, outside: (root / "own").symlink_to("real")),
]


@pytest.mark.parametrize(("path", "make"), LINKS)
def test_no_link_is_followed(tmp_path: Path, path: bytes, make: Callable[[Path, Path], None]) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    plant(root / "real", b"")
    plant(outside / "file", b"secret")
    (root / "a").mkdir()
    make(root, outside)
    with pytest.raises(OSError, match=r"symbolic links|Not a directory"), opened(root, path):
        pass


@pytest.mark.parametrize("path", [b"..", b"../outside", b"a/../../outside", b"/etc/passwd"])
def test_nothing_above_is_reached(tmp_path: Path, path: bytes) -> None:
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    plant(tmp_path / "outside", b"secret")
    with pytest.raises((OSError, ValueError)), opened(root, path):
        pass


def test_another_file_system_is_refused(tmp_path: Path) -> None:
    plant(tmp_path / "file", b"")
    other = os.stat(tmp_path).st_dev + 1
    with pytest.raises(OSError, match="another file system") as raised, opened(tmp_path, b"file", device=other):
        pass
    assert raised.value.errno == errno.EXDEV


def test_a_pipe_does_not_make_it_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with opened(tmp_path, b"pipe"):
        pass


# --- file systems ------------------------------------------------------------------------------------


def test_file_systems_are_told_apart(tmp_path: Path, mounts: Mounts) -> None:
    mounts.disk(tmp_path / "disk", 8 * MIB)
    mounts.memory(tmp_path / "memory with blank")
    plant(tmp_path / "disk" / "a" / "b", b"")
    disk = file_system_of(tmp_path / "disk" / "a" / "b")
    assert (disk.kind, disk.mount_point) == ("ext4", str(tmp_path / "disk"))
    assert disk.device == os.stat(tmp_path / "disk").st_dev
    assert "rw" in disk.options
    assert disk.inner == b"/a/b"
    assert file_system_of(tmp_path / "memory with blank").kind == "tmpfs"
    assert file_system_of("/proc/self/status").kind == "proc"
    with pytest.raises(FileNotFoundError):
        file_system_of(tmp_path / "nothing")


def test_a_bind_mount_lies_where_it_really_lies(tmp_path: Path, mounts: Mounts) -> None:
    mounts.disk(tmp_path / "disk", 8 * MIB)
    (tmp_path / "disk" / "store" / "deep er").mkdir(parents=True)
    mounts.bind(tmp_path / "disk" / "store", tmp_path / "bound")
    here = file_system_of(tmp_path / "bound" / "deep er")
    there = file_system_of(tmp_path / "disk" / "store" / "deep er")
    assert (here.device, here.inner) == (there.device, there.inner) == (there.device, b"/store/deep er")
    assert here.mount_point != there.mount_point


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "nfs", "nfs4"])
def test_these_are_known_to_be_read_past_this_hosts_memory(kind: str) -> None:
    assert reads_past_cache(FileSystem(kind, frozenset(), "/", 1))


@pytest.mark.parametrize(
    "kind", ["tmpfs", "ramfs", "overlay", "fuse", "fuseblk", "fuse.sshfs", "9p", "unknown", "", "vfat"]
)
def test_of_these_that_is_not_known(kind: str) -> None:
    assert not reads_past_cache(FileSystem(kind, frozenset({"rw"}), "/", 1))


def test_a_windows_share_is_read_past_the_cache_if_it_is_mounted_so() -> None:
    assert reads_past_cache(FileSystem("cifs", frozenset({"rw", "cache=none"}), "/", 1))
    assert not reads_past_cache(FileSystem("cifs", frozenset({"rw", "cache=strict"}), "/", 1))
    assert not reads_past_cache(FileSystem("cifs", frozenset(), "/", 1))


def test_cameras_may_have_file_systems_that_stores_may_not() -> None:
    assert DEVICE_KINDS > READ_BACK_KINDS
    assert reads_past_cache(FileSystem("vfat", frozenset(), "/", 1), DEVICE_KINDS)
    assert not reads_past_cache(FileSystem("fuseblk", frozenset(), "/", 1), DEVICE_KINDS)


# --- in a chroot -------------------------------------------------------------------------------------


@pytest.fixture
def chrooted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mount that everything lies on is not told, as in a chroot that is no mount point."""
    monkeypatch.setattr("dockd.durable.mount_id", lambda fd: b"0")


def test_what_kind_a_disk_is_can_be_told_without_its_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = file_system_of(tmp_path)
    monkeypatch.setattr("dockd.durable.mount_id", lambda fd: b"0")
    found = file_system_of(tmp_path)
    assert found.kind in {told.kind, "unknown"}
    assert found.kind == told.kind or told.kind not in {"ext4", "xfs", "btrfs", "tmpfs"}
    assert (found.device, found.mount_point, found.options) == (told.device, "", frozenset())
    assert found.inner == os.path.realpath(os.fsencode(tmp_path))


def test_proc_is_of_no_kind_that_can_be_trusted(chrooted: None) -> None:
    assert file_system_of("/proc/self").kind == "unknown"


def test_places_overlap_if_one_lies_in_the_other() -> None:
    def place(inner: bytes, *, mount: str = "/", device: int = 1) -> FileSystem:
        return FileSystem("ext4", frozenset(), mount, device, inner)

    for mount in ("/", ""):
        assert overlap(place(b"/a", mount=mount), place(b"/a", mount=mount))
        assert overlap(place(b"/a/b", mount=mount), place(b"/a", mount=mount))
        assert overlap(place(b"/", mount=mount), place(b"/a", mount=mount))
        assert overlap(place(b"/a", mount=mount), place(b"/ab", mount=mount)) is False
    assert overlap(place(b"/a"), place(b"/a", device=2)) is False
    assert overlap(place(b"/a"), place(b"/b", mount="")) is None, "one of them as the kernel tells it, one not"
