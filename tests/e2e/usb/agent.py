"""Runs in the guest, as root: carries out what comes in on a virtio port, one JSON line each way.

Started before the snapshot is taken, so that every test finds it running. Standard library only.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import threading
import time

PORT = "/dev/virtio-ports/dockd.agent"


def run(ask: dict) -> dict:
    done = subprocess.run(
        ask["argv"],
        input=base64.b64decode(ask.get("stdin", "")),
        capture_output=True,
        timeout=ask.get("timeout_s", 600),
        check=False,
    )
    return {"code": done.returncode, "out": encoded(done.stdout), "err": encoded(done.stderr)}


def read(ask: dict) -> dict:
    with open(ask["path"], "rb") as file:
        return {"data": encoded(file.read())}


def write(ask: dict) -> dict:
    os.makedirs(os.path.dirname(ask["path"]), exist_ok=True)
    with open(ask["path"], "wb") as file:
        file.write(base64.b64decode(ask["data"]))
    return {}


def clock(ask: dict) -> dict:
    time.clock_settime(time.CLOCK_REALTIME, ask["now_s"])
    return {}


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


ACTIONS = {"run": run, "read": read, "write": write, "clock": clock, "ping": lambda ask: {}}


def serve(port: object, lock: threading.Lock, line: bytes) -> None:
    ask = json.loads(line)
    try:
        answer = ACTIONS[ask["do"]](ask)
    except Exception as error:  # noqa: BLE001 - the host is told
        answer = {"error": f"{type(error).__name__}: {error}"}
    told = json.dumps({"id": ask["id"], **answer}).encode() + b"\n"
    with lock:
        port.write(told)
        port.flush()


def main() -> None:
    lock = threading.Lock()
    port = open(PORT, "r+b", buffering=0)  # noqa: SIM115 - for as long as the machine runs
    rest = b""
    while True:
        got = port.read(65536)
        if not got:
            # Nobody is at the other end.
            time.sleep(0.01)
            continue
        *lines, rest = (rest + got).split(b"\n")
        for line in filter(None, lines):
            threading.Thread(target=serve, args=(port, lock, line), daemon=True).start()


main()
