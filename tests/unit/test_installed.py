"""Tests must see the package as users get it, never the checkout."""

import subprocess
import sys
import sysconfig
from importlib import resources
from pathlib import Path

import dockd

SITE_PACKAGES = Path(sysconfig.get_path("purelib"))


def test_the_tests_import_the_installed_package():
    assert dockd.__file__ is not None
    assert Path(dockd.__file__).is_relative_to(SITE_PACKAGES)


def test_programs_started_by_tests_do_so_too(tmp_path):
    told = subprocess.run(
        [sys.executable, "-P", "-c", "import dockd; print(dockd.__file__)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(told.stdout.strip()).is_relative_to(SITE_PACKAGES)


def test_the_package_is_marked_as_typed():
    assert resources.files("dockd").joinpath("py.typed").is_file()
