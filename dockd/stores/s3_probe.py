"""Probing a bucket: what is sent wrong on purpose must be refused, and what is sent right must not.

Only below `{agency}/probe/`, under names that are new each time. Each thing is asked twice, once right and once
wrong: a store that refuses both has not looked, it just does not know it.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from dockd.digests import Hasher
from dockd.errors import StoreUnavailableError
from dockd.stores.probe import COMPLETE_IF_NONE_MATCH, LIST_PARTS, PUT_IF_NONE_MATCH, Finding, Verdict
from dockd.stores.s3_bucket import Bucket
from dockd.stores.s3_errors import AUTH_CODES, S3RefusedError, s3_errors
from dockd.stores.s3_upload import Sent
from dockd.stores.s3_wire import Answer, Region, Wire

DATA: Final = b"This object was written by `dockd store probe`. It is no evidence.\n"
OTHER: Final = b"This is what must not take the place of an object that is there.\n"
_PART_BYTES: Final = 5 * 1024 * 1024

# What follows from each answer; a verdict that is not named follows from "not enforced".
_SIGNED: Final = {
    "enforced": "sign the SHA-256 of each body, so that the store refuses what was altered on its way",
    "not enforced": "go by reading back alone: what is altered on its way is found only then",
}
_CHECKSUM: Final = {
    "enforced": "go without it: signed payloads and the read-back say the same",
    "not enforced": "not send it, nor believe that it was looked at: signed payloads and the read-back decide",
}
_CONDITION: Final = {
    "enforced": "send it each time, and look before",
    "not enforced": "not rely on it: look before, read back after; versioning keeps what two docks send at once",
}


def _so(table: Mapping[str, str], verdict: Verdict) -> str:
    return table.get(verdict, table["not enforced"])


@dataclass(slots=True)
class S3Probe:
    """One probe of a bucket. `bucket` speaks with the probe's own key if there is one, `dock` with the dock's."""

    bucket: Bucket
    dock: Bucket
    folder: str
    token: str
    left: list[str] = field(default_factory=list)
    _count: int = 0

    def run(self) -> Iterator[Finding]:
        """Ask one thing after the other; raises StoreUnavailableError when nothing can be put there at all."""
        self._must_take()
        yield self._wrong_key()
        yield self._signed(part=False)
        yield self._signed(part=True)
        yield self._header("x-amz-checksum-sha256", hashlib.sha256, part=False)
        yield self._header("x-amz-checksum-sha256", hashlib.sha256, part=True)
        yield self._header("Content-MD5", _md5, part=False)
        yield self._header("Content-MD5", _md5, part=True)
        yield self._put_condition()
        yield self._complete_condition()
        yield self._overwritten()
        yield self._list_parts()
        yield self._ranges()
        yield self._delete()

    # --- tools ---------------------------------------------------------------------------------------

    def _key(self) -> str:
        self._count += 1
        return f"{self.folder}/{self.token}-{self._count:02d}"

    def _lies_there(self, key: str) -> None:
        if key not in self.left:
            self.left.append(key)

    def _send(
        self,
        key: str,
        data: bytes,
        *,
        sha256: str | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a body; `sha256` is what is claimed of it, by default the truth."""
        wire = Wire(self.bucket.endpoint)
        fd = os.memfd_create("dockd-probe", os.MFD_CLOEXEC)
        try:
            os.pwrite(fd, data, 0)
            claimed = hashlib.sha256(data).hexdigest() if sha256 is None else sha256
            given = {**(self.bucket.properties() if query is None else {}), **(headers or {})}
            answer = wire.put(key, query or {}, given, Region(fd, 0, len(data)), claimed, lambda _: None)
            if query is None:
                self._lies_there(key)
            return answer
        finally:
            os.close(fd)
            wire.close()

    def _compare(
        self, name: str, asked: str, right: Callable[[], object], wrong: Callable[[], object], table: Mapping[str, str]
    ) -> Finding:
        """What a store makes of the same request sent right and sent wrong."""
        refused = _refusal(right)
        if refused is not None:
            return Finding(
                name, asked, "not supported", f"refused even where it is right: {refused}", _so(table, "not supported")
            )
        refused = _refusal(wrong)
        verdict: Verdict = "not enforced" if refused is None else "enforced"
        return Finding(name, asked, verdict, refused or "accepted", _so(table, verdict))

    def _upload(self, key: str, data: bytes) -> str:
        whole = Hasher()
        whole.update(memoryview(data))
        return self.bucket.begin(key, whole.digests())

    def _with_upload(self, ask: Callable[[str, dict[str, str]], Finding]) -> Finding:
        """Ask something within an upload in parts, which is ended afterwards."""
        key = self._key()
        remote = self._upload(key, DATA)
        try:
            return ask(key, {"partNumber": "1", "uploadId": remote})
        finally:
            self.bucket.abort(key, remote)

    # --- what is asked -------------------------------------------------------------------------------

    def _must_take(self) -> None:
        key = self._key()
        try:
            self._send(key, DATA)
        except S3RefusedError as error:
            more = "The probe's key needs to put and get below {agency}/probe/." if error.code in AUTH_CODES else None
            raise StoreUnavailableError(f"the store takes no probe under {key}: {error.message}", more) from error
        if self.bucket.get(key, len(DATA)) != DATA:
            raise StoreUnavailableError(
                f"the store gives back other bytes for {key} than it was sent", "Do not use it."
            )

    def _wrong_key(self) -> Finding:
        access, secret = self.bucket.settings.secrets()
        stranger = Bucket(replace(self.bucket.settings, secrets=lambda: (access, secret[::-1] + "x")))
        refused = _refusal(lambda: stranger.get(self.left[0], len(DATA)))
        return Finding(
            "wrong secret key",
            "an object is read with a wrong secret key",
            "not enforced" if refused is None else "enforced",
            refused or "accepted",
            "trust that only who has a key gets in" if refused else "not be the only one who can read and write there",
            wrong=refused is None,
        )

    def _signed(self, *, part: bool) -> Finding:
        name = "signed payload of a part" if part else "signed payload"
        asked = f"{'a part' if part else 'an object'} whose bytes are not those of the SHA-256 that was signed"
        false = hashlib.sha256(OTHER).hexdigest()
        if part:
            return self._with_upload(
                lambda key, query: self._compare(
                    name,
                    asked,
                    lambda: self._send(key, DATA, query=query),
                    lambda: self._send(key, DATA, query=query, sha256=false),
                    _SIGNED,
                )
            )
        return self._compare(
            name,
            asked,
            lambda: self._send(self._key(), DATA),
            lambda: self._send(self._key(), DATA, sha256=false),
            _SIGNED,
        )

    def _header(self, header: str, digest: Callable[[bytes], Any], *, part: bool) -> Finding:
        def given(data: bytes) -> dict[str, str]:
            return {header: base64.b64encode(digest(data).digest()).decode("ascii")}

        name = f"{header} of a part" if part else header
        asked = f"{'a part' if part else 'an object'} with a false {header}, but a true signature"
        if part:
            return self._with_upload(
                lambda key, query: self._compare(
                    name,
                    asked,
                    lambda: self._send(key, DATA, query=query, headers=given(DATA)),
                    lambda: self._send(key, DATA, query=query, headers=given(OTHER)),
                    _CHECKSUM,
                )
            )
        return self._compare(
            name,
            asked,
            lambda: self._send(self._key(), DATA, headers=given(DATA)),
            lambda: self._send(self._key(), DATA, headers=given(OTHER)),
            _CHECKSUM,
        )

    def _put_condition(self) -> Finding:
        key, condition = self._key(), {"If-None-Match": "*"}
        found = self._compare(
            PUT_IF_NONE_MATCH,
            "a PUT with If-None-Match: * on a key that is there",
            lambda: self._send(key, DATA, headers=condition),
            lambda: self._send(key, OTHER, headers=condition),
            _CONDITION,
        )
        return self._really(found, key)

    def _really(self, found: Finding, key: str) -> Finding:
        """A refusal counts only if what was there is there still."""
        if found.verdict != "enforced" or self.bucket.get(key, len(OTHER) + len(DATA)) == DATA:
            return found
        return replace(
            found,
            verdict="not enforced",
            answer=f"{found.answer}, and overwritten",
            so=_CONDITION["not enforced"],
            wrong=True,
        )

    def _complete(self, key: str, data: bytes, *, conditional: bool) -> None:
        remote = self._upload(key, data)
        try:
            answer = self._send(key, data, query={"partNumber": "1", "uploadId": remote})
            parts = {1: Sent(len(data), answer.headers.get("etag", "").strip('"'))}
            self.bucket.try_to_complete(key, remote, parts, conditional=conditional)
            self._lies_there(key)
        except BaseException:
            self.bucket.abort(key, remote)
            raise

    def _complete_condition(self) -> Finding:
        key = self._key()
        found = self._compare(
            COMPLETE_IF_NONE_MATCH,
            "an upload in parts completed with If-None-Match: * on a key that is there",
            lambda: self._complete(key, DATA, conditional=True),
            lambda: self._complete(key, OTHER, conditional=True),
            _CONDITION,
        )
        return self._really(found, key)

    def _overwritten(self) -> Finding:
        """An unconditional write replaces what is there with any store; what becomes of the former version differs."""
        name, asked = "former versions are kept", "an object is overwritten by a PUT, and by an upload in parts"
        answers = []
        for how in ("PUT", "parts"):
            key = self._key()
            first = self._send(key, DATA).headers.get("x-amz-version-id")
            again = (
                partial(self._send, key, OTHER)
                if how == "PUT"
                else partial(self._complete, key, OTHER, conditional=False)
            )
            refused = _refusal(again)
            if refused is not None:
                answers.append(f"{how}: refused ({refused})")
            elif first is None or self._version(key, first) != DATA:
                so = "notice an overwrite only when it reads again: switch versioning on for the bucket"
                return Finding(name, asked, "not enforced", f"{how}: the former bytes are gone", so)
            else:
                answers.append(f"{how}: the former version is there")
        so = "record the version that it confirmed, and read that one back"
        return Finding(name, asked, "enforced", "; ".join(answers), so)

    def _version(self, key: str, version: str) -> bytes | None:
        try:
            with s3_errors(f"reading a version of {key}", self.bucket.place):
                answer = self.bucket.client.get_object(**self.bucket.at(key), VersionId=version)
                data: bytes = answer["Body"].read()
                return data
        except S3RefusedError:
            return None

    def _list_parts(self) -> Finding:
        asked = "the parts of an upload are listed, with sizes and ETags"
        key = self._key()
        remote = self._upload(key, DATA)
        try:
            answer = self._send(key, DATA, query={"partNumber": "1", "uploadId": remote})
            wanted = {1: Sent(len(DATA), answer.headers.get("etag", "").strip('"'))}
            listed = self.bucket.parts(key, remote)
        except S3RefusedError as error:
            so = "send an upload that was broken off from its beginning"
            return Finding(LIST_PARTS, asked, "not supported", error.code, so)
        finally:
            self.bucket.abort(key, remote)
        if listed == wanted:
            so = "go on with an upload that was broken off, compare the list before completing"
            return Finding(LIST_PARTS, asked, "enforced", "as they were sent", so)
        so = "send an upload that was broken off from its beginning, and compare nothing before completing"
        return Finding(LIST_PARTS, asked, "not enforced", "another list than was sent", so)

    def _ranges(self) -> Finding:
        asked = "bytes 5 to 9 of an object are read"
        wire, got = Wire(self.bucket.endpoint), bytearray()
        try:
            wire.get(self.left[0], {}, {"Range": "bytes=5-9"}, (5, 9, len(DATA)), memoryview(bytearray(16)), got.extend)
        except StoreUnavailableError as error:
            so = "not be able to confirm anything there"
            return Finding("ranges", asked, "not supported", error.message, so, wrong=True)
        finally:
            wire.close()
        right = bytes(got) == DATA[5:10]
        so = "read back in ranges of one version" if right else "confirm nothing that the store alters"
        return Finding("ranges", asked, "enforced" if right else "not enforced", f"{bytes(got)!r}", so, wrong=not right)

    def _delete(self) -> Finding:
        """The one thing that dockd never does elsewhere, here with an object of the probe's own."""
        key = self.left[-1]

        def delete() -> None:
            with s3_errors(f"deleting {key}", self.dock.place):
                self.dock.client.delete_object(**self.dock.at(key))

        refused = _refusal(delete)
        so = (
            "be unable to take anything away, whatever happens to the dock"
            if refused
            else "take nothing away; but who has the dock's key can: take s3:DeleteObject from it"
        )
        asked = "an object of the probe is deleted with the dock's own key"
        return Finding("no delete", asked, "enforced" if refused else "not enforced", refused or "deleted", so)


def _md5(data: bytes) -> Any:
    return hashlib.md5(data, usedforsecurity=False)


def _refusal(call: Callable[[], object]) -> str | None:
    """The store's word for its refusal, or None if it did what it was asked."""
    try:
        call()
    except S3RefusedError as error:
        return error.code
    return None
