"""A time stamping authority of a test's own: openssl's, behind a small HTTP server on loopback."""

from __future__ import annotations

import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_CONFIG = """[ tsa ]
default_tsa = here
[ here ]
serial = {folder}/serial
crypto_device = builtin
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
ordering = yes
tsa_name = yes
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""
_EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


class Authority:
    """Answers on `url`; `ca_file` vouches for it. `refusing` has it answer with nonsense."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.ca_file = folder / "ca.pem"
        self.refusing = False
        self.asked = 0
        (folder / "serial").write_text("01\n")
        (folder / "tsa.cnf").write_text(_CONFIG.format(folder=folder))
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
        openssl("req", "-x509", *_EC, "-keyout", folder / "ca.key", "-out", self.ca_file, "-days", "30",
                "-subj", "/CN=stamps", *usage)  # fmt: skip
        openssl("req", "-new", *_EC, "-keyout", folder / "tsa.key", "-out", folder / "tsa.csr", "-subj", "/CN=tsa")
        (folder / "tsa.ext").write_text("extendedKeyUsage=critical,timeStamping\nkeyUsage=critical,digitalSignature\n")
        signed = ("-CA", self.ca_file, "-CAkey", folder / "ca.key", "-CAcreateserial", "-extfile", folder / "tsa.ext")
        openssl("x509", "-req", "-in", folder / "tsa.csr", *signed, "-out", folder / "tsa.pem", "-days", "30")
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/tsr"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, query: bytes) -> bytes:
        """What openssl says to a query."""
        self.asked += 1
        if self.refusing:
            return b"no stamp"
        (self.folder / "query").write_bytes(query)
        files = ("-queryfile", self.folder / "query", "-out", self.folder / "reply")
        openssl("ts", "-reply", "-config", self.folder / "tsa.cnf", *files)
        return (self.folder / "reply").read_bytes()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        authority = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                found = authority.answer(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Type", "application/timestamp-reply")
                self.send_header("Content-Length", str(len(found)))
                self.end_headers()
                self.wfile.write(found)

            def log_message(self, format: str, *given: object) -> None:  # noqa: A002 - the base's name
                """Nothing: pytest shows what matters."""

        return Handler
