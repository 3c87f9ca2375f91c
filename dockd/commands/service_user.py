"""Commands that root runs read the credentials, and then act as the user that the service runs as.

Else they would leave files that the service may not read, and could do what it cannot.
"""

from __future__ import annotations

import ctypes
import os
import pwd
from pathlib import Path
from typing import Final

from dockd.config import Config, load_config
from dockd.durable import libc
from dockd.paths import credential_path, keep_credential

SERVICE_USER: Final = "dockd"
_PR_SET_DUMPABLE: Final = 4


def service_user() -> pwd.struct_passwd | None:
    """Whom root acts as; None for anybody else, and where there is no such user."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(SERVICE_USER)
    except KeyError:
        return None


def become_service(config_path: Path) -> None:
    """From now on be the service's user, if root asks and the dock's state is that user's.

    Raises ConfigError.
    """
    user = service_user()
    if user is None:
        return
    config = load_config(config_path)
    try:
        owner = config.dock.state_dir.stat().st_uid
    except OSError:
        return
    if owner != user.pw_uid:
        return
    for name in credentials_of(config):
        keep_credential(name)
    os.initgroups(user.pw_name, user.pw_gid)
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    # Without it what /proc tells of this process is root's alone, kept credentials included.
    libc().prctl(_PR_SET_DUMPABLE, ctypes.c_ulong(1), 0, 0, 0)


def credentials_of(config: Config) -> list[str]:
    """The names of all credentials that a configuration speaks of and that are there."""
    found = []
    for table in config.model_dump().values():
        if isinstance(table, dict):
            names = [value for key, value in table.items() if key.endswith("_credential") and value is not None]
            found += [name for name in names if credential_path(name).exists()]
    return found
