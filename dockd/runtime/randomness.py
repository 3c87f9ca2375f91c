"""Random names, so that nothing is ever found under a guessed or re-used one."""

from __future__ import annotations

import secrets
from typing import Protocol


class Randomness(Protocol):
    """Where random names come from."""

    def token(self, size_bytes: int = 16) -> str:
        """Random lower-case hex of `size_bytes` bytes."""


class SystemRandomness:
    """The kernel's randomness."""

    def token(self, size_bytes: int = 16) -> str:
        """Random lower-case hex of `size_bytes` bytes."""
        return secrets.token_hex(size_bytes)
