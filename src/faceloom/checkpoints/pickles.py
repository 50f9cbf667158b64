"""A reader of the pickle format that executes nothing.

A pickle is a program for a small stack machine whose instructions may import and call anything. This one runs that
program with its own instructions: the few functions of the allow-list in `standins` are our own stand-ins, and a call
of whatever else gives an `Inert`. Long payloads stay in the file as a `Span`. A budget bounds memory and time.

Source of the format: the documentation in Python's standard module pickletools.
"""

from __future__ import annotations

import codecs
import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from faceloom.checkpoints.hostile import safe_global
from faceloom.checkpoints.inert import Global, Inert, quoted
from faceloom.checkpoints.spans import Span
from faceloom.errors import CheckpointError

StandIn = Callable[["Machine", tuple[Any, ...]], Any]
"""What the reader does in place of a function that a pickle calls."""
Restorer = Callable[["Machine", Any, Any], None]
"""What the reader does to restore one of its own objects from a state."""
PersistentLoad = Callable[[Any], Any]
"""What the file around a pickle holds under an identity."""

_WINDOW = 8192
_MAX_TEXT = 8 << 20
_MAX_INTEGER_BYTES = 64
_MAX_NAME = 1000
_TUPLE_KEY = 1 << 15
_LAZY_BYTES = 4096
"""Payloads from this length on stay in the file."""
_MAX_BYTES_IN_MEMORY = 1 << 20
_OBJECT = 256
"""Bytes that an object is reckoned at."""


class Budget:
    """An allowance of memory, shared by a file and everything nested in it. It bounds time too: nothing is free.

    Args:
        total: bytes of small objects. The payload of tensors is not reckoned: it is read later, or never.
        nesting: how deep files may lie within files.
    """

    def __init__(self, total: int = 128 << 20, nesting: int = 4) -> None:
        self.left = total
        self.nesting = nesting

    def spend(self, amount: int) -> None:
        """Take `amount` bytes off.

        Raises:
            CheckpointError: if they are not there.
        """
        self.left -= amount
        if self.left < 0:
            raise CheckpointError("the file describes far more small objects than any checkpoint; refusing it")


