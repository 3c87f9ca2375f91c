"""Time stamps of a stranger (RFC 3161): that a digest list was there at a time that the dock's clock has no say in.

Source: RFC 3161. A stamp is kept as the authority sent it, a TimeStampResp in DER: `openssl ts -verify` reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography.x509 import Certificate, load_pem_x509_certificates
from rfc3161_client import (
    HashAlgorithm,
    TimeStampRequest,
    TimestampRequestBuilder,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)

REQUEST_TYPE: Final = "application/timestamp-query"
ANSWER_TYPE: Final = "application/timestamp-reply"


class BadTimestampError(ValueError):
    """An authority's answer is no time stamp of what was asked for; the text says why."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request for a stamp over `data`."""

    data: bytes
    request: TimeStampRequest

    @property
    def der(self) -> bytes:
        """What is sent to the authority."""
        return bytes(self.request.as_bytes())

    @classmethod
    def over(cls, data: bytes) -> Request:
        """A request with a random number of its own, so that no old answer passes for this one's."""
        return cls(data, TimestampRequestBuilder().data(data).hash_algorithm(HashAlgorithm.SHA256).build())


def roots_in(pem: bytes) -> list[Certificate]:
    """The certificates in a PEM file; raises BadTimestampError if there are none."""
    try:
        return load_pem_x509_certificates(pem)
    except ValueError as error:
        raise BadTimestampError(f"there is no certificate in it: {error}") from error


def stamped_at(request: Request, answer: bytes, roots: list[Certificate]) -> datetime:
    """The time that a stamp names; raises BadTimestampError unless it answers the request and `roots` vouch for it."""
    builder = VerifierBuilder.from_request(request.request)
    for root in roots:
        builder = builder.add_root_certificate(root)
    try:
        response = decode_timestamp_response(answer)
        builder.build().verify_message(response, request.data)
        moment: datetime = response.tst_info.gen_time
    except (ValueError, VerificationError) as error:
        raise BadTimestampError(str(error)) from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
