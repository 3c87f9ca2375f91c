"""Makes /opt/dockd: a virtual environment for Debian's own Python, with what requirements.lock names and dockd's wheel.

Nothing in it depends on where it was made: it can be made in any folder and is right once it lies at /opt/dockd.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
PLACE = "/opt/dockd"
SYSTEM_PYTHON = Path("/usr/bin/python3")
# -I: whoever runs it as root has neither a PYTHONPATH nor modules of his own in it.
SCRIPT = f"""#!{PLACE}/bin/python -I
import sys

from dockd.cli import main

sys.exit(main())
"""


def run(*command: str | Path, env: dict[str, str] | None = None) -> str:
    """Run a program; its output. Ends this program, with what that one said, if it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=env)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} gave {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def codename() -> str:
    """This machine's Debian release, which is the one that things are made for."""
    found = platform.freedesktop_os_release()
    if found.get("ID") != "debian":
        sys.exit(f"it is made on the Debian that it is for; this is {found.get('NAME')}")
    return found["VERSION_CODENAME"]


def python_version() -> str:
    """The version of this machine's own Python, whatever runs this program: 3.11, say."""
    if not SYSTEM_PYTHON.exists():
        sys.exit(f"{SYSTEM_PYTHON} is not there; the package is made for it: apt-get install python3")
    return run(SYSTEM_PYTHON, "-I", "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()


def pip(*arguments: str | Path) -> None:
    """This interpreter's pip, run by the system's Python, so that it picks what fits there."""
    quiet = ("--quiet", "--disable-pip-version-check", "--no-input")
    run(sys.executable, "-m", "pip", "--python", SYSTEM_PYTHON, *quiet, *arguments)


def compile_all(folder: Path, inside: Path) -> None:
    """Compile the Python files in `folder`, which will lie at `inside`.

    By the hash of the source: what runs is what the package's digest names, and a build says nothing of its time.
    """
    options = ("-q", "-j", "0", "--invalidation-mode", "checked-hash", "-s", folder, "-p", inside)
    run(SYSTEM_PYTHON, "-I", "-m", "compileall", *options, folder, env=os.environ | {"PYTHONHASHSEED": "0"})


def site_packages(opt: Path, version: str) -> Path:
    """Where its packages are."""
    return opt / f"lib/python{version}/site-packages"


def make_dependencies(folder: Path, version: str) -> None:
    """What requirements.lock names, compiled, in `folder`; as it is if it was made from the same lock file."""
    mark = folder.with_name(f"{folder.name}.made-from")
    wanted = hashlib.sha256(LOCK.read_bytes() + version.encode() + Path(__file__).read_bytes()).hexdigest()
    if folder.is_dir() and mark.exists() and mark.read_text() == wanted:
        return
    shutil.rmtree(folder, ignore_errors=True)
    mark.unlink(missing_ok=True)
    options = ("--no-compile", "--only-binary=:all:", "--no-deps", "--require-hashes", "--target", folder)
    pip("install", *options, "--requirement", LOCK)
    # Programs of the dependencies, with this machine's Python in their first line.
    shutil.rmtree(folder / "bin", ignore_errors=True)
    compile_all(folder, site_packages(Path(PLACE), version))
    mark.write_text(wanted)


def make_opt(opt: Path, work: Path) -> None:
    """Make /opt/dockd as the folder `opt`; `work` keeps what the next time can use."""
    version = python_version()
    work.mkdir(parents=True, exist_ok=True)
    make_dependencies(work / "dependencies", version)
    wheels, alone = work / "wheels", work / "dockd"
    for folder in (opt, wheels, alone):
        shutil.rmtree(folder, ignore_errors=True)
    build = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "wheel", "--no-build-isolation")
    run(*build, "--no-deps", "--wheel-dir", wheels, ROOT)
    # By its name, not by its file: pip would write down where on this machine that lay.
    pip("install", "--no-compile", "--no-deps", "--no-index", "--find-links", wheels, "--target", alone, "dockd")
    shutil.rmtree(alone / "bin", ignore_errors=True)
    packages = site_packages(opt, version)
    compile_all(alone, site_packages(Path(PLACE), version))
    shutil.copytree(work / "dependencies", packages, symlinks=True)
    shutil.copytree(alone, packages, symlinks=True, dirs_exist_ok=True)
    (opt / "bin").mkdir()
    (opt / "bin/python").symlink_to(SYSTEM_PYTHON)
    (opt / "pyvenv.cfg").write_text(f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {version}\n")
    script = opt / "bin/dockd"
    script.write_text(SCRIPT)
    script.chmod(0o755)
