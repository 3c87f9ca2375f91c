"""Probing a folder: what a sound file system says, and what an unsound one is called."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from dockd.commands import store as command
from dockd.errors import StoreUnavailableError
from dockd.stores import filesystem_probe
from dockd.stores.filesystem_probe import FilesystemProbe
from dockd.stores.probe import (
    COMPLETE_IF_NONE_MATCH,
    LIST_PARTS,
    NOTHING_KNOWN,
    PUT_IF_NONE_MATCH,
    Finding,
    ProbeResult,
    S3Knowledge,
)

NAMES = ["file system", "space", "fsync", "no replace", "O_DIRECT", "names"]


def probe(root: Path) -> dict[str, Finding]:
    found = list(FilesystemProbe(root, root / "calgary" / "probe", "t0").run())
    assert [finding.name for finding in found] == NAMES
    return {finding.name: finding for finding in found}


def test_a_sound_folder_has_all_that_is_needed_and_is_left_as_it_was(tmp_path: Path) -> None:
    found = probe(tmp_path)
    assert not any(finding.wrong for finding in found.values())
    assert found["no replace"].verdict == found["fsync"].verdict == found["names"].verdict == "enforced"
    assert list(tmp_path.iterdir()) == []


def test_what_lies_beside_it_stays(tmp_path: Path) -> None:
    (tmp_path / "calgary" / "probe").mkdir(parents=True)
    other = tmp_path / "calgary" / "probe" / "somebody-elses"
    other.write_bytes(b"x")
    probe(tmp_path)
    assert other.read_bytes() == b"x"
    assert list((tmp_path / "calgary" / "probe").iterdir()) == [other]


def test_a_file_system_that_replaces_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem_probe, "publish_noreplace", os.replace)
    finding = probe(tmp_path)["no replace"]
    assert (finding.verdict, finding.wrong) == ("not enforced", True)


def test_one_that_cannot_flush_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(filesystem_probe, "fsync_up_to", refuse)
    finding = probe(tmp_path)["fsync"]
    assert (finding.verdict, finding.wrong, finding.answer) == ("not supported", True, "Invalid argument")
    assert list(tmp_path.iterdir()) == []


def test_one_that_reads_other_bytes_past_the_cache_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        filesystem_probe, "digest_of", lambda chunks, _: [bytes(chunk) for chunk in chunks][-1][-1:] + os.urandom(8)
    )
    finding = probe(tmp_path)["O_DIRECT"]
    assert (finding.verdict, finding.so, finding.wrong) == ("not enforced", "confirm nothing there", True)


def test_a_folder_that_takes_nothing_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "calgary").write_bytes(b"a file where a folder should be")
    with pytest.raises(StoreUnavailableError, match="nothing can be written"):
        list(FilesystemProbe(tmp_path, tmp_path / "calgary" / "probe", "t0").run())


def result(**verdicts: str) -> ProbeResult:
    findings = tuple(Finding(name, "asked", verdict, "answer", "so") for name, verdict in verdicts.items())  # type: ignore[arg-type]
    return ProbeResult("a" * 32, "http://s3/bucket", "2026-11-24T10:00:00.000Z", findings, ("x/probe/1",))


def test_what_was_kept_is_read_again_and_what_is_spoilt_is_as_good_as_none(tmp_path: Path) -> None:
    path = tmp_path / "probe.json"
    assert ProbeResult.kept(path) is None
    made = result(**{LIST_PARTS: "enforced"})
    made.keep(path)
    assert ProbeResult.kept(path) == made
    assert [entry.name for entry in tmp_path.iterdir()] == ["probe.json"]
    for spoilt in ("", "[]", "{}", '{"store_id": 1}'):
        path.write_text(spoilt)
        assert ProbeResult.kept(path) is None


@pytest.mark.parametrize("verdict", ["not enforced", "not supported"])
def test_what_a_store_does_not_heed_is_not_sent(verdict: str) -> None:
    found = result(**dict.fromkeys((PUT_IF_NONE_MATCH, COMPLETE_IF_NONE_MATCH, LIST_PARTS), verdict))
    known = S3Knowledge.of(found, "http://s3/bucket")
    assert known == S3Knowledge("a" * 32, put_if_none_match=False, complete_if_none_match=False, list_parts=False)
    assert S3Knowledge.of(found, "http://s3/other") == NOTHING_KNOWN


def test_what_was_not_asked_is_taken_as_for_any_store() -> None:
    assert S3Knowledge.of(result(), "http://s3/bucket") == S3Knowledge("a" * 32)
    assert S3Knowledge.of(None, "http://s3/bucket") == NOTHING_KNOWN


CONFIG = """
[dock]
agency = "calgary"
site = "district-4"
name = "dock-07"
state_dir = "{root}/state"
[store]
path = "{root}/store"
"""


def test_the_command_keeps_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.toml"
    config.write_text(CONFIG.format(root=tmp_path))
    command.init(config)
    (tmp_path / "state").mkdir()
    assert command.probe(config, as_json=False) == 0
    shown = capsys.readouterr().out
    assert "so dockd will" in shown
    kept = ProbeResult.kept(tmp_path / "state" / "store-probe.json")
    assert kept is not None
    assert [finding.name for finding in kept.findings] == ["sentinel", *NAMES]
