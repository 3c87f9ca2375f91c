"""A dock whose store is a bucket, seen from behind by its owner, with a proxy on the way to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ceph
from e2e.harness import Dock
from e2e.proxy import Proxy
from e2e.settings import Settings
from oracle_world import World
from s3_bucket import Bucket


@dataclass(frozen=True)
class S3Settings(Settings):
    """What a test may set of a dock with a bucket."""

    bucket: str = ""
    endpoint: str = ""
    part_size: str = "5MiB"

    def store_table(self, store: Path) -> dict[str, Any]:
        return {
            "kind": "s3",
            "bucket": self.bucket,
            "endpoint_url": self.endpoint,
            "part_size": self.part_size,
            "access_key_credential": "s3-access-key",
            "secret_key_credential": "s3-secret-key",
        }


def write_keys(folder: Path, access: str = ceph.ACCESS_KEY, secret: str = ceph.SECRET_KEY) -> None:
    """The credentials as systemd would hand them over."""
    folder.mkdir(exist_ok=True)
    (folder / "s3-access-key").write_text(f"{access}\n")
    (folder / "s3-secret-key").write_text(f"{secret}\n")


class S3Dock(Dock):
    """See `Dock`; `store` is a folder into which the bucket's objects are copied whenever somebody looks."""

    settings_class = S3Settings

    def __init__(self, root: Path, bucket: Bucket, **settings: Any) -> None:
        self.bucket = bucket
        self.proxy = Proxy(bucket.ceph.port)
        super().__init__(root, bucket=bucket.name, endpoint=self.proxy.endpoint, **settings)

    def mirror(self) -> None:
        """Copy what is in the bucket now, through its owner's own client."""
        self.bucket.copy_to(self.store)

    def world(self, **judged: Any) -> World:
        self.mirror()
        return super().world(**judged)

    def objects(self, serial: Any = None) -> list[Path]:
        self.mirror()
        return super().objects(serial)

    def clear(self) -> None:
        super().clear()
        self.proxy.close()
