"""The loop of the binary scan: four bits of 32 rows are looked up by one instruction.

`near_rows` estimates the distances of a block of rows to a few queries, as `binary_code` says, and tells which may
matter. A lookup is a byte; eight of them are added up as bytes, which cannot overflow, and these sums as pairs of 16
bits: what is added to the upper byte is subtracted again at the end. So 32 components of 32 rows take 8 lookups and
8 additions, a query, and five instructions more; splitting codes into halves of bytes is shared by the queries.

The lookup is `pshufb` on x86 and `tbl` on ARM. On other machines each byte is looked up by itself, with the same
result. Sums are integers, and floats are never fused: the same to the last bit on every machine.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vsearch.types import FloatArray

from . import llvm
from .binary_code import BLOCK
from .llvm import (
    FEATURES,
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
    signature,
    types,
)
from .simd import Int

TILE: Final = 4  # queries compared with a block at once: their sums stay in registers
CONSTANTS: Final = 9  # floats of a query; `near_rows` reads the first three
UNIT: Final = 4  # bytes of a row that are added up as bytes

HAS_AVX2: Final = "+avx2" in FEATURES
HAS_SSSE3: Final = "+ssse3" in FEATURES
HAS_NEON: Final = "+neon" in FEATURES

bytes32, halves = ir.VectorType(i8, BLOCK), ir.VectorType(i16, BLOCK // 2)


def near_row(
    codes: NDArray[np.uint8],
    factors: FloatArray,
    block: Int,
    units: Int,
    tables: NDArray[np.uint8],
    constants: FloatArray,
    first: Int,
    bounds: FloatArray,
    hits: NDArray[np.uint32],
) -> np.int64:
    """`near_rows` of the one query `first`."""
    return _near(codes, factors, block, units, tables, constants, first, bounds, hits, 1)


def near_rows(
    codes: NDArray[np.uint8],
    factors: FloatArray,
    block: Int,
    units: Int,
    tables: NDArray[np.uint8],
    constants: FloatArray,
    first: Int,
    bounds: FloatArray,
    hits: NDArray[np.uint32],
) -> np.int64:
    """Which rows of a block may be near the TILE queries from `first` on; not 0 if any.

    All arrays are C-contiguous and nothing is checked. codes and factors as `binary_code.empty_codes` shapes them;
    units: a quarter of a row's bytes; tables: uint8 [nq, units * 128]. constants float32 [nq, CONSTANTS] are a, b and
    limit of each query: with S the sum of a row's lookups and (offset, s) its factors,

        bound = offset - s * (a + b * S)

    is written to bounds float32 [TILE, BLOCK] of a query that has a row with bound <= limit or NaN, and hits uint32
    [TILE] gets the rows of which that is true.
    """
    return _near(codes, factors, block, units, tables, constants, first, bounds, hits, TILE)


def _near(
    codes: Any, factors: Any, block: Int, units: Int, tables: Any, constants: Any, first: Int, bounds: Any, hits: Any,
    tile: int,
) -> np.int64:  # fmt: skip
    code = codes[block, : units * UNIT]
    lookups = tables.reshape(len(constants), -1, 2, 16)
    bytes_ = np.arange(len(code))[:, None]
    for t in range(tile):
        table = lookups[first + t]
        places = table[bytes_, 0, code & 15].astype(np.int64) + table[bytes_, 1, code >> 4]
        sums = places.sum(axis=0).reshape(BLOCK // 2, 2).T.reshape(-1).astype(np.float32)
        a, b, limit = constants[first + t, :3]
        with np.errstate(all="ignore"):
            bound = factors[block, 0] - factors[block, 1] * (a + b * sums)
        near = ~(bound > limit)
        hits[t] = np.packbits(near, bitorder="little").view(np.uint32)[0]
        if near.any():
            bounds[t] = bound
    return np.int64(np.bitwise_or.reduce(hits[:tile]))


# How it is compiled.


def _typing(
    codes: Any, factors: Any, block: Any, units: Any, tables: Any, constants: Any, first: Any, bounds: Any, hits: Any
) -> Any:
    array_of(codes, types.uint8), array_of(tables, types.uint8), array_of(hits, types.uint32)
    for floats_ in (factors, constants, bounds):
        array_of(floats_, types.float32)
    at = types.int64
    return signature(types.int64, codes, factors, at, at, tables, constants, at, bounds, hits)


def _lowering(tile: int) -> Lower:
    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        block, units, first = args[2], args[3], args[6]
        row_bytes = builder.mul(units, number(UNIT))
        code = element(context, builder, sig, args, 0, builder.mul(block, builder.mul(row_bytes, number(BLOCK))))
        table_bytes = builder.mul(row_bytes, number(32))
        tables = [
            element(context, builder, sig, args, 4, builder.mul(builder.add(first, number(t)), table_bytes))
            for t in range(tile)
        ]
        zero = llvm.constant(halves, 0)
        pairs = [cgutils.alloca_once_value(builder, zero) for _ in range(tile)]
        uppers = [cgutils.alloca_once_value(builder, zero) for _ in range(tile)]
        with cgutils.for_range(builder, units, intp=i64) as loop:
            sums = [None] * tile
            at_code, at_table = (builder.mul(loop.index, number(UNIT * size)) for size in (BLOCK, 32))
            for j in range(UNIT):
                both = llvm.load(builder, llvm.at(builder, code, builder.add(at_code, number(j * BLOCK))), bytes32)
                low = builder.and_(both, llvm.constant(bytes32, 15))
                high = builder.lshr(both, llvm.constant(bytes32, 4))
                for half, places in enumerate((low, high)):
                    offset = builder.add(at_table, number((2 * j + half) * 16))
                    for t in range(tile):
                        found = _look_up(builder, llvm.at(builder, tables[t], offset), places)
                        sums[t] = found if sums[t] is None else builder.add(sums[t], found)
            for t in range(tile):
                wide = builder.bitcast(sums[t], halves)
                builder.store(builder.add(builder.load(pairs[t]), wide), pairs[t])
                upper = builder.lshr(wide, llvm.constant(halves, 8))
                builder.store(builder.add(builder.load(uppers[t]), upper), uppers[t])
        found = [_finish(context, builder, sig, args, t, pairs[t], uppers[t]) for t in range(tile)]
        any_ = found[0]
        for more in found[1:]:
            any_ = builder.or_(any_, more)
        return builder.zext(any_, i64)

    return lower


def _finish(context: Any, builder: Any, sig: Any, args: Any, t: int, pairs: Any, uppers: Any) -> Any:
    """Turn the sums of one query into bounds and hits."""
    block, first = args[2], args[6]
    upper = builder.load(uppers)
    lower = builder.sub(builder.load(pairs), builder.shl(upper, llvm.constant(halves, 8)))
    factors = element(context, builder, sig, args, 1, builder.mul(block, number(2 * BLOCK)))
    row = builder.mul(builder.add(first, number(t)), number(CONSTANTS))
    constants = element(context, builder, sig, args, 5, row)
    a, b, limit = (llvm.splat(builder, builder.load(llvm.at(builder, constants, number(i)))) for i in range(3))
    bounds, mask = [], None
    for half, sums in enumerate((lower, upper)):
        offset, scale = (
            llvm.load(builder, llvm.at(builder, factors, number(BLOCK * i + 16 * half)), floats) for i in range(2)
        )
        inner = builder.fadd(a, builder.fmul(b, builder.sitofp(builder.zext(sums, ints), floats)))
        bound = builder.fsub(offset, builder.fmul(scale, inner))
        near = builder.zext(builder.bitcast(builder.fcmp_unordered("<=", bound, limit), i16), i32)
        mask = near if mask is None else builder.or_(mask, builder.shl(near, ir.Constant(i32, 16)))
        bounds.append(bound)
    builder.store(mask, element(context, builder, sig, args, 8, number(t)))
    with builder.if_then(builder.icmp_unsigned("!=", mask, ir.Constant(i32, 0)), likely=False):
        for half, bound in enumerate(bounds):
            llvm.store(builder, bound, element(context, builder, sig, args, 7, number(t * BLOCK + half * 16)))
    return mask


def _look_up(builder: Any, table: Any, places: Any) -> Any:
    """<32 x i8>: the entry of a table of 16 bytes at each place."""
    bytes16 = ir.VectorType(i8, 16)
    entries = llvm.load(builder, table, bytes16)
    if HAS_AVX2:
        both = builder.shuffle_vector(entries, entries, ir.Constant(ir.VectorType(i32, 32), [*range(16)] * 2))
        call = llvm.declare(builder, bytes32, "llvm.x86.avx2.pshuf.b", bytes32, bytes32)
        return builder.call(call, [both, places])
    if HAS_SSSE3 or HAS_NEON:
        name = "llvm.x86.ssse3.pshuf.b.128" if HAS_SSSE3 else "llvm.aarch64.neon.tbl1.v16i8"
        call = llvm.declare(builder, bytes16, name, bytes16, bytes16)
        parts = [builder.call(call, [entries, llvm.lanes(builder, places, range(s, s + 16))]) for s in (0, 16)]
        return builder.shuffle_vector(*parts, ir.Constant(ir.VectorType(i32, 32), [*range(32)]))
    found = ir.Constant(bytes32, ir.Undefined)
    for lane in range(BLOCK):
        place = builder.zext(builder.extract_element(places, ir.Constant(i32, lane)), i64)
        found = builder.insert_element(found, builder.load(llvm.at(builder, table, place)), ir.Constant(i32, lane))
    return found


llvm.replace(near_row, _typing, _lowering(1))
llvm.replace(near_rows, _typing, _lowering(TILE))
