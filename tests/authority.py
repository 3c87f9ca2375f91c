"""A certificate authority for tests, from openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path

# Python 3.13 insists on it.
_USAGE = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


class Authority:
    """A certificate authority of one test."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.name = folder, name
        self.certificate, self._key = folder / f"{name}.pem", folder / f"{name}.key"
        made = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", self._key)
        openssl("req", "-x509", *made, "-out", self.certificate, "-days", "30", "-subj", f"/CN={name}", *_USAGE)

    def issue(self, common_name: str, file: str, *, days: str = "30") -> tuple[Path, Path]:
        """A certificate and its key; a name with slashes is written with escaped ones."""
        certificate, key, request = (self.folder / f"{file}.{end}" for end in ("pem", "key", "csr"))
        subject = "/CN=" + common_name.replace("/", "\\/")
        made = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key)
        openssl("req", "-new", *made, "-out", request, "-subj", subject)
        extensions = self.folder / f"{file}.ext"
        extensions.write_text("subjectAltName=IP:127.0.0.1\n")
        signed = ("-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial", "-extfile", extensions)
        openssl("x509", "-req", "-in", request, *signed, "-out", certificate, "-days", days)
        return certificate, key