class Machine:
    """The stack, the marks and the memo of a pickle that is read from a span, from `position` on.

    `instructions.run` runs it; `position` is behind the pickle then.
    """

    def __init__(
        self,
        span: Span,
        stand_ins: Mapping[Global, StandIn],
        restorers: Mapping[type, Restorer],
        *,
        budget: Budget,
        position: int = 0,
        persistent_load: PersistentLoad | None = None,
    ) -> None:
        self.span = span
        self.position = position
        self.budget = budget
        self._stand_ins, self._restorers, self._persistent_load = stand_ins, restorers, persistent_load
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._window, self._window_start = b"", 0

    # Bytes

    def take(self, count: int) -> bytes:
        """The next few bytes."""
        start = self.position - self._window_start
        if not 0 <= start <= len(self._window) - count:
            length = min(max(count, _WINDOW), self.span.length - self.position)
            if length < count:
                raise CheckpointError("the file is cut short: its pickle ends in the middle")
            self._window, self._window_start, start = self.span.read(self.position, length), self.position, 0
        self.position += count
        return self._window[start : start + count]

    def number(self, form: str) -> int:
        """The next number, by its struct format."""
        value: int = struct.unpack(form, self.take(struct.calcsize(form)))[0]
        return value

    def line(self) -> bytes:
        """Bytes up to the next newline, without it."""
        start, length, end = self.position, 0, -1
        while end < 0:
            chunk = self.take(min(256, max(self.span.length - self.position, 1)))
            end = chunk.find(b"\n")
            length += len(chunk) if end < 0 else end
            if length > _MAX_TEXT:
                raise CheckpointError("a line of text in the pickle is too long; the file is damaged")
        self.position = start
        self.budget.spend(length)
        return self.take(length + 1)[:-1]

    def payload(self, length: int) -> Span | bytes:
        """The next `length` bytes, unread where they are many."""
        part = self.span.part(self.position, length)
        if length < _LAZY_BYTES:
            self.budget.spend(length)
            return self.take(length)
        self.position += length
        self.budget.spend(128)
        return part

    def text(self, length: int) -> str:
        """The next `length` bytes as UTF-8."""
        if length > _MAX_TEXT:
            raise CheckpointError(f"a text of {length} bytes in the pickle is too long; the file is damaged or hostile")
        text = str(self.take(length), "utf-8", "surrogatepass")
        self.budget.spend(sys.getsizeof(text))
        return text

    # Stack

    def push(self, value: Any, cost: int = 0) -> None:
        """Put a value on the stack; `cost` is what it takes in memory beyond a few words."""
        self.budget.spend(cost)
        self._stack.append(value)

    def pop(self) -> Any:
        """Take the top of the stack off."""
        self._guard(1)
        return self._stack.pop()

    def pop_many(self, count: int) -> list[Any]:
        """Take the `count` topmost values off, the topmost last."""
        self._guard(count)
        values = self._stack[-count:]
        del self._stack[-count:]
        return values

    def top(self) -> Any:
        """The top of the stack."""
        self._guard(1)
        return self._stack[-1]

    def pop_mark(self) -> list[Any]:
        """Take everything above the last mark off."""
        if not self._marks:
            raise CheckpointError("the pickle is malformed: it looks for a mark that it never set")
        start = self._marks.pop()
        values = self._stack[start:]
        del self._stack[start:]
        return values

    def discard(self) -> None:
        """Drop the top of the stack, or the mark that lies there."""
        if self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        else:
            self.pop()

    def _guard(self, count: int) -> None:
        if len(self._stack) - count < (self._marks[-1] if self._marks else 0):
            raise CheckpointError("the pickle is malformed: it takes a value from an empty stack")

    def mark(self) -> None:
        """Remember the height of the stack."""
        self._marks.append(len(self._stack))

    def remember(self, index: int) -> None:
        """Write the top of the stack down under a number."""
        self.budget.spend(144)
        self._memo[index] = self.top()

    def recall(self, index: int) -> None:
        """Push what was written down."""
        if index not in self._memo:
            raise CheckpointError("the pickle is malformed: it recalls what it never stored")
        self.push(self._memo[index])

    @property
    def remembered(self) -> int:
        """How many values were written down."""
        return len(self._memo)

    # Objects

    def look_up(self, module: Any, name: Any) -> Global:
        """The name of a class or function.

        Raises:
            CheckpointError: if it is one that only an attack would name.
        """
        if not isinstance(module, str) or not isinstance(name, str):
            raise CheckpointError("the pickle is malformed: the name of a class is not a text")
        if len(module) + len(name) > _MAX_NAME:
            raise CheckpointError(f"the pickle names a class {quoted(name)} that no program could have")
        self.budget.spend(2 * _OBJECT)
        return safe_global(module, name)

    def call(self, function: Any, args: Any) -> Any:
        """What stands in for `function(*args)`."""
        if not isinstance(function, Global) or not isinstance(args, tuple):
            raise CheckpointError("the pickle calls something that is not a class or function with a name")
        self.budget.spend(_OBJECT)
        stand_in = self._stand_ins.get(function)
        return Inert(function.name, function.module, args) if stand_in is None else stand_in(self, args)

    def build(self, target: Any, state: Any) -> None:
        """Restore an object from its state, where it is one that has any."""
        restore = self._restorers.get(type(target))
        if restore is not None:
            restore(self, target, state)
        elif isinstance(target, Inert):
            target.state = state

    def persistent(self, identity: Any) -> Any:
        """What the file around this pickle holds under an identity."""
        if self._persistent_load is None:
            raise CheckpointError("the pickle refers to data outside of itself, and there is none")
        self.budget.spend(512)
        return self._persistent_load(identity)

    def extend(self, target: Any, values: list[Any]) -> None:
        """Append to a list, a set, or an object that stands in for one."""
        self.budget.spend(16 * len(values))
        if isinstance(target, Inert):
            target.items = target.items if target.items is not None else []
            target.items += values
        elif isinstance(target, list):
            target += values
        elif isinstance(target, set):
            target.update(self.keys(values))
        else:
            raise CheckpointError("the pickle appends to something that is not a list")

    def assign(self, target: Any, flat: list[Any]) -> None:
        """Set the entries key, value, key, value ... of a dictionary, or of an object that stands in for one."""
        if len(flat) % 2:
            raise CheckpointError("the pickle is malformed: a key without a value")
        pairs = zip(flat[::2], flat[1::2], strict=True)
        if isinstance(target, Inert):
            target.entries = target.entries if target.entries is not None else {}
            self.fill(target.entries, pairs)
        elif isinstance(target, dict):
            self.fill(target, pairs)
        else:
            raise CheckpointError("the pickle sets an entry of something that is not a dictionary")

    def fill(self, target: dict[Any, Any], pairs: Iterable[tuple[Any, Any]]) -> None:
        """Set entries of a dictionary; the keys are checked."""
        for key, value in pairs:
            self.keys((key,))
            target[key] = value

    def keys(self, values: Iterable[Any]) -> Iterable[Any]:
        """The values themselves, all fit to be hashed: hashing nested tuples can take for ever.

        Hashes of tuples of numbers can be foreseen, so that many can be made to collide: a few are let in.
        """
        for value in values:
            self.budget.spend(_TUPLE_KEY if isinstance(value, tuple) else 112)
            parts = value if isinstance(value, tuple) else (value,)
            for part in parts:
                plain = part is None or isinstance(part, str | bytes | float | Global)
                if not plain and not (isinstance(part, int) and part.bit_length() <= 64):
                    raise CheckpointError(
                        f"the pickle has a key of the type {type(part).__name__}, not a name or number"
                    )
        return values


