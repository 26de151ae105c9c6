"""Vector instructions for kernels: dot products, squared distances, prefetch, bit counts.

The float loops take 64 elements a turn into 4 independent accumulators of 16 lanes, so that the additions of one do
not wait for those of another; up to three more vectors and a masked one take the rest, so any dimension will do.
Half-precision rows come as uint16 views of their float16 arrays, because numba has no float16 on processors; where
the processor cannot convert them, integer instructions do, with the same result. Rows of int8 come as they are.

The 8-bit dot product is `vpdpbusd` where the processor has AVX-512 VNNI, elsewhere widening multiplications that LLVM
turns into `vpmaddwd`. Integers: the same result everywhere.

Invariants:
- Arrays are C-contiguous; a row is given by the position of its first element in the flattened array, int64.
- Nothing is checked: `start + d` may not pass the array's end.
- A result does not depend on where in memory the operands lie, nor on what is computed beside it.

How these functions work both inside and outside of kernels is told in `llvm`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vsearch.types import Bitset, FloatArray

from . import llvm
from .jit import kernel
from .llvm import (
    FEATURES,
    LANES,
    Lower,
    array_of,
    cgutils,
    element,
    floats,
    i8,
    i16,
    i32,
    i64,
    ints,
    ir,
    number,
    shorts,
    signature,
    small,
    types,
)

BLOCK: Final = 64  # elements of one turn; the length unit of 8-bit codes
HAS_VNNI: Final = "+avx512vnni" in FEATURES
HAS_HALF: Final = "+f16c" in FEATURES or "+neon" in FEATURES

Int = int | np.integer[Any]


# What is computed.


def dot_f32(a: NDArray[Any], start_a: Int, b: FloatArray, start_b: Int, d: Int) -> np.float32:
    """Inner product of a[start_a : start_a + d] and b[start_b : start_b + d], in float32.

    a is float32, int8, or uint16 holding the bits of float16; b is float32.
    """
    return np.float32(np.dot(_row(a, start_a, d), _row(b, start_b, d)))


def l2_f32(a: NDArray[Any], start_a: Int, b: FloatArray, start_b: Int, d: Int) -> np.float32:
    """Squared Euclidean distance of a[start_a : start_a + d] and b[start_b : start_b + d]; operands as in `dot_f32`."""
    difference = _row(a, start_a, d) - _row(b, start_b, d)
    return np.float32(np.dot(difference, difference))


def dot_u8s8(a: NDArray[np.uint8], start_a: Int, b: NDArray[np.int8], start_b: Int, blocks: Int) -> np.int32:
    """Inner product of `blocks` * 64 elements of a (uint8) and b (int8); int32, so at most 65,536 elements."""
    length = blocks * BLOCK
    x, y = (v.reshape(-1)[s : s + length].astype(np.int32) for v, s in ((a, start_a), (b, start_b)))
    return np.int32(np.dot(x, y))


def prefetch(array: NDArray[Any], index: Int) -> None:
    """Ask for the cache line that holds element `index` of the flattened array. Any index is safe."""


def popcount(word: Int) -> int:
    """How many bits of an unsigned 64-bit word are set; int64."""
    return int(word).bit_count()


def trailing_zeros(word: Int) -> int:
    """The position of the lowest set bit of an unsigned 64-bit word, 64 if none is set; int64."""
    word = int(word)
    return (word & -word).bit_length() - 1 if word else 64


@kernel
def has_bit(bits: Bitset, i: Int) -> bool:
    """Whether ordinal i is in the set."""
    return bool((bits[i >> 6] >> np.uint64(i & 63)) & np.uint64(1))


def _row(array: NDArray[Any], start: Int, d: Int) -> FloatArray:
    flat = array.reshape(-1)[start : start + d]
    return (flat.view(np.float16) if flat.dtype == np.uint16 else flat).astype(np.float32)


# How it is compiled.


def stored_as(dtype: Any) -> Any:
    """The vector that 16 components of a row are, by the dtype of its array."""
    return {types.float32: floats, types.uint16: shorts, types.int8: small}[dtype]


def widen(builder: Any, stored: Any) -> Any:
    """<16 x float> from itself, from <16 x i8>, or from <16 x i16> that hold float16 bits.

    Without hardware: the exponent and mantissa, moved into place, are a float too small by 2 ** 112, which also puts
    subnormals right; an infinite or NaN exponent is then set by hand.
    """
    if stored.type == floats:
        return stored
    if stored.type == small:
        return builder.sitofp(builder.sext(stored, ints), floats)
    if HAS_HALF:
        return builder.fpext(builder.bitcast(stored, ir.VectorType(ir.HalfType(), LANES)), floats)

    def same(value: int) -> Any:
        return llvm.constant(ints, value)

    wide = builder.zext(stored, ints)
    sign = builder.shl(builder.and_(wide, same(0x8000)), same(16))
    magnitude = builder.shl(builder.and_(wide, same(0x7FFF)), same(13))
    scaled = builder.fmul(builder.bitcast(magnitude, floats), llvm.constant(floats, 2.0**112))
    special = builder.icmp_unsigned(">=", magnitude, same(0x7C00 << 13))
    bits = builder.bitcast(scaled, ints)
    bits = builder.select(special, builder.or_(bits, same(0x7F800000)), bits)
    return builder.bitcast(builder.or_(bits, sign), floats)


def _float_typing(a: Any, start_a: Any, b: Any, start_b: Any, d: Any) -> Any:
    a, b = array_of(a, types.float32, types.uint16, types.int8), array_of(b, types.float32)
    return signature(types.float32, a, types.int64, b, types.int64, types.int64)


def _float_lowering(squared: bool) -> Lower:
    """Lowering of `dot_f32`, or of `l2_f32` when squared."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        stored = stored_as(sig.args[0].dtype)
        x, y = (element(context, builder, sig, args, i, args[i + 1]) for i in (0, 2))
        sums = [cgutils.alloca_once_value(builder, llvm.constant(floats, 0.0)) for _ in range(BLOCK // LANES)]

        def accumulate(sum_: Any, left: Any, right: Any) -> None:
            left = widen(builder, left)
            if squared:
                left = right = builder.fsub(left, right)
            builder.store(llvm.fma(builder, left, right, builder.load(sum_)), sum_)

        def take(sum_: Any, offset: Any) -> None:
            left, right = (llvm.at(builder, pointer, offset) for pointer in (x, y))
            accumulate(sum_, llvm.load(builder, left, stored), llvm.load(builder, right, floats))

        def rounded(step: int) -> Any:
            return builder.and_(args[4], number(-step))

        with cgutils.for_range(builder, builder.lshr(args[4], number(6)), intp=i64) as loop:
            first = builder.shl(loop.index, number(6))
            for i, sum_ in enumerate(sums):
                take(sum_, builder.add(first, number(i * LANES)))
        with builder.if_then(_has(builder, args[4], 32)):
            take(sums[0], rounded(64))
            take(sums[1], builder.add(rounded(64), number(LANES)))
        with builder.if_then(_has(builder, args[4], 16)):
            take(sums[2], rounded(32))
        with builder.if_then(_has(builder, args[4], 15)):
            # Masked, and only when needed: a masked load that meets an unmapped page is slow even if it takes nothing.
            mask = llvm.first_lanes(builder, builder.and_(args[4], number(15)))
            left, right = (llvm.at(builder, pointer, rounded(16)) for pointer in (x, y))
            left, right = (llvm.masked_load(builder, p, v, mask) for p, v in ((left, stored), (right, floats)))
            accumulate(sums[3], left, right)
        a, b, c, d = (builder.load(sum_) for sum_ in sums)
        return llvm.total(builder, builder.fadd(builder.fadd(a, b), builder.fadd(c, d)), builder.fadd)

    return lower


def _has(builder: Any, value: Any, bits: int) -> Any:
    return builder.icmp_unsigned("!=", builder.and_(value, number(bits)), number(0))


def _byte_typing(a: Any, start_a: Any, b: Any, start_b: Any, blocks: Any) -> Any:
    a, b = array_of(a, types.uint8), array_of(b, types.int8)
    return signature(types.int32, a, types.int64, b, types.int64, types.int64)


def _byte_lowering(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    x, y = (element(context, builder, sig, args, i, args[i + 1]) for i in (0, 2))
    sums = [cgutils.alloca_once_value(builder, llvm.constant(ints, 0)) for _ in range(4)]

    def take(sum_: Any, block: Any) -> None:
        offset = builder.shl(block, number(6))
        left, right = (llvm.load(builder, llvm.at(builder, p, offset), ir.VectorType(i8, BLOCK)) for p in (x, y))
        builder.store(_multiply_add_bytes(builder, builder.load(sum_), left, right), sum_)

    with cgutils.for_range(builder, builder.lshr(args[4], number(2)), intp=i64) as loop:
        first = builder.shl(loop.index, number(2))
        for i, sum_ in enumerate(sums):
            take(sum_, builder.add(first, number(i)))
    for bit, rest in ((2, sums[:2]), (1, sums[2:3])):
        with builder.if_then(_has(builder, args[4], bit)):
            first = builder.and_(args[4], number(-2 * bit))
            for i, sum_ in enumerate(rest):
                take(sum_, builder.add(first, number(i)))
    a, b, c, d = (builder.load(sum_) for sum_ in sums)
    return llvm.total(builder, builder.add(builder.add(a, b), builder.add(c, d)), builder.add)


def _multiply_add_bytes(builder: Any, sum_: Any, left: Any, right: Any) -> Any:
    """sum_ + left * right, where four products (uint8 * int8) add up in each of 16 int32 lanes."""
    if HAS_VNNI:  # LLVM 22 changed the operands to bytes, but reads this older form too
        dot = llvm.declare(builder, ints, "llvm.x86.avx512.vpdpbusd.512", ints, ints, ints)
        return builder.call(dot, [sum_, builder.bitcast(left, ints), builder.bitcast(right, ints)])
    words, wide = ir.VectorType(i16, BLOCK), ir.VectorType(i32, BLOCK)
    left, right = builder.zext(left, words), builder.sext(right, words)
    products = builder.mul(builder.sext(left, wide), builder.sext(right, wide))
    even, odd = (llvm.lanes(builder, products, range(start, BLOCK, 2)) for start in (0, 1))
    pairs = builder.add(even, odd)  # 16-bit products of neighbours, added: LLVM knows this as vpmaddwd
    low, high = (llvm.lanes(builder, pairs, range(start, start + LANES)) for start in (0, LANES))
    return builder.add(sum_, builder.add(low, high))


def _prefetch_lowering(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    pointer = builder.bitcast(element(context, builder, sig, args, 0, args[1]), i8.as_pointer())
    fetch = llvm.declare(builder, ir.VoidType(), "llvm.prefetch.p0", pointer.type, i32, i32, i32)
    read, keep, data = (ir.Constant(i32, value) for value in (0, 3, 1))
    builder.call(fetch, [pointer, read, keep, data])
    return context.get_dummy_value()


def _popcount_lowering(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.ctpop(args[0])


def _trailing_zeros_lowering(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.cttz(args[0], ir.Constant(llvm.i1, 0))


llvm.replace(dot_f32, _float_typing, _float_lowering(squared=False))
llvm.replace(l2_f32, _float_typing, _float_lowering(squared=True))
llvm.replace(dot_u8s8, _byte_typing, _byte_lowering)
llvm.replace(prefetch, lambda array, index: signature(types.none, array_of(array), types.int64), _prefetch_lowering)
llvm.replace(popcount, lambda word: signature(types.int64, types.uint64), _popcount_lowering)
llvm.replace(trailing_zeros, lambda word: signature(types.int64, types.uint64), _trailing_zeros_lowering)
