"""Who may approve that a hold is lifted in the tests, and the signature."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from dockd.custody.sshsig import APPROVAL, PublicKey, sign

KEY = Ed25519PrivateKey.generate()
PUBLIC = PublicKey.of(KEY)
NAME = "j.doe"
LINE = f"{NAME} {PUBLIC.line}"


def signature(request: str, key: Ed25519PrivateKey = KEY, namespace: str = APPROVAL) -> str:
    """The signature as `ssh-keygen -Y sign` makes it."""
    return sign(key, namespace, request.encode())


def ssh_keygen_signs(request: str, folder: Path) -> Path:
    """Have the real ssh-keygen sign the request; the file with the signature."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("NOT TESTED: holds that are lifted, for this machine lacks openssh-client")
    key, file = folder / "approver-key", folder / "request.txt"
    if not key.exists():
        key.touch(mode=0o600)
        key.write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    file.write_bytes(request.encode())
    signed = folder / "request.txt.sig"
    signed.unlink(missing_ok=True)
    command = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", APPROVAL, str(file)]
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=30)
    return signed


def lift(run: Callable[..., Any], hold: str, folder: Path) -> None:
    """Lift a hold as people do: the request printed, signed by ssh-keygen, and brought back."""
    remove = ("hold", "remove", hold, "--reason", "closed", "--by", "a clerk")
    signed = ssh_keygen_signs(run(*remove, codes=(1,)).stdout, folder)
    run(*remove, "--approval", str(signed))
