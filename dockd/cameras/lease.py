"""Read leases (fcntl F_SETLEASE): the kernel's word that nobody has a file open for writing.

A lease is refused while a writer exists, and whoever wants to write later has to wait until it is given
back. Files of other users need CAP_LEASE.
"""

from __future__ import annotations

import errno
import fcntl
import signal

from dockd.errors import NotSettledError

_UNSUPPORTED = (errno.EINVAL, errno.EACCES, errno.EPERM, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


def take_lease(fd: int) -> bool:
    """Take a read lease; False where leases are not supported. Raises NotSettledError if there is a writer."""
    try:
        # The default signal (SIGIO) would end the process; SIGURG is ignored by default.
        fcntl.fcntl(fd, fcntl.F_SETSIG, int(signal.SIGURG))
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EWOULDBLOCK):
            raise NotSettledError("somebody has the file open for writing") from error
        if error.errno in _UNSUPPORTED:
            return False
        raise
    return True


def lease_intact(fd: int) -> bool:
    """Whether the lease is still held and nobody has asked to write."""
    try:
        return fcntl.fcntl(fd, fcntl.F_GETLEASE) == fcntl.F_RDLCK
    except OSError:
        return False


def give_back(fd: int) -> None:
    """Give a lease back; closing the file does the same."""
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
