"""Signatures in the form of OpenSSH, made and checked here, and by `ssh-keygen -Y verify` everywhere else.

Source: PROTOCOL.sshsig of OpenSSH (https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.sshsig) and, for
who may sign, ALLOWED SIGNERS in ssh-keygen(1). Ed25519 keys only. Pure functions.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

CUSTODY: Final = "dockd-custody"
"""The namespace of what a dock signs of its chain."""

ROTATION: Final = "dockd-key-rotation"
"""The namespace of what both keys sign when one takes the other's place."""

APPROVAL: Final = "dockd-approval"
"""The namespace of a person's word for the lifting of a hold."""

_MAGIC: Final = b"SSHSIG"
_KIND: Final = b"ssh-ed25519"
_HASHES: Final = {b"sha512": hashlib.sha512, b"sha256": hashlib.sha256}
_HEAD: Final = "-----BEGIN SSH SIGNATURE-----"
_FOOT: Final = "-----END SSH SIGNATURE-----"
_WIDTH: Final = 70
_TIME = re.compile(r"(\d{8})(\d{4}(?:\d{2})?)?(Z)?\Z")


class BadSignatureError(ValueError):
    """A signature, a key or a list of signers is not what it should be; the text says in which way."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An Ed25519 public key."""

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != 32:
            raise BadSignatureError(f"an Ed25519 key has 32 bytes, this one {len(self.raw)}")

    @property
    def blob(self) -> bytes:
        """The key as SSH writes it."""
        return _string(_KIND) + _string(self.raw)

    @property
    def line(self) -> str:
        """The key as it stands in authorized_keys and allowed_signers: kind and base64."""
        return f"{_KIND.decode()} {base64.b64encode(self.blob).decode()}"

    @property
    def fingerprint(self) -> str:
        """What `ssh-keygen -l` shows of the key."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    @classmethod
    def of(cls, private: Ed25519PrivateKey) -> PublicKey:
        """The public half of a private key."""
        return cls(private.public_key().public_bytes_raw())

    @classmethod
    def parse(cls, line: str) -> PublicKey:
        """A key from `ssh-ed25519 BASE64 [comment]`; raises BadSignatureError."""
        parts = line.split()
        if len(parts) < 2 or parts[0] != _KIND.decode():
            raise BadSignatureError(f"{line[:60]!r} is no Ed25519 key (ssh-ed25519 AAAA…)")
        try:
            return cls.of_blob(base64.b64decode(parts[1], validate=True))
        except binascii.Error as error:
            raise BadSignatureError(f"{line[:60]!r} is no base64") from error

    @classmethod
    def of_blob(cls, blob: bytes) -> PublicKey:
        """A key from SSH's wire format; raises BadSignatureError."""
        reader = _Reader(blob)
        kind, raw = reader.string(), reader.string()
        if kind != _KIND:
            raise BadSignatureError(f"the key is of kind {kind.decode(errors='replace')!r}; only Ed25519 is accepted")
        reader.end()
        return cls(raw)


def sign(private: Ed25519PrivateKey, namespace: str, message: bytes) -> str:
    """The armoured signature of `message`, as `ssh-keygen -Y sign` makes it."""
    signed = _to_be_signed(namespace.encode(), b"sha512", message)
    signature = _string(_KIND) + _string(private.sign(signed))
    blob = _MAGIC + (1).to_bytes(4, "big") + _string(PublicKey.of(private).blob) + _string(namespace.encode())
    return _armour(blob + _string(b"") + _string(b"sha512") + _string(signature))


def verify(armoured: str, namespace: str, message: bytes) -> PublicKey:
    """The key that signed `message`; raises BadSignatureError. Whose key it is, `Signers` tells."""
    # It takes 50 ms to import, which commands that verify nothing are spared.
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - as said
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415 - as said

    reader = _Reader(_dearmour(armoured))
    if reader.take(len(_MAGIC)) != _MAGIC or reader.number() != 1:
        raise BadSignatureError("it is no SSH signature of version 1")
    key = PublicKey.of_blob(reader.string())
    found, reserved = reader.string(), reader.string()
    algorithm, signature = reader.string(), _Reader(reader.string())
    reader.end()
    kind, raw = signature.string(), signature.string()
    signature.end()
    if found != namespace.encode():
        raise BadSignatureError(f"it was made for {found.decode(errors='replace')!r}, not for {namespace!r}")
    if kind != _KIND or algorithm not in _HASHES or reserved:
        raise BadSignatureError("it was made with an algorithm that is not accepted")
    try:
        Ed25519PublicKey.from_public_bytes(key.raw).verify(raw, _to_be_signed(found, algorithm, message))
    except InvalidSignature as error:
        raise BadSignatureError("the signature is not of these bytes") from error
    return key


def _to_be_signed(namespace: bytes, algorithm: bytes, message: bytes) -> bytes:
    digest = _HASHES[algorithm](message).digest()
    return _MAGIC + _string(namespace) + _string(b"") + _string(algorithm) + _string(digest)


def _armour(blob: bytes) -> str:
    text = base64.b64encode(blob).decode()
    lines = [text[start : start + _WIDTH] for start in range(0, len(text), _WIDTH)]
    return "\n".join([_HEAD, *lines, _FOOT, ""])


