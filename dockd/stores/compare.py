"""Reading back, and believing that it is wrong only when it is wrong twice."""

from __future__ import annotations

from dockd.digests import Digests, Progress, ReadBack
from dockd.direct_io import Buffer
from dockd.errors import StoreUnavailableError
from dockd.stores.base import EvidenceStore


def read_and_compare(
    store: EvidenceStore, key: str, expected: Digests, buffer: Buffer, progress: Progress
) -> ReadBack | None:
    """What the store holds under `key`; what is not `expected` is read a second time.

    Raises StoreUnavailableError when the two readings differ: then it is the way that alters bytes, or a disk that
    is failing, and nothing can be said of the object; and what the store raises.
    """
    first = store.read_back(key, buffer, progress)
    if first is None or first.digests == expected:
        return first
    second = store.read_back(key, buffer, progress)
    if second is None or second.digests != first.digests:
        raise StoreUnavailableError(
            f"the store gives different bytes for {key} each time it is read",
            "Nothing is said of the object and nothing is wiped; it is read again. Look at the way to the store, which "
            "alters bytes, or at its disks.",
        )
    return second
