"""`dockd demo`, as a stranger runs it: in a pipe, with and without a broker, interrupted."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import blake3
import pytest
from e2e.broker import mosquitto
from passport_shell import put_tools, run_all, shell

from dockd.demo import ending, world
from dockd.demo.world import Sample, World

MEGABYTES = "40"


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    # Whoever starts the tests in the background has them ignore SIGINT, and all that they start.
    heeds = ("env", "--default-signal=INT")
    command = [*heeds, sys.executable, "-m", "dockd", "demo", "--dir", str(folder), "--megabytes", MEGABYTES, *more]
    return subprocess.Popen(
        command,
        cwd=folder.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def left_behind(folder: Path) -> list[str]:
    """Processes that still name the demo's folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in words and path.parent.name != str(os.getpid()):
            found.append(words)
    return found


def is_whole(folder: Path) -> None:
    """Every planted recording is in the store once, and no camera has one any more."""
    objects = [path for path in (folder / "store" / "calgary" / "recordings").glob("*/*") if path.is_file()]
    assert len(objects) == sum(len(files) for files in world.SHARES.values())
    for path in objects:
        assert path.name.split(".")[0] == blake3.blake3(path.read_bytes()).hexdigest()
    assert not [path for path in (folder / "cameras").rglob("*") if path.is_file() and path.name != ".dockd-camera"]


