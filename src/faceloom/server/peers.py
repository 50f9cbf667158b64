"""Who is at the other end of a loopback connection."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

_TABLE = Path("/proc/net/tcp")
_Address = tuple[str, int]


def is_own_user(client: _Address, server: _Address) -> bool:
    """Whether the program that connected belongs to the user who runs the studio, or to root.

    Linux lists the owner of every socket; where no such list is to be had (other systems, some sandboxes), the answer
    is yes.
    """
    rows = _rows()
    if rows is None:
        return True
    ours, theirs = _spell(server), _spell(client)
    owner = rows.get((theirs, ours))
    if owner is None:
        # A list that lacks our own end as well is not about these connections.
        return (ours, theirs) not in rows
    return owner in (0, os.getuid())


def _rows() -> dict[tuple[str, str], int] | None:
    try:
        lines = _TABLE.read_text(encoding="ascii").splitlines()[1:]
    except (OSError, UnicodeDecodeError):
        return None
    fields = [line.split() for line in lines]
    return {(row[1], row[2]): int(row[7]) for row in fields if len(row) > 7 and row[7].isdigit()}


def _spell(address: _Address) -> str:
    """As in the list: the address as a number in this machine's byte order, in hexadecimal."""
    (number,) = struct.unpack("=I", socket.inet_aton(address[0]))
    return f"{number:08X}:{address[1]:04X}"
