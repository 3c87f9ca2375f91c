"""What a failed call to an S3-compatible store means, and what to do about it.

Codes: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; Ceph adds `QuotaExceeded`.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import botocore.exceptions as boto

from dockd.errors import DockdError, StoreFullError, StoreUnavailableError

_KEPT = "Footage is taken in and kept on the dock and on the cameras; nothing is wiped; dockd goes on by itself. "

AUTH_CODES: Final = frozenset(
    {"AccessDenied", "AllAccessDisabled", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch"}
)
FULL_CODES: Final = frozenset({"QuotaExceeded", "InsufficientCapacity", "XMinioStorageFull", "507"})
BUSY_CODES: Final = frozenset(
    {
        "SlowDown",
        "InternalError",
        "RequestTimeout",
        "ServiceUnavailable",
        "OperationAborted",
        "TooManyRequests",
        "Throttling",
        "ThrottlingException",
        "RequestThrottled",
        "500",
        "502",
        "503",
        "504",
        "429",
    }
)
"""Worth trying again soon."""

ABSENT_CODES: Final = frozenset({"NoSuchKey", "404", "NotFound"})

NO_UPLOAD_CODES: Final = frozenset({"NoSuchUpload", "NoSuchKey"})
"""An upload that the store does not know any more; Ceph calls it by either name."""

EXISTS_CODES: Final = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict"})
"""What a store says that heeds `If-None-Match: *` and has the key."""

_HINTS: Final = {
    **dict.fromkeys(
        AUTH_CODES,
        "Look at the files that access_key_credential and secret_key_credential name (after a change: systemctl "
        "restart dockd), and at what the bucket's policy permits: put, get, list and multipart uploads.",
    ),
    **dict.fromkeys(
        ("RequestTimeTooSkewed", "RequestExpired"),
        "This dock's clock and the store's differ by too much: see timedatectl on both.",
    ),
    "NoSuchBucket": "Make the bucket, or correct [store] bucket.",
    "InvalidRequest": "Where [store] object_lock_days is not 0 the bucket has to be made with object lock.",
    **dict.fromkeys(
        ("PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException",
         "301", "302", "307", "308"),
        "The store sends dockd elsewhere, which it does not follow: correct [store] endpoint_url and region.",
    ),
    **dict.fromkeys(BUSY_CODES, "The store is there, but has too much to do or is not well. Look at its health."),
}  # fmt: skip


class S3RefusedError(StoreUnavailableError):
    """The store answered with an error; `code` is its word for it."""

    def __init__(self, code: str, what: str, said: str = "") -> None:
        text = f"the store refuses: {what}: {code}" + (f" ({said})" if said and said != code else "")
        hint = _HINTS.get(code)
        super().__init__(text, None if hint is None else _KEPT + hint)
        self.code = code


class S3LostError(StoreUnavailableError):
    """The store gave no whole answer: no connection, a broken one, or one cut short."""


def refusal(code: str, what: str, said: str = "") -> DockdError:
    """The error for what the store answered."""
    if code in FULL_CODES:
        return StoreFullError(f"the store is full: {what}: {code}")
    return S3RefusedError(code, what, said)


def lost(error: Exception, what: str, endpoint: str) -> S3LostError:
    """The error for an answer that did not come."""
    cause: BaseException | None = error
    hint = "Look at the network, and at whether the store runs."
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(cause):
            hint = (
                "The store's certificate is not trusted: put the certificate of the authority that signed it into "
                "[store] ca_file, and look at its names and dates."
            )
        elif isinstance(cause, ssl.SSLError):
            hint = "Encryption fails: look at whether [store] endpoint_url speaks TLS, and at ca_file."
        elif isinstance(cause, socket.gaierror) or "Name or service not known" in str(cause):
            hint = "The name of the store is not found: look at [store] endpoint_url, and at this dock's name server."
        cause = cause.__cause__ or cause.__context__
    return S3LostError(f"the store at {endpoint} cannot be used: {what}: {error}", _KEPT + hint)


LOST: Final = (OSError, http.client.HTTPException)
"""What a connection of ours raises; a `socket.timeout` and TLS errors are OSErrors."""


@contextmanager
def s3_errors(what: str, endpoint: str) -> Iterator[None]:
    """Translate what boto3 raises."""
    try:
        yield
    except boto.ClientError as error:
        told = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        code = str(told.get("Code") or status or "unknown")
        # A HEAD has no body to name the bucket's absence in.
        raise refusal(code, what, str(told.get("Message", ""))) from error
    except (boto.BotoCoreError, boto.HTTPClientError) as error:
        raise lost(error, what, endpoint) from error
