"""A bucket of an S3-compatible service as dockd speaks of it: one method a call, its errors translated."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import boto3
from botocore.config import Config
from botocore.credentials import Credentials

from dockd.digests import Digests
from dockd.errors import StoreConflictError, StoreUnavailableError
from dockd.stores.probe import NOTHING_KNOWN, S3Knowledge
from dockd.stores.s3_errors import (
    ABSENT_CODES,
    AUTH_CODES,
    EXISTS_CODES,
    NO_UPLOAD_CODES,
    S3LostError,
    S3RefusedError,
    s3_errors,
)
from dockd.stores.s3_upload import Sender, Sent
from dockd.stores.s3_wire import CONNECT_S, SILENCE_S, Endpoint

T = TypeVar("T")

_NOT_HEEDED: Final = frozenset({"NotImplemented", "501", "InvalidArgument", "InvalidRequest"})
"""What stores say that know no `If-None-Match` on a PUT, or on the end of a multipart upload."""

_CONNECTIONS: Final = 16
LOCK_MODE: Final = "COMPLIANCE"
"""Nobody can shorten it, the bucket's owner included."""


@dataclass(frozen=True, slots=True)
class S3Settings:
    """What the configuration says of the bucket; `secrets` gives access key and secret key, read anew."""

    bucket: str
    endpoint_url: str | None
    region: str | None
    ca_file: Path | None
    addressing: str
    part_size_bytes: int
    object_lock_days: int
    sign_payload: bool
    encryption: str | None
    dock: str
    secrets: Callable[[], tuple[str, str]]
    knowledge: S3Knowledge = NOTHING_KNOWN


@dataclass(frozen=True, slots=True)
class _Made:
    """What is made of keys and certificates."""

    client: Any
    endpoint: Endpoint
    sender: Sender


def place_of(endpoint_url: str | None, bucket: str) -> str:
    """Where a bucket is, for people."""
    return f"{endpoint_url or 'Amazon S3'}/{bucket}"


def told(answer: Mapping[str, Any], name: str, what: str) -> Any:
    """What an answer says under a name; raises S3LostError if it does not, as behind a poor gateway."""
    if answer.get(name) is None:
        raise S3LostError(f"the store's answer about {what} lacks its {name}")
    return answer[name]


