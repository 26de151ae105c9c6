"""Comparing many rows with many queries: a small matrix product that stays in registers, and keeps only what is near.

1. `place_row` copies ROWS rows into a tile: chunks of 16 components, each holding that chunk of all rows, so that the
   product reads memory in order. It also gives the row's squared length.
2. Queries lie in panels of WIDTH, transposed: component after component, each for all queries of the panel.
3. `near_tile` multiplies a tile with a panel: ROWS x WIDTH sums live in registers while components are broadcast from
   the tile (the inner kernel of Goto and van de Geijn 2008, doi 10.1145/1356052.1356053). Scores never reach memory:
   each is compared with its query's bound, and one bit says whether it passed.

The sums are rounded differently from `simd.dot_f32`, so a bit means "may be near enough": the caller adds an allowance
for rounding to every score and compares what passes again, exactly.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vsearch.types import FloatArray

from . import llvm
from .llvm import FEATURES, LANES, array_of, element, floats, i16, i32, i64, number, signature, types
from .simd import Int, stored_as, widen

# As many rows as the machine's registers can sum up at once. With 32 wide registers every broadcast is part of a
# multiplication; several vectors of queries a row would need registers for the broadcasts too, and LLVM then spills.
_ROWS: Final = {"+avx512f": 24, "+avx2": 6, "+neon": 6}
ROWS: Final = next((rows for feature, rows in _ROWS.items() if feature in FEATURES), 3)
WIDTH: Final = LANES


def place_row(rows: NDArray[Any], start: Int, d: Int, tile: FloatArray, row: Int) -> float:
    """Copy rows[start : start + d] to row number `row` of a tile; its squared length, float32.

    rows is float32, int8, or uint16 holding the bits of float16; tile float32 [ceil(d / 16) * ROWS * 16].
    """
    flat = rows.reshape(-1)[start : start + d]
    values = np.zeros(-(-int(d) // LANES) * LANES, np.float32)
    values[:d] = flat.view(np.float16) if flat.dtype == np.uint16 else flat
    tile.reshape(-1, ROWS, LANES)[: len(values) // LANES, row] = values.reshape(-1, LANES)
    return float(np.dot(values, values))


def near_tile(
    tile: FloatArray,
    panels: FloatArray,
    panel: Int,
    chunks: Int,
    scale: FloatArray,
    shift: FloatArray,
    lengths: FloatArray,
    bounds: FloatArray,
    hits: NDArray[np.uint32],
) -> None:
    """Bit q of hits[r] becomes 1 unless row r . query q + scale[r] * lengths[q] + shift[r] < bounds[q].

    tile as `place_row` fills it; panels float32 [p, chunks * 16, WIDTH], of which number `panel` is meant; scale,
    shift, hits [ROWS]; lengths, bounds [p * WIDTH]. A score that is not a number passes.
    """
    rows = tile.reshape(-1, ROWS, LANES)[:chunks].transpose(1, 0, 2).reshape(ROWS, -1)
    queries = panels.reshape(-1, chunks * LANES, WIDTH)[panel]
    here = slice(panel * WIDTH, (panel + 1) * WIDTH)
    scores = rows @ queries + scale[:, None] * lengths[here] + shift[:, None]
    hits[:] = (~(scores < bounds[here]) * (np.uint32(1) << np.arange(WIDTH, dtype=np.uint32))).sum(axis=1)


# How it is compiled: see `llvm`.


def _place_typing(rows: Any, start: Any, d: Any, tile: Any, row: Any) -> Any:
    rows, tile = array_of(rows, types.float32, types.uint16, types.int8), array_of(tile, types.float32)
    return signature(types.float32, rows, types.int64, types.int64, tile, types.int64)


def _place_lowering(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    stored = stored_as(sig.args[0].dtype)
    source = element(context, builder, sig, args, 0, args[1])
    target = element(context, builder, sig, args, 3, builder.mul(args[4], number(LANES)))
    length = llvm.cgutils.alloca_once_value(builder, llvm.constant(floats, 0.0))

    def put(loaded: Any, chunk: Any) -> None:
        values = widen(builder, loaded)
        place = llvm.at(builder, target, builder.mul(chunk, number(ROWS * LANES)))
        llvm.store(builder, values, place)
        builder.store(llvm.fma(builder, values, values, builder.load(length)), length)

    whole = builder.lshr(args[2], number(4))
    with llvm.cgutils.for_range(builder, whole, intp=i64) as loop:
        put(llvm.load(builder, llvm.at(builder, source, builder.shl(loop.index, number(4))), stored), loop.index)
    rest = builder.and_(args[2], number(LANES - 1))
    with builder.if_then(builder.icmp_unsigned("!=", rest, number(0))):
        pointer = llvm.at(builder, source, builder.shl(whole, number(4)))
        put(llvm.masked_load(builder, pointer, stored, llvm.first_lanes(builder, rest)), whole)
    return llvm.total(builder, builder.load(length), builder.fadd)


def _near_typing(
    tile: Any, panels: Any, panel: Any, chunks: Any, scale: Any, shift: Any, lengths: Any, bounds: Any, hits: Any
) -> Any:
    numbers = [array_of(array, types.float32) for array in (tile, panels, scale, shift, lengths, bounds)]
    integers = (types.int64, types.int64)
    return signature(types.none, *numbers[:2], *integers, *numbers[2:], array_of(hits, types.uint32))


def _near_lowering(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    def pointer(array: int, index: Any) -> Any:
        return element(context, builder, sig, args, array, index)

    def splat(array: int, row: int) -> Any:
        return llvm.splat(builder, builder.load(pointer(array, number(row))))

    tile = pointer(0, number(0))
    panel = pointer(1, builder.mul(args[2], builder.mul(args[3], number(LANES * WIDTH))))
    query = builder.mul(args[2], number(WIDTH))
    lengths, bounds = (llvm.load(builder, pointer(array, query), floats) for array in (6, 7))
    first = [llvm.fma(builder, splat(4, row), lengths, splat(5, row)) for row in range(ROWS)]
    sums = [llvm.cgutils.alloca_once_value(builder, value) for value in first]
    with llvm.cgutils.for_range(builder, args[3], intp=i64) as loop:
        left = llvm.at(builder, tile, builder.mul(loop.index, number(ROWS * LANES)))
        right = llvm.at(builder, panel, builder.mul(loop.index, number(LANES * WIDTH)))
        now = [builder.load(sum_) for sum_ in sums]
        for j in range(LANES):
            queries = llvm.load(builder, llvm.at(builder, right, number(j * WIDTH)), floats)
            for row in range(ROWS):
                x = llvm.splat(builder, builder.load(llvm.at(builder, left, number(row * LANES + j))))
                now[row] = llvm.fma(builder, x, queries, now[row])
        for sum_, value in zip(sums, now, strict=True):
            builder.store(value, sum_)
    for row, sum_ in enumerate(sums):
        passed = builder.fcmp_unordered(">=", builder.load(sum_), bounds)
        builder.store(builder.zext(builder.bitcast(passed, i16), i32), pointer(8, number(row)))
    return context.get_dummy_value()


llvm.replace(place_row, _place_typing, _place_lowering)
llvm.replace(near_tile, _near_typing, _near_lowering)
