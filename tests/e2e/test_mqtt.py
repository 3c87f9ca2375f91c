"""MQTT over a real broker: what is said, what is kept, and what becomes of it when the broker goes."""

from __future__ import annotations

import json
import random
import signal
import socket
import threading
import time
from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Self

import pytest
from e2e.broker import ROOT, Broker, Collector, Heard, Listener
from e2e.harness import Dock
from e2e.kernel import WRITES, traced

from dockd.custody.chain import line_digest
from dockd.custody.segments import head_text
from dockd.custody.sshsig import verify
from dockd.report import payloads

MODELS: dict[str, type[payloads.Payload]] = {
    "availability": payloads.Availability,
    "info": payloads.Info,
    "state": payloads.State,
    "camera": payloads.Camera,
    "event": payloads.EventMessage,
    "alert": payloads.AlertMessage,
    "custody": payloads.CustodyHead,
    "response": payloads.Response,
}
RETAINED = {"availability", "info", "state", "bay", "camera", "alert", "custody"}


def url(broker: Broker) -> tuple[tuple[str, str], ...]:
    return (("url", f"mqtt://127.0.0.1:{broker.port}"),)


def model_of(topic: str) -> type[payloads.Payload]:
    parts = topic.removeprefix(f"{ROOT}/").split("/")
    if parts[0] == "bay":
        return payloads.Progress if parts[2:] == ["progress"] else payloads.BayState
    return MODELS[parts[0]]


def check(heard: Heard) -> None:
    """A message is what the models say, and nothing else."""
    assert heard.topic.startswith(f"{ROOT}/"), heard.topic
    if not heard.payload:
        assert heard.topic.split("/")[5] in ("bay", "alert"), f"{heard.topic} was taken back"
        return
    model = model_of(heard.topic)
    found = model.model_validate_json(heard.payload, strict=True)
    extra = set(found.model_extra or {})
    assert extra <= {"size_bytes", *(name for names in payloads.PUBLIC_FIELDS.values() for name in names)}


def said(listener: Listener) -> list[Heard]:
    return [heard for heard in listener.all() if not heard.topic.startswith(f"{ROOT}/command/")]


@pytest.fixture
def talking(make_dock: Callable[..., Dock], broker: Broker) -> Dock:
    """A dock that speaks to a broker."""
    dock = make_dock(mqtt=url(broker))
    dock.start()
    return dock


# --- what is said ------------------------------------------------------------------------------------


def test_a_whole_day_is_said_as_the_models_have_it_and_names_nobody(talking: Dock, broker: Broker) -> None:
    dock = talking
    private = ["Jane Doe", "Constable", "SMITH", "case 4711"]
    with Listener(broker.port) as listener:
        dock.cameras.add("CAM1", {"DCIM/SMITH_0001.MP4": 40_000_000, "DCIM/SMITH_0002.MP4": 70_000, "x.txt": 10})
        dock.cameras.add("CAM2", {"SMITH.MP4": 0, "b.mp4": 30_000}, marker=False)
        dock.cameras.add(b"latin\xe9", {b"caf\xe9.mp4": 1000})
        dock.wait(lambda s: s["counts"]["in_store"] == s["counts"]["recordings"] == 6, "all stored")
        who = ("--reason", "case 4711", "--by", "Constable Jane Doe")
        dock.run("hold", "add", "--camera", "CAM2", *who)
        dock.run("audit")
        listener.wait(lambda: [h for h in listener.all("event") if h.json()["event"] == "audit"], "the audit's event")
        dock.cameras.undock("CAM2")
        listener.wait(lambda: (listener.last("camera/CAM2") or {}).get("left_at"), "that CAM2 left")
        listener.wait(lambda: listener.last("bay/folder-CAM2") is None, "that its bay is empty")
        listener.wait(lambda: listener.last("bay/folder-CAM1")["state"] == "ready", "CAM1 ready")
        answer = listener.command("hold", "h1", camera="CAM1", reason="case 4711 of Jane Doe")
        assert answer["ok"]
        state = listener.wait(lambda: listener.last("state"), "state")
        head = dock.custody()
        listener.wait(lambda: listener.all("event")[-1].json()["seq"] >= len(head), "all events")
        assert dock.term() == 0
        listener.wait(lambda: listener.last("availability")["state"] == "offline", "offline")
        messages = said(listener)
    for heard in messages:
        check(heard)
        assert not [name for name in private if name.encode() in heard.payload], heard
    kinds = {heard.topic.split("/")[5] for heard in messages}
    assert kinds == {*RETAINED, "event", "response"}
    assert len({heard.json()["boot"] for heard in messages if heard.payload}) == 1
    counts = state["counts"]
    assert sum(counts.values()) - counts["recordings"] - counts["wiped"] == counts["recordings"]
    states = [heard.json()["state"] for heard in messages if heard.topic == f"{ROOT}/availability"]
    assert states == ["online", "stopping", "offline"]


