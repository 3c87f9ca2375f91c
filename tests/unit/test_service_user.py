"""Root's commands read credentials and then are the service's user."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, sys
from pathlib import Path
from dockd.commands import service_user
from dockd.paths import credential_path
service_user.SERVICE_USER = "nobody"
service_user.become_service(Path(sys.argv[1]))
print(os.geteuid(), os.getgroups(), credential_path("s3-secret").read_text())
"""
CONFIG = """
[dock]
agency = "calgary"
site = "district-4"
name = "dock-07"
state_dir = "{state}"
[store]
kind = "s3"
bucket = "evidence"
access_key_credential = "s3-access"
secret_key_credential = "s3-secret"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: whom root acts as, for this is not root")
@pytest.mark.parametrize("owner", ["nobody", "root"])
def test_root_becomes_the_owner_of_the_state_and_keeps_the_secrets(tmp_path: Path, owner: str) -> None:
    user = pwd.getpwnam(owner)
    state, secrets, config = tmp_path / "state", tmp_path / "credentials", tmp_path / "config.toml"
    state.mkdir()
    os.chown(state, user.pw_uid, user.pw_gid)
    secrets.mkdir(mode=0o700)
    for name in ("s3-access", "s3-secret"):
        (secrets / name).write_text(f"the {name}")
        (secrets / name).chmod(0o600)
    config.write_text(CONFIG.format(state=state))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, config],
        env=os.environ | {"CREDENTIALS_DIRECTORY": str(secrets)},
        capture_output=True,
        text=True,
        check=True,
    )
    uid, rest = done.stdout.split(" ", 1)
    assert int(uid) == user.pw_uid
    assert rest.endswith("the s3-secret\n")
    if owner != "root":
        assert str(os.getgid()) not in rest.split("]")[0].strip("[").split(", ") or os.getgid() == user.pw_gid
