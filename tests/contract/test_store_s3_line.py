"""What lies between a dock and its bucket: encryption, names, clocks, proxies, and a store that has too much to do."""

from __future__ import annotations

import datetime as dt
import ssl
from collections.abc import Iterator
from pathlib import Path

import ceph
import pytest
from authority import Authority
from botocore.credentials import Credentials
from contract.stores import REMEMBERED, S3Kind, known, s3_settings
from contract.test_store_contract import UPLOAD, found, key_of
from contract.tools import MIB, Steps, content, digests_of, plant
from e2e.proxy import Proxy, answering, short_answers
from s3_bucket import Bucket

from dockd.direct_io import Buffer
from dockd.errors import StoreFullError, StoreUnavailableError
from dockd.stores.base import Saved, Upload
from dockd.stores.s3 import S3Store
from dockd.stores.s3_wire import Endpoint, Region, Wire

pytestmark = pytest.mark.s3
PART = 5 * MIB
KEYS = Credentials(ceph.ACCESS_KEY, ceph.SECRET_KEY)
DATA = content(2 * PART + 77)


@pytest.fixture
def bucket(ceph_service: ceph.Ceph) -> Bucket:
    REMEMBERED.clear()
    return S3Kind("s3", Bucket(ceph_service, versioned=True), versions=True).bucket


@pytest.fixture
def proxy(ceph_service: ceph.Ceph) -> Iterator[Proxy]:
    made = Proxy(ceph_service.port)
    yield made
    made.close()


def store_at(endpoint: str, bucket: Bucket, **changed: object) -> S3Store:
    store = S3Store(s3_settings(endpoint, bucket.name, **changed))
    store.pin(store.identify())
    return store


def save(store: S3Store, tmp_path: Path, data: bytes = DATA) -> Saved:
    source = plant(tmp_path / "one.part", data)
    upload = Upload(known(UPLOAD), lambda name: REMEMBERED.update({UPLOAD: name}))
    return store.save(key_of(data), source, digests_of(data), upload, Buffer(), Steps())


def context(ca_file: Path | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)


# --- encryption --------------------------------------------------------------------------------------


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("size", [1000, len(DATA)])
def test_over_tls_with_an_authority_of_its_own(bucket: Bucket, tmp_path: Path, signed: bool, size: int) -> None:
    store = store_at(bucket.ceph.tls_endpoint, bucket, ca_file=bucket.ceph.ca_file, sign_payload=signed)
    data = DATA[:size]
    assert not save(store, tmp_path, data).already_there
    assert found(store, key_of(data)) == digests_of(data)
    assert bucket.get(key_of(data)) == data
    assert bucket.uploads() == []


@pytest.mark.parametrize("trusted", ["the system", "another"])
def test_a_store_that_nobody_vouches_for_gets_nothing(bucket: Bucket, tmp_path: Path, trusted: str) -> None:
    ca_file = None if trusted == "the system" else Authority(tmp_path / "ca", "stranger").certificate
    store = S3Store(s3_settings(bucket.ceph.tls_endpoint, bucket.name, ca_file=ca_file))
    with pytest.raises(StoreUnavailableError) as raised:
        store.identify()
    assert "ca_file" in raised.value.hint
    # Bodies go over connections of another library, which must not believe what boto3 does not.
    wire = Wire(Endpoint(bucket.ceph.tls_endpoint, bucket.name, "us-east-1", "path", context(ca_file), KEYS))
    with open(plant(tmp_path / "one.part", DATA), "rb") as file, pytest.raises(StoreUnavailableError) as raised:
        wire.put("calgary/x", {}, {}, Region(file.fileno(), 0, 1000), None, lambda _: None)
    assert "ca_file" in raised.value.hint
    assert bucket.names("calgary/") == []


