"""Makes what the tests boot: a bare Debian of this machine's own release, and dockd as a package would install it.

    python tests/systemd/tree.py BUILD

BUILD/tree is made once, by mmdebstrap from this machine's own package sources. BUILD/opt is /opt/dockd: the locked
dependencies for the tree's Python, got by this machine's own pip, and dockd's wheel.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "packaging"))
from opt_dockd import codename, install_dependencies, install_dockd, run

PACKAGES = "systemd,systemd-sysv,dbus,python3"
SOURCES = Path("/etc/apt")


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
