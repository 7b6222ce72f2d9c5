"""A local object store: Amazon's S3 as moto serves it, with the environment that names it."""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest

BUCKET = "scans"
KEY = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing-secret"}


@contextlib.contextmanager
def local_store(patch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Serve an empty bucket, and yield a client of it (boto3)."""
    pytest.importorskip("s3fs", reason="needs s3fs: pip install 'diascope[s3]'")
    server_of = pytest.importorskip("moto.server", reason="needs moto, a local S3 server")
    boto3 = pytest.importorskip("boto3", reason="needs boto3, which moto brings")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        patch.delenv(name)
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # a line a request
    with contextlib.redirect_stdout(io.StringIO()):
        server = server_of.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
    try:
        host, port = server.get_host_and_port()
        about = {"AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
        for name, value in {**KEY, **about, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}.items():
            patch.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        yield client
        client.close()
    finally:
        server.stop()


def upload(client: Any, folder: Any, prefix: str) -> None:
    """Copy the files of a folder below a prefix."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = f"{prefix}/{path.relative_to(folder).as_posix()}"
            client.put_object(Bucket=BUCKET, Key=name, Body=path.read_bytes())


def objects(client: Any, prefix: str) -> list[str]:
    """Return the names of all objects below a prefix."""
    page = client.list_objects_v2(Bucket=BUCKET, Prefix=prefix)
    return [one["Key"] for one in page.get("Contents", [])]
