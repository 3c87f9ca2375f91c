"""A passport is checked with sha256sum, b3sum and ssh-keygen alone, by the very commands that its VERIFY.md gives."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from custody_desk import custody_desk
from passport_desk import make_passport
from passport_shell import blocks, complaints, put_tools, run_all, shell


@pytest.fixture(scope="module")
def passport(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A passport with its recording, and the force's list of keys beside it."""
    root = tmp_path_factory.mktemp("court")
    with custody_desk(root / "state") as desk:
        uid = desk.busy_day()
        first = desk.key
        desk.rotate()
        desk.cut()
        store = root / "store"
        key = desk.desk.newest().store_key
        assert key is not None
        (store / key).parent.mkdir(parents=True)
        (store / key).write_bytes(b"footage")
        (store / ".dockd-store").write_text("0" * 32 + "\n", encoding="ascii")
        desk.signers(first, desk.key).rename(root / "allowed_signers")
        make_passport(desk, [uid], root / "passport", "--with-recordings")
    return root / "passport"


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return put_tools(tmp_path_factory.mktemp("bin"))


def test_the_commands_of_the_guide_find_a_passport_good(passport: Path, tools: Path) -> None:
    assert len(blocks(passport)) == 6
    told = run_all(passport, tools)
    assert told.stderr == ""
    assert not complaints(told, len(list(passport.glob("segments/*/*.sha256")))), told.stdout


def test_b3sum_finds_the_recordings_good(passport: Path, tools: Path) -> None:
    if not (tools / "b3sum").exists():
        pytest.skip("b3sum is NOT INSTALLED here (Debian package b3sum): nobody looked at B3SUMS")
    told = shell(passport, "b3sum -c B3SUMS", tools)
    assert told.returncode == 0
    assert told.stdout.splitlines() == [f"{(passport / 'B3SUMS').read_text().split()[1]}: OK"]


def a_byte(name: str, at: int) -> Callable[[Path], None]:
    def spoil(passport: Path) -> None:
        (file,) = sorted(passport.glob(name))[:1]
        data = bytearray(file.read_bytes())
        data[at] ^= 1
        file.write_bytes(data)

    return spoil


def a_record_put_in(passport: Path) -> None:
    """A record that is put in, and the list of files made to fit: the lists of digests tell."""
    records = passport / "records.jsonl"
    lines = records.read_text(encoding="utf-8").splitlines(keepends=True)
    records.write_text("".join([*lines, lines[3].replace('"seq":', '"seq":1')]), encoding="utf-8")


def a_foreign_key(passport: Path) -> None:
    """The list of keys is another dock's."""
    signers = passport.parent / "allowed_signers"
    signers.write_text(signers.read_text().replace("dock-07 ", "dock-08 "), encoding="ascii")


def a_missing_list(passport: Path) -> None:
    sorted(passport.glob("segments/*/*.sha256"))[1].unlink()


@pytest.mark.parametrize(
    "spoil",
    [
        *[a_byte(name, 9) for name in ("index.html", "VERIFY.md", "passport.json", "SHA256SUMS", "B3SUMS")],
        *[
            a_byte(name, 70)
            for name in ("records.jsonl", "segments/*/*.sha256", "segments/*/*.sig", "FILES.sha256.sig")
        ],
        a_byte("recordings/*", 3),
        a_byte("FILES.sha256", 5),
        a_record_put_in,
        a_foreign_key,
        a_missing_list,
    ],
)
def test_the_commands_of_the_guide_find_what_was_changed(
    passport: Path, tools: Path, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    shutil.copytree(passport.parent, tmp_path / "court", ignore=shutil.ignore_patterns("state", "store"))
    copy = tmp_path / "court" / "passport"
    script = blocks(copy)
    lists = len(list(copy.glob("segments/*/*.sha256")))
    spoil(copy)
    told = shell(copy, "\n".join(script).replace("b3sum -c B3SUMS", "true"), tools)
    assert complaints(told, lists), told.stdout
