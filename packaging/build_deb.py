"""Builds the Debian package: `python packaging/build_deb.py BUILD` makes BUILD/dockd_VERSION_ARCH.deb.

It is for the Debian on which it is built, for its virtual environment is one for that Debian's Python.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from opt_dockd import PYTHONS, ROOT, codename, compile_all, install_dependencies, install_dockd, run

HERE = Path(__file__).resolve().parent
FILES = {
    "systemd/dockd.service": "usr/lib/systemd/system/dockd.service",
    "systemd/dockd-block@.service": "usr/lib/systemd/system/dockd-block@.service",
    "systemd/dockd.sysusers.conf": "usr/lib/sysusers.d/dockd.conf",
    "packaging/files/70-dockd.rules": "usr/lib/udev/rules.d/70-dockd.rules",
    "packaging/files/50-dockd.rules": "usr/share/polkit-1/rules.d/50-dockd.rules",
    "packaging/files/usbguard-rules.conf": "usr/share/doc/dockd/usbguard-rules.conf",
    "config.example.toml": "usr/share/doc/dockd/config.example.toml",
    "CHANGELOG.md": "usr/share/doc/dockd/CHANGELOG.md",
    "LICENSE": "usr/share/doc/dockd/copyright",
}
PROGRAMS = {
    "packaging/files/bay-of-port": "usr/lib/dockd/bay-of-port",
    "packaging/files/block-guard": "usr/lib/dockd/block-guard",
    "packaging/files/block-switch": "usr/lib/dockd/block-switch",
    "packaging/files/interface-guard": "usr/lib/dockd/interface-guard",
}


def version() -> str:
    """The version of this checkout."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])


def architecture() -> str:
    """What Debian calls this machine's processor."""
    return subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True).stdout.strip()


def lay_out(tree: Path, python: str) -> None:
    """The package's files as they lie on a dock."""
    install_dependencies(tree / "opt/dockd", python)
    install_dockd(tree / "opt/dockd", python)
    compile_all(tree / "opt/dockd", python)
    for table, mode in ((FILES, 0o644), (PROGRAMS, 0o755)):
        for source, place in table.items():
            target = tree / place
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / source, target)
            target.chmod(mode)
    link = tree / "usr/bin/dockd"
    link.parent.mkdir(parents=True)
    link.symlink_to("/opt/dockd/bin/dockd")


def control(tree: Path, python: str) -> None:
    """The package's description and what is run at its installation and removal."""
    folder = tree / "DEBIAN"
    folder.mkdir()
    size_kib = sum(path.lstat().st_size for path in tree.rglob("*")) // 1024
    text = (HERE / "debian/control").read_text()
    upper = f"3.{int(python.split('.')[1]) + 1}"
    for name, value in {
        "VERSION": version(),
        "ARCHITECTURE": architecture(),
        "SIZE": str(size_kib),
        "PYTHON": python,
        "NEXT_PYTHON": upper,
    }.items():
        text = text.replace(f"@{name}@", value)
    (folder / "control").write_text(text)
    for script in ("postinst", "prerm", "postrm"):
        shutil.copyfile(HERE / "debian" / script, folder / script)
        (folder / script).chmod(0o755)


def main() -> None:
    """Builds the package."""
    build = Path(sys.argv[1]).resolve()
    python = PYTHONS[codename()]
    os.umask(0o022)
    tree = build / "deb"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    lay_out(tree, python)
    control(tree, python)
    package = build / f"dockd_{version()}_{architecture()}.deb"
    run("dpkg-deb", "--root-owner-group", "-Zgzip", "--build", tree, package)
    shutil.rmtree(tree)
    print(f"{package.relative_to(Path.cwd()) if package.is_relative_to(Path.cwd()) else package}")


if __name__ == "__main__":
    main()
