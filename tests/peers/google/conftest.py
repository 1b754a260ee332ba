"""What the peer's own tests begin with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from google.cloud import compute_v1
from google.cloud.storage import Client

from peers.google.clients import (
    BUCKET,
    PROJECT,
    Connect,
    Done,
    options,
)
from peers.google.peer import Google, google


@pytest.fixture
def peer() -> Iterator[Google]:
    with google((PROJECT,), (BUCKET,)) as running:
        yield running


@pytest.fixture
def connect(peer: Google) -> Iterator[Connect]:
    with ExitStack() as stack:

        def made(kind: Callable[..., Any], **more: Any) -> Any:
            client = kind(**{**options(peer), **more})
            stack.callback(client.close if hasattr(client, "close") else client.transport.close)
            return client

        yield made


@pytest.fixture
def images(connect: Connect) -> compute_v1.ImagesClient:
    client = connect(compute_v1.ImagesClient)
    assert isinstance(client, compute_v1.ImagesClient)
    return client


@pytest.fixture
def bucket(connect: Connect) -> Any:
    return connect(Client, project=PROJECT).bucket(BUCKET)


@pytest.fixture
def done(connect: Connect) -> Done:
    return Done(connect)
