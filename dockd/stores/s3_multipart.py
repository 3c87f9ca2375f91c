"""A recording's upload in parts: begun or gone on with, compared, and made an object only if nothing is there.

The store's id of an upload is journaled before its first part is sent; only ids that the journal knows are aborted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from dockd.digests import Digests, Progress
from dockd.direct_io import Buffer
from dockd.errors import StoreUnavailableError
from dockd.stores.base import Saved, Upload
from dockd.stores.s3_bucket import Bucket
from dockd.stores.s3_errors import NO_UPLOAD_CODES, S3RefusedError
from dockd.stores.s3_upload import Part, Sent, region_digest

REMOTE: Final = "s3:"
"""What the journal keeps of an upload that the store was told of begins with this."""

_MD5 = re.compile(r"[0-9a-f]{32}\Z")


@dataclass(frozen=True, slots=True)
class Multipart:
    """One recording on its way under `key`."""

    bucket: Bucket
    key: str
    digests: Digests
    upload: Upload
    parts: list[Part]

    def save(self, buffer: Buffer, progress: Progress) -> Saved:
        """Send what is missing, compare, and complete."""
        remote, held = self._go_on(buffer, progress) or (self._begin(), {})
        missing = [part for part in self.parts if part.number not in held]
        try:
            if missing:
                with self.bucket.refusals_noted():
                    held |= self.bucket.sender.send_all(
                        self.key,
                        missing,
                        lambda part: {"partNumber": str(part.number), "uploadId": remote},
                        {},
                        progress,
                    )
            return self._complete(remote, held)
        except S3RefusedError as error:
            if error.code not in NO_UPLOAD_CODES:
                raise
            return self._forgotten(error)

    def _forgotten(self, error: S3RefusedError) -> Saved:
        """The store knows the upload no more, which tells nothing of the object: look."""
        if self.bucket.head(self.key) is not None:
            return Saved(already_there=True)
        self.upload.remember("")
        raise StoreUnavailableError(
            f"the store has forgotten the upload of {self.key}",
            "It is begun anew by itself. If that happens often, look at what aborts uploads: the bucket's lifecycle.",
        ) from error

    def _go_on(self, buffer: Buffer, progress: Progress) -> tuple[str, dict[int, Sent]] | None:
        """The store's id of an upload that was begun before, and the parts of it that are right."""
        if not self.upload.id.startswith(REMOTE):
            return None
        remote = self.upload.id.removeprefix(REMOTE)
        if not self.bucket.knowledge.list_parts:
            # What the store holds of it cannot be told.
            self.bucket.abort(self.key, remote)
            return None
        held = self.bucket.parts(self.key, remote)
        if held is None:
            return None
        if not set(held) <= {part.number for part in self.parts}:
            # Parts cannot be taken away singly, and one too many must not become a piece of evidence.
            self.bucket.abort(self.key, remote)
            return None
        good = {}
        for part in self.parts:
            sent = held.get(part.number)
            progress.check()
            if sent is not None and self._is_right(part, sent, buffer):
                good[part.number] = sent
                progress.advance(sent.size_bytes)
        return remote, good

    def _is_right(self, part: Part, sent: Sent, buffer: Buffer) -> bool:
        """Whether a part that was sent before is as long as ours and, where its ETag is an MD5, holds the same."""
        if sent.size_bytes != part.region.size_bytes:
            return False
        if self.bucket.settings.encryption == "aws:kms" or not _MD5.match(sent.etag):
            return True
        return region_digest(part.region, buffer, "md5") == sent.etag

    def _begin(self) -> str:
        remote = self.bucket.begin(self.key, self.digests)
        try:
            self.upload.remember(f"{REMOTE}{remote}")
        except BaseException:
            # Nobody would know it.
            self.bucket.abort(self.key, remote)
            raise
        return remote

    def _complete(self, remote: str, held: dict[int, Sent]) -> Saved:
        listed = self.bucket.parts(self.key, remote) if self.bucket.knowledge.list_parts else held
        if listed is None:
            raise S3RefusedError("NoSuchUpload", f"completing {self.key}")
        if listed != held or sum(sent.size_bytes for sent in listed.values()) != self.digests.size_bytes:
            wrong = sorted(number for number in {*listed, *held} if listed.get(number) != held.get(number))
            raise StoreUnavailableError(f"the store lists other parts of {self.key} than it took: {wrong[:10]}")
        # Not every store heeds If-None-Match here; of two docks that come to this at once the bytes are the same.
        if self.bucket.head(self.key) is not None or not self.bucket.complete(self.key, remote, listed):
            self.bucket.abort(self.key, remote)
            return Saved(already_there=True)
        return Saved(already_there=False)