class Bucket:
    """The bucket. What it takes to speak to it is made at the first call, and anew after the keys were refused."""

    def __init__(self, settings: S3Settings) -> None:
        self.settings = settings
        self.on_refusal: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._made: _Made | None = None
        self.knowledge = settings.knowledge
        self._heeds: dict[str, bool] = {
            "put": self.knowledge.put_if_none_match,
            "complete": self.knowledge.complete_if_none_match,
        }

    # --- the way in ----------------------------------------------------------------------------------

    def _now(self) -> _Made:
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made

    def _make(self) -> _Made:
        settings = self.settings
        access, secret = settings.secrets()
        region = settings.region or "us-east-1"
        with s3_errors("getting ready", self.place):
            client = boto3.session.Session(access, secret, region_name=region).client(
                "s3",
                endpoint_url=settings.endpoint_url,
                verify=None if settings.ca_file is None else str(settings.ca_file),
                config=Config(
                    signature_version="s3v4",
                    s3={"addressing_style": settings.addressing, "payload_signing_enabled": True},
                    retries={"mode": "standard", "total_max_attempts": 3},
                    connect_timeout=CONNECT_S,
                    read_timeout=SILENCE_S,
                    # What newer versions send unasked breaks some stores, and none was seen to look at it.
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                    max_pool_connections=_CONNECTIONS,
                    proxies={},
                ),
            )
        url = str(client.meta.endpoint_url)
        credentials = Credentials(access, secret)
        endpoint = Endpoint(url, settings.bucket, region, settings.addressing, self._tls(url), credentials)
        return _Made(client, endpoint, Sender(endpoint))

    def _tls(self, url: str) -> ssl.SSLContext | None:
        if not url.startswith("https:"):
            return None
        try:
            return ssl.create_default_context(cafile=self.settings.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise StoreUnavailableError(
                f"[store] ca_file cannot be used: {error}",
                "Footage is taken in and kept; nothing is wiped. Put the PEM certificate of the authority there.",
            ) from error

    @property
    def endpoint(self) -> Endpoint:
        """Where connections of our own lead to."""
        return self._now().endpoint

    @property
    def sender(self) -> Sender:
        """What sends bodies; one for all uploads."""
        return self._now().sender

    @property
    def client(self) -> Any:
        """boto3's client, for what only a probe asks; its errors are not translated."""
        return self._now().client

    def forget_probe(self) -> None:
        """What a probe found was found of another store."""
        self.knowledge = NOTHING_KNOWN
        self._heeds = {"put": True, "complete": True}

    @property
    def place(self) -> str:
        """Where the bucket is, for people."""
        return place_of(self.settings.endpoint_url, self.settings.bucket)

    @contextmanager
    def _call(self, what: str) -> Iterator[Any]:
        with self.refusals_noted(), s3_errors(what, self.place):
            yield self._now().client

    @contextmanager
    def refusals_noted(self) -> Iterator[None]:
        """Nothing that was known of the bucket is taken for granted after a refusal; keys are read anew."""
        try:
            yield
        except S3RefusedError as error:
            if error.code not in ABSENT_CODES:
                self.on_refusal()
            if error.code in AUTH_CODES:
                with self._lock:
                    self._made = None
            raise

    def unless_there(self, what: Literal["put", "complete"], call: Callable[[bool], T]) -> T:
        """Make a call that must not overwrite: `call(True)` sends `If-None-Match: *`, which not every store knows."""
        if self._heeds[what]:
            try:
                return call(True)
            except S3RefusedError as error:
                if error.code not in _NOT_HEEDED:
                    raise
            made = call(False)
            # Only now is it sure that it was that.
            self._heeds[what] = False
            return made
        return call(False)

    # --- objects -------------------------------------------------------------------------------------

    def at(self, key: str) -> dict[str, str]:
        """The arguments that name an object; raises ValueError for what is no key."""
        parts = key.split("/")
        if not all(part and part not in (".", "..") and "\0" not in part for part in parts):
            raise ValueError(f"{key!r} is no key")
        return {"Bucket": self.settings.bucket, "Key": key}

    def head(self, key: str) -> dict[str, Any] | None:
        """What the store says of the object, or None."""
        try:
            with self._call(f"looking at {key}") as client:
                found: dict[str, Any] = client.head_object(**self.at(key))
                told(found, "ETag", key), told(found, "ContentLength", key)
                return found
        except S3RefusedError as error:
            if error.code in ABSENT_CODES:
                return None
            raise

    def get(self, key: str, limit_bytes: int) -> bytes | None:
        """A small object whole, or None."""
        try:
            with self._call(f"reading {key}") as client:
                answer = client.get_object(**self.at(key))
                size_bytes = int(told(answer, "ContentLength", key))
                if size_bytes > limit_bytes:
                    answer["Body"].close()
                    what = f"{key} is larger than anything dockd puts there"
                    raise StoreConflictError(what, "Find out who put it there.")
                data: bytes = answer["Body"].read()
        except S3RefusedError as error:
            if error.code in ABSENT_CODES:
                return None
            raise
        if len(data) != size_bytes:
            raise S3LostError(f"the store gave {len(data)} bytes of {key}; it has {size_bytes}")
        return data

    def put_new(self, key: str, data: bytes) -> bool:
        """Put a small object; False if one is there already, where the store can tell."""

        def put(conditional: bool) -> None:
            more: dict[str, Any] = {"IfNoneMatch": "*"} if conditional else {}
            with self._call(f"writing {key}") as client:
                client.put_object(**self.at(key), Body=data, **self._property_arguments(), **more)

        try:
            self.unless_there("put", put)
        except S3RefusedError as error:
            if error.code not in EXISTS_CODES:
                raise
            return False
        return True

    def names(self, prefix: str, *, below: bool = False, after: str = "") -> Iterator[str]:
        """The keys that begin with `prefix` and sort behind `after`; those of folders below it too if `below`."""
        given: dict[str, str] = {} if below else {"Delimiter": "/"}
        if after:
            given["StartAfter"] = after
        for page in self._pages(prefix, given):
            yield from (str(each["Key"]) for each in page.get("Contents", ()))

    def folders(self, prefix: str) -> Iterator[str]:
        """What keys begin with that begin with `prefix`, as far as their next slash, and without it."""
        for page in self._pages(prefix, {"Delimiter": "/"}):
            yield from (str(each["Prefix"]).removesuffix("/") for each in page.get("CommonPrefixes", ()))

    def _pages(self, prefix: str, given: dict[str, str]) -> Iterator[dict[str, Any]]:
        while True:
            with self._call(f"listing {prefix}") as client:
                found: dict[str, Any] = client.list_objects_v2(Bucket=self.settings.bucket, Prefix=prefix, **given)
            yield found
            if not found.get("IsTruncated"):
                return
            following = str(told(found, "NextContinuationToken", prefix))
            if following == given.get("ContinuationToken"):
                raise StoreUnavailableError(f"the store lists {prefix} without end")
            given["ContinuationToken"] = following

    def metadata(self, key: str, digests: Digests) -> dict[str, str]:
        """What goes along with a recording, so that an object explains itself; all of it ASCII."""
        place = key.split("/")
        return {
            "blake3": digests.blake3,
            "sha256": digests.sha256,
            "size": str(digests.size_bytes),
            "camera": place[2] if len(place) > 2 else "",
            "dock": self.settings.dock,
        }

    def properties(self) -> dict[str, str]:
        """Headers of whatever becomes an object: encryption, and how long it is locked."""
        found = {}
        if self.settings.encryption is not None:
            found["x-amz-server-side-encryption"] = self.settings.encryption
        if self.settings.object_lock_days:
            found["x-amz-object-lock-mode"] = LOCK_MODE
            found["x-amz-object-lock-retain-until-date"] = self._locked_until()
        return found

    def _locked_until(self) -> str:
        until = time.gmtime(time.time() + self.settings.object_lock_days * 86400)
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", until)

    def lock(self, key: str, version: str | None) -> None:
        """Lock an object that is there and has no lock, as long as the configuration asks for."""
        more = {} if version is None else {"VersionId": version}
        retention = {"Mode": LOCK_MODE, "RetainUntilDate": self._locked_until()}
        with self._call(f"locking {key}") as client:
            client.put_object_retention(**self.at(key), **more, Retention=retention)

    def _property_arguments(self) -> dict[str, str]:
        names = {
            "x-amz-server-side-encryption": "ServerSideEncryption",
            "x-amz-object-lock-mode": "ObjectLockMode",
            "x-amz-object-lock-retain-until-date": "ObjectLockRetainUntilDate",
        }
        return {names[name]: value for name, value in self.properties().items()}

    # --- uploads in parts ----------------------------------------------------------------------------

    def begin(self, key: str, digests: Digests) -> str:
        """Begin an upload in parts; the store's id of it."""
        with self._call(f"beginning the upload of {key}") as client:
            made = client.create_multipart_upload(
                **self.at(key), Metadata=self.metadata(key, digests), **self._property_arguments()
            )
        return str(told(made, "UploadId", key))

    def parts(self, key: str, remote: str) -> dict[int, Sent] | None:
        """The parts that the store holds of an upload; None if it knows of no such upload."""
        found: dict[int, Sent] = {}
        marker = 0
        try:
            while True:
                with self._call(f"listing the parts of {key}") as client:
                    answer = client.list_parts(**self.at(key), UploadId=remote, PartNumberMarker=marker)
                for each in answer.get("Parts", ()):
                    found[int(each["PartNumber"])] = Sent(int(each["Size"]), str(each["ETag"]).strip('"'))
                if not answer.get("IsTruncated"):
                    return found
                following = int(told(answer, "NextPartNumberMarker", key))
                if following <= marker:
                    raise StoreUnavailableError(f"the store lists the parts of {key} without end")
                marker = following
        except S3RefusedError as error:
            if error.code in NO_UPLOAD_CODES:
                return None
            raise

    def complete(self, key: str, remote: str, parts: dict[int, Sent]) -> bool:
        """Make an object of the parts; False if one is there already, where the store can tell."""
        try:
            self.unless_there(
                "complete", lambda conditional: self.try_to_complete(key, remote, parts, conditional=conditional)
            )
        except S3RefusedError as error:
            if error.code not in EXISTS_CODES:
                raise
            return False
        return True

    def try_to_complete(self, key: str, remote: str, parts: dict[int, Sent], *, conditional: bool) -> None:
        """Make an object of the parts, with `If-None-Match: *` or without."""
        order = [{"PartNumber": number, "ETag": f'"{parts[number].etag}"'} for number in sorted(parts)]
        more: dict[str, Any] = {"IfNoneMatch": "*"} if conditional else {}
        with self._call(f"completing {key}") as client:
            client.complete_multipart_upload(**self.at(key), UploadId=remote, MultipartUpload={"Parts": order}, **more)

    def abort(self, key: str, remote: str) -> None:
        """End an upload and its parts; one that is not known any more is no error."""
        try:
            with self._call(f"aborting the upload of {key}") as client:
                client.abort_multipart_upload(**self.at(key), UploadId=remote)
        except S3RefusedError as error:
            if error.code not in NO_UPLOAD_CODES:
                raise