@pytest.mark.slow
def test_progress_is_said_once_a_second_and_only_while_bytes_move(talking: Dock, broker: Broker) -> None:
    dock = talking
    size = 24_000_000
    assert dock.process is not None
    with Listener(broker.port) as listener:
        with traced(dock.process.pid, f"{WRITES}:delay_enter=300000"):
            dock.cameras.add("CAM1", {"a.mp4": size, "b.mp4": 1000})
            listener.wait(lambda: len(listener.all("bay/folder-CAM1/progress")) >= 5, "how far it is")
        dock.wait_emptied()
        listener.wait(lambda: listener.last("bay/folder-CAM1")["state"] == "ready", "that it is ready")
        dock.wait_idle()
        heard = listener.all("bay/folder-CAM1/progress")
        time.sleep(3)
        assert len(listener.all("bay/folder-CAM1/progress")) == len(heard), "nothing moves any more"
    said_at = [datetime.fromisoformat(message.json()["ts"]).timestamp() for message in heard]
    # Of the clock: to a hundredth, for a status is told a moment after its `ts`.
    assert all(later - earlier > 0.95 for earlier, later in pairwise(said_at)), said_at
    stages: dict[str, list[int]] = {}
    for message in heard:
        check(message)
        assert not message.retain
        found = message.json()
        assert 0 <= found["bytes_done"] <= found["bytes_total"] <= size + 1000
        stages.setdefault(found["stage"], []).append(found["bytes_done"])
    assert all(done == sorted(done) for done in stages.values())
    assert len(set(stages["offloading"])) > 1


def test_events_are_the_chain_in_order_without_a_gap_over_restarts(talking: Dock, broker: Broker) -> None:
    dock = talking
    with Listener(broker.port) as listener:
        collector = Collector(listener)
        listener.wait(lambda: collector.records, "the first event")
        dock.cameras.add("CAM1", {f"{index}.mp4": 2000 for index in range(20)})
        dock.wait_emptied()
        dock.kill()
        dock.start()
        dock.cameras.add("CAM2", {"a.mp4": 1000})
        dock.wait_emptied()
        lines = [json.loads(line) for line in dock.custody()]
        listener.wait(lambda: len(collector.records) >= len(lines), "all events")
    heard = [(r["seq"], r["event"], r["ts"]) for r in collector.records[: len(lines)]]
    assert heard == [(line["seq"], line["event"], line["time"]) for line in lines]
    assert len({record["boot"] for record in collector.records}) == 2


def test_all_that_is_retained_is_said_anew_after_each_connect(talking: Dock, broker: Broker) -> None:
    dock = talking
    dock.cameras.add("CAM1", {"a.mp4": 1000})
    dock.wait_emptied()
    broker.kill()
    # Its memory is gone with it; who comes now still finds everything.
    broker.start()
    wanted = ("availability", "info", "state", "bay/folder-CAM1", "camera/CAM1", "custody/head")
    with Listener(broker.port) as listener:
        listener.wait(lambda: all(listener.last(topic) for topic in wanted), "all that is retained")
    with Listener(broker.port) as late:
        late.wait(lambda: all(late.last(topic) for topic in wanted), "all that is retained")
        assert all(heard.retain for heard in late.heard[: len(wanted)])
        head, info = late.last("custody/head"), late.last("info")
    signer = verify(head["signature"], "dockd-custody", head_text(head["chain"], head["seq"], head["sha256"]))
    assert signer.line == info["public_key"]
    assert line_digest(dock.custody()[head["seq"] - 1]) == head["sha256"]


