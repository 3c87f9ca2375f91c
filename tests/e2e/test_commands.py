"""Commands to a running daemon, through its control socket and over MQTT: what they do, and what they cannot."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from e2e.broker import ROOT, Broker, Listener
from e2e.harness import Dock

BIG = 64 << 20


@pytest.fixture
def talking(make_dock: Callable[..., Dock], broker: Broker) -> Dock:
    dock = make_dock(mqtt=(("url", f"mqtt://127.0.0.1:{broker.port}"),))
    dock.start()
    return dock


def state_of(dock: Dock, serial: str) -> str:
    return str(dock.bay(serial)["state"])


# --- the control socket ------------------------------------------------------------------------------


def test_a_pause_takes_nothing_in_until_it_is_taken_back_also_over_a_restart(dock: Dock) -> None:
    assert "paused" in dock.run("pause").stdout
    dock.cameras.add("CAM1", {"a.mp4": 5000})
    dock.wait(lambda s: s["counts"]["recordings"] == 1 and state_of(dock, "CAM1") == "waiting", "seen, not taken")
    dock.restart()
    dock.wait_alert("paused")
    status = dock.wait(lambda s: s["counts"]["recordings"] == 1 and dock.find_bay("CAM1", s).get("reason"), "waiting")
    assert status["counts"]["in_store"] == 0
    assert dock.bay("CAM1", status)["reason"] == "paused by an operator"
    assert not dock.bay("CAM1", status)["safe_to_take"]
    dock.run("resume")
    dock.wait_no_alert("paused")
    dock.finish()


def test_a_pause_of_one_bay_leaves_the_others_alone(dock: Dock) -> None:
    dock.cameras.add("CAM1", {})
    dock.wait(lambda s: s["bays"], "docked")
    dock.run("pause", "--bay", "folder-CAM1")
    dock.cameras.plant("CAM1", "a.mp4", 5000)
    dock.cameras.add("CAM2", {"b.mp4": 5000})
    dock.wait_stored(1)
    dock.wait(lambda s: dock.bay("CAM1", s)["reason"] == "paused by an operator", "CAM1 waits")
    assert dock.holds_content("CAM2", "b.mp4")
    dock.run("resume", "--bay", "folder-CAM1")
    dock.finish()


def test_what_is_paused_is_not_wiped(dock: Dock) -> None:
    dock.restart(grace="2s")
    dock.cameras.add("CAM1", {"a.mp4": 5000})
    dock.wait_stored()
    dock.run("pause")
    dock.wait(lambda s: s["bays"] and dock.bay("CAM1", s)["reason"] == "paused by an operator", "paused")
    seq = dock.status()["dock"]["seq"]
    dock.wait_idle()
    assert dock.cameras.to_wipe()[0]
    assert dock.status()["dock"]["seq"] == seq
    dock.run("resume")
    dock.finish()


def test_retry_tries_at_once_what_a_person_has_mended(dock: Dock) -> None:
    dock.store.rename(dock.store.with_name("away"))
    dock.cameras.add("CAM1", {"a.mp4": 5000})
    dock.wait_alert("store_unavailable")
    dock.store.with_name("away").rename(dock.store)
    assert "trying again" in dock.run("retry", "--bay", "folder-CAM1").stdout
    assert "looking again" in dock.run("rescan").stdout
    dock.finish()


def test_identify_shows_a_bay_for_a_while(dock: Dock) -> None:
    dock.cameras.add("CAM1", {"a.mp4": 5000})
    dock.cameras.add("CAM2", {"a.mp4": 5000})
    dock.wait(lambda s: len(s["bays"]) == 2, "docked")
    dock.run("identify", "--bay", "folder-CAM1")
    status = dock.wait(lambda s: any(bay["identify"] for bay in s["bays"]), "shown")
    assert [bay["bay"] for bay in status["bays"] if bay["identify"]] == ["folder-CAM1"]


@pytest.mark.parametrize("command", ["pause", "resume", "rescan", "retry", "identify"])
def test_a_bay_that_is_not_there_is_refused_and_without_a_daemon_all_are(dock: Dock, command: str) -> None:
    if command != "resume":
        told = dock.run(command, "--bay", "nonsense", codes=(64,))
        assert "there is no bay" in told.stderr
        assert "Nothing was changed" in told.stderr
    assert dock.term() == 0
    told = dock.run(command, "--bay", "nonsense", codes=(69,))
    assert "no dockd runs" in told.stderr


def test_the_socket_is_for_owner_and_group_and_goes_with_the_daemon(dock: Dock) -> None:
    path = dock.state / "control.sock"
    found = path.stat()
    assert stat.S_ISSOCK(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o660
    dock.kill()
    assert path.exists()
    dock.start()
    dock.run("rescan")
    assert dock.term() == 0
    assert not path.exists()


def test_under_systemd_the_socket_lies_in_the_runtime_directory(make_dock: Callable[..., Dock], tmp_path: Path) -> None:
    runtime = tmp_path / "run"
    runtime.mkdir()
    dock = make_dock()
    dock.start(environment={"RUNTIME_DIRECTORY": str(runtime)})
    assert stat.S_ISSOCK((runtime / "control.sock").stat().st_mode)
    dock.run("rescan")


def talk(dock: Dock, data: bytes) -> bytes:
    fd = os.open(dock.state, os.O_PATH)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.settimeout(60)
            made.connect(f"/proc/self/fd/{fd}/control.sock")
            made.sendall(data)
            made.shutdown(socket.SHUT_WR)
            return made.makefile("rb").read()
    finally:
        os.close(fd)


GARBAGE = [
    b"",
    b"\n",
    b"garbage\n",
    b"[]\n",
    b"{}\n",
    b'{"command": 7}\n',
    b'{"command": "wipe"}\n',
    b'{"command": "hold"}\n',
    b"\xff\xfe\n",
    b"[" * 10_000 + b"\n",
    b'{"command": "replay", "from_seq": 1}\n',
    b'{"command": "audit", "sample": -1}\n',
    b'{"command": "pause", "bay": {"a": 1}}\n',
]


@pytest.mark.parametrize("data", GARBAGE, ids=lambda data: data[:30].decode(errors="replace").strip() or "empty")
def test_garbage_on_the_socket_changes_nothing(dock: Dock, data: bytes) -> None:
    seq = dock.status()["dock"]["seq"]
    answer = json.loads(talk(dock, data))
    assert answer["ok"] is False
    assert answer["error"]
    dock.run("rescan")
    assert dock.status()["dock"]["seq"] == seq


def test_a_line_without_end_and_many_silent_callers_cost_nothing(dock: Dock) -> None:
    with contextlib.suppress(OSError):
        talk(dock, b"x" * 1_000_000)
    threads = [threading.Thread(target=talk, args=(dock, b"")) for _ in range(20)]
    for thread in threads:
        thread.start()
    dock.cameras.add("CAM1", {"a.mp4": 1000})
    dock.finish()
    for thread in threads:
        thread.join()


# --- over MQTT ---------------------------------------------------------------------------------------


def test_commands_over_mqtt_are_answered_and_act_once(talking: Dock, broker: Broker) -> None:
    dock = talking
    with Listener(broker.port) as listener:
        assert listener.command("pause", "p1")["ok"]
        dock.cameras.add("CAM1", {"a.mp4": 5000})
        dock.wait(lambda s: s["counts"]["recordings"] == 1, "seen")
        held = listener.command("hold", "h1", camera="CAM1")
        assert held["ok"]
        assert held["result"]["too_late"] == 0
        again = listener.command("hold", "h1", camera="CAM1")
        assert again["result"] == held["result"]
        assert len(dock.hold_names()) == 1
        dock.cameras.flag("CAM1", "a.mp4", "held")
        assert listener.command("resume", "r1")["ok"]
        dock.wait_stored()
        assert listener.command("identify", "i1", bay="folder-CAM1")["ok"]
        assert listener.command("rescan", "s1")["ok"]
        assert listener.command("retry", "t1")["ok"]
        assert listener.command("audit", "a1")["result"]["started"]
        listener.wait(lambda: "audit" in [h.json()["event"] for h in listener.all("event")], "the audit's event")
        # A restart in between: the hold's name comes from the command's id.
        dock.restart()
        assert listener.command("hold", "h1", camera="CAM1")["result"]["holds"] == held["result"]["holds"]
        assert len(dock.hold_names()) == 1
        before = len(listener.all("info"))
        assert listener.command("republish", "b1")["ok"]
        listener.wait(lambda: len(listener.all("info")) > before, "info once more")
        said = listener.command("replay", "e1", from_seq=1, to_seq=3)["result"]
        assert (said["from_seq"], said["to_seq"], said["events"]) == (1, 3, 3)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("pause", b"garbage"),
        ("pause", b"[]"),
        ("pause", b"{}"),
        ("pause", b'{"id": 7}'),
        ("pause", b'{"id": ""}'),
        ("pause", b'{"id": "x", "bay": "nonsense"}'),
        ("pause", b'{"id": "x", "expires": "2020-01-01T00:00:00Z"}'),
        ("pause", b'{"id": "x", "expires": "soon"}'),
        ("pause", b"[" * 8000),
        ("pause", b'{"id": "x", "pad": "' + b"y" * 40_000 + b'"}'),
        ("wipe", b'{"id": "x"}'),
        ("hold", b'{"id": "x"}'),
        ("hold", b'{"id": "x", "recording": "nonsense"}'),
        ("hold", b'{"id": "x", "remove": "abc", "camera": 7}'),
        ("replay", b'{"id": "x", "from_seq": 0}'),
        ("replay", b'{"id": "x", "from_seq": 1, "chain": "nonsense"}'),
        ("audit", b'{"id": "x", "sample": 0}'),
    ],
    ids=lambda value: value[:40].decode() if isinstance(value, bytes) else value,
)
def test_a_bad_command_is_told_so_and_changes_nothing(talking: Dock, broker: Broker, name: str, body: bytes) -> None:
    dock = talking
    with Listener(broker.port) as listener:
        listener.wait(lambda: listener.last("state"), "the dock")
        seq = dock.status()["dock"]["seq"]
        listener.publish(f"{ROOT}/command/{name}", body)
        answer: dict[str, Any] = listener.wait(lambda: listener.last(f"response/{name}"), "a response")
        assert answer["ok"] is False
        assert answer["error"]
        status = dock.status()
        assert (status["dock"]["seq"], status["paused"], dock.hold_names()) == (seq, [], [])


def test_a_retained_command_is_ignored(talking: Dock, broker: Broker) -> None:
    dock = talking
    with Listener(broker.port) as listener:
        listener.wait(lambda: listener.last("availability"), "the dock")
        listener.publish(f"{ROOT}/command/pause", b'{"id": "r1"}', retain=True)
        assert listener.command("rescan", "s1")["ok"]
        dock.restart()
        assert listener.command("rescan", "s2")["ok"]
        assert not listener.all("response/pause")
    assert dock.status()["paused"] == []


def test_the_response_goes_where_it_was_asked_for_but_not_into_the_docks_own_words(
    talking: Dock, broker: Broker
) -> None:
    with Listener(broker.port, topics=("#",)) as listener:
        listener.wait(lambda: listener.last("availability"), "the dock")
        asked = f"{ROOT}/response/to/me"
        body = b'{"id": "q"}'
        listener.publish(f"{ROOT}/command/rescan", body, ResponseTopic=asked, CorrelationData=b"\x00\xff42")
        listener.wait(lambda: listener.last("response/to/me"), "the response")
        (heard,) = listener.all("response/to/me")
        assert heard.correlation == b"\x00\xff42"
        for number, topic in enumerate(("dockd/v1/calgary/district-4/dock-08/response/x", f"{ROOT}/state", "x")):
            body = json.dumps({"id": f"bad{number}"}).encode()
            listener.publish(f"{ROOT}/command/pause", body, ResponseTopic=topic)
            wanted = number + 1
            listener.wait(lambda wanted=wanted: len(listener.all("response/pause")) == wanted, "a refusal")
        assert not [heard for heard in listener.heard if heard.topic.startswith("dockd/v1/calgary/district-4/dock-08")]
    assert talking.status()["paused"] == []


def test_a_command_that_waited_for_the_dock_is_carried_out_and_an_expired_one_is_not(
    talking: Dock, broker: Broker
) -> None:
    dock = talking
    dock.wait(lambda s: s["mqtt"]["connected"], "connected")
    dock.kill()
    with Listener(broker.port) as listener:
        listener.publish(f"{ROOT}/command/pause", b'{"id": "late"}', MessageExpiryInterval=1)
        listener.publish(f"{ROOT}/command/rescan", b'{"id": "kept"}', MessageExpiryInterval=600)
        threading.Event().wait(3)
        dock.start()
        listener.wait(lambda: listener.response("rescan", "kept"), "the command that was kept")
        assert not listener.all("response/pause")
    assert dock.status()["paused"] == []
