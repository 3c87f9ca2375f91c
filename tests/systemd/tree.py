"""Makes what the tests boot: a bare Debian of this machine's own release, and dockd as a package would install it.

    python tests/systemd/tree.py BUILD

BUILD/tree is made once, by mmdebstrap from this machine's own package sources. BUILD/opt is /opt/dockd: the locked
dependencies for the tree's Python, got by this machine's own pip, and dockd's wheel.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = "systemd,systemd-sysv,dbus,python3"
SOURCES = Path("/etc/apt")
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
    if found.get("ID") != "debian":
        sys.exit(f"the tree is a Debian, made from a Debian's package sources; this is {found.get('ID')}")
    return found["VERSION_CODENAME"]


def package_sources(release: str) -> list[Path]:
    """This machine's package sources of Debian itself."""
    lists = [SOURCES / "sources.list", *sorted((SOURCES / "sources.list.d").glob("*"))]
    of_release = re.compile(rf"^(deb .*|Suites:.*)\s{release}(\s|$)", re.MULTILINE)
    return [
        path
        for path in lists
        if path.suffix in (".list", ".sources") and path.is_file() and of_release.search(path.read_text())
    ]


def make_tree(tree: Path) -> None:
    """The bare Debian; made aside, so that one that is there is whole."""
    release = codename()
    made = tree.with_name("tree.new")
    shutil.rmtree(made, ignore_errors=True)
    options = ["--quiet", "--variant=minbase", f"--include={PACKAGES}", release]
    run("mmdebstrap", *options, made, *package_sources(release))
    shutil.rmtree(tree, ignore_errors=True)
    made.rename(tree)


def python_of(tree: Path) -> str:
    """The tree's Python: 3.11, say."""
    return (tree / "usr/bin/python3").resolve().name.removeprefix("python")


def install_dependencies(opt: Path, version: str) -> None:
    """A virtual environment for the tree's Python with what requirements.lock names."""
    shutil.rmtree(opt, ignore_errors=True)
    packages = opt / f"lib/python{version}/site-packages"
    packages.mkdir(parents=True)
    (opt / "bin").mkdir()
    (opt / "bin/python").symlink_to("/usr/bin/python3")
    (opt / "pyvenv.cfg").write_text(f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {version}\n")
    machine = platform.machine()
    glibcs = [f"manylinux_2_{minor}_{machine}" for minor in (17, 28, 34)]
    platforms = [f"--platform={name}" for name in (f"manylinux2014_{machine}", *glibcs)]
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-compile")
    target = ("--target", packages, f"--python-version={version}", "--implementation=cp", *platforms)
    run(*pip, *target, "--only-binary=:all:", "--no-deps", "--require-hashes", "-r", ROOT / "requirements.lock")


def install_dockd(opt: Path, version: str) -> None:
    """dockd itself, from the checkout."""
    packages = opt / f"lib/python{version}/site-packages"
    for old in packages.glob("dockd*"):
        shutil.rmtree(old)
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-compile")
    run(*pip, "--target", packages, "--no-deps", "--no-build-isolation", "--upgrade", ROOT)
    script = opt / "bin/dockd"
    script.write_text(SCRIPT)
    script.chmod(0o755)


def stamp(*parts: object) -> str:
    """What something was made from."""
    return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()


def main() -> None:
    """Makes what is not there, or was made from something else."""
    build = Path(sys.argv[1]).resolve()
    build.mkdir(parents=True, exist_ok=True)
    tree, opt = build / "tree", build / "opt"
    os.umask(0o022)
    marks = build / "made-from.json"
    known = json.loads(marks.read_text()) if marks.exists() else {}
    wanted = {"tree": stamp(codename(), PACKAGES)}
    if known.get("tree") != wanted["tree"] or not tree.exists():
        make_tree(tree)
    version = python_of(tree)
    wanted["opt"] = stamp(version, (ROOT / "requirements.lock").read_text())
    if known.get("opt") != wanted["opt"] or not opt.exists():
        install_dependencies(opt, version)
    marks.write_text(json.dumps(wanted))
    install_dockd(opt, version)


if __name__ == "__main__":
    main()
