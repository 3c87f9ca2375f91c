"""Makes /opt/dockd: a relocatable virtual environment for a Debian's own Python, from the locked dependencies.

Imported by `build_deb.py` and by the tests that boot a Debian. Nothing of it runs on a dock.
"""

from __future__ import annotations

import compileall
import platform
import py_compile
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}
"""The Python of each Debian."""

SCRIPT = """#!/opt/dockd/bin/python
import sys

from dockd.cli import main

sys.exit(main())
"""


def run(*command: str | Path) -> None:
    """Run a program; its output only if it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} gave {done.returncode}:\n{done.stdout}{done.stderr}")


def codename() -> str:
    """This machine's Debian release."""
    found = platform.freedesktop_os_release()
    if found.get("ID") != "debian" or found.get("VERSION_CODENAME") not in PYTHONS:
        sys.exit(f"dockd is packaged on the Debian that it is for, {' or '.join(PYTHONS)}; this is {found.get('NAME')}")
    return found["VERSION_CODENAME"]


def _pip(opt: Path, version: str, *more: str | Path) -> None:
    packages = opt / f"lib/python{version}/site-packages"
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-compile")
    run(*pip, "--target", packages, *more)


def install_dependencies(opt: Path, version: str) -> None:
    """A virtual environment with what requirements.lock names, each with its hash."""
    shutil.rmtree(opt, ignore_errors=True)
    (opt / f"lib/python{version}/site-packages").mkdir(parents=True)
    (opt / "bin").mkdir()
    (opt / "bin/python").symlink_to("/usr/bin/python3")
    (opt / "pyvenv.cfg").write_text(f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {version}\n")
    machine = platform.machine()
    glibcs = [f"manylinux_2_{minor}_{machine}" for minor in (17, 28, 34)]
    platforms = [f"--platform={name}" for name in (f"manylinux2014_{machine}", *glibcs)]
    _pip(
        opt,
        version,
        *(f"--python-version={version}", "--implementation=cp", *platforms),
        *("--only-binary=:all:", "--no-deps", "--require-hashes", "-r", ROOT / "requirements.lock"),
    )


def install_dockd(opt: Path, version: str) -> None:
    """dockd itself, from the checkout."""
    packages = opt / f"lib/python{version}/site-packages"
    for old in packages.glob("dockd*"):
        shutil.rmtree(old)
    _pip(opt, version, "--no-deps", "--no-build-isolation", "--upgrade", ROOT)
    script = opt / "bin/dockd"
    script.write_text(SCRIPT)
    script.chmod(0o755)


def compile_all(opt: Path, version: str) -> None:
    """Compile what is imported: the service may not write below /opt. Left out where another Python builds."""
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        compileall.compile_dir(opt, quiet=2, invalidation_mode=mode, stripdir=opt, prependdir="/opt/dockd")
