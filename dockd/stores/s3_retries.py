"""Trying again what a store could not do just now: soon, then later, and not for ever."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final

from dockd.stores.s3_errors import BUSY_CODES, S3LostError, S3RefusedError

ATTEMPTS: Final = 4
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 8.0
_CHECK_S: Final = 0.25


def may_help(error: BaseException | None) -> bool:
    """Whether a call that failed like this may do better in a moment."""
    return isinstance(error, S3LostError) or (isinstance(error, S3RefusedError) and error.code in BUSY_CODES)


class Retries:
    """A context for each attempt: swallows what may do better in a moment, and waits before it lets go on.

    `check` is asked while it waits, and raises what makes it stop. The last attempt's error is let through.
    """

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check
        self._attempts = 0
        self._pause_s = FIRST_PAUSE_S
        self._mark: object = None

    def over(self, mark: object) -> None:
        """Begin to count anew if it has come further than the last `mark`."""
        if mark != self._mark:
            self._mark, self._attempts, self._pause_s = mark, 0, FIRST_PAUSE_S

    def __enter__(self) -> None:
        self._attempts += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None:
            return False
        if not may_help(error) or self._attempts >= ATTEMPTS:
            return False
        until_s = time.monotonic() + self._pause_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        while (left_s := until_s - time.monotonic()) > 0:
            self._check()
            time.sleep(min(left_s, _CHECK_S))
        self._pause_s = min(LONGEST_PAUSE_S, self._pause_s * 2)
        return True
