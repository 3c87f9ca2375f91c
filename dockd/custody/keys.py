"""The dock's signing key: an OpenSSH private key in a file that nobody else reads."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_ssh_private_key,
)

from dockd.custody.sshsig import CUSTODY, PublicKey, sign
from dockd.durable import fsync_dir
from dockd.errors import SigningKeyError

_LIMIT_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A dock's key. It has no text form: nothing logs it."""

    private: Ed25519PrivateKey
    public: PublicKey

    def __repr__(self) -> str:
        return f"SigningKey({self.public.fingerprint})"

    def sign(self, message: bytes, namespace: str = CUSTODY) -> str:
        """An armoured SSH signature."""
        return sign(self.private, namespace, message)

    @classmethod
    def generate(cls) -> SigningKey:
        """A new key."""
        private = Ed25519PrivateKey.generate()
        return cls(private, PublicKey.of(private))

    @classmethod
    def load(cls, path: Path, *, credential: bool = False) -> SigningKey:
        """The key in a file; `credential`: one that systemd hands over, who sees to its rights.

        Raises SigningKeyError, also if anybody but its owner may read it.
        """
        try:
            with open(path, "rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                data = file.read(_LIMIT_BYTES)
        except OSError as error:
            raise SigningKeyError(f"the signing key {path} cannot be read: {error.strerror}") from error
        if not credential and stat.S_IMODE(mode) & 0o077:
            raise SigningKeyError(
                f"the signing key {path} can be read by others (mode {stat.S_IMODE(mode):04o})",
                "Nothing is wiped until that is mended; footage is taken in. Find out who could read it: dockd key "
                "rotate makes a new one. If nobody did: chmod 0600.",
            )
        try:
            private = load_ssh_private_key(data, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            # What was wrong with it is not told: it might quote the key.
            raise SigningKeyError(f"{path} holds no OpenSSH private key without a passphrase") from error
        if not isinstance(private, Ed25519PrivateKey):
            raise SigningKeyError(f"the key in {path} is not an Ed25519 key")
        return cls(private, PublicKey.of(private))

    def save(self, path: Path) -> None:
        """Write the key to a new file, 0600 and durable; raises FileExistsError."""
        data = self.private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.new")
        fresh.unlink(missing_ok=True)
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.link(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)
        fsync_dir(path.parent)
