"""Ranges of bytes, in a file or in memory, that are read only when asked for."""

from __future__ import annotations

import os
import threading
import weakref
from pathlib import Path
from typing import Protocol

from faceloom.errors import CheckpointError


class Origin(Protocol):
    """Where the bytes of a span come from."""

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes from `start` on."""
        ...


class FileOrigin:
    """An open file, closed when the last span on it is gone."""

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, descriptor)
        self._file = os.fdopen(descriptor, "rb", buffering=0, closefd=False)
        self._lock = threading.Lock()
        self.size = os.fstat(descriptor).st_size

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes from `start` on."""
        with self._lock:
            self._file.seek(start)
            done = 0
            while done < len(buffer):
                count = self._file.readinto(buffer[done:])
                if not count:
                    raise CheckpointError("the file became shorter while it was read; try again")
                done += count


class MemoryOrigin:
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes from `start` on."""
        buffer[:] = self._data[start : start + len(buffer)]


class Span:
    """A range of bytes. Reading beyond its end is an error, never a short answer."""

    __slots__ = ("_origin", "_start", "length")

    def __init__(self, origin: Origin, start: int, length: int) -> None:
        self._origin = origin
        self._start = start
        self.length = length

    @classmethod
    def of_file(cls, path: Path) -> Span:
        """The whole of a file.

        Raises:
            OSError: if the file cannot be opened.
            CheckpointError: if it is a folder or a device.
        """
        if path.exists() and not path.is_file():
            raise CheckpointError("this is no file; give the path of the checkpoint itself")
        origin = FileOrigin(path)
        return cls(origin, 0, origin.size)

    @classmethod
    def of_bytes(cls, data: bytes) -> Span:
        """Bytes in memory."""
        return cls(MemoryOrigin(data), 0, len(data))

    def part(self, start: int, length: int) -> Span:
        """`length` bytes from `start` on, unread.

        Raises:
            CheckpointError: if the span does not hold them.
        """
        if start < 0 or length < 0 or start + length > self.length:
            left = max(0, self.length - start)
            raise CheckpointError(f"the file is cut short or damaged: it declares {length} bytes where {left} are left")
        return Span(self._origin, self._start + start, length)

    def read_into(self, buffer: memoryview) -> None:
        """Fill a writable buffer of exactly `length` bytes."""
        self._origin.read_into(self._start, buffer)

    def read(self, start: int = 0, length: int | None = None) -> bytes:
        """`length` bytes from `start` on, or all that follow."""
        part = self.part(start, self.length - start if length is None else length)
        data = bytearray(part.length)
        part.read_into(memoryview(data))
        return bytes(data)
