"""Eight float32 numbers as one value of compiled code.

LLVM turns loops into vector instructions only where it sees a way to; these names leave it no choice. It maps them to
whatever the processor at hand has: one AVX2 register, half an AVX-512 one, two of NEON. Addresses are plain integers
and nothing checks them: the callers in `layer` see to sizes. Indices count floats.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, register_model

WIDTH = 8
_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, WIDTH)
_INT32 = ir.IntType(32)
_Function = TypeVar("_Function", bound=Callable[..., Any])
Make = Callable[[Any, Any, Any, Any], Any]


def compiled(function: _Function) -> _Function:
    """Compile a function at its first call and keep the result on disk; it runs without Python's global lock.

    No fast-math: sums keep their order, so a picture does not depend on blocks or threads.
    """
    return cast(_Function, _kept(numba.njit(nogil=True, cache=True, error_model="numpy")(function)))


def inlined(function: _Function) -> _Function:
    """Compile a function into its compiled callers."""
    return cast(_Function, _kept(numba.njit(nogil=True, cache=True, error_model="numpy", forceinline=True)(function)))


@cache
def _sources() -> bytes:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.digest()


def _kept(dispatcher: Any) -> Any:
    """Let what is kept on disk be as new as all these modules: numba asks for the function's own alone."""
    dispatcher._cache._cache_file._source_stamp = _sources()
    return dispatcher


class Lanes(types.Type):
    """The type of eight floats, for numba."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)  # type: ignore[no-untyped-call]


register_model(Lanes)(_LanesModel)
lanes = Lanes()


def _pointer(builder: Any, address: Any, index: Any, element: Any) -> Any:
    place = builder.gep(builder.inttoptr(address, _FLOAT.as_pointer()), [index])
    return builder.bitcast(place, element.as_pointer())


def _reader(element: Any, kind: Any) -> Any:
    def read(typing: Any, address: Any, index: Any) -> tuple[Any, Make]:
        def make(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.load(_pointer(builder, arguments[0], arguments[1], element), align=4)

        return kind(types.intp, types.intp), make

    return read


def _writer(element: Any, kind: Any, *, streams: bool = False) -> Any:
    def write(typing: Any, address: Any, index: Any, value: Any) -> tuple[Any, Make]:
        def make(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            place = _pointer(builder, arguments[0], arguments[1], element)
            written = builder.store(arguments[2], place, align=4 * WIDTH if streams else 4)
            if streams:
                written.set_metadata("nontemporal", builder.module.add_metadata([_INT32(1)]))
            return context.get_dummy_value()

        return types.void(types.intp, types.intp, kind), make

    return write


def _operation(name: str) -> Any:
    def operate(typing: Any, a: Any, b: Any) -> tuple[Any, Make]:
        def make(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return getattr(builder, name)(*arguments)

        return lanes(lanes, lanes), make

    return operate


def _choice(relation: str) -> Any:
    def choose(typing: Any, a: Any, b: Any) -> tuple[Any, Make]:
        def make(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.select(builder.fcmp_ordered(relation, *arguments), *arguments)

        return lanes(lanes, lanes), make

    return choose


def _spread(typing: Any, value: Any) -> tuple[Any, Make]:
    """The same number in every lane."""

    def make(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        nothing = ir.Constant(_VECTOR, ir.Undefined)
        one = builder.insert_element(nothing, arguments[0], ir.Constant(_INT32, 0))
        return builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(_INT32, WIDTH), [0] * WIDTH))

    return lanes(types.float32), make


def _fma(typing: Any, a: Any, b: Any, c: Any) -> tuple[Any, Make]:
    """A · b + c, in one rounding where the processor can."""

    def make(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
        name = f"llvm.fmuladd.v{WIDTH}f32"
        function = cgutils.get_or_insert_function(builder.module, kind, name)  # type: ignore[no-untyped-call]
        return builder.call(function, arguments)

    return lanes(lanes, lanes, lanes), make


def _fence(typing: Any) -> tuple[Any, Make]:
    """Wait until what was streamed can be seen by other threads."""

    def make(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), make


def _prefetch(typing: Any, address: Any) -> tuple[Any, Make]:
    """Have the cache line at an address, which need not be anybody's, brought into the second-level cache."""

    def make(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, _INT32, _INT32, _INT32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")  # type: ignore[no-untyped-call]
        reads, near, data = (ir.Constant(_INT32, number) for number in (0, 2, 1))
        builder.call(function, [builder.inttoptr(arguments[0], pointer), reads, near, data])
        return context.get_dummy_value()

    return types.void(types.intp), make


def _total(typing: Any, value: Any) -> tuple[Any, Make]:
    """The sum of the lanes, in a fixed order."""

    def make(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, nothing = arguments[0], ir.Constant(_VECTOR, ir.Undefined)
        for step in (4, 2, 1):
            order = [(lane + step) % WIDTH for lane in range(WIDTH)]
            moved = builder.shuffle_vector(value, nothing, ir.Constant(ir.VectorType(_INT32, WIDTH), order))
            value = builder.fadd(value, moved)
        return builder.extract_element(value, ir.Constant(_INT32, 0))

    return types.float32(lanes), make


def _where_positive(typing: Any, test: Any, a: Any, b: Any) -> tuple[Any, Make]:
    """A where `test` is above 0, else b, lane by lane."""

    def make(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        zero = ir.Constant(_VECTOR, [0.0] * WIDTH)
        return builder.select(builder.fcmp_ordered(">", arguments[0], zero), arguments[1], arguments[2])

    return lanes(lanes, lanes, lanes), make


# Of any type to Python's checkers, to which addresses are numbers and lanes nothing at all.
spread: Any = intrinsic(_spread)
fma: Any = intrinsic(_fma)
total: Any = intrinsic(_total)
where_positive: Any = intrinsic(_where_positive)
load: Any = intrinsic(_reader(_VECTOR, lanes))
load_float: Any = intrinsic(_reader(_FLOAT, types.float32))
store: Any = intrinsic(_writer(_VECTOR, lanes))
# Past the caches, to an address that is a multiple of 32 bytes; `fence` comes after the last.
stream: Any = intrinsic(_writer(_VECTOR, lanes, streams=True))
fence: Any = intrinsic(_fence)
prefetch: Any = intrinsic(_prefetch)
store_float: Any = intrinsic(_writer(_FLOAT, types.float32))
add: Any = intrinsic(_operation("fadd"))
subtract: Any = intrinsic(_operation("fsub"))
multiply: Any = intrinsic(_operation("fmul"))
larger: Any = intrinsic(_choice(">"))
smaller: Any = intrinsic(_choice("<"))
