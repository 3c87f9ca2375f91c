"""A Ceph of its own on loopback: one monitor, one OSD, one RADOS gateway, from Debian's packages, without systemd.

Everything lies in one folder, which goes with it. It needs root's rights no more than any Ceph does: none, but
for what it asks of the folder.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from authority import Authority

NEEDED = ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "ceph", "rados", "ceph-authtool", "monmaptool", "openssl")
GIB = 1 << 30
START_S = 240.0
ACCESS_KEY, SECRET_KEY = "DOCKDTESTACCESS", "dockd-test-secret-key"
OTHER_ACCESS_KEY, OTHER_SECRET_KEY = "OTHERTESTACCESS", "other-test-secret-key"


def lacking() -> list[str]:
    """The programs that this machine does not have."""
    return [name for name in NEEDED if shutil.which(name) is None]


def free_port() -> int:
    """A port of loopback that nobody listens on just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Ceph:
    """One cluster; `close` ends its processes and removes its folder."""

    def __init__(self, folder: Path, *, size_bytes: int = 8 * GIB) -> None:
        self.folder = folder
        self.conf = folder / "ceph.conf"
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.tls_port = free_port()
        self.tls_endpoint = f"https://127.0.0.1:{self.tls_port}"
        self.ca_file = folder / "tls" / "gateway-ca.pem"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._make(size_bytes)
        except BaseException:
            self.close()
            raise

    # --- making --------------------------------------------------------------------------------------

    def _write_conf(self) -> str:
        fsid, v2, v1 = str(uuid.uuid4()), free_port(), free_port()
        here = self.folder
        certificate, key = Authority(here / "tls", "gateway-ca").issue("127.0.0.1", "gateway")
        tls = f"ssl_endpoint=127.0.0.1:{self.tls_port} ssl_certificate={certificate} ssl_private_key={key}"
        self.conf.write_text(f"""[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}]
keyring = {here}/keyring
osd pool default size = 1
osd pool default min size = 1
mon allow pool size one = true
mon warn on pool no redundancy = false
osd pool default pg num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd objectstore = bluestore
bluestore block size = {{size}}
osd memory target = 939524096
ms bind ipv4 = true
ms bind ipv6 = false
public addr = 127.0.0.1
cluster addr = 127.0.0.1
mon data avail crit = 1
mon data avail warn = 1
mon osd full ratio = .97
mon osd backfillfull ratio = .965
mon osd nearfull ratio = .96
mon max pg per osd = 1000
admin socket = {here}/$name.asok
log file = {here}/$name.log
pid file = {here}/$name.pid
run dir = {here}
mon data = {here}/mon
osd data = {here}/osd
mgr data = {here}/mgr
rgw data = {here}/rgw
crash dir = {here}/crash
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{self.port} {tls}
rgw gc obj min wait = 5
rgw gc processor period = 5
rgw thread pool size = 64
rgw enable usage log = false
rgw bucket quota ttl = 1
rgw lc debug interval = -1
""")
        return f"{v2} {v1} {fsid}"

    def _make(self, size_bytes: int) -> None:
        v2, v1, fsid = self._write_conf().split()
        self.conf.write_text(self.conf.read_text().replace("{size}", str(size_bytes)))
        keyring = self.folder / "keyring"
        for name, caps in (
            ("mon.", ["mon", "allow *"]),
            ("client.admin", ["mon", "allow *", "osd", "allow *", "mds", "allow *", "mgr", "allow *"]),
            ("osd.0", ["mon", "allow profile osd", "mgr", "allow profile osd", "osd", "allow *"]),
            ("client.rgw", ["mon", "allow rw", "osd", "allow rwx"]),
        ):
            given = [word for pair in zip(caps[::2], caps[1::2], strict=True) for word in ("--cap", *pair)]
            create = [] if keyring.exists() else ["--create-keyring"]
            self._do("ceph-authtool", keyring, *create, "--gen-key", "-n", name, *given)
        monmap = self.folder / "monmap"
        self._do(
            "monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}]", monmap
        )
        for name in ("mon", "osd", "rgw", "crash"):
            (self.folder / name).mkdir()
        self._do("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring)
        self._start("mon", "ceph-mon", "-i", "a", "-f")
        osd_id = str(uuid.uuid4())
        self.ceph("osd", "new", osd_id)
        self._do("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd_id)
        self.start_osd()
        self.start_gateway()
        for user, access, secret in (
            ("dockd", ACCESS_KEY, SECRET_KEY),
            ("other", OTHER_ACCESS_KEY, OTHER_SECRET_KEY),
        ):
            self.admin("user", "create", f"--uid={user}", f"--display-name={user}", f"--access-key={access}",
                       f"--secret-key={secret}")  # fmt: skip

    def start_osd(self) -> None:
        """Start what keeps the data."""
        self._start("osd", "ceph-osd", "-i", "0", "-f")

    def start_gateway(self) -> None:
        """Start what speaks S3, and wait until it listens."""
        self._start("rgw", "radosgw", "-n", "client.rgw", "-f")
        deadline = time.monotonic() + START_S
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5):
                return
            self._alive("rgw")
            if time.monotonic() > deadline:
                raise TimeoutError(f"no gateway within {START_S} s:\n{self._tail('client.rgw')}")
            time.sleep(0.1)

    # --- doing ---------------------------------------------------------------------------------------

    def _start(self, name: str, program: str, *argv: str) -> None:
        with open(self.folder / f"{name}.out", "ab") as out:
            self._processes[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", program, "-c", self.conf, *argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )

    def _alive(self, name: str) -> None:
        code = self._processes[name].poll()
        if code is not None:
            said = (self.folder / f"{name}.out").read_text(errors="replace")[-3000:]
            raise RuntimeError(f"{name} ended with {code}:\n{said}")

    def _tail(self, name: str) -> str:
        log = self.folder / f"{name}.log"
        return log.read_text(errors="replace")[-3000:] if log.exists() else ""

    def _do(self, program: str, *argv: object) -> str:
        config = [] if program in ("ceph-authtool", "monmaptool", "openssl") else ["-c", str(self.conf)]
        done = subprocess.run(
            [program, *config, *map(str, argv)], capture_output=True, text=True, timeout=START_S, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"{program} {argv}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def ceph(self, *argv: str) -> str:
        """Run `ceph` as its administrator."""
        return self._do("ceph", "--connect-timeout", "60", *argv)

    def admin(self, *argv: str) -> Any:
        """Run `radosgw-admin`; what it says, as JSON if it is."""
        said = self._do("radosgw-admin", *argv)
        try:
            return json.loads(said)
        except ValueError:
            return said

    def rados(self, *argv: str) -> str:
        """Run `rados`, beneath the gateway."""
        return self._do("rados", *argv)

    def stop(self, name: str, *, number: int = signal.SIGTERM) -> None:
        """End one of its processes: `rgw`, `osd` or `mon`."""
        process = self._processes.pop(name)
        process.send_signal(number)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def signal(self, name: str, number: int) -> None:
        """Send one of its processes a signal, such as SIGSTOP."""
        os.kill(self._processes[name].pid, number)

    def close(self) -> None:
        """End everything that was started, and remove the folder."""
        for name in ("rgw", "osd", "mon"):
            if name in self._processes:
                with suppress(ProcessLookupError):
                    self._processes[name].send_signal(signal.SIGCONT)
                # Nobody needs the data any more.
                self.stop(name, number=signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)