def decimal(text: bytes) -> int:
    """A number in decimal digits, as protocol 0 writes it."""
    text = text.strip().removesuffix(b"L")
    if len(text) > 3 * _MAX_INTEGER_BYTES or not text.lstrip(b"+-").isdigit():
        raise CheckpointError("the pickle has a malformed number")
    return int(text)


def integer(machine: Machine, length: int) -> int:
    """A little-endian number of `length` bytes."""
    if not 0 <= length <= _MAX_INTEGER_BYTES:
        raise CheckpointError(f"the pickle has a number of {length} bytes; the file is damaged or hostile")
    return int.from_bytes(machine.take(length), "little", signed=True)


def byte_text(data: Span | bytes) -> Span | bytes | str:
    """A string of Python 2, which may be a name or bytes: a name where it is ASCII."""
    if isinstance(data, bytes) and data.isascii():
        return data.decode("ascii")
    return data


def unescaped(line: bytes) -> bytes:
    """The bytes of a quoted and escaped string of protocol 0."""
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        raise CheckpointError("the pickle has a malformed text")
    data: bytes = codecs.escape_decode(line[1:-1])[0]
    return data


def in_memory(data: object) -> bytes:
    """Bytes that were left in the file, read; not for tensors.

    Raises:
        CheckpointError: if they are too many, or no bytes at all.
    """
    if isinstance(data, Span):
        if data.length > _MAX_BYTES_IN_MEMORY:
            raise CheckpointError(f"the pickle has an object of {data.length} bytes that is not a tensor")
        return data.read()
    if isinstance(data, str):
        return data.encode("latin-1")
    if isinstance(data, bytes | bytearray):
        return bytes(data)
    raise CheckpointError("the pickle is malformed: bytes are missing")
