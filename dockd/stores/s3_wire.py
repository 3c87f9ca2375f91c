"""Bodies to and from an S3-compatible store with as little work as can be, over connections of our own.

Everything else is boto3's; it would hash each body and copy it several times. Signed with botocore's signer
(AWS Signature Version 4), to which the body's SHA-256 is given; without TLS the kernel moves the bytes (sendfile).
"""

from __future__ import annotations

import errno
import http.client
import os
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from botocore.auth import UNSIGNED_PAYLOAD, S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from dockd.direct_io import UNIT_BYTES
from dockd.errors import SpoolCorruptError
from dockd.stores.s3_errors import LOST, lost, refusal

CONNECT_S: Final = 10.0
SILENCE_S: Final = 60.0
"""How long the store may say and take nothing, once connected."""

EMPTY_SHA256: Final = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_STEP_BYTES: Final = UNIT_BYTES
_TLS_STEP_BYTES: Final = UNIT_BYTES // 4
_ERROR_LIMIT_BYTES: Final = 64 * 1024
_CODE = re.compile(rb"<Code>([^<]{1,100})</Code>")
_MESSAGE = re.compile(rb"<Message>([^<]{1,500})</Message>")


class _KnownDigest(S3SigV4Auth):  # type: ignore[misc] # botocore is untyped
    """Signs with a payload digest that is known, and never reads the body."""

    def __init__(self, credentials: Credentials, region: str, digest: str) -> None:
        super().__init__(credentials, "s3", region)
        self._digest = digest

    def payload(self, request: AWSRequest) -> str:  # noqa: ARG002 - botocore's signature
        return self._digest


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the bucket is and how to get in. `tls` is None for plain HTTP."""

    url: str
    bucket: str
    region: str
    addressing: str
    tls: ssl.SSLContext | None
    credentials: Credentials

    def object_url(self, key: str, query: Mapping[str, str]) -> str:
        """The URL of an object, quoted as S3 signs it."""
        parts = urlsplit(self.url)
        base = parts.path.rstrip("/")
        host, path = parts.netloc, f"{base}/{self.bucket}"
        if self.addressing == "virtual":
            host, path = f"{self.bucket}.{parts.netloc}", base
        asked = f"?{urlencode(query, quote_via=quote)}" if query else ""
        return f"{parts.scheme}://{host}{path}/{quote(key, safe='/~-._')}{asked}"


@dataclass(frozen=True, slots=True)
class Region:
    """A stretch of an open file that is sent as a body."""

    fd: int
    start_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What the store said; header names in lower case."""

    status: int
    headers: Mapping[str, str]


