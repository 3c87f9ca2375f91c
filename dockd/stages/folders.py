"""Finds folder cameras: the sub-folders of one folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from dockd.cameras.folder import FolderCamera
from dockd.identity import encode_part
from dockd.runtime.workers import Worker
from dockd.stages.bays import Find
from dockd.stages.detect import FolderWatch, camera_folders


@dataclass(slots=True)
class FolderFinder:
    """See `dockd.stages.bays.Finder`; places are the paths of folders."""

    root: bytes
    rescan_s: float
    open_camera: Callable[[bytes], FolderCamera]
    bays: Sequence[str] = ()
    gone: str = "the folder is gone"
    restarts: int = 0
    _watch: FolderWatch | None = None
    _looker: Worker = field(default_factory=lambda: Worker("detect"))

    def start(self, changed: Callable[[bytes | None], None]) -> None:
        """Begin to listen."""

        def told(name: bytes | None) -> None:
            changed(None if name is None else os.path.join(self.root, name))

        self._watch = FolderWatch(self.root, told)

    async def look(self) -> Mapping[bytes, Find]:
        """The folders that are there now; raises OSError if that cannot be told."""
        assert self._watch is not None
        await self._looker.run(self._watch.ensure)
        found = await self._looker.run(lambda: camera_folders(self.root))
        idents = list(found.values())
        return {path: self._find(path, ident, idents.count(ident) > 1) for path, ident in found.items()}

    def _find(self, path: bytes, ident: tuple[int, int], clashes: bool) -> Find:
        part = encode_part(path.rsplit(b"/", 1)[-1])
        clash = "two folders are one and the same, or two cameras claim one serial" if clashes else None
        return Find(f"folder-{part}", ident, f"camera-{part}", partial(self.open_camera, path), clash, thing=ident)

    def stop(self) -> None:
        """Listen no more."""
        self._looker.control.stop()
        self._looker.close()
        if self._watch is not None:
            self._watch.stop()
