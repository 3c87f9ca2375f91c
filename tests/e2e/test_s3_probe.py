"""`dockd store probe` against a real Ceph: what it enforces, and what dockd does about it."""

import json
import os

import pytest
from e2e.planting import MIB

pytestmark = pytest.mark.s3

ENFORCED = {
    "sentinel": "enforced",
    "wrong secret key": "enforced",
    "signed payload": "enforced",
    "signed payload of a part": "enforced",
    "x-amz-checksum-sha256": "not enforced",
    "x-amz-checksum-sha256 of a part": "not enforced",
    "Content-MD5": "enforced",
    "Content-MD5 of a part": "enforced",
    "if-none-match on completing": "not enforced",
    "list parts": "enforced",
    "ranges": "enforced",
    "no delete": "enforced",
}


def probed(dock, *, codes=(0,)):
    found = json.loads(dock.run("store", "probe", "--json", codes=codes).stdout)
    return found, {finding["name"]: finding["verdict"] for finding in found["findings"]}


@pytest.mark.parametrize("versioned", [True, False])
def test_what_ceph_enforces(make_s3_dock, versioned):
    dock = make_s3_dock(versioned=versioned)
    dock.start()
    found, verdicts = probed(dock)
    # Ceph 16 looks at If-None-Match only where there are no versions.
    versions = {
        "former versions are kept": "enforced" if versioned else "not enforced",
        "if-none-match on a PUT": "not enforced" if versioned else "enforced",
    }
    assert found["ok"]
    assert verdicts == ENFORCED | versions
    assert dock.bucket.uploads() == []
    assert sorted(dock.bucket.names("calgary/probe/")) == sorted(found["left"])
    assert all(key.startswith("calgary/probe/") for key in found["left"])
    table = dock.run("store", "probe").stdout
    assert "so dockd will" in table
    assert "small objects stay below calgary/probe/" in table


def listings(dock):
    """Has the proxy remember each request for a list of parts."""
    seen = []

    def mangle(data, stream):
        if stream.up and data.startswith(b"GET ") and b"uploadId=" in data.split(b"\r\n", 1)[0]:
            seen.append(data)
        return data

    dock.proxy.mangle = mangle
    return seen


def test_the_dock_goes_by_what_was_found_of_this_very_store(make_s3_dock):
    dock = make_s3_dock()
    dock.start()
    assert probed(dock)[0]["ok"]
    path = dock.state / "store-probe.json"
    kept = json.loads(path.read_text())
    for finding in kept["findings"]:
        if finding["name"] == "list parts":
            finding["verdict"] = "not supported"
    path.write_text(json.dumps(kept))
    seen = listings(dock)
    dock.restart()
    dock.cameras.add("CAM1", {b"a.mp4": 12 * MIB, b"b.mp4": 100})
    dock.finish()
    assert seen == []
    path.write_text(json.dumps(kept | {"store_id": "0" * 32}))
    dock.restart()
    dock.cameras.add("CAM2", {b"a.mp4": 12 * MIB})
    dock.finish()
    assert seen


def test_the_probe_uses_its_own_key_if_it_has_one(make_s3_dock):
    dock = make_s3_dock()
    dock.start()
    folder = os.environ["CREDENTIALS_DIRECTORY"]
    text = dock.config.read_text().replace(
        "[store]\n",
        '[store]\nprobe_access_key_credential = "s3-probe-access"\nprobe_secret_key_credential = "s3-probe-secret"\n',
    )
    dock.config.write_text(text)
    for name in ("access", "secret"):
        with open(f"{folder}/s3-probe-{name}", "w") as file:
            file.write("nobody")
    told = dock.run("store", "probe", codes=(69,)).stderr
    assert "takes no probe" in told
    assert "InvalidAccessKeyId" in told
    assert not (dock.state / "store-probe.json").exists()
