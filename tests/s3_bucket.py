"""A bucket of its owner's, which lets dockd do what `docs/s3-bucket-policy.json` permits and no more."""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path
from typing import Any

import boto3
import ceph as ceph_service
from botocore.config import Config
from ceph import Ceph

from dockd.durable import STORE_SENTINEL

ROOT = Path(__file__).resolve().parents[1]
POLICY = ROOT / "docs" / "s3-bucket-policy.json"


def client(endpoint: str, access: str, secret: str) -> Any:
    """A client of boto3's that shares nothing with dockd's."""
    return boto3.session.Session(access, secret, region_name="us-east-1").client(
        "s3",
        endpoint_url=endpoint,
        config=Config(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"mode": "standard", "total_max_attempts": 5},
        ),
    )


class Bucket:
    """One bucket, new and empty; all of it is seen and meddled with behind dockd's back."""

    def __init__(self, ceph: Ceph, *, versioned: bool = False, locked: bool = False) -> None:
        self.ceph = ceph
        self.name = f"evidence-{uuid.uuid4().hex[:12]}"
        self.owner = client(ceph.endpoint, ceph_service.OTHER_ACCESS_KEY, ceph_service.OTHER_SECRET_KEY)
        self.owner.create_bucket(Bucket=self.name, ObjectLockEnabledForBucket=locked)
        if versioned:
            self.owner.put_bucket_versioning(Bucket=self.name, VersioningConfiguration={"Status": "Enabled"})
        text = POLICY.read_text(encoding="utf-8").replace("EVIDENCE-BUCKET", self.name)
        policy = json.loads(text.replace("arn:aws:iam::123456789012:user/dockd", "arn:aws:iam:::user/dockd"))
        if locked:
            policy["Statement"][1]["Action"] += ["s3:PutObjectRetention", "s3:GetObjectRetention"]
        # Objects are their uploader's; the tests look at them all the same.
        arn = f"arn:aws:s3:::{self.name}"
        everything = {"Effect": "Allow", "Action": ["s3:*"], "Resource": [arn, f"{arn}/*"]}
        policy["Statement"].append({**everything, "Principal": {"AWS": ["arn:aws:iam:::user/other"]}})
        self.owner.put_bucket_policy(Bucket=self.name, Policy=json.dumps(policy))

    def names(self, prefix: str = "") -> list[str]:
        pages = self.owner.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return [each["Key"] for page in pages for each in page.get("Contents", ())]

    def get(self, key: str) -> bytes:
        return bytes(self.owner.get_object(Bucket=self.name, Key=key)["Body"].read())

    def put(self, key: str, data: bytes) -> None:
        self.owner.put_object(Bucket=self.name, Key=key, Body=data)

    def remove(self, key: str) -> None:
        self.owner.delete_object(Bucket=self.name, Key=key)

    def copy_to(self, folder: Path) -> None:
        """Put all that is in the bucket now into a folder, new and empty, but for what makes it a store."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for key in self.names():
            if key != STORE_SENTINEL:
                path = folder / key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.get(key))

    def uploads(self) -> list[tuple[str, str]]:
        """Key and id of every multipart upload that was begun and neither completed nor aborted."""
        pages = self.owner.get_paginator("list_multipart_uploads").paginate(Bucket=self.name)
        return [(each["Key"], each["UploadId"]) for page in pages for each in page.get("Uploads", ())]
