"""The forward index: the sparse vector of a row in one piece of memory, to be compared with a query in a table.

1. Weights become whole numbers of `scale`: of 8 bits where that keeps what they are, else of 16.
2. The heaviest entries of a row come first, so that its head, the share HEAD of its weight in a quarter of its terms,
   tells for most rows that the others are not worth reading.
3. Entries lie in groups of 8, terms first and weights behind, so that a row is one stream of bytes and a group two
   vector loads and one gather. The last group of a row is filled up with entries of weight 0.
4. The score of a row is the sum of its weights times those of the query, which stand in a table over all terms.

A group, by the dtype of the array that holds it:

| dtype | terms | weights | bytes |
|---|---|---|---|
| uint8 | 8 x 16 bits | 8 x 8 bits | 24 |
| uint16 | 8 x 16 bits | 8 x 16 bits | 32 |
| uint32 | 8 x 32 bits | 8 x 16 bits | 48 |

Invariant: terms are below the length of every table; this is seen to when the groups are packed.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import LimitExceeded
from vsearch.types import FloatArray, IntArray, SparseRows

from . import llvm
from .jit import kernel
from .llvm import array_of, cgutils, element, f32, i1, i8, i16, i32, i64, ir, number, signature, types
from .simd import Int, prefetch

GROUP: Final = 8  # entries: a gather of AVX2
GROUP_BYTES: Final = {np.dtype(np.uint8): 24, np.dtype(np.uint16): 32, np.dtype(np.uint32): 48}
LINE: Final = 64  # bytes that one prefetch brings
FINE_SHARE: Final = 16  # 8 bits are enough where the median weight is at least so many steps of 8 bits
HEAD: Final = 0.6
TINY: Final = float(np.finfo(np.float32).smallest_normal)  # of a step: smaller ones lose their digits
MAX_GROUPS: Final = 2**32 - 1  # 32 bits say where a row begins
WIDE_TERMS: Final = 65_536  # from so many terms on, a number takes 32 bits


class Forward(NamedTuple):
    """`groups`: flat, of the dtype that says what a group is. `starts` uint32 [2n + 1]: the groups of row i begin at
    `starts[2 i]`, those behind its head at `starts[2 i + 1]`. A weight is `scale` times what is stored; `exact`:
    whether that is the weight, but for rounding."""

    groups: NDArray[Any]
    starts: NDArray[np.uint32]
    scale: float
    exact: bool


def pack(rows: SparseRows, order: IntArray, ranks: NDArray[np.uint16]) -> Forward:
    """The forward index of rows with numbered terms: row i of it is row `order[i]`, order int64 [n].

    `ranks`: the entries of each row from its heaviest down, as positions in the row.
    """
    weights = rows.weights.astype(np.float32, copy=False)
    top = float(weights.max()) if len(weights) else 1.0
    wide = rows.terms is not None and len(rows.terms) > WIDE_TERMS
    fine = len(weights) > 0 and float(np.median(weights[:: max(1, len(weights) // 100_000)])) * 255 < FINE_SHARE * top
    scale, exact = _common_step(weights, top)
    dtype = np.dtype(np.uint32 if wide else np.uint16 if fine and not exact else np.uint8)
    if not exact:
        scale = max(top / (255 if dtype == np.uint8 else 65_535), TINY)
    lengths = (np.diff(rows.offsets)[order] + GROUP - 1) // GROUP
    total = int(lengths.sum())
    if total > MAX_GROUPS:
        raise LimitExceeded(f"{total:,} groups of sparse weights in one segment", f"At most {MAX_GROUPS:,}")
    starts = np.zeros(2 * len(order) + 1, np.uint32)
    starts[2::2] = np.cumsum(lengths)
    groups = np.zeros(total * GROUP_BYTES[dtype] // dtype.itemsize, dtype)
    _fill(groups, starts, rows.offsets, rows.numbers, weights, order, ranks, np.float32(scale))
    return Forward(groups, starts, scale, exact)


def _common_step(weights: FloatArray, top: float) -> tuple[float, bool]:
    """(step, whether all weights are from 1 to 255 times this step, as they are where they were 8 bits once)."""
    if len(weights) == 0:
        return 1.0, True
    sample = np.unique(weights[:: max(1, len(weights) // 4_096)])
    gaps = np.diff(np.concatenate([np.zeros(1, np.float32), sample]).astype(np.float64))
    gap = float(gaps[gaps > top * 1e-4].min(initial=top))
    step = top / max(1, round(top / gap))
    if step < TINY or round(top / step) > 255:
        return step, False
    whole = np.rint(weights / np.float32(step))
    close = np.abs(whole * np.float32(step) - weights) <= np.float32(1e-6) * weights
    return step, bool(close.all() and whole.min() >= 1)


def score_row(groups: NDArray[Any], first: Int, last: Int, table: FloatArray) -> np.float32:
    """The sum over the groups from `first` to `last` of table[term] * stored weight. table float32 [terms]."""
    terms, weights = unpack(groups, int(first), int(last))
    return np.float32(np.dot(table[terms], weights.astype(np.float32)))


@kernel
def prefetch_row(groups: NDArray[Any], first: Int, last: Int) -> None:
    """Ask for the cache lines of the groups from `first` to `last`."""
    size = elements_of_group(groups)
    step = LINE // groups.itemsize
    for at in range(first * size, last * size, step):
        prefetch(groups, at)


@kernel
def elements_of_group(groups: NDArray[Any]) -> int:
    """Elements of the array that one group takes."""
    return 24 if groups.itemsize == 1 else 16 if groups.itemsize == 2 else 12


def unpack(groups: NDArray[Any], first: int, last: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """(terms, stored weights) of the groups from `first` to `last`, those that fill up included."""
    size = GROUP_BYTES[groups.dtype]
    table = groups.view(np.uint8)[first * size : last * size].reshape(-1, size)
    term, weight = np.dtype(np.uint32 if size == 48 else np.uint16), np.dtype(np.uint8 if size == 24 else np.uint16)
    cut = GROUP * term.itemsize
    terms = np.ascontiguousarray(table[:, :cut]).view(term).reshape(-1)
    return terms, np.ascontiguousarray(table[:, cut:]).view(weight).reshape(-1)


@kernel
def _fill(
    groups: NDArray[Any],
    starts: NDArray[np.uint32],
    offsets: IntArray,
    numbers: NDArray[Any],
    weights: FloatArray,
    order: IntArray,
    ranks: NDArray[np.uint16],
    scale: np.float32,
) -> None:
    """Write the groups of all rows, and where their heads end into `starts`."""
    size = elements_of_group(groups)
    most = np.int64(255) if groups.itemsize == 1 else np.int64(65_535)
    for row in range(len(order)):
        first, length = offsets[order[row]], offsets[order[row] + 1] - offsets[order[row]]
        total, taken = np.float64(0.0), np.float64(0.0)
        for i in range(length):
            total += weights[first + i]
        head = np.int64(0)
        for i in range(length):
            entry = first + np.int64(ranks[first + i])
            if i % GROUP == 0 and taken < HEAD * total:
                head += 1
            taken += weights[entry]
            term, code = np.int64(numbers[entry]), np.int64(np.rint(weights[entry] / scale))
            code = min(max(code, np.int64(1)), most)
            base, lane = (np.int64(starts[2 * row]) + i // GROUP) * size, i % GROUP
            if groups.itemsize == 1:
                groups[base + 2 * lane] = term & 255
                groups[base + 2 * lane + 1] = term >> 8
                groups[base + 2 * GROUP + lane] = code
            elif groups.itemsize == 2:
                groups[base + lane] = term
                groups[base + GROUP + lane] = code
            else:
                groups[base + lane] = term
                groups[base + GROUP + (lane >> 1)] |= code << (16 * (lane & 1))
        starts[2 * row + 1] = np.int64(starts[2 * row]) + head


# How it is compiled.


def _score_typing(groups: Any, first: Any, last: Any, table: Any) -> Any:
    groups = array_of(groups, types.uint8, types.uint16, types.uint32)
    return signature(types.float32, groups, types.int64, types.int64, array_of(table, types.float32))


def _score_lowering(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    size = {types.uint8: 24, types.uint16: 32, types.uint32: 48}[sig.args[0].dtype]
    term, weight = (i32 if size == 48 else i16), (i8 if size == 24 else i16)
    lanes, wide = ir.VectorType(f32, GROUP), ir.VectorType(i64, GROUP)
    data = builder.bitcast(element(context, builder, sig, args, 0, number(0)), i8.as_pointer())
    table = element(context, builder, sig, args, 3, number(0))
    base = builder.insert_element(ir.Constant(wide, ir.Undefined), builder.ptrtoint(table, i64), ir.Constant(i32, 0))
    base = builder.shuffle_vector(base, base, ir.Constant(ir.VectorType(i32, GROUP), [0] * GROUP))
    places = ir.VectorType(f32.as_pointer(), GROUP)
    every = ir.Constant(ir.VectorType(i1, GROUP), [1] * GROUP)
    gather = llvm.declare(builder, lanes, "llvm.masked.gather.v8f32.v8p0", places, i32, every.type, lanes)
    multiply_add = llvm.declare(builder, lanes, "llvm.fmuladd.v8f32", lanes, lanes, lanes)
    total = cgutils.alloca_once_value(builder, llvm.constant(lanes, 0.0))
    with cgutils.for_range_slice(builder, args[1], args[2], number(1), intp=i64) as (group, _):
        here = builder.gep(data, [builder.mul(group, number(size))])
        terms = _load(builder, here, term)
        weights = _load(builder, builder.gep(here, [number(GROUP * term.width // 8)]), weight)
        offsets = builder.shl(builder.zext(terms, wide), ir.Constant(wide, [2] * GROUP))
        where = builder.inttoptr(builder.add(base, offsets), places)
        found = builder.call(gather, [where, ir.Constant(i32, 4), every, llvm.constant(lanes, 0.0)])
        as_floats = builder.sitofp(builder.zext(weights, ir.VectorType(i32, GROUP)), lanes)
        builder.store(builder.call(multiply_add, [found, as_floats, builder.load(total)]), total)
    return llvm.total(builder, builder.load(total), builder.fadd)


def _load(builder: Any, pointer: Any, lane: Any) -> Any:
    """8 lanes from memory that is aligned for bytes only."""
    value = builder.load(builder.bitcast(pointer, ir.VectorType(lane, GROUP).as_pointer()))
    value.align = 1
    return value


llvm.replace(score_row, _score_typing, _score_lowering)
