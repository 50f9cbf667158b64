"""The instructions of the pickle format, protocols 0 to 5, and the loop that runs them.

Source: the documentation in Python's standard module pickletools.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable
from typing import Any, NoReturn

from faceloom.checkpoints.inert import Inert
from faceloom.checkpoints.pickles import Machine, byte_text, decimal, integer, unescaped
from faceloom.errors import CheckpointError

_EACH = 128
_SMALL = 64
_CONTAINER = 256
"""Bytes that any instruction, a small object and an empty container are reckoned at.

The first is generous because it bounds time too: to a million instructions, several times what checkpoints need.
"""


def run(machine: Machine) -> Any:
    """The value of the pickle at the machine's position.

    Raises:
        CheckpointError: if it is malformed, hostile or too large.
    """
    while True:
        code = machine.take(1)[0]
        if code == _STOP:
            return machine.pop()
        machine.budget.spend(_EACH)
        instruction = _INSTRUCTIONS.get(code)
        if instruction is None:
            raise CheckpointError(f"byte {machine.position - 1} is no instruction of a pickle; the file is damaged")
        instruction(machine)


def _proto(machine: Machine) -> None:
    version = machine.number("<B")
    if version > 5:
        raise CheckpointError(f"there is no pickle protocol {version} known; the file is damaged or from the future")


def _frame(machine: Machine) -> None:
    length = machine.number("<Q")
    machine.span.part(machine.position, length)


def _int(machine: Machine) -> None:
    line = machine.line()
    machine.push(line == b"01" if line in (b"00", b"01") else decimal(line))


def _string(machine: Machine) -> None:
    data = unescaped(machine.line())
    machine.push(byte_text(data), len(data))


def _unicode(machine: Machine) -> None:
    text = str(machine.line(), "raw-unicode-escape")
    machine.push(text, 4 * len(text))


def _tuple(machine: Machine, length: int) -> None:
    machine.push(tuple(machine.pop_many(length)), _SMALL)


def _tuple_to_mark(machine: Machine) -> None:
    values = machine.pop_mark()
    machine.push(tuple(values), _SMALL + 8 * len(values))


def _list(machine: Machine) -> None:
    values = machine.pop_mark()
    machine.push(values, _SMALL + 8 * len(values))


def _dict(machine: Machine) -> None:
    values = machine.pop_mark()
    machine.push({}, _CONTAINER)
    machine.assign(machine.top(), values)


def _frozenset(machine: Machine) -> None:
    values = machine.pop_mark()
    machine.push(frozenset(machine.keys(values)), _CONTAINER)


def _append(machine: Machine) -> None:
    value = machine.pop()
    machine.extend(machine.top(), [value])


def _appends(machine: Machine) -> None:
    values = machine.pop_mark()
    machine.extend(machine.top(), values)


def _setitem(machine: Machine) -> None:
    pair = machine.pop_many(2)
    machine.assign(machine.top(), pair)


def _setitems(machine: Machine) -> None:
    values = machine.pop_mark()
    machine.assign(machine.top(), values)


def _global(machine: Machine) -> None:
    module, name = machine.line(), machine.line()
    machine.push(machine.look_up(str(module, "utf-8"), str(name, "utf-8")))


def _stack_global(machine: Machine) -> None:
    name, module = machine.pop(), machine.pop()
    machine.push(machine.look_up(module, name))


def _reduce(machine: Machine) -> None:
    args, function = machine.pop(), machine.pop()
    machine.push(machine.call(function, args))


def _newobj_ex(machine: Machine) -> None:
    kwargs, args, function = machine.pop(), machine.pop(), machine.pop()
    made = machine.call(function, args)
    if isinstance(made, Inert):
        made.kwargs = kwargs if isinstance(kwargs, dict) else None
    machine.push(made)


def _obj(machine: Machine) -> None:
    values = machine.pop_mark()
    machine.push(machine.call(values[0] if values else None, tuple(values[1:])))


def _inst(machine: Machine) -> None:
    module, name = machine.line(), machine.line()
    values = machine.pop_mark()
    machine.push(machine.call(machine.look_up(str(module, "utf-8"), str(name, "utf-8")), tuple(values)))


def _build(machine: Machine) -> None:
    state = machine.pop()
    machine.build(machine.top(), state)


def _extension(machine: Machine) -> NoReturn:
    raise CheckpointError("the pickle uses the extension registry, which no checkpoint needs; refusing it")


def _next_buffer(machine: Machine) -> NoReturn:
    raise CheckpointError("the pickle refers to buffers outside of itself, and there are none")


_BY_NAME: dict[str, Callable[[Machine], object]] = {
    "PROTO": _proto,
    "FRAME": _frame,
    # Constants and numbers
    "NONE": lambda m: m.push(None),
    "NEWTRUE": lambda m: m.push(True),
    "NEWFALSE": lambda m: m.push(False),
    "INT": _int,
    "LONG": lambda m: m.push(decimal(m.line()), _SMALL),
    "BININT": lambda m: m.push(m.number("<i")),
    "BININT1": lambda m: m.push(m.number("<B")),
    "BININT2": lambda m: m.push(m.number("<H")),
    "LONG1": lambda m: m.push(integer(m, m.number("<B")), _SMALL),
    "LONG4": lambda m: m.push(integer(m, m.number("<i")), _SMALL),
    "FLOAT": lambda m: m.push(float(m.line()[:100])),
    "BINFLOAT": lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
    # Text and bytes
    "STRING": _string,
    "BINSTRING": lambda m: m.push(byte_text(m.payload(m.number("<i")))),
    "SHORT_BINSTRING": lambda m: m.push(byte_text(m.payload(m.number("<B")))),
    "UNICODE": _unicode,
    "SHORT_BINUNICODE": lambda m: m.push(m.text(m.number("<B"))),
    "BINUNICODE": lambda m: m.push(m.text(m.number("<I"))),
    "BINUNICODE8": lambda m: m.push(m.text(m.number("<Q"))),
    "SHORT_BINBYTES": lambda m: m.push(m.payload(m.number("<B"))),
    "BINBYTES": lambda m: m.push(m.payload(m.number("<I"))),
    "BINBYTES8": lambda m: m.push(m.payload(m.number("<Q"))),
    "BYTEARRAY8": lambda m: m.push(m.payload(m.number("<Q"))),
    # Containers
    "EMPTY_LIST": lambda m: m.push([], _CONTAINER // 2),
    "LIST": _list,
    "APPEND": _append,
    "APPENDS": _appends,
    "EMPTY_TUPLE": lambda m: m.push(()),
    "TUPLE": _tuple_to_mark,
    "TUPLE1": lambda m: _tuple(m, 1),
    "TUPLE2": lambda m: _tuple(m, 2),
    "TUPLE3": lambda m: _tuple(m, 3),
    "EMPTY_DICT": lambda m: m.push({}, _CONTAINER),
    "DICT": _dict,
    "SETITEM": _setitem,
    "SETITEMS": _setitems,
    "EMPTY_SET": lambda m: m.push(set(), _CONTAINER),
    "ADDITEMS": _appends,
    "FROZENSET": _frozenset,
    # Stack and memo
    "MARK": lambda m: m.mark(),
    "POP_MARK": lambda m: m.pop_mark(),
    "POP": lambda m: m.discard(),
    "DUP": lambda m: m.push(m.top()),
    "PUT": lambda m: m.remember(decimal(m.line())),
    "BINPUT": lambda m: m.remember(m.number("<B")),
    "LONG_BINPUT": lambda m: m.remember(m.number("<I")),
    "MEMOIZE": lambda m: m.remember(m.remembered),
    "GET": lambda m: m.recall(decimal(m.line())),
    "BINGET": lambda m: m.recall(m.number("<B")),
    "LONG_BINGET": lambda m: m.recall(m.number("<I")),
    # Objects
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "NEWOBJ": _reduce,
    "NEWOBJ_EX": _newobj_ex,
    "OBJ": _obj,
    "INST": _inst,
    "BUILD": _build,
    "PERSID": lambda m: m.push(m.persistent(str(m.line(), "ascii"))),
    "BINPERSID": lambda m: m.push(m.persistent(m.pop())),
    "EXT1": _extension,
    "EXT2": _extension,
    "EXT4": _extension,
    "NEXT_BUFFER": _next_buffer,
    "READONLY_BUFFER": lambda m: m.top(),
}
_CODES = {opcode.name: ord(opcode.code) for opcode in pickletools.opcodes}
_STOP = _CODES["STOP"]
_INSTRUCTIONS = {_CODES[name]: instruction for name, instruction in _BY_NAME.items()}