def test_what_is_over_is_taken_back_also_by_a_later_run(talking: Dock, broker: Broker) -> None:
    dock = talking
    dock.cameras.add("CAM1", {"a.mp4": 1000}, marker=False)
    with Listener(broker.port) as listener:
        listener.wait(lambda: listener.last("alert/wipe_blocked/camera-CAM1"), "the alert")
        dock.kill()
        dock.cameras.undock("CAM1")
        dock.start()
        listener.wait(lambda: listener.last("alert/wipe_blocked/camera-CAM1") is None, "that it is over")
        listener.wait(lambda: listener.last("bay/folder-CAM1") is None, "that the bay is empty")
    with Listener(broker.port) as late:
        late.wait(lambda: late.last("state"), "state")
        assert not late.all("alert")
        assert not late.all("bay")


@pytest.mark.slow
def test_a_killed_daemon_is_offline_by_its_last_will(talking: Dock, broker: Broker) -> None:
    with Listener(broker.port) as listener:
        online = listener.wait(lambda: listener.last("availability"), "online")
        talking.kill()
        listener.wait(lambda: listener.last("availability")["state"] == "offline", "offline")
        assert listener.last("availability")["boot"] == online["boot"]


@pytest.mark.slow
def test_a_restart_within_the_delay_is_not_reported_as_offline(talking: Dock, broker: Broker) -> None:
    with Listener(broker.port) as listener:
        first = listener.wait(lambda: listener.last("availability"), "online")
        talking.kill()
        talking.start()
        listener.wait(lambda: listener.last("availability")["boot"] != first["boot"], "online again")
        time.sleep(16)
        states = [heard.json()["state"] for heard in listener.all("availability")]
    assert set(states) == {"online"}


# --- the broker goes ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_thousand_events_reach_who_asks_for_the_gaps_of_ten_killed_brokers(talking: Dock, broker: Broker) -> None:
    dock = talking
    chance = random.Random("ten kills")
    with Listener(broker.port) as listener:
        collector = Collector(listener)
        for number in range(4):
            dock.cameras.add(f"CAM{number}", {f"{index:03d}.mp4": chance.randrange(1, 3000) for index in range(90)})
        for number in range(10):
            reached = 150 * (number + 1)
            dock.wait(lambda s, reached=reached: s["dock"]["seq"] >= reached, f"{reached} events", 300)
            broker.kill()
            time.sleep(chance.uniform(0, 0.5))
            broker.start()
        dock.wait_emptied(600)
        dock.wait_idle(300)
        lines = [json.loads(line) for line in dock.custody()]
        assert len(lines) >= 2000
        listener.wait(lambda: collector.has(len(lines)), "all events", 300)
    found = collector.records
    assert [record["seq"] for record in found] == list(range(1, len(found) + 1))
    assert [(r["event"], r["ts"]) for r in found[: len(lines)]] == [(line["event"], line["time"]) for line in lines]


def test_the_daemon_does_not_care_for_a_broker_that_is_not_there(make_dock: Callable[..., Dock]) -> None:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        dock = make_dock(mqtt=(("url", f"mqtt://127.0.0.1:{made.getsockname()[1]}"),))
        dock.start()
        dock.cameras.add("CAM1", {"a.mp4": 100_000})
        dock.finish()
        alert = dock.wait_alert("mqtt_unavailable")
        assert "127.0.0.1" in alert["what"]
        assert dock.status()["mqtt"]["connected"] is False
        assert dock.term() == 0


@pytest.mark.slow
@pytest.mark.parametrize("speaks", [False, True], ids=["silent", "half-open"])
def test_the_daemon_does_not_care_for_a_broker_that_hangs(
    make_dock: Callable[..., Dock], broker: Broker, speaks: bool
) -> None:
    """One that takes connections and says nothing, and one behind a link that goes dead in mid-work."""
    with Proxy(broker.port if speaks else None) as proxy:
        dock = make_dock(mqtt=(("url", f"mqtt://127.0.0.1:{proxy.port}"),))
        dock.start()
        if speaks:
            dock.wait(lambda s: s["mqtt"]["connected"], "connected")
        proxy.frozen.set()
        dock.cameras.add("CAM1", {f"{index}.mp4": 100_000 for index in range(10)})
        dock.finish()
        dock.wait_alert("mqtt_unavailable")
        # Also stopping does not wait for it.
        assert dock.term() == 0


