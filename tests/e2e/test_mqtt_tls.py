"""TLS with client certificates, and one access list that keeps docks apart by their certificates' names."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from authority import Authority
from e2e.broker import Broker, Listener
from e2e.harness import Dock

DOCK = "calgary/district-4/dock-07"


class Site:
    """A broker with TLS and an access list, and the credentials of a dock."""

    def __init__(self, folder: Path, make_broker: Callable[..., Broker]) -> None:
        self.authority = Authority(folder / "ca", "ours")
        self.credentials = folder / "credentials"
        self.credentials.mkdir()
        acl = folder / "acl"
        acl.write_text("user test\ntopic read #\n\npattern write dockd/v1/%u/#\npattern read dockd/v1/%u/command/#\n")
        server = self.authority.issue("127.0.0.1", "server")
        self.broker = make_broker(
            f"cafile {self.authority.certificate}",
            f"certfile {server[0]}",
            f"keyfile {server[1]}",
            "require_certificate true",
            "use_identity_as_username true",
            f"acl_file {acl}",
        )
        self.test = (self.authority.certificate, *self.authority.issue("test", "test"))

    def give(self, common_name: str, *, days: str = "30") -> None:
        """Put a certificate of this name into the dock's credentials."""
        certificate, key = self.authority.issue(common_name, "given", days=days)
        (self.credentials / "mqtt-cert").write_bytes(certificate.read_bytes())
        (self.credentials / "mqtt-key").write_bytes(key.read_bytes())

    def settings(self, *, ca: Path | None = None, certificate: bool = True) -> tuple[tuple[str, str], ...]:
        own = (("cert_credential", "mqtt-cert"), ("key_credential", "mqtt-key")) if certificate else ()
        url = f"mqtts://127.0.0.1:{self.broker.port}"
        return (("url", url), ("ca_file", str(ca or self.authority.certificate)), *own)

    def start(self, dock: Dock) -> Dock:
        dock.start(environment={"CREDENTIALS_DIRECTORY": str(self.credentials)})
        return dock


@pytest.fixture
def site(tmp_path: Path, make_broker: Callable[..., Broker]) -> Site:
    return Site(tmp_path, make_broker)


def test_a_dock_speaks_by_its_certificate_and_takes_commands(site: Site, make_dock: Callable[..., Dock]) -> None:
    site.give(DOCK)
    dock = site.start(make_dock(mqtt=site.settings()))
    dock.cameras.add("CAM1", {"a.mp4": 1000})
    with Listener(site.broker.port, tls=site.test) as listener:
        listener.wait(lambda: listener.last("camera/CAM1"), "the camera")
        listener.wait(lambda: (listener.last("bay/folder-CAM1") or {}).get("state") == "ready", "ready")
    assert not [alert for alert in dock.status()["alerts"] if alert["code"].startswith("mqtt")]


def test_another_docks_certificate_lets_a_dock_say_nothing(site: Site, make_dock: Callable[..., Dock]) -> None:
    site.give("calgary/district-4/dock-08")
    dock = site.start(make_dock(mqtt=site.settings()))
    assert "Not authorized" in dock.wait_alert("mqtt_refused")["what"]
    with Listener(site.broker.port, tls=site.test) as listener:
        dock.cameras.add("CAM1", {"a.mp4": 1000})
        dock.finish()
        assert not listener.all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ("authority", "CERTIFICATE_VERIFY_FAILED"),
        ("expired", "certificate"),
        ("missing", "cert_credential"),
        ("file", "cert_credential"),
    ],
)
def test_what_is_wrong_with_the_certificates_is_named(
    site: Site, make_dock: Callable[..., Dock], tmp_path: Path, wrong: str, named: str
) -> None:
    other = Authority(tmp_path / "other", "theirs")
    site.give(DOCK, days="0" if wrong == "expired" else "30")
    if wrong == "expired":
        # Newer openssl makes none that ended earlier than it began.
        time.sleep(1.5)
    settings = site.settings(ca=other.certificate if wrong == "authority" else None, certificate=wrong != "missing")
    if wrong == "file":
        (site.credentials / "mqtt-cert").unlink()
    dock = site.start(make_dock(mqtt=settings))
    assert named in dock.wait_alert("mqtt_unavailable")["what"]
    assert dock.status()["mqtt"]["connected"] is False