class Wire:
    """One connection to the store, opened anew when it breaks; for use by one thread, but for `cut`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._connection: http.client.HTTPConnection | None = None
        self._lock = threading.Lock()
        self._cut = False

    def close(self) -> None:
        """Close the connection; the next call opens another one."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def cut(self) -> None:
        """Break the connection off for good, from another thread, whatever it is doing."""
        with self._lock:
            self._cut = True
            connection = self._connection
        if connection is not None and connection.sock is not None:
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _connect(self) -> http.client.HTTPConnection:
        if self._connection is not None and self._connection.sock is not None:
            return self._connection
        where = urlsplit(self._endpoint.object_url("", {}))
        host = where.hostname or ""
        made: http.client.HTTPConnection
        if self._endpoint.tls is None:
            made = http.client.HTTPConnection(host, where.port or 80, timeout=CONNECT_S)
        else:
            made = http.client.HTTPSConnection(host, where.port or 443, timeout=CONNECT_S, context=self._endpoint.tls)
        made.connect()
        made.sock.settimeout(SILENCE_S)
        with self._lock:
            self._connection = made
            if self._cut:
                made.sock.shutdown(socket.SHUT_RDWR)
        return made

    def _sign(self, method: str, url: str, headers: Mapping[str, str], digest: str) -> AWSRequest:
        request = AWSRequest(method=method, url=url, headers=dict(headers))
        _KnownDigest(self._endpoint.credentials, self._endpoint.region, digest).add_auth(request)
        return request

    def put(
        self,
        key: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: Region,
        sha256: str | None,
        on_bytes: Callable[[int], None],
    ) -> Answer:
        """Send a stretch of a file; `sha256` in hex is signed, None sends it unsigned.

        Raises S3RefusedError, S3LostError, StoreFullError, and SpoolCorruptError if the file is shorter or unreadable.
        """
        url = self._endpoint.object_url(key, query)
        given = {**headers, "Content-Length": str(body.size_bytes)}
        signed = self._sign("PUT", url, given, UNSIGNED_PAYLOAD if sha256 is None else sha256)
        what = f"sending {key}"
        with self._conversation(what) as connection:
            _ask(connection, signed, url)
            try:
                _send(connection.sock, body, on_bytes, plain=self._endpoint.tls is None)
            except (BrokenPipeError, ConnectionResetError):
                # It may have said why before it hung up.
                answer = connection.getresponse()
                if answer.status < 400:
                    raise
                raise _refused(answer, what) from None
            response = connection.getresponse()
            if response.status != 200:
                raise _refused(response, what)
            response.read(_ERROR_LIMIT_BYTES)
            return Answer(response.status, {name.lower(): value for name, value in response.getheaders()})

    def get(
        self,
        key: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        asked: tuple[int, int, int],
        into: memoryview,
        take: Callable[[memoryview], None],
    ) -> Answer:
        """Read a range of an object through `into`, each piece given to `take`.

        `asked`: its first byte, its last, and the object's size. Raises S3RefusedError or S3LostError, the latter
        also for another range than that, and for one that is cut short.
        """
        url = self._endpoint.object_url(key, query)
        signed = self._sign("GET", url, headers, EMPTY_SHA256)
        what = f"reading {key}"
        with self._conversation(what) as connection:
            _ask(connection, signed, url)
            response = connection.getresponse()
            if response.status not in (200, 206):
                raise _refused(response, what)
            answer = Answer(response.status, {name.lower(): value for name, value in response.getheaders()})
            first, last, size_bytes = asked
            told = answer.headers.get("content-range", "")
            left = last + 1 - first
            if told != f"bytes {first}-{last}/{size_bytes}" or response.length != left:
                raise http.client.HTTPException(f"it gave {told or 'all'}; bytes {first}-{last} were asked for")
            while left:
                got = response.readinto(into[: min(len(into), left)])
                if not got:
                    raise http.client.HTTPException(f"the answer ended {left} bytes before its end")
                left -= got
                take(into[:got])
            response.read()
            return answer

    @contextmanager
    def _conversation(self, what: str) -> Iterator[http.client.HTTPConnection]:
        """A connection that is closed unless the whole answer was read, with its errors translated."""
        whole = False
        try:
            yield self._connect()
            whole = True
        except LOST as error:
            raise lost(error, what, self._endpoint.url) from error
        finally:
            if not whole:
                self.close()


def _ask(connection: http.client.HTTPConnection, signed: Any, url: str) -> None:
    where = urlsplit(url)
    connection.putrequest(
        signed.method, f"{where.path}?{where.query}" if where.query else where.path, skip_accept_encoding=True
    )
    for name, value in signed.headers.items():
        connection.putheader(name, value)
    connection.endheaders()


def _send(sock: socket.socket, body: Region, on_bytes: Callable[[int], None], *, plain: bool) -> None:
    end = body.start_bytes + body.size_bytes
    offset = body.start_bytes
    if plain:
        with _blocking(sock):
            while offset < end:
                # Both ends of it are descriptors: nothing of the body passes through this process.
                with _spool_reads():
                    sent = os.sendfile(sock.fileno(), body.fd, offset, min(_STEP_BYTES, end - offset))
                if sent == 0:
                    raise SpoolCorruptError(f"the spool file ends at byte {offset}; {end} were expected")
                offset += sent
                on_bytes(sent)
        return
    buffer = memoryview(bytearray(_TLS_STEP_BYTES))
    while offset < end:
        with _spool_reads():
            got = os.preadv(body.fd, [buffer[: min(len(buffer), end - offset)]], offset)
        if got == 0:
            raise SpoolCorruptError(f"the spool file ends at byte {offset}; {end} were expected")
        sock.sendall(buffer[:got])
        offset += got
        on_bytes(got)


@contextmanager
def _blocking(sock: socket.socket) -> Iterator[None]:
    """Let the kernel wait for the store's ear: Python would ask after every few kilobytes, for half of all the work."""
    sock.settimeout(None)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", int(SILENCE_S), 0))
    try:
        yield
    except BlockingIOError as error:
        raise TimeoutError(f"the store took nothing for {SILENCE_S:.0f} s") from error
    finally:
        sock.settimeout(SILENCE_S)


@contextmanager
def _spool_reads() -> Iterator[None]:
    """Tell the disk's errors from the network's, which sendfile mixes up."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EIO, errno.EBADMSG, errno.EUCLEAN):
            raise SpoolCorruptError(f"the spool cannot be read: {error.strerror}") from error
        raise


def _refused(response: http.client.HTTPResponse, what: str) -> Exception:
    """The error for an answer that says no."""
    body = response.read(_ERROR_LIMIT_BYTES)
    code, said = _CODE.search(body), _MESSAGE.search(body)
    name = code.group(1).decode(errors="replace") if code else str(response.status)
    return refusal(name, what, said.group(1).decode(errors="replace") if said else response.reason)
