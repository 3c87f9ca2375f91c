"""What every evidence store must do, whatever kind it is; see `dockd/stores/base.py`."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from contract.stores import StoreKind, known, open_store, upload_of
from contract.tools import (
    MIB,
    SIZES,
    Steps,
    calls_in,
    content,
    digests_of,
    go_on,
    in_child,
    plant,
    result_of,
    start_child,
    stop,
    tracer,
    waits,
)

from dockd.digests import Digests
from dockd.direct_io import Buffer
from dockd.errors import SpoolCorruptError, StoppedError
from dockd.stores.base import EvidenceStore, Saved

FOLDER = "calgary/recordings/CAM-1"
UPLOAD = "ab" * 16
OTHER_UPLOAD = "cd" * 16


def key_of(data: bytes, suffix: str = ".mp4") -> str:
    return f"{FOLDER}/{digests_of(data).blake3}{suffix}"


def save(
    store: EvidenceStore, spool: Path, data: bytes, *, key: str = "", upload: str = UPLOAD, steps: Steps | None = None
) -> Saved:
    """Save `data` from a spool file of its own."""
    source = plant(spool / f"{upload}.part", data)
    return store.save(key or key_of(data), source, digests_of(data), upload_of(upload), Buffer(), steps or Steps())


def found(store: EvidenceStore, key: str) -> Digests | None:
    read = store.read_back(key, Buffer(), Steps())
    return None if read is None else read.digests


@pytest.mark.parametrize("size", [*SIZES, pytest.param(65 * MIB, marks=pytest.mark.slow)])
def test_what_was_saved_is_read_back_whole(kind: StoreKind, store: EvidenceStore, spool: Path, size: int) -> None:
    data = content(size)
    assert save(store, spool, data) == Saved(already_there=False)
    assert found(store, key_of(data)) == digests_of(data)
    assert kind.visible() == {key_of(data): data}
    assert kind.begun() == set()


def test_saving_twice_stores_once(kind: StoreKind, store: EvidenceStore, spool: Path) -> None:
    data = content(MIB + 7)
    assert not save(store, spool, data).already_there
    before = store.version(key_of(data))
    assert save(store, spool, data, upload=OTHER_UPLOAD).already_there
    assert store.version(key_of(data)) == before
    assert kind.visible() == {key_of(data): data}
    assert kind.begun() == set()


# --- a failed save leaves nothing visible ------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 2, 5, 9])
def test_a_save_that_is_stopped_shows_nothing_and_goes_on_later(
    kind: StoreKind, store: EvidenceStore, spool: Path, step: int
) -> None:
    data = content(9 * MIB)
    with pytest.raises(StoppedError):
        save(store, spool, data, steps=Steps(step, stop))
    assert kind.visible() == {}
    assert found(store, key_of(data)) is None
    assert store.version(key_of(data)) is None
    assert list(store.list_small(FOLDER)) == []
    assert not save(store, spool, data).already_there
    assert kind.visible() == {key_of(data): data}
    assert kind.begun() == set()


def test_nothing_is_visible_while_bytes_are_sent(kind: StoreKind, store: EvidenceStore, spool: Path) -> None:
    data = content(9 * MIB)
    seen: list[tuple[object, ...]] = []
    look = Steps(3, lambda: seen.append((kind.visible(), list(store.list_small(FOLDER)), found(store, key_of(data)))))
    save(store, spool, data, steps=look)
    assert seen == [({}, [], None)]


def spoilt(data: bytes, how: str) -> bytes:
    """What a spool gives back that lost, won or changed bytes."""
    middle = len(data) // 2
    return {
        "flipped": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
        "first byte flipped": bytes([data[0] ^ 1]) + data[1:],
        "last byte flipped": data[:-1] + bytes([data[-1] ^ 1]),
        "shorter": data[:-1],
        "much shorter": data[: 4 * MIB],
        "longer": data + b"\0",
        "empty": b"",
    }[how]


@pytest.mark.parametrize(
    "how", ["flipped", "first byte flipped", "last byte flipped", "shorter", "much shorter", "longer", "empty"]
)
def test_a_spool_that_changed_is_not_published(kind: StoreKind, store: EvidenceStore, spool: Path, how: str) -> None:
    data = content(9 * MIB + 5)
    source = plant(spool / "one.part", spoilt(data, how))
    with pytest.raises(SpoolCorruptError):
        store.save(key_of(data), source, digests_of(data), upload_of(UPLOAD), Buffer(), Steps())
    assert kind.visible() == {}
    # The same upload goes on from a good copy.
    plant(source, data)
    assert not store.save(key_of(data), source, digests_of(data), upload_of(UPLOAD), Buffer(), Steps()).already_there
    assert kind.visible() == {key_of(data): data}


@pytest.mark.parametrize("there", ["missing", "folder", "link"])
def test_a_spool_file_that_is_none_is_the_spools_fault(
    kind: StoreKind, store: EvidenceStore, spool: Path, there: str
) -> None:
    data = content(5000)
    source = spool / "one.part"
    if there == "folder":
        source.mkdir()
    elif there == "link":
        source.symlink_to(plant(spool / "other.part", data))
    with pytest.raises(SpoolCorruptError):
        store.save(key_of(data), source, digests_of(data), upload_of(UPLOAD), Buffer(), Steps())
    assert kind.visible() == {}


@pytest.mark.parametrize("what", ["cut short", "taken away", "overwritten"])
def test_a_spool_file_that_changes_under_way_is_whole_or_not_there(
    kind: StoreKind, store: EvidenceStore, spool: Path, what: str
) -> None:
    data = content(9 * MIB)
    source = plant(spool / "one.part", data)

    def spoil() -> None:
        if what == "cut short":
            os.truncate(source, 5 * MIB)
        elif what == "taken away":
            source.unlink()
        else:
            plant(source, content(9 * MIB, seed=1))

    try:
        store.save(key_of(data), source, digests_of(data), upload_of(UPLOAD), Buffer(), Steps(3, spoil))
    except SpoolCorruptError:
        assert kind.visible() == {}
    else:
        assert kind.visible() == {key_of(data): data}


# --- going on ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", [0, 1, MIB, 5 * MIB + 11, 9 * MIB, 9 * MIB + 5])
def test_only_what_is_missing_is_sent(
    kind: StoreKind, store: EvidenceStore, spool: Path, tmp_path: Path, left: int
) -> None:
    data = content(9 * MIB + 5)
    kind.break_off(key_of(data), UPLOAD, data[:left])
    source = plant(spool / "one.part", data)
    log = tmp_path / "calls"
    in_child(
        "save",
        tracer=tracer(log, kind.sending),
        store=kind.spec,
        key=key_of(data),
        source=str(source),
        digests=[len(data), digests_of(data).blake3, digests_of(data).sha256],
        upload_id=known(UPLOAD),
    )
    whole = len(data) - MIB if left == len(data) else left // kind.unit_bytes * kind.unit_bytes
    assert len(data) - left <= kind.sent_bytes(calls_in(log)) <= len(data) - whole
    assert found(store, key_of(data)) == digests_of(data)
    assert kind.visible() == {key_of(data): data}
    assert kind.begun() == set()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda data: content(len(data), seed=9),
        lambda data: data[: 2 * MIB] + bytes(MIB) + data[3 * MIB : 5 * MIB],
        lambda data: data[:-1] + b"\0",
        lambda data: bytes([data[0] ^ 1]) + data[1:],
        lambda data: data + content(3 * MIB),
        lambda data: content(20 * MIB, seed=9),
        lambda data: bytes(len(data)),
    ],
    ids=["all other", "a hole", "end", "beginning", "too long", "other and too long", "zeros"],
)
def test_a_broken_off_upload_with_wrong_bytes_is_put_right(
    kind: StoreKind, store: EvidenceStore, spool: Path, wrong: Callable[[bytes], bytes]
) -> None:
    data = content(6 * MIB + 100)
    kind.break_off(key_of(data), UPLOAD, wrong(data))
    assert not save(store, spool, data).already_there
    assert found(store, key_of(data)) == digests_of(data)
    assert kind.visible() == {key_of(data): data}


# --- never overwritten -------------------------------------------------------------------------------


@pytest.mark.parametrize("there", [b"", b"something else", content(5000, seed=3)])
def test_other_content_under_the_key_stays_and_shows_at_the_read_back(
    kind: StoreKind, store: EvidenceStore, spool: Path, there: bytes
) -> None:
    data = content(5000)
    kind.put(key_of(data), there)
    assert save(store, spool, data).already_there
    assert kind.visible() == {key_of(data): there}
    assert found(store, key_of(data)) == digests_of(there) != digests_of(data)
    assert kind.begun() == set()


def test_what_appears_under_the_key_while_bytes_are_sent_stays(
    kind: StoreKind, store: EvidenceStore, spool: Path
) -> None:
    data = content(9 * MIB)
    late = Steps(3, lambda: kind.put(key_of(data), b"somebody was faster"))
    assert save(store, spool, data, steps=late).already_there
    assert kind.visible() == {key_of(data): b"somebody was faster"}
    assert kind.begun() == set()


def test_many_docks_saving_one_key_at_once_end_with_one_right_object(
    kind: StoreKind, store: EvidenceStore, spool: Path
) -> None:
    data = content(3 * MIB + 1)
    together = threading.Barrier(6)

    def one(number: int) -> Saved:
        client = open_store(kind.spec)
        if kind.spec["kind"] == "s3":
            # Its progress is told of while the request is on its way already.
            together.wait()
            return save(client, spool, data, upload=f"{number:032x}")
        return save(client, spool, data, upload=f"{number:032x}", steps=Steps(4, together.wait))

    with ThreadPoolExecutor(6) as pool:
        saved = list(pool.map(one, range(6)))
    first = [each.already_there for each in saved].count(False)
    assert first == 1 if kind.exclusive else first >= 1
    assert kind.visible() == {key_of(data): data}
    assert kind.begun() == set()
    assert found(store, key_of(data)) == digests_of(data)


def test_processes_saving_one_key_at_once_end_with_one_right_object(
    kind: StoreKind, store: EvidenceStore, spool: Path
) -> None:
    data = content(2 * MIB + 1)
    digests = digests_of(data)
    source = plant(spool / "one.part", data)
    children = [
        start_child(
            "save",
            store=kind.spec,
            key=key_of(data),
            source=str(source),
            digests=[digests.size_bytes, digests.blake3, digests.sha256],
            upload_id=f"{number:032x}",
            wait=True,
        )
        for number in range(3)
    ]
    for child in children:
        waits(child)
    for child in children:
        go_on(child)
    first = [result_of(child)["already_there"] for child in children].count(False)
    assert first == 1 if kind.exclusive else first >= 1
    assert kind.visible() == {key_of(data): data}
    assert kind.begun() == set()
    assert found(store, key_of(data)) == digests