def _dearmour(armoured: str) -> bytes:
    lines = armoured.split("\n")
    if lines[:1] != [_HEAD] or lines[-2:] != [_FOOT, ""]:
        raise BadSignatureError("it is no armoured SSH signature")
    try:
        blob = base64.b64decode("".join(lines[1:-2]), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadSignatureError("the signature is no base64") from error
    # There is one way to write it, so that no changed byte of it goes unnoticed.
    if _armour(blob) != armoured:
        raise BadSignatureError("the signature is not written as OpenSSH writes it")
    return blob


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


class _Reader:
    """Reads SSH's wire format; raises BadSignatureError where it ends too soon or too late."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        found = self._data[self._at : self._at + count]
        if len(found) != count:
            raise BadSignatureError("it is cut short")
        self._at += count
        return found

    def number(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        return self.take(self.number())

    def end(self) -> None:
        if self._at != len(self._data):
            raise BadSignatureError("there are bytes too many in it")


# --- who may sign ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Signer:
    patterns: tuple[str, ...]
    key: PublicKey
    namespaces: tuple[str, ...] | None
    after: datetime | None
    before: datetime | None

    def vouches(self, principal: str, namespace: str, at: datetime) -> bool:
        if self.namespaces is not None and not any(fnmatch.fnmatchcase(namespace, each) for each in self.namespaces):
            return False
        if (self.after is not None and at < self.after) or (self.before is not None and at >= self.before):
            return False
        refused = any(fnmatch.fnmatchcase(principal, each[1:]) for each in self.patterns if each.startswith("!"))
        return not refused and any(fnmatch.fnmatchcase(principal, each) for each in self.patterns if each[:1] != "!")


class Signers:
    """An `allowed_signers` file: which key may sign in whose name, for what, and when."""

    def __init__(self, lines: Iterable[str]) -> None:
        """Raises BadSignatureError for a line that cannot be understood; lines of other kinds of key are left out."""
        self._signers = [
            signer
            for number, line in enumerate(lines, start=1)
            if line.strip() and not line.lstrip().startswith("#")
            if (signer := _parse_signer(line.strip(), number)) is not None
        ]

    def vouch(self, key: PublicKey, principal: str, namespace: str, at: datetime | None = None) -> bool:
        """Whether the key may sign for `principal` at that moment, which is now if none is given."""
        moment = at if at is not None else datetime.now(UTC)
        return any(each.key == key and each.vouches(principal, namespace, moment) for each in self._signers)

    def names_of(self, key: PublicKey) -> list[str]:
        """The names that a key stands for, as they are written."""
        return [",".join(each.patterns) for each in self._signers if each.key == key]

    def __len__(self) -> int:
        return len(self._signers)


def _parse_signer(line: str, number: int) -> _Signer | None:
    principals, _, rest = line.partition(" ")
    rest = rest.strip()
    options = ""
    if not rest.startswith(("ssh-", "ecdsa-", "sk-")):
        options, rest = _options(rest, number)
    kind = rest.split(" ", 1)[0]
    if kind != _KIND.decode() and kind.startswith(("ssh-", "ecdsa-", "sk-")):
        return None
    wanted: dict[str, str] = {}
    for option in _split(options):
        name, _, value = option.partition("=")
        if name.lower() not in ("namespaces", "valid-after", "valid-before"):
            raise BadSignatureError(f"line {number} of the signers: {name!r} is not supported")
        wanted[name.lower()] = value
    try:
        key = PublicKey.parse(rest)
    except BadSignatureError as error:
        raise BadSignatureError(f"line {number} of the signers: {error}") from error
    namespaces = wanted.get("namespaces")
    return _Signer(
        tuple(principals.strip('"').split(",")),
        key,
        None if namespaces is None else tuple(namespaces.split(",")),
        _moment(wanted.get("valid-after"), number),
        _moment(wanted.get("valid-before"), number),
    )


def _options(text: str, number: int) -> tuple[str, str]:
    """Options end at the first blank outside of quotes."""
    quoted = False
    for place, letter in enumerate(text):
        if letter == '"':
            quoted = not quoted
        elif letter == " " and not quoted:
            return text[:place], text[place:].strip()
    raise BadSignatureError(f"line {number} of the signers has no key")


def _split(options: str) -> list[str]:
    lexer = shlex.shlex(options, posix=True)
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = ",", True, ""
    return list(lexer)


def _moment(text: str | None, number: int) -> datetime | None:
    if text is None:
        return None
    match = _TIME.match(text)
    if match is None:
        raise BadSignatureError(f"line {number} of the signers: {text!r} is no time (YYYYMMDD[HHMM[SS]][Z])")
    day, time, zulu = match[1], match[2] or "0000", match[3]
    try:
        moment = datetime.strptime(day + time.ljust(6, "0"), "%Y%m%d%H%M%S").replace(tzinfo=UTC if zulu else None)
    except ValueError as error:
        raise BadSignatureError(f"line {number} of the signers: {text!r} is no time") from error
    # Without Z it is local time, as ssh-keygen reads it.
    return moment.astimezone(UTC)
