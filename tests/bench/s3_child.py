"""One upload of one file into a bucket, as a program: dockd's store, or boto3's `upload_file`.

Run by the bench in a process of its own, with one JSON object as its argument. Prints one line of JSON. dockd's part is
done as the daemon does it: in a worker's thread, beside an event loop whose lag is measured.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

LAG_PAUSE_S = 0.005


def upload_with_boto3(given: dict[str, Any]) -> dict[str, Any]:
    import boto3
    from boto3.s3.transfer import TransferConfig
    from botocore.config import Config

    client = boto3.session.Session(given["access"], given["secret"], region_name="us-east-1").client(
        "s3",
        endpoint_url=given["endpoint"],
        config=Config(s3={"addressing_style": "path", "payload_signing_enabled": given["signed"]}, **given["config"]),
    )
    part = given["part_size_bytes"]
    how = TransferConfig(multipart_threshold=part, multipart_chunksize=part, max_concurrency=given["at_once"])
    start_s, cpu_s = time.monotonic(), time.process_time()
    client.upload_file(given["file"], given["bucket"], given["key"], Config=how)
    return {"upload_s": time.monotonic() - start_s, "upload_cpu_s": time.process_time() - cpu_s}


def upload_with_dockd(given: dict[str, Any]) -> dict[str, Any]:
    return asyncio.run(_beside_a_loop(given))


async def _beside_a_loop(given: dict[str, Any]) -> dict[str, Any]:
    from dockd.direct_io import Buffer
    from dockd.runtime.workers import Worker

    worker = Worker("store")
    store = _store(given)
    buffer = await worker.run(Buffer)
    lags: list[float] = []
    sampler = asyncio.create_task(_sample(lags))
    found = await worker.run(lambda: _save(store, given, buffer, worker.control))
    sampler.cancel()
    worker.close()
    await worker.join(10)
    lags.sort()
    return {**found, "lag_p99_ms": lags[int(len(lags) * 0.99)] * 1e3, "lag_samples": len(lags)}


async def _sample(lags: list[float]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due_s = loop.time() + LAG_PAUSE_S
        await asyncio.sleep(LAG_PAUSE_S)
        lags.append(max(0.0, loop.time() - due_s))


def _store(given: dict[str, Any]) -> Any:
    from dockd.stores.s3 import S3Store
    from dockd.stores.s3_bucket import S3Settings

    store = S3Store(
        S3Settings(
            bucket=given["bucket"],
            endpoint_url=given["endpoint"],
            region=None,
            ca_file=None,
            addressing="path",
            part_size_bytes=given["part_size_bytes"],
            object_lock_days=0,
            sign_payload=given["signed"],
            encryption=None,
            dock="bench/bench/bench",
            secrets=lambda: (given["access"], given["secret"]),
        )
    )
    store.pin(store.identify())
    return store


def _save(store: Any, given: dict[str, Any], buffer: Any, control: Any) -> dict[str, Any]:
    """The part digests as the copy makes them, from what it has read, and then the upload."""
    from dockd.digests import Digests, PartHasher
    from dockd.direct_io import Reader
    from dockd.stores.base import Upload

    source = Path(given["file"])
    size_bytes, parts, digests_cpu_s = source.stat().st_size, None, 0.0
    wanted = store.part_size_bytes(size_bytes)
    if wanted is not None:
        hasher = PartHasher(wanted)
        fd = os.open(source, os.O_RDONLY)
        try:
            for chunk in Reader(fd, buffer, direct=True).chunks():
                # The copy has read them for its own sake.
                cpu_s = time.thread_time()
                hasher.update(chunk)
                digests_cpu_s += time.thread_time() - cpu_s
        finally:
            os.close(fd)
        parts = hasher.finish()
    digests = Digests(size_bytes, given["blake3"], given["sha256"])
    start_s, cpu_s = time.monotonic(), time.process_time()
    store.save(given["key"], source, digests, Upload("0" * 32, lambda _: None, parts), buffer, control)
    upload_s = time.monotonic() - start_s
    upload_cpu_s = time.process_time() - cpu_s + digests_cpu_s
    return {"upload_s": upload_s, "upload_cpu_s": upload_cpu_s, "part_digests_cpu_s": digests_cpu_s}


WAYS = {"boto3": upload_with_boto3, "dockd": upload_with_dockd}

if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    print(json.dumps(WAYS[asked["way"]](asked)))
