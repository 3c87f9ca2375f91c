"""Builds the Debian package: build/dockd_VERSION_ARCHITECTURE.deb, for the release that it is built on.

    python packaging/build_deb.py [OUTPUT]

Run by a Python that has what builds dockd's wheel (`make deb` sees to that); what is made is for the machine's own.
Twice the same checkout on the same machine gives twice the same bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from opt_dockd import ROOT, make_opt, python_version, run

FILES = ROOT / "packaging/files"
SCRIPTS = ROOT / "packaging/debian"
# Where each file goes, and whether it is run.
PLACES = {
    ROOT / "systemd/dockd.service": "usr/lib/systemd/system/dockd.service",
    ROOT / "systemd/dockd-block@.service": "usr/lib/systemd/system/dockd-block@.service",
    ROOT / "systemd/dockd.sysusers.conf": "usr/lib/sysusers.d/dockd.conf",
    FILES / "70-dockd.rules": "usr/lib/udev/rules.d/70-dockd.rules",
    FILES / "50-dockd.rules": "usr/share/polkit-1/rules.d/50-dockd.rules",
    FILES / "bay-of-port": "usr/lib/dockd/bay-of-port",
    FILES / "block-switch": "usr/lib/dockd/block-switch",
    FILES / "usbguard-rules.conf": "usr/share/doc/dockd/usbguard-rules.conf",
    ROOT / "config.example.toml": "usr/share/doc/dockd/config.example.toml",
    ROOT / "docs/operations.md": "usr/share/doc/dockd/operations.md",
    ROOT / "docs/s3-bucket-policy.json": "usr/share/doc/dockd/s3-bucket-policy.json",
    SCRIPTS / "copyright": "usr/share/doc/dockd/copyright",
}
PROGRAMS = "usr/lib/dockd/"
MAINTAINER_SCRIPTS = ("preinst", "postinst", "prerm", "postrm")
CONTROL = """Package: dockd
Version: {version}
Architecture: {architecture}
Maintainer: the authors of dockd <dockd@localhost>
Section: admin
Priority: optional
Installed-Size: {size_kib}
Depends: {depends}
Recommends: openssh-client
Suggests: b3sum, mosquitto-clients, usbguard
Description: takes evidence off body-worn cameras, provably
 dockd takes the recordings off body-worn police cameras as they are docked,
 proves that the evidence store has each of them, and only then empties the
 camera. It keeps a custody log, obeys legal holds, and reports over MQTT.
 .
 It comes with the Python packages that it was tested with, below /opt/dockd.
"""


def next_minor(version: str) -> str:
    """The version of Python that no longer fits: 3.12 for 3.11."""
    major, minor = version.split(".")
    return f"{major}.{int(minor) + 1}"


def depends() -> str:
    """What Debian is to install with it."""
    version = python_version()
    return ", ".join(
        (
            f"python3 (>= {version}), python3 (<< {next_minor(version)})",
            "systemd (>= 252), udev, dbus, udisks2, polkitd | policykit-1, util-linux",
        )
    )


def debian_version(version: str) -> str:
    """A Python version as Debian sorts it: what comes before a release gets a tilde."""
    return re.sub(r"\.?(dev|a|b|rc)(?=\d)", r"~\1", version)


def source_time() -> str:
    """When this was last changed, in seconds since 1970: of the commit, or else of the change log."""
    if "SOURCE_DATE_EPOCH" in os.environ:
        return os.environ["SOURCE_DATE_EPOCH"]
    git = ("git", "-C", str(ROOT), "log", "-1", "--format=%ct")
    asked = subprocess.run(git, capture_output=True, text=True, check=False) if shutil.which("git") else None
    if asked is not None and asked.returncode == 0:
        return asked.stdout.strip()
    return str(int((ROOT / "CHANGELOG.md").stat().st_mtime))


def place_files(stage: Path) -> None:
    """Lay out all but /opt/dockd."""
    for source, place in PLACES.items():
        target = stage / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        target.chmod(0o755 if place.startswith(PROGRAMS) else 0o644)
    changes = gzip.compress((ROOT / "CHANGELOG.md").read_bytes(), mtime=0)
    (stage / "usr/share/doc/dockd/changelog.gz").write_bytes(changes)
    (stage / "usr/bin").mkdir(parents=True)
    (stage / "usr/bin/dockd").symlink_to("/opt/dockd/bin/dockd")


def write_control(stage: Path, version: str, architecture: str) -> None:
    """What dpkg is told: the description, the digest of each file, and the scripts."""
    control = stage / "DEBIAN"
    files = sorted(path for path in stage.rglob("*") if path.is_file() and not path.is_symlink())
    size_kib = sum(-(-path.stat().st_size // 1024) for path in files)
    control.mkdir()
    digests = (
        f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  {path.relative_to(stage)}\n"
        for path in files
    )
    (control / "md5sums").write_text("".join(digests))
    (control / "control").write_text(
        CONTROL.format(version=version, architecture=architecture, size_kib=size_kib, depends=depends())
    )
    for name in MAINTAINER_SCRIPTS:
        shutil.copyfile(SCRIPTS / name, control / name)
        (control / name).chmod(0o755)


def main() -> None:
    """Builds the package, and prints where it is."""
    os.umask(0o022)
    output = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build").resolve()
    os.environ["SOURCE_DATE_EPOCH"] = source_time()
    version = debian_version(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])
    architecture = run("dpkg", "--print-architecture").strip()
    work = output / "deb"
    stage = work / "stage"
    shutil.rmtree(stage, ignore_errors=True)
    make_opt(stage / "opt/dockd", work)
    place_files(stage)
    write_control(stage, version, architecture)
    package = output / f"dockd_{version}_{architecture}.deb"
    made = work / package.name
    for path in (stage, *stage.rglob("*")):
        os.utime(path, (int(os.environ["SOURCE_DATE_EPOCH"]),) * 2, follow_symlinks=False)
    run("dpkg-deb", "--root-owner-group", "--build", stage, made)
    made.replace(package)
    shutil.rmtree(stage)
    print(package)


if __name__ == "__main__":
    main()
