"""The stamper: has a time stamping authority put its time on what the notary has signed and stored.

It has a thread of its own and nobody waits for it: an authority that is away or hangs costs stamps and nothing else.
Only the newest segment is stamped: its head stands for all before it.
"""

from __future__ import annotations

import asyncio
import http.client
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from dockd.alerts import AlertBoard
from dockd.custody.chain import rfc3339
from dockd.custody.segments import segment_name
from dockd.custody.timestamps import REQUEST_TYPE, BadTimestampError, Request, roots_in, stamped_at
from dockd.errors import DockdError, TransientError
from dockd.identity import custody_prefix
from dockd.journal import segments
from dockd.journal.journal import Journal
from dockd.journal.segments import SegmentRow
from dockd.runtime.workers import Worker
from dockd.stores.base import EvidenceStore

log = structlog.get_logger()

LOOK_S: Final = 5.0
FIRST_PAUSE_S: Final = 30.0
LONGEST_PAUSE_S: Final = 900.0
ANSWER_S: Final = 30.0
_ANSWER_LIMIT_BYTES: Final = 1024 * 1024


@dataclass(slots=True)
class Stamper:
    """Asks the authority at `url`; `ca_file` holds the certificates that its own must lead to."""

    journal: Journal
    store: EvidenceStore
    alerts: AlertBoard
    dock: str
    url: str
    ca_file: Path
    usable: Callable[[], bool]
    worker: Worker = field(default_factory=lambda: Worker("stamper"))

    async def run(self) -> None:
        """Work until cancelled."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                if self.usable():
                    await self.step()
                pause_s = FIRST_PAUSE_S
            except TransientError as error:
                log.warning("stamp_waits", error=error.message)
            except (DockdError, BadTimestampError, OSError, ValueError, http.client.HTTPException) as error:
                log.warning("stamp_refused", error=str(error), hint="It is asked again.")
                self.alerts.put("timestamp_unavailable", "dock", f"{self.url}: {error}")
                await asyncio.sleep(pause_s)
                pause_s = min(LONGEST_PAUSE_S, pause_s * 2)
            await asyncio.sleep(LOOK_S)

    async def step(self) -> bool:
        """Have the newest stored segment stamped, if it is not; whether it was."""
        segment = await self.journal.run(segments.unstamped_segment)
        if segment is None:
            return False
        data = await self.journal.run(lambda tx: segments.digest_list(tx, segment).text())
        moment = await self.worker.run(lambda: self._stamp(segment, data))
        await self.journal.run(lambda tx: segments.segment_stamped(tx, segment, moment))
        self.alerts.put("timestamp_unavailable", "dock", None)
        log.info("custody_stamped", chain=segment.chain_name, last=segment.last, at=moment)
        return True

    def _stamp(self, segment: SegmentRow, data: bytes) -> str:
        """Ask, check the answer, and put it beside the list; the time that it names."""
        key = f"{custody_prefix(self.dock)}/{segment.chain_name}/{segment_name(segment.first, segment.last)}.sha256.tsr"
        request = Request.over(data)
        if self.store.version(key) is not None:
            # Of an attempt whose end was not seen. Another cannot be put there, and is not needed.
            return "earlier"
        answer = self._ask(request.der)
        moment = stamped_at(request, answer, roots_in(self.ca_file.read_bytes()))
        self.store.put_small(key, answer)
        return rfc3339(moment)

    def _ask(self, der: bytes) -> bytes:
        headers = {"Content-Type": REQUEST_TYPE}
        asked = urllib.request.Request(self.url, data=der, headers=headers, method="POST")  # noqa: S310 - the configuration admits http and https alone
        with urllib.request.urlopen(asked, timeout=ANSWER_S) as answer:  # noqa: S310 - as above
            found: bytes = answer.read(_ANSWER_LIMIT_BYTES)
            length = answer.headers.get("Content-Length")
        if length is not None and int(length) != len(found):
            raise BadTimestampError(f"its answer was cut short: {len(found)} of {length} bytes")
        return found
