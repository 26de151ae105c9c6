"""A small vocabulary for functions that are written in LLVM's language instead of numba's: vectors of fixed width.

A function of `simd` or `tile` is a plain Python function that says what is computed; `replace` gives it a lowering,
which kernels contain instead. So the same name works in kernels, in the interpreter (slowly), and with
NUMBA_DISABLE_JIT=1. LLVM fits 16 lanes to the machine: one AVX-512 register, two of AVX, four of SSE or NEON.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

numba = import_module("numba")  # imported so because its type stubs cover only a part of it
ir = import_module("llvmlite.ir")  # comes with numba, in the version it needs
types, config, cgutils = numba.types, numba.core.config, numba.core.cgutils
signature = numba.core.typing.signature

Lower = Callable[[Any, Any, Any, Any], Any]  # (context, builder, signature, arguments) -> value

_HOST: Final = numba.core.codegen.get_host_cpu_features()
_TARGET: Final = _HOST if config.CPU_FEATURES is None else config.CPU_FEATURES  # as numba chooses it
FEATURES: Final = frozenset(_TARGET.split(","))  # "+avx2", ...: what kernels are compiled for

LANES: Final = 16
i1, i8, i16, i32, i64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
f32 = ir.FloatType()
floats, ints, shorts, small = (ir.VectorType(element, LANES) for element in (f32, i32, i16, i8))


def replace(function: Callable[..., Any], typing: Callable[..., Any], lower: Lower) -> None:
    """Have kernels that call `function` contain what `lower` emits; `typing` gives its signature for argument types."""
    numba.extending.type_callable(function)(lambda context: typing)
    arguments = (types.Any,) * function.__code__.co_argcount
    numba.extending.lower_builtin(function, *arguments)(lower)


def array_of(value: Any, *dtypes: Any) -> Any:
    """The type of an argument, checked to be a C-contiguous array of one of the dtypes, or of any."""
    if not isinstance(value, types.Array) or value.layout != "C" or (dtypes and value.dtype not in dtypes):
        raise numba.core.errors.TypingError(f"expected a C-contiguous array of {dtypes or 'anything'}, got {value}")
    return value


def element(context: Any, builder: Any, sig: Any, args: Any, array: int, index: Any) -> Any:
    """Pointer to an element of the argument numbered `array`."""
    return builder.gep(context.make_array(sig.args[array])(context, builder, args[array]).data, [index])


def number(value: int) -> Any:
    """An int64 constant."""
    return ir.Constant(i64, value)


def constant(vector: Any, value: Any) -> Any:
    """A vector constant with the same value in every lane."""
    return ir.Constant(vector, [value] * vector.count)


def at(builder: Any, pointer: Any, offset: Any) -> Any:
    """The pointer moved by `offset` elements."""
    return builder.gep(pointer, [offset])


def load(builder: Any, pointer: Any, vector: Any) -> Any:
    """A vector from memory that is aligned for its elements only."""
    value = builder.load(builder.bitcast(pointer, vector.as_pointer()))
    value.align = _align(vector)
    return value


def store(builder: Any, vector: Any, pointer: Any) -> None:
    """A vector into memory that is aligned for its elements only."""
    builder.store(vector, builder.bitcast(pointer, vector.type.as_pointer()), align=_align(vector.type))


def masked_load(builder: Any, pointer: Any, vector: Any, mask: Any) -> Any:
    """A vector of 16 floats, shorts or bytes; memory is touched only for the lanes in the mask, the others are 0."""
    pointer = builder.bitcast(pointer, vector.as_pointer())
    name = f"llvm.masked.load.{_suffix(vector)}.p0"
    call = declare(builder, vector, name, pointer.type, i32, mask.type, vector)
    return builder.call(call, [pointer, ir.Constant(i32, _align(vector)), mask, ir.Constant(vector, None)])


def first_lanes(builder: Any, count: Any) -> Any:
    """<16 x i1>: true in the first `count` lanes."""
    return builder.icmp_unsigned("<", ir.Constant(ints, list(range(LANES))), splat(builder, builder.trunc(count, i32)))


def splat(builder: Any, value: Any) -> Any:
    """A vector of 16 lanes that all hold a value."""
    vector = ir.VectorType(value.type, LANES)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(i32, 0))
    return builder.shuffle_vector(one, one, constant(ints, 0))


def lanes(builder: Any, vector: Any, chosen: range) -> Any:
    """The chosen lanes of a vector."""
    return builder.shuffle_vector(vector, vector, ir.Constant(ir.VectorType(i32, len(chosen)), list(chosen)))


def total(builder: Any, vector: Any, add: Callable[[Any, Any], Any]) -> Any:
    """The lanes of a vector added pairwise, halves first: in the same order on every machine."""
    width = vector.type.count
    while width > 1:
        width //= 2
        vector = add(*(lanes(builder, vector, range(start, start + width)) for start in (0, width)))
    return builder.extract_element(vector, ir.Constant(i32, 0))


def fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c in 16 lanes, in one instruction where the machine has it."""
    call = declare(builder, floats, f"llvm.fmuladd.{_suffix(floats)}", floats, floats, floats)
    return builder.call(call, [a, b, c])


def declare(builder: Any, result: Any, name: str, *arguments: Any) -> Any:
    """An LLVM intrinsic function by name."""
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)


def _align(vector: Any) -> int:
    return 4 if vector.element == f32 else vector.element.width // 8


def _suffix(vector: Any) -> str:
    return f"v{vector.count}{'f32' if vector.element == f32 else f'i{vector.element.width}'}"
