"""A fake server on a port, for people and for tests."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

from starlette.types import ASGIApp
from uvicorn import Config, Server

from poise.errors import SystemFault, UsageError

START = 10.0  # seconds that a server may take to start


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
        host: name or address.
        port: 0 for any that is free.

    Returns:
        It, bound.

    Raises:
        UsageError: the port is taken, or there is no such host.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(2048)
    except (OSError, OverflowError) as error:
        bound.close()
        told = (getattr(error, "strerror", None) or str(error)).rstrip(".")
        raise UsageError(
            "A server needs a free port of this machine", f"{host}:{port}: {told}", "--port 0 takes any that is free"
        ) from None
    return bound


def address_of(bound: socket.socket) -> str:
    """The URL of a socket, without a path."""
    host, port, *_ = bound.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(app: ASGIApp, bound: socket.socket) -> None:
    """Serve until interrupted.

    Args:
        app: the application.
        bound: where.
    """
    _server(app).run(sockets=[bound])


@contextlib.contextmanager
def served(app: ASGIApp, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """An application on a port, in a thread, as long as the block lasts.

    Args:
        app: the application.
        host: name or address.
        port: 0 for any that is free.

    Yields:
        Its URL, without a path.

    Raises:
        SystemFault: it does not start.
    """
    bound, server = bind(host, port), _server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    until = time.monotonic() + START
    while not server.started:
        if time.monotonic() > until or not thread.is_alive():
            raise SystemFault("The fake server starts within 10 seconds", "no answer", "Look at what it printed")
        time.sleep(0.005)
    try:
        yield address_of(bound)
    finally:
        server.force_exit = server.should_exit = True
        thread.join(START)
        bound.close()


def _server(app: ASGIApp) -> Server:
    return Server(
        Config(
            app, log_config=None, log_level="critical", access_log=False, server_header=False, lifespan="off",
            timeout_graceful_shutdown=1,
        )
    )  # fmt: skip