def test_a_ca_file_that_is_none_is_named(bucket: Bucket, tmp_path: Path) -> None:
    store = S3Store(s3_settings(bucket.ceph.tls_endpoint, bucket.name, ca_file=plant(tmp_path / "ca.pem", b"no pem")))
    with pytest.raises(StoreUnavailableError, match="ca_file"):
        store.identify()


def test_plain_http_is_not_taken_for_tls(bucket: Bucket) -> None:
    store = S3Store(s3_settings(bucket.ceph.endpoint.replace("http:", "https:"), bucket.name))
    with pytest.raises(StoreUnavailableError) as raised:
        store.identify()
    assert "TLS" in raised.value.hint


# --- names and clocks --------------------------------------------------------------------------------


def test_a_name_that_is_not_found_is_named(bucket: Bucket) -> None:
    store = S3Store(s3_settings("http://store.invalid:8080", bucket.name))
    with pytest.raises(StoreUnavailableError) as raised:
        store.identify()
    assert "name server" in raised.value.hint


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_wrong_is_named(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    store = store_at(bucket.ceph.endpoint, bucket)
    wrong = dt.datetime.now(dt.UTC) + dt.timedelta(hours=hours)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: wrong)
    with pytest.raises(StoreUnavailableError, match="RequestTimeTooSkewed") as raised:
        store.identify()
    assert "clock" in raised.value.hint
    store._head = lambda key: None  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailableError, match="RequestTimeTooSkewed"):
        save(store, tmp_path, DATA[:1000])
    monkeypatch.undo()
    assert not save(store_at(bucket.ceph.endpoint, bucket), tmp_path, DATA[:1000]).already_there


# --- a store in trouble, and what stands before it ---------------------------------------------------


def test_a_store_with_too_much_to_do_is_asked_again(bucket: Bucket, proxy: Proxy, tmp_path: Path) -> None:
    store = store_at(proxy.endpoint, bucket)
    proxy.mangle = answering("503 Slow Down", "SlowDown", only=b"PUT ", times=3)
    assert not save(store, tmp_path).already_there
    assert bucket.get(key_of(DATA)) == DATA


@pytest.mark.parametrize(
    ("status", "code", "hint"),
    [
        ("503 Slow Down", "SlowDown", "too much to do"),
        ("500 Internal Server Error", "InternalError", "health"),
        ("301 Moved Permanently", "PermanentRedirect", "endpoint_url"),
        ("307 Temporary Redirect", "TemporaryRedirect", "endpoint_url"),
        ("403 Forbidden", "AccessDenied", "policy"),
        ("404 Not Found", "NoSuchBucket", "Make the bucket"),
    ],
)
def test_what_a_store_refuses_for_good_is_said_with_what_to_do(
    bucket: Bucket, proxy: Proxy, tmp_path: Path, status: str, code: str, hint: str
) -> None:
    store = store_at(proxy.endpoint, bucket)
    proxy.mangle = answering(status, code, only=b"PUT ")
    with pytest.raises(StoreUnavailableError, match=code) as raised:
        save(store, tmp_path)
    assert hint in raised.value.hint
    assert proxy.connections < 60
    assert bucket.names("calgary/") == []
    proxy.mangle = lambda data, stream: data
    assert not save(store, tmp_path).already_there
    assert bucket.get(key_of(DATA)) == DATA


def test_a_full_store_is_said_to_be_full(bucket: Bucket, proxy: Proxy, tmp_path: Path) -> None:
    store = store_at(proxy.endpoint, bucket)
    proxy.mangle = answering("507 Insufficient Storage", "InsufficientCapacity", only=b"PUT ")
    with pytest.raises(StoreFullError):
        save(store, tmp_path)


