"""Makes the guest of the USB tests: a Debian with a stock kernel, and dockd's package installed in it.

    python tests/e2e/usb/build.py BUILD

Made in three layers, each anew only when what it is made from has changed: BUILD/usb/base (mmdebstrap),
BUILD/usb/root.raw (with the package), and in it the snapshot from which every test goes on.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "packaging"))
sys.path.insert(0, str(ROOT / "tests"))
from opt_dockd import codename, run
from systemd.tree import package_sources

PACKAGES = (
    "linux-image-amd64,systemd,systemd-sysv,udev,dbus,udisks2,polkitd,python3,util-linux,mount,kmod,acl,iproute2,procps"
)
BUSYBOX = "/bin/busybox"
MODULES = ("virtio_pci", "virtio_blk", "ext4", "virtio_console")
UNITS = {
    "rig-agent.service": """[Unit]
DefaultDependencies=no
After=systemd-udevd.service
[Service]
ExecStartPre=/sbin/modprobe virtio_console
ExecStart=/usr/bin/python3 -u /usr/local/lib/rig-agent.py
Restart=always
[Install]
WantedBy=multi-user.target
""",
}
MASKED = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "fstrim.timer", "e2scrub_all.timer", "e2scrub_reap.service"),
    *("dpkg-db-backup.timer", "systemd-tmpfiles-clean.timer", "getty@tty1.service", "serial-getty@ttyS0.service"),
    *("systemd-timesyncd.service", "motd-news.timer", "logrotate.timer", "systemd-networkd-wait-online.service"),
)
INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /root
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
for module in $(/bin/busybox cat /modules); do /bin/busybox insmod /lib/$module; done
n=0
while [ ! -b /dev/vda ] && [ $n -lt 600 ]; do /bin/busybox sleep 0.1; n=$((n+1)); done
/bin/busybox mount -t ext4 /dev/vda /root
exec /bin/busybox switch_root /root /sbin/init
"""


def stamp(*parts: object) -> str:
    """What something was made from."""
    return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()


def digest(*files: Path) -> str:
    """What some files hold."""
    return hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()


def make_base(base: Path) -> None:
    """The bare Debian."""
    made = base.with_name("base.new")
    shutil.rmtree(made, ignore_errors=True)
    release = codename()
    slim = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale", "info")]
    options = ["--quiet", "--variant=minbase", *slim, f"--include={PACKAGES}", release]
    run("mmdebstrap", *options, made, *package_sources(release))
    shutil.rmtree(base, ignore_errors=True)
    made.rename(base)


def module_files(tree: Path) -> list[Path]:
    """The kernel modules for the root file system, each behind what it needs."""
    (folder,) = (tree / "lib/modules").iterdir()
    needs: dict[str, list[str]] = {}
    for line in (folder / "modules.dep").read_text().splitlines():
        path, _, wanted = line.partition(":")
        needs[path] = wanted.split()
    names = {Path(path).name.split(".ko")[0].replace("-", "_"): path for path in needs}
    found: list[str] = []

    def take(path: str) -> None:
        for other in needs[path]:
            take(other)
        if path not in found:
            found.append(path)

    for name in MODULES:
        if name in names:
            take(names[name])
    # ext4 asks for it by name, not by symbol.
    if "crc32c_generic" in names:
        take(names["crc32c_generic"])
    return [folder / path for path in found]


def make_initrd(tree: Path, initrd: Path) -> None:
    """What mounts the root: busybox, a few modules, and ten lines."""
    work = initrd.with_name("initrd.tree")
    shutil.rmtree(work, ignore_errors=True)
    for folder in ("bin", "lib"):
        (work / folder).mkdir(parents=True)
    shutil.copy(BUSYBOX, work / "bin/busybox")
    names = []
    for path in module_files(tree):
        shutil.copy(path, work / "lib" / path.name)
        names.append(path.name)
    (work / "modules").write_text("\n".join(names))
    (work / "init").write_text(INIT)
    (work / "init").chmod(0o755)
    listing = "\n".join(str(path.relative_to(work)) for path in sorted(work.rglob("*")))
    packed = subprocess.run(
        [BUSYBOX, "cpio", "-o", "-H", "newc"], input=listing.encode(), cwd=work, capture_output=True, check=True
    )
    initrd.write_bytes(packed.stdout)
    shutil.rmtree(work)


def install(tree: Path, package: Path) -> None:
    """dockd's package, as apt would do it, and the rig's agent."""
    shutil.copy(package, tree / "tmp/dockd.deb")
    run("chroot", tree, "dpkg", "-i", "/tmp/dockd.deb")
    (tree / "tmp/dockd.deb").unlink()
    shutil.copy(Path(__file__).with_name("agent.py"), tree / "usr/local/lib/rig-agent.py")
    units = tree / "etc/systemd/system"
    for name, text in UNITS.items():
        (units / name).write_text(text)
    (units / "multi-user.target.wants").mkdir(exist_ok=True)
    (units / "multi-user.target.wants/rig-agent.service").symlink_to("/etc/systemd/system/rig-agent.service")
    for name in MASKED:
        (units / name).unlink(missing_ok=True)
        (units / name).symlink_to("/dev/null")
    (tree / "etc/systemd/journald.conf.d").mkdir(parents=True, exist_ok=True)
    (tree / "etc/systemd/journald.conf.d/rig.conf").write_text(
        "[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\nForwardToConsole=no\n"
    )
    (tree / "etc/fstab").write_text("")
    (tree / "etc/hostname").write_text("dock-07\n")
    (tree / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    for folder in ("srv/evidence", "var/lib/dockd"):
        (tree / folder).mkdir(parents=True, exist_ok=True)


def make_root(build: Path, package: Path) -> None:
    """The root disk."""
    tree = build / "root.tree"
    shutil.rmtree(tree, ignore_errors=True)
    run("cp", "-a", build / "base", tree)
    install(tree, package)
    raw = build / "root.raw"
    raw.unlink(missing_ok=True)
    run("mke2fs", "-q", "-t", "ext4", "-O", "^metadata_csum", "-d", tree, raw, "3G")
    (kernel,) = (tree / "boot").glob("vmlinuz-*")
    shutil.copy(kernel, build / "vmlinuz")
    make_initrd(tree, build / "initrd")
    shutil.copy(tree / "etc/passwd", build / "passwd")
    shutil.rmtree(tree)


def main() -> None:
    """Makes what is not there, or was made from something else."""
    build = Path(sys.argv[1]).resolve() / "usb"
    build.mkdir(parents=True, exist_ok=True)
    os.umask(0o022)
    (package,) = build.parent.glob("dockd_*.deb")
    marks = build / "made-from.json"
    known = json.loads(marks.read_text()) if marks.exists() else {}
    here = Path(__file__).parent
    base = stamp(codename(), PACKAGES)
    if known.get("base") != base or not (build / "base").exists():
        make_base(build / "base")
    marks.write_text(json.dumps({"base": base}))
    root = stamp(base, digest(package, Path(__file__), here / "agent.py", here / "machine.py"))
    if known.get("root") != root or not (build / "root.raw").exists():
        make_root(build, package)
        from e2e.usb.machine import make_snapshot

        make_snapshot(build)
    marks.write_text(json.dumps({"base": base, "root": root}))


if __name__ == "__main__":
    main()
