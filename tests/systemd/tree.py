"""Makes what the tests boot: a bare Debian of this machine's own release, with the package installed in it.

    python tests/systemd/tree.py BUILD

BUILD/tree is made once, by mmdebstrap from this machine's own package sources, with what the package depends on. The
package is built from what is checked out, and is BUILD/dockd.deb.
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
from opt_dockd import codename, run

# perl-base and the like are everywhere; python3 has to be the one that the package is built for.
PACKAGES = "systemd,systemd-sysv,dbus,python3,udev,udisks2,polkitd"
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


def build_package(build: Path) -> Path:
    """The package of what is checked out."""
    output = build / "package"
    built = Path(run(sys.executable, ROOT / "packaging/build_deb.py", output).strip())
    package = build / "dockd.deb"
    shutil.copyfile(built, package)
    return package


def in_tree(tree: Path, package: Path, *command: str) -> None:
    """Run a program in the tree, without booting it; the package is /run/dockd.deb there."""
    options = ("--quiet", "--register=no", "--keep-unit", "--pipe", f"--directory={tree}")
    run("systemd-nspawn", *options, f"--bind-ro={package}:/run/dockd.deb", "--", *command)


def install(tree: Path, package: Path) -> None:
    """Install it as if for the first time."""
    in_tree(tree, package, "dpkg", "--purge", "dockd")
    for place in ("var/lib/dockd", "etc/dockd", "opt/dockd"):
        shutil.rmtree(tree / place, ignore_errors=True)
    in_tree(tree, package, "dpkg", "--install", "/run/dockd.deb")


def stamp(*parts: object) -> str:
    """What something was made from."""
    return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()


def main() -> None:
    """Makes what is not there, or was made from something else."""
    build = Path(sys.argv[1]).resolve()
    build.mkdir(parents=True, exist_ok=True)
    tree = build / "tree"
    os.umask(0o022)
    marks = build / "made-from.json"
    known = json.loads(marks.read_text()) if marks.exists() else {}
    wanted = {"tree": stamp(codename(), PACKAGES)}
    if known.get("tree") != wanted["tree"] or not tree.exists():
        known = {}
        marks.unlink(missing_ok=True)
        make_tree(tree)
    package = build_package(build)
    wanted["package"] = stamp(hashlib.sha256(package.read_bytes()).hexdigest())
    if known.get("package") != wanted["package"]:
        marks.unlink(missing_ok=True)
        install(tree, package)
        marks.write_text(json.dumps(wanted))


if __name__ == "__main__":
    main()