def test_answers_that_are_cut_short_are_gone_on_with_or_errors(bucket: Bucket, proxy: Proxy, tmp_path: Path) -> None:
    store = store_at(proxy.endpoint, bucket)
    save(store, tmp_path)
    # Each attempt gets some way.
    proxy.mangle = short_answers(3 * MIB)
    assert found(store, key_of(DATA)) == digests_of(DATA)
    # None gets to the first byte.
    proxy.mangle = short_answers(60)
    with pytest.raises(StoreUnavailableError):
        found(store, key_of(DATA))
    # A listing, or a small object, is whole or an error.
    proxy.mangle = short_answers(400)
    with pytest.raises(StoreUnavailableError):
        store.get_small(key_of(DATA))


def test_a_gateway_that_gives_less_than_it_says_is_not_believed(bucket: Bucket, proxy: Proxy, tmp_path: Path) -> None:
    store = store_at(proxy.endpoint, bucket)
    save(store, tmp_path)

    def lie(data: bytes, stream: object) -> bytes:
        return data.replace(f"Content-Length: {len(DATA)}".encode(), f"Content-Length: {len(DATA) - 10}".encode())

    proxy.mangle = lie
    with pytest.raises(StoreUnavailableError):
        found(store, key_of(DATA))


# --- what a bucket may be asked for ------------------------------------------------------------------


@pytest.mark.parametrize("size", [1000, len(DATA)])
def test_objects_are_locked_as_long_as_is_asked_for(ceph_service: ceph.Ceph, tmp_path: Path, size: int) -> None:
    REMEMBERED.clear()
    bucket = S3Kind("s3", Bucket(ceph_service, versioned=True, locked=True), versions=True).bucket
    store = store_at(bucket.ceph.endpoint, bucket, object_lock_days=2)
    data = DATA[:size]
    save(store, tmp_path, data)
    at = {"Bucket": bucket.name, "Key": key_of(data)}
    head = bucket.owner.head_object(**at)
    assert head["ObjectLockMode"] == "COMPLIANCE"
    left = head["ObjectLockRetainUntilDate"] - dt.datetime.now(dt.UTC)
    assert dt.timedelta(days=1.9) < left < dt.timedelta(days=2.1)
    with pytest.raises(bucket.owner.exceptions.ClientError, match="AccessDenied"):
        bucket.owner.delete_object(**at, VersionId=head["VersionId"])
    assert found(store, key_of(data)) == digests_of(data)
    store.put_small("calgary/dockings/CAM/one.json", b"{}")
    small = bucket.owner.head_object(Bucket=bucket.name, Key="calgary/dockings/CAM/one.json")
    assert small["ObjectLockMode"] == "COMPLIANCE"


@pytest.mark.parametrize("size", [1000, len(DATA)])
def test_a_bucket_that_cannot_lock_is_told_of(bucket: Bucket, tmp_path: Path, size: int) -> None:
    store = store_at(bucket.ceph.endpoint, bucket, object_lock_days=2)
    with pytest.raises(StoreUnavailableError) as raised:
        save(store, tmp_path, DATA[:size])
    assert "object_lock_days" in raised.value.hint
    # Not even what is there already passes for locked.
    save(store_at(bucket.ceph.endpoint, bucket), tmp_path, DATA[:size])
    with pytest.raises(StoreUnavailableError):
        save(store, tmp_path, DATA[:size])


@pytest.mark.parametrize("size", [1000, len(DATA)])
def test_encryption_at_rest_is_asked_for_and_its_refusal_told(
    bucket: Bucket, proxy: Proxy, tmp_path: Path, size: int
) -> None:
    asked: list[bytes] = []

    def listen(data: bytes, stream: object) -> bytes:
        if b"x-amz-server-side-encryption" in data.split(b"\r\n\r\n", 1)[0].lower():
            asked.append(data.split(b" ", 1)[0])
        return data

    proxy.mangle = listen
    store = store_at(proxy.endpoint, bucket, encryption="aws:kms")
    # This gateway has no keys to encrypt with.
    with pytest.raises(StoreUnavailableError):
        save(store, tmp_path, DATA[:size])
    assert asked[0] == (b"PUT" if size == 1000 else b"POST")
    assert bucket.names("calgary/") == []
