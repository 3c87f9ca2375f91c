"""What is asked of an S3 store alone: uploads that were forgotten, parts that are not ours, digests of the copy."""

from __future__ import annotations

from pathlib import Path

import ceph
import pytest
from contract.stores import REMEMBERED, S3Kind, known, s3_settings
from contract.test_store_contract import UPLOAD, found, key_of
from contract.tools import MIB, Steps, content, digests_of, plant, stop
from s3_bucket import Bucket

from dockd.digests import PartHasher
from dockd.direct_io import Buffer
from dockd.errors import SpoolCorruptError, StoppedError, StoreUnavailableError
from dockd.stores.base import Saved, Upload
from dockd.stores.s3 import S3Store

pytestmark = pytest.mark.s3
PART = 5 * MIB


@pytest.fixture
def bucket(ceph_service: ceph.Ceph) -> Bucket:
    REMEMBERED.clear()
    return S3Kind("s3", Bucket(ceph_service, versioned=True), versions=True).bucket


def client(bucket: Bucket, **changed: object) -> S3Store:
    store = S3Store(s3_settings(bucket.ceph.endpoint, bucket.name, **changed))
    store.pin(store.identify())
    return store


def upload(data: bytes | None = None) -> Upload:
    """An upload that the journal knows, with the digests of the parts of `data` as its copy gave them."""
    parts = None
    if data is not None:
        hasher = PartHasher(PART)
        hasher.update(memoryview(data))
        parts = hasher.finish()
    return Upload(known(UPLOAD), lambda name: REMEMBERED.update({UPLOAD: name}), parts)


def save(store: S3Store, source: Path, data: bytes, given: Upload, steps: Steps | None = None) -> Saved:
    return store.save(key_of(data), source, digests_of(data), given, Buffer(), steps or Steps())


class StopsOnceAPartIsThere(Steps):
    """Stops an upload, however fast, when the store has a part of it."""

    def __init__(self, bucket: Bucket) -> None:
        super().__init__()
        self._bucket = bucket

    def advance(self, size_bytes: int = 0) -> None:
        super().advance(size_bytes)
        for key, remote in self._bucket.uploads():
            parts = self._bucket.owner.list_parts(Bucket=self._bucket.name, Key=key, UploadId=remote)
            if parts.get("Parts"):
                stop()


def test_the_digests_of_the_copy_are_what_the_store_checks(bucket: Bucket, tmp_path: Path) -> None:
    data = content(2 * PART + 9)
    source = plant(tmp_path / "one.part", data[: PART + 100] + b"?" + data[PART + 101 :])
    with pytest.raises(SpoolCorruptError, match=f"byte {PART} "):
        save(client(bucket), source, data, upload(data))
    assert bucket.names("calgary/") == []
    plant(source, data)
    assert not save(client(bucket), source, data, upload(data)).already_there
    assert found(client(bucket), key_of(data)) == digests_of(data)
    assert bucket.uploads() == []


def test_an_upload_that_the_store_forgot_is_begun_anew(bucket: Bucket, tmp_path: Path) -> None:
    data = content(3 * PART)
    source = plant(tmp_path / "one.part", data)
    with pytest.raises(StoppedError):
        save(client(bucket), source, data, upload(data), StopsOnceAPartIsThere(bucket))
    ((key, remote),) = bucket.uploads()
    bucket.owner.abort_multipart_upload(Bucket=bucket.name, Key=key, UploadId=remote)
    assert not save(client(bucket), source, data, upload(data)).already_there
    assert bucket.get(key_of(data)) == data
    assert bucket.uploads() == []


def test_an_upload_that_goes_while_it_is_sent_is_told_of_and_begun_anew(bucket: Bucket, tmp_path: Path) -> None:
    data = content(3 * PART)
    source = plant(tmp_path / "one.part", data)

    def forget() -> None:
        for key, remote in bucket.uploads():
            bucket.owner.abort_multipart_upload(Bucket=bucket.name, Key=key, UploadId=remote)

    with pytest.raises(StoreUnavailableError, match="forgotten"):
        save(client(bucket), source, data, upload(data), Steps(2, forget))
    assert known(UPLOAD) == UPLOAD
    assert not save(client(bucket), source, data, upload(data)).already_there
    assert bucket.get(key_of(data)) == data


def test_an_upload_whose_answer_was_lost_is_found_done(bucket: Bucket, tmp_path: Path) -> None:
    data = content(PART + 1)
    source = plant(tmp_path / "one.part", data)
    assert not save(client(bucket), source, data, upload(data)).already_there
    # The journal still has the store's id of it.
    assert known(UPLOAD).startswith("s3:")
    assert save(client(bucket), source, data, upload(data)).already_there
    assert bucket.uploads() == []


def test_parts_of_another_size_are_sent_anew(bucket: Bucket, tmp_path: Path) -> None:
    data = content(4 * PART)
    source = plant(tmp_path / "one.part", data)
    with pytest.raises(StoppedError):
        save(client(bucket), source, data, upload(data), StopsOnceAPartIsThere(bucket))
    assert not save(client(bucket, part_size_bytes=2 * PART), source, data, upload()).already_there
    assert bucket.get(key_of(data)) == data
    assert bucket.uploads() == []


def test_unsigned_parts_are_stored_too(bucket: Bucket, tmp_path: Path) -> None:
    data = content(PART + 77)
    store = client(bucket, sign_payload=False)
    assert store.part_size_bytes(len(data)) is None
    assert not save(store, plant(tmp_path / "one.part", data), data, upload()).already_there
    assert bucket.get(key_of(data)) == data


def test_nothing_can_be_deleted_with_what_the_policy_grants(bucket: Bucket) -> None:
    bucket.put("calgary/x", b"evidence")
    dockd = client(bucket)
    dockd.put_small("calgary/y", b"evidence")
    with dockd._bucket._call("deleting") as raw, pytest.raises(raw.exceptions.ClientError, match="AccessDenied"):
        raw.delete_object(Bucket=bucket.name, Key="calgary/y")
    assert bucket.get("calgary/y") == b"evidence"
