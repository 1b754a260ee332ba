"""The HTTP server: granian's workers, each with an application of its own.

Promises: it stops when told to, after what it is answering, ten seconds later at most; a worker
that dies is replaced; workers do not outlive the server. Every answer that is a mistake of ours is
written to the log with its traceback, and is an answer all the same.

granian was measured against uvicorn on two cores, wrk beside it: an answer from memory 45,000 to
51,000 times a second by its own protocol (RSGI), 42,000 to 50,000 by ASGI; uvicorn 16,000 to
32,000; nginx 46,000 to 49,000. granian's own static files (15,000) have no ETag and no Range.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import signal
import socket
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from imagectl.adapters.web.exchange import Part, Reply, Request
from imagectl.errors import Failed

if TYPE_CHECKING:
    from granian.rsgi import Scope


STOP_SECONDS = 10
"""How long answers may go on after the server was told to stop."""

HEADER_SECONDS = 10
"""How long a client may take to say what it asks for: who never ends it would hold a connection."""

_PR_SET_PDEATHSIG = 1


class Application(Protocol):
    """What answers. Raises nothing that is not a mistake."""

    def ready(self) -> None:
        """Told that this worker listens."""
        ...

    def warm_up(self) -> None:
        """Find what takes long before somebody asks for it; from a thread, after ``ready``."""
        ...

    def at_once(self, request: Request) -> Reply | None:
        """The answer where it is at hand; None where it takes reading and thinking."""
        ...

    def answer(self, request: Request) -> Reply:
        """The answer, from any thread."""
        ...

    def takes_long(self, request: Request) -> bool:
        """Whether its answer may take seconds: those are found one at a time, beside the others."""
        ...

    def mistake(self, request: Request, problem: Exception) -> Reply:
        """The answer where another method raised *problem*."""
        ...

    def answered(self, request: Request, client: str, status: int, seconds: float) -> None:
        """Told of each answer: for counting, and the log."""
        ...


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def reserve(address: Address) -> Address:
    """The address with its port, where 0 was asked for any. Raises Failed where it is taken.

    granian's workers share a port (SO_REUSEPORT), and would share another server's as well.
    """
    try:
        [(family, kind, protocol, _, target), *_] = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(target)
            probe.listen()
            host, port = probe.getsockname()[:2]
            return Address(host, port)
    except OSError as problem:
        raise _cannot_listen(address, problem) from problem


def serve(address: Address, workers: int, make: Callable[[], Application]) -> None:
    """Answer until told to stop (SIGTERM, SIGINT). *make* is called in each worker.

    Raises Failed where workers keep dying.
    """
    from granian.constants import HTTPModes, Interfaces
    from granian.http import HTTP1Settings
    from granian.server import Server

    server = Server(
        "imagectl",
        address=address.host,
        port=address.port,
        interface=Interfaces.RSGI,
        workers=workers,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=HEADER_SECONDS * 1000),
        websockets=False,
        respawn_failed_workers=True,
        workers_kill_timeout=STOP_SECONDS,
        log_enabled=False,
    )
    server.on_startup(partial(_end_early_workers, server.signal_handler_interrupt))
    try:
        server.serve(target_loader=partial(_worker, make), wrap_loader=False)
    except SystemExit as problem:
        raise Failed(
            "the server's workers end as soon as they are started",
            why="each said why, above",
            hint="run it with -v",
        ) from problem


def _end_early_workers(interrupt: Callable[[], None]) -> None:
    """Have a worker end that is told to before it has begun. It is a fork of the server, whose
    handlers it has until then: they would tell itself, and nobody would hear."""
    server = os.getpid()

    def stop(*_: object) -> None:
        if os.getpid() != server:
            os._exit(0)
        interrupt()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def _worker(make: Callable[[], Application]) -> Any:
    """What answers in this process, which is a new worker."""
    os.setpgrp()  # Ctrl-C is for the server, which lets answers end
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    return Handler(make())


class Handler:
    """The application by granian's protocol (RSGI), whose ``HTTPProtocol`` is native code."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._one_by_one = ThreadPoolExecutor(1)

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_soon(self._ready)  # the loop runs once the worker listens

    def _ready(self) -> None:
        self._application.ready()
        self._one_by_one.submit(self._application.warm_up)

    async def __rsgi__(self, scope: Scope, protocol: Any) -> None:
        application = self._application
        began = time.perf_counter()
        request = Request(scope.method, scope.path, scope.query_string, scope.headers)
        try:
            reply = application.at_once(request)
            if reply is None:
                loop = asyncio.get_running_loop()
                threads = self._one_by_one if application.takes_long(request) else None
                reply = await loop.run_in_executor(threads, application.answer, request)
        except Exception as problem:
            reply = application.mistake(request, problem)
        _send(protocol, reply)
        application.answered(request, scope.client, reply.status, time.perf_counter() - began)


def _send(protocol: Any, reply: Reply) -> None:
    body = reply.body
    if isinstance(body, Part):
        protocol.response_file_range(
            reply.status, reply.headers, str(body.path), body.start, body.end
        )
    elif body:
        protocol.response_bytes(reply.status, reply.headers, body)
    else:
        protocol.response_empty(reply.status, reply.headers)


def told(problem: Exception) -> str:
    """The traceback of a mistake, for the log."""
    return "".join(traceback.format_exception(problem))


def _cannot_listen(address: Address, problem: OSError) -> Failed:
    taken = problem.errno == errno.EADDRINUSE
    return Failed(
        f"{address} cannot be listened on",
        why="another program listens there" if taken else problem.strerror or str(problem),
        hint="say another address with --listen",
    )
