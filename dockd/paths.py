"""Where things lie in the state directory, and that one daemon alone uses it."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from dockd.durable import FileSystem, file_system_of, fsync_dir
from dockd.errors import AccessError, NotDisjointError, ServiceMissingError


@dataclass(frozen=True, slots=True)
class StatePaths:
    """The files of one dock."""

    state_dir: Path

    @property
    def journal(self) -> Path:
        """The journal."""
        return self.state_dir / "journal.db"

    @property
    def spool(self) -> Path:
        """The folder of spooled recordings."""
        return self.state_dir / "spool"

    @property
    def lock(self) -> Path:
        """Locked by the running daemon."""
        return self.state_dir / "lock"

    @property
    def status(self) -> Path:
        """What the running daemon last said of itself."""
        return self.state_dir / "status.json"

    @property
    def control(self) -> Path:
        """The control socket, or a link to it."""
        return self.state_dir / "control.sock"

    @property
    def witness(self) -> Path:
        """The chain's head, kept outside of the journal."""
        return self.state_dir / "custody-head.json"

    @property
    def signing_key(self) -> Path:
        """The dock's signing key."""
        return self.state_dir / "keys" / "signing-key"

    @property
    def audit_progress(self) -> Path:
        """How far the daemon's own audit has come."""
        return self.state_dir / "audit.progress.json"

    @property
    def store_probe(self) -> Path:
        """What `dockd store probe` last found."""
        return self.state_dir / "store-probe.json"

    def audit_report(self, name: str) -> Path:
        """Where an audit leaves what it found, for the daemon to take up."""
        return self.state_dir / f"audit-{name}.json"

    def audit_reports(self) -> list[Path]:
        """What audits have left, the oldest first."""
        return sorted(self.state_dir.glob("audit-*.json"))

    def prepare(self) -> None:
        """Make what lacks; raises AccessError."""
        try:
            self.state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
            self.spool.mkdir(mode=0o750, exist_ok=True)
            fsync_dir(self.state_dir)
        except OSError as error:
            raise AccessError(
                f"state_dir {self.state_dir} cannot be used: {error.strerror}",
                "Make the folder, owned by the user that dockd runs as.",
            ) from error


def lock_state_dir(paths: StatePaths) -> int:
    """Take the lock for as long as the process lives; the descriptor. Raises ServiceMissingError if it is taken."""
    fd = os.open(paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise ServiceMissingError(
            f"another dockd runs with state_dir {paths.state_dir}",
            "Nothing was changed. Stop the other one first, or give this one a state_dir of its own.",
        ) from error
    return fd


def is_running(paths: StatePaths) -> bool:
    """Whether a daemon holds the lock; changes nothing."""
    try:
        fd = os.open(paths.lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def check_disjoint(places: dict[str, Path]) -> None:
    """Raise NotDisjointError if, links followed, one of the places lies in another."""
    real = {name: Path(os.path.realpath(path)) for name, path in places.items()}
    for name, path in real.items():
        for other, above in real.items():
            if name != other and path.is_relative_to(above):
                raise NotDisjointError(f"{name} ({path}) lies in {other} ({above})")


@dataclass(frozen=True, slots=True)
class Forbidden:
    """Places that must not lie in a camera, nor a camera in them: spool and store.

    `ids` are (device, inode) of the folders; `places` tell where they lie within their file system, which
    a bind mount under another name does not change.
    """

    ids: frozenset[tuple[int, int]] = frozenset()
    places: tuple[FileSystem, ...] = ()


def forbidden_places(*places: Path) -> Forbidden:
    """What is known of those places that are there."""
    ids = set()
    systems = []
    for place in places:
        try:
            entry = os.stat(place)
            system = file_system_of(place)
        except OSError:
            continue
        ids.add((entry.st_dev, entry.st_ino))
        systems.append(system)
    return Forbidden(frozenset(ids), tuple(systems))


def credential_path(name: str) -> Path:
    """Where a secret's file lies: in systemd's $CREDENTIALS_DIRECTORY, else in /etc/dockd/credentials.

    The unit loads a whole folder as `dockd`; systemd then puts that before each name, with an underscore.
    """
    folder = Path(os.environ.get("CREDENTIALS_DIRECTORY") or "/etc/dockd/credentials")
    loaded = folder / f"dockd_{name}"
    return loaded if loaded.exists() else folder / name
