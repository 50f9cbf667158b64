"""Run the studio on a port of the loopback."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import webbrowser
from collections.abc import Callable

import uvicorn

from faceloom.errors import UsageError
from faceloom.server.app import guarded
from faceloom.server.studio import Studio

HOST = "127.0.0.1"
_GRACE_SECONDS = 3


def listen(port: int) -> socket.socket:
    """A socket on 127.0.0.1 alone; port 0 takes any that is free.

    Raises:
        UsageError: the port is taken, or not allowed.
    """
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if os.name == "posix":  # on Windows the same option would let two programs share a port
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((HOST, port))
        found.listen(128)
    except OSError as error:
        found.close()
        raise UsageError(f"cannot use port {port} ({error.strerror}); leave --port out to take a free one") from error
    return found


def make_server(studio: Studio) -> uvicorn.Server:
    """The server, to be run on a socket of `listen`."""
    config = uvicorn.Config(
        guarded(studio),
        lifespan="on",
        loop="asyncio",
        http="h11",
        ws="websockets-sansio",
        ws_max_size=128 * 1024,
        ws_per_message_deflate=False,  # pictures are compressed already, and every millisecond counts
        proxy_headers=False,  # nobody may claim to be someone else
        server_header=False,
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    return uvicorn.Server(config)


def serve(studio: Studio, port: int, open_browser: bool, announce: Callable[[str], None]) -> None:
    """Serve until Ctrl-C; raises UsageError.

    Args:
        studio: what to serve.
        port: 0 for any that is free.
        open_browser: show the page. Its address holds no secret, so the list of processes may show it.
        announce: called with the address once connections are taken.
    """
    with contextlib.closing(listen(port)) as taken:
        address = f"http://{HOST}:{taken.getsockname()[1]}/"
        announce(address)
        if open_browser:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        make_server(studio).run(sockets=[taken])