@pytest.mark.slow
@pytest.mark.parametrize("with_broker", [True, False], ids=["mosquitto", "no-broker"])
def test_the_demo_ends_well_and_says_how_to_go_on(tmp_path: Path, with_broker: bool) -> None:
    if with_broker:
        mosquitto()
    folder = tmp_path / "demo"
    done = start(folder, *([] if with_broker else ["--no-broker"]))
    told, _ = done.communicate(timeout=280)
    assert done.returncode == 0, told
    is_whole(folder)
    assert left_behind(folder) == []
    assert "\x1b" not in told
    assert "\r" not in told
    wanted = ["is pulled in mid-copy", "is killed (SIGKILL)", "9 of 9 recordings are whole", "dockd run --config"]
    wanted += ["cp clip.mp4 cameras/CAM4/", "status --watch"]
    wanted += ["mosquitto_sub -p"] if with_broker else ["no broker: what would be said"]
    assert not [words for words in wanted if words not in told], told
    assert ("  MQTT " in told) == (not with_broker or shutil.which("mosquitto_sub") is not None)
    chain = subprocess.run(
        [sys.executable, "-m", "dockd", "custody", "export", "--config", str(folder / "config.toml")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    events = [json.loads(line)["event"] for line in chain.splitlines()]
    assert events.count("dock_started") == 2
    assert events.count("recording_wiped") == 9
    # What the stop itself recorded is signed, and brought into the store by the next run.
    signed = re.search(r"custody: (\d+) records in \d+ segments, each signed by the dock and in the store", told)
    assert signed is not None
    assert len(events) - events[::-1].index("recording_wiped") <= int(signed[1]) <= len(events)
    a_court_is_satisfied(folder, tmp_path)


def dockd(folder: Path, *words: str) -> str:
    command = [sys.executable, "-m", "dockd", *words, "--config", str(folder / "config.toml")]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def a_court_is_satisfied(folder: Path, tmp_path: Path) -> None:
    """A passport of the demo's own recordings, checked in a shell that has no dockd and no Python."""
    court = tmp_path / "court"
    court.mkdir()
    dockd(folder, "passport", "--camera", "CAM2", "--with-recordings", "--out", str(court / "passport"))
    (court / "allowed_signers").write_text(dockd(folder, "key", "show"))
    (tmp_path / "tools").mkdir()
    tools = put_tools(tmp_path / "tools")
    told = run_all(court / "passport", tools)
    assert told.stderr == ""
    lists = list((court / "passport" / "segments").glob("*/*.sha256"))
    files = (court / "passport" / "SHA256SUMS").read_text().splitlines()
    good = [line for line in told.stdout.splitlines() if line.startswith('Good "dockd-custody" signature')]
    assert len(good) == len(lists) + 1
    assert [line for line in told.stdout.splitlines() if line.endswith(": OK")] == [f"{f[66:]}: OK" for f in files]
    if (tools / "b3sum").exists():
        assert shell(court / "passport", "b3sum -c B3SUMS", tools).returncode == 0
    elsewhere = [sample.encode() for camera in world.SHARES if camera != "CAM2" for sample in (camera,)]
    shown = b"".join(
        path.read_bytes() for path in (court / "passport").rglob("*") if path.suffix in (".jsonl", ".html")
    )
    assert not [name for name in elsewhere if name in shown], "other officers' recordings are not shown"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_interrupted_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "demo"
    done = start(folder)
    deadline = time.monotonic() + 120
    while not (folder / "state" / "status.json").exists():
        assert time.monotonic() < deadline
        assert done.poll() is None, done.communicate()[0]
        time.sleep(0.05)
    done.send_signal(number)
    told, _ = done.communicate(timeout=120)
    assert done.returncode == 130
    assert "interrupted" in told
    assert left_behind(folder) == []


@pytest.mark.slow
def test_a_demo_that_serves_goes_on_until_it_is_interrupted(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    done = start(folder, "--serve")
    assert done.stdout is not None
    told = []
    for line in done.stdout:
        told.append(line)
        if "remove it when you are done" in line:
            break
    camera = folder / "shelf" / "CAM4"
    camera.mkdir()
    (camera / ".dockd-camera").touch()
    (camera / "clip.mp4").write_bytes(b"x" * 100_000)
    camera.rename(folder / "cameras" / "CAM4")
    deadline = time.monotonic() + 120
    while (folder / "cameras" / "CAM4" / "clip.mp4").exists():
        assert time.monotonic() < deadline, "".join(told)
        time.sleep(0.1)
    done.send_signal(signal.SIGINT)
    done.communicate(timeout=120)
    assert done.returncode == 130
    assert left_behind(folder) == []


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    done = start(tmp_path / "mine")
    told, _ = done.communicate(timeout=60)
    assert done.returncode == 64
    assert "not empty" in told
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


# --- the check that does not ask dockd ---------------------------------------------------------------


@pytest.fixture
def ended(tmp_path: Path) -> World:
    """A world whose store holds what was on the cameras."""
    made = World(tmp_path)
    for camera, data in (("CAM1", b"one"), ("CAM2", b"two")):
        digest = blake3.blake3(data).hexdigest()
        path = made.store / "calgary" / "recordings" / camera / f"{digest}.mp4"
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
        made.samples.append(Sample(camera, "a.mp4", len(data), digest, hashlib.sha256(data).hexdigest()))
    return made


def check(ended: World, by_b3sum: bool, monkeypatch: pytest.MonkeyPatch) -> ending.Verdict:
    if by_b3sum and shutil.which("b3sum") is None:
        pytest.skip("NOT TESTED: the check by b3sum, for this machine has none")
    if not by_b3sum:
        monkeypatch.setattr(ending, "program", lambda name: None)
    return ending.check_store(ended)


@pytest.mark.parametrize("by_b3sum", [True, False])
def test_a_store_that_is_right_is_found_right(ended: World, by_b3sum: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = check(ended, by_b3sum, monkeypatch)
    assert (verdict.right, verdict.wrong) == (2, ())
    assert ("b3sum is not" in verdict.tool) is not by_b3sum


@pytest.mark.parametrize("by_b3sum", [True, False])
@pytest.mark.parametrize("how", ["changed", "cut", "gone", "swapped"])
def test_a_store_that_lies_is_found_out(
    ended: World, by_b3sum: bool, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = sorted((ended.store / "calgary" / "recordings").glob("*/*"))
    if how == "changed":
        first.write_bytes(b"onf")
    elif how == "cut":
        first.write_bytes(b"on")
    elif how == "gone":
        first.unlink()
    else:
        first.write_bytes(second.read_bytes())
    verdict = check(ended, by_b3sum, monkeypatch)
    assert verdict.right == 1
    (wrong,) = verdict.wrong
    assert wrong.startswith("CAM1 a.mp4: ")


def test_a_sample_with_another_sha256_is_found_out(ended: World, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = ended.samples[0]
    ended.samples[0] = Sample(sample.camera, sample.path, sample.size_bytes, sample.blake3, "0" * 64)
    assert "SHA-256" in check(ended, False, monkeypatch).wrong[0]


def test_words_for_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def usage(_: Any) -> Any:
        return shutil._ntuple_diskusage(100, 100, 0)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    with pytest.raises(world.UsageError, match="too little room"):
        world.fitting_bytes(tmp_path, 1)
