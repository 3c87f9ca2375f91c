"""What dockd asks of an evidence store, whatever kind it is.

Every implementation MUST:
- show nothing under a key until the whole content is there and durable: a failed save leaves nothing visible;
- never overwrite and never delete what has a visible name, also when two docks race for one key;
- go on with an upload of the same id where it was broken off, and clean up uploads of ids it is given only;
- read back what the store really holds, past this host's caches, and say so when that cannot be had;
- raise StoreUnavailableError or StoreFullError for what may go away, StoreUnknownError when it is not the
  store of the given id, StoreConflictError for other content under a key; never guess.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dockd.digests import Digests, PartDigests, Progress, ReadBack, Sink
from dockd.direct_io import Buffer
from dockd.runtime.randomness import Randomness


@dataclass(frozen=True, slots=True)
class Saved:
    """The store says that it holds the content; `already_there`: it did before this upload."""

    already_there: bool


@dataclass(frozen=True, slots=True)
class Upload:
    """One upload as the journal knows it.

    `id`: 32 random hex digits, or what `remember` was last given. `remember` journals what the store calls the
    upload, and returns when that is durable; "" has it begin anew. `parts`: as computed while copying, if they were.
    """

    id: str
    remember: Callable[[str], None]
    parts: PartDigests | None = None


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """How the store looks from here."""

    kind: str
    place: str
    free_bytes: int | None
    weaknesses: Sequence[str]
    """Why nothing may be wiped on this store's word, unless the site accepts it."""


class EvidenceStore(Protocol):
    """One evidence store. Every call blocks, and is made in one of the store's own threads."""

    @property
    def root(self) -> Path | None:
        """The folder of this host that the store is, if it is one."""

    @property
    def place(self) -> str:
        """Where the store is, for people."""

    def initialise(self, randomness: Randomness) -> tuple[str, bool]:
        """Make an empty place known as a store; its id, and whether it is new. Idempotent.

        Raises StoreUnavailableError, and StoreUnknownError for a store whose id is spoilt.
        """

    def identify(self) -> str:
        """The store's random id; raises StoreUnavailableError, or StoreUnknownError when it has none."""

    def check(self) -> None:
        """Raise unless the store is there and is the one whose id was pinned."""

    def pin(self, store_id: str) -> None:
        """From now on accept the store of this id alone."""

    def status(self, spool: Path) -> StoreStatus:
        """What the store is, and its weaknesses for a dock whose spool lies at `spool`."""

    def find_content(self, folder: str, blake3: str) -> str | None:
        """The key below `folder` under which content of this digest lies already, whatever its suffix, or None."""

    def part_size_bytes(self, size_bytes: int) -> int | None:
        """The parts whose SHA-256 `save` wants to be given for a file of this size; None if it needs none."""

    def save(
        self, key: str, source: Path, digests: Digests, upload: Upload, buffer: Buffer, progress: Progress
    ) -> Saved:
        """Upload a spooled file under `key`, going on with `upload` if it was begun before."""

    def abandon(self, key: str, upload_id: str) -> None:
        """Take away what an upload of this id left behind; nothing visible is touched."""

    def read_back(self, key: str, buffer: Buffer, progress: Progress, into: Sink | None = None) -> ReadBack | None:
        """Read what the store holds under `key`, whole, and hand it to `into`; None if it holds nothing."""

    def version(self, key: str) -> str | None:
        """Which version lies under `key` now, without reading it; None if there is nothing."""

    def is_same_file(self, key: str, device: int, inode: int) -> bool:
        """Whether the object is that very file of this host."""

    def put_small(self, key: str, data: bytes, upload_id: str | None = None) -> bool:
        """Publish a small object; False if the same content was there already. Raises StoreConflictError.

        With an `upload_id` that the journal knows, what an earlier attempt of that id left behind goes.
        """

    def get_small(self, key: str) -> bytes | None:
        """A small object whole, or None."""

    def list_small(self, prefix: str, after: str = "") -> Iterator[str]:
        """The keys of all visible objects directly below a folder of the store that sort behind `after`."""

    def list_folders(self, prefix: str) -> Iterator[str]:
        """The visible folders directly below a folder of the store, as prefixes of keys without a slash at the end."""