@pytest.mark.slow
def test_a_link_that_comes_back_to_life_is_used_again(make_dock: Callable[..., Dock], broker: Broker) -> None:
    with Proxy(broker.port) as proxy, Listener(broker.port) as listener:
        dock = make_dock(mqtt=(("url", f"mqtt://127.0.0.1:{proxy.port}"),))
        dock.start()
        collector = Collector(listener)
        dock.wait(lambda s: s["mqtt"]["connected"], "connected")
        proxy.frozen.set()
        dock.cameras.add("CAM1", {"a.mp4": 1000})
        dock.wait_emptied()
        dock.wait_alert("mqtt_unavailable")
        proxy.frozen.clear()
        dock.wait(lambda s: s["mqtt"]["connected"], "connected again")
        dock.wait_no_alert("mqtt_unavailable")
        lines = dock.custody()
        listener.wait(lambda: len(collector.records) >= len(lines), "all events")


class Proxy:
    """Passes bytes on to a port, or to nobody; frozen it takes connections and passes nothing."""

    def __init__(self, port: int | None) -> None:
        self.target = port
        self.frozen = threading.Event()
        self._ended = threading.Event()
        self._sockets: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(0.2)
        self.port: int = self._server.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        for each in (self._server, *self._sockets):
            each.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._server.accept()
            except TimeoutError:
                continue
            self._sockets.append(client)
            if self.target is None or self.frozen.is_set():
                continue
            server = socket.create_connection(("127.0.0.1", self.target))
            self._sockets.append(server)
            for source, sink in ((client, server), (server, client)):
                self._threads.append(threading.Thread(target=self._pass, args=(source, sink)))
                self._threads[-1].start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        source.settimeout(0.2)
        frozen = False
        while not self._ended.is_set():
            frozen = frozen or self.frozen.is_set()
            try:
                data = source.recv(65536)
                if not data:
                    return
                # Once frozen a connection stays dead: what was lost on it does not come back.
                if not frozen:
                    sink.sendall(data)
            except TimeoutError:
                continue
            except OSError:
                return


# --- what the broker refuses -------------------------------------------------------------------------


@pytest.mark.slow
def test_what_an_acl_refuses_raises_an_alert_and_loses_no_event(
    make_dock: Callable[..., Dock], make_broker: Callable[..., Broker], tmp_path: Path
) -> None:
    acl = tmp_path / "acl"
    test, dock_may = "user test\ntopic readwrite #\nuser dock\n", f"topic readwrite {ROOT}/"
    acl.write_text(f"{test}{dock_may}availability\n{dock_may}state\n")
    broker = make_broker(f"acl_file {acl}", "allow_anonymous true")
    assert broker.process is not None
    dock = make_dock(mqtt=(*url(broker), ("username", "dock")))
    dock.start()
    with Listener(broker.port, user=("test", "")) as listener:
        collector = Collector(listener)
        alert = dock.wait_alert("mqtt_refused")
        assert "Not authorized" in alert["what"]
        dock.cameras.add("CAM1", {"a.mp4": 1000})
        dock.finish()
        listener.wait(lambda: listener.last("state"), "what is allowed")
        assert not listener.all("event")
        acl.write_text(f"{test}{dock_may}#\n")
        broker.process.send_signal(signal.SIGHUP)
        dock.wait_no_alert("mqtt_refused")
        lines = dock.custody()
        listener.wait(lambda: len(collector.records) >= len(lines), "all events")
        listener.wait(lambda: listener.last("camera/CAM1"), "what was refused before")


def test_a_broker_that_keeps_out_is_named(make_dock: Callable[..., Dock], make_broker: Callable[..., Broker]) -> None:
    broker = make_broker("allow_anonymous false")
    dock = make_dock(mqtt=url(broker))
    dock.start()
    alert = dock.wait_alert("mqtt_unavailable")
    assert "uthorized" in alert["what"]


def test_check_says_whether_the_broker_lets_the_dock_in_and_leaves_it_alone(talking: Dock, broker: Broker) -> None:
    dock = talking
    dock.wait(lambda s: s["mqtt"]["connected"], "connected")
    since = dock.status()["mqtt"]["since"]
    with Listener(broker.port) as listener:
        assert f"127.0.0.1:{broker.port} lets this dock in" in dock.run("check").stdout
        assert dock.status()["mqtt"]["since"] == since
        broker.kill()
        told = dock.run("check", codes=(1,)).stdout
        assert "no connection to the broker" in told
        assert not [heard for heard in listener.all("availability") if heard.json()["state"] != "online"]
