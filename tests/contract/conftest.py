"""Buckets for trees: S3 by moto, Cloud Storage by ``support.gcs_bucket``, each behind a proxy that
can make it fail. A new bucket for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from peers.faults import FaultProxy
from support.buckets import ENVIRONMENT, make_bucket, s3_server
from support.gcs_bucket import GcsServer, gcs_environment


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    with s3_server() as found:
        yield found


@pytest.fixture
def s3_proxy(s3_endpoint: str) -> Iterator[FaultProxy]:
    parts = urlsplit(s3_endpoint)
    assert parts.hostname is not None
    assert parts.port is not None
    with FaultProxy((parts.hostname, parts.port)).running() as proxy:
        yield proxy


@pytest.fixture
def s3_tree(s3_endpoint: str, s3_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a tree that is not there yet."""
    name = f"acme-{uuid4().hex[:12]}"
    make_bucket(s3_endpoint, name)
    for key, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": s3_proxy.endpoint}.items():
        monkeypatch.setenv(key, value)
    return f"s3://{name}/images/public"


@pytest.fixture
def gcs_server() -> Iterator[GcsServer]:
    with GcsServer(("acme-images",)).running() as server:
        yield server


@pytest.fixture
def gs_proxy(gcs_server: GcsServer) -> Iterator[FaultProxy]:
    with FaultProxy(gcs_server.address).running() as proxy:
        yield proxy


@pytest.fixture
def gs_tree(gs_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The same in Cloud Storage."""
    for key, value in gcs_environment(gs_proxy.endpoint, tmp_path).items():
        monkeypatch.setenv(key, value)
    return "gs://acme-images/public"
