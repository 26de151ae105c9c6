"""Batches of rows over Arrow record batches and over parsed JSON lines: what `tables.TableBatch` says.

`name` is what errors call the table.

Sparse vectors are a column of: structs {indices: list of integers, values: list of numbers}; maps from integer to
number; lists of structs of an integer and a number. In JSON: objects {"indices": [...], "values": [...]}, or objects
whose keys spell integers.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InvalidArgument
from vsearch.types import FloatArray

if TYPE_CHECKING:
    import pyarrow as pa

SparseVector = tuple[NDArray[Any], NDArray[Any]]  # indices and values

NUMBERS: Final = (int, float)  # types of a JSON number; bool is an int, but of another type


class ArrowBatch:
    """A batch over an Arrow record batch."""

    def __init__(self, name: str, position: int, batch: pa.RecordBatch) -> None:
        self.position = position
        self.rows: int = batch.num_rows
        self.column_names: list[str] = list(batch.schema.names)
        self._name = name
        self._batch = batch

    def python(self, name: str) -> list[Any]:
        try:
            values: list[Any] = _plain(self._column(name)).to_pylist()
        except (ValueError, ArithmeticError, LookupError) as error:  # text that is not UTF-8, unknown time zones ...
            raise InvalidArgument(f"{self._name}: column {name!r}: {error}") from error
        return values

    def vectors(self, name: str) -> FloatArray:
        column = self._lists(name)
        if column.null_count:
            row = self.position - self.rows + column.is_null().index(True).as_py()
            raise InvalidArgument(f"{self._name} row {row}: column {name!r} has no vector", "Leave such rows out")
        return self._floats(column, name)

    def optional_vectors(self, name: str) -> FloatArray | list[FloatArray | None]:
        column = self._lists(name)
        if not column.null_count:
            return self._floats(column, name)
        rest = column.drop_null()
        return _spread(self._floats(rest, name) if len(rest) else (), column.is_valid().to_pylist())

    def sparse(self, name: str, field: str) -> list[SparseVector | None]:
        import pyarrow.compute as pc

        both = [name] if name in self.column_names else name.split(",")
        columns = [self._column(one) for one in both]
        if len(columns) != 2:
            columns = self._sparse_parts(columns[0], name)
        indices, values = columns
        for one, kind in ((indices, "integers"), (values, "numbers")):
            if not is_vector(one.type) or (kind == "integers" and not _integers(one.type.value_type)):
                raise InvalidArgument(f"{self._name}: column {name!r} holds {one.type}, not lists of {kind}")
        lengths = pc.list_value_length(indices)
        if not lengths.equals(pc.list_value_length(values)):  # null where a list is
            raise InvalidArgument(f"{self._name}: column {name!r} has rows with more indices than values, or fewer")
        terms, weights = indices.flatten(), values.flatten()
        if terms.null_count or weights.null_count:
            raise InvalidArgument(f"{self._name}: sparse vectors of column {name!r} have missing parts")
        numbers = weights.to_numpy(zero_copy_only=False)
        if _integers(values.type.value_type):
            numbers = self._scaled(numbers, both[-1] if f"{both[-1]}_scale" in self._scales() else field)
        cuts = np.cumsum(lengths.fill_null(0).to_numpy(zero_copy_only=False))[:-1]
        rows = zip(np.split(terms.to_numpy(zero_copy_only=False), cuts), np.split(numbers, cuts), strict=True)
        return [row if has else None for row, has in zip(rows, indices.is_valid().to_pylist(), strict=True)]

    def _sparse_parts(self, column: Any, name: str) -> list[Any]:
        """The lists of indices and of values of a column of sparse vectors, null where a row is."""
        import pyarrow as pa
        from pyarrow import types

        kind = column.type
        if types.is_struct(kind) and {kind.field(i).name for i in range(kind.num_fields)} == {"indices", "values"}:
            return [_where(column.is_valid(), column.field(part)) for part in ("indices", "values")]
        if types.is_map(kind):
            parts = [column.keys, column.items]
        elif types.is_list(kind) and types.is_struct(kind.value_type) and kind.value_type.num_fields == 2:
            parts = column.values.flatten()
        else:
            raise InvalidArgument(f"{self._name}: column {name!r} holds {kind}, not sparse vectors")
        offsets = pa.array(column.offsets.to_numpy())  # a copy: those of a slice take no mask
        mask = column.is_null() if column.null_count else None
        return [pa.ListArray.from_arrays(offsets, part, mask=mask) for part in parts]

    def _scales(self) -> set[str]:
        return {key.decode(errors="replace") for key in self._batch.schema.metadata or {}}

    def likely_vectors(self) -> list[str]:
        from pyarrow import types

        kinds = {field.name: getattr(field.type, "storage_type", field.type) for field in self._batch.schema}
        lists = {name: kind for name, kind in kinds.items() if is_vector(kind)}
        return [n for n, k in lists.items() if types.is_fixed_size_list(k) or types.is_floating(k.value_type)]

    def records(self, names: Sequence[str]) -> list[dict[str, Any]]:
        columns = [(name, self._jsonable(name)) for name in names]
        return [{name: v for name, values in columns if (v := values[row]) is not None} for row in range(self.rows)]

    def _column(self, name: str) -> Any:
        if self.column_names.count(name) != 1:
            found = "more than one" if name in self.column_names else "no"
            raise InvalidArgument(f"{self._name} has {found} column {name!r}", _named(self.column_names))
        return self._batch.column(name)

    def _lists(self, name: str) -> Any:
        """A column of lists of numbers."""
        import pyarrow as pa

        column = self._column(name)
        column = column.storage if isinstance(column, pa.ExtensionArray) else column
        if not is_vector(column.type):
            raise InvalidArgument(f"{self._name}: column {name!r} holds {column.type}, not lists of numbers")
        return column

    def _floats(self, column: Any, name: str) -> FloatArray:
        """Lists of which none is missing as float32 [n, d]."""
        import pyarrow as pa
        import pyarrow.compute as pc

        lengths = pc.unique(pc.list_value_length(column)).to_pylist()
        flat = column.flatten()  # unlike .values, only the rows of this slice
        if len(lengths) != 1 or not lengths[0]:
            raise InvalidArgument(f"{self._name}: vectors of column {name!r} are of length {_few(sorted(lengths))}")
        if flat.null_count:
            raise InvalidArgument(f"{self._name}: vectors of column {name!r} have missing components")
        with np.errstate(over="ignore"):  # too large a number becomes infinity, which no collection takes
            vectors = flat.to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
        vectors = vectors.reshape(len(column), lengths[0])
        return self._scaled(vectors, name) if column.type.value_type == pa.int8() else vectors

    def _jsonable(self, name: str) -> list[Any]:
        """The values of a column as what JSON can hold."""
        from pyarrow import types

        column = self._column(name)
        kind = column.type.value_type if types.is_dictionary(column.type) or is_vector(column.type) else column.type
        values = self.python(name)
        if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_string(kind):
            return values
        return [_value(value) for value in values]

    def _scaled(self, vectors: FloatArray, name: str) -> FloatArray:
        text = (self._batch.schema.metadata or {}).get(f"{name}_scale".encode())
        try:
            with np.errstate(over="ignore"):
                return vectors * np.float32(text.decode()) if text is not None else vectors
        except ValueError as error:
            raise InvalidArgument(f"{self._name}: {name}_scale is {text!r} in the metadata, not a number") from error


class JsonBatch:
    """A batch over parsed lines; `lines` are their numbers in the file."""

    def __init__(self, name: str, position: int, rows: list[dict[str, Any]], lines: list[int]) -> None:
        self.position = position
        self.rows = len(rows)
        self.column_names = list(dict.fromkeys(name for row in rows for name in row))
        self._name = name
        self._rows = rows
        self._lines = lines

    def python(self, name: str) -> list[Any]:
        if name not in self.column_names:
            raise InvalidArgument(f"{self._name} line {self._lines[0]} has no {name!r}", _named(self.column_names))
        return [row.get(name) for row in self._rows]

    def vectors(self, name: str) -> FloatArray:
        values = self.python(name)
        for value, line in zip(values, self._lines, strict=True):
            if not (isinstance(value, list) and value and all(type(x) in NUMBERS for x in value)):
                raise InvalidArgument(f"{self._name} line {line}: {name!r} is not a list of numbers")
            if len(value) != len(values[0]):
                expected = f"{len(values[0])} as on line {self._lines[0]}"
                raise InvalidArgument(f"{self._name} line {line}: {name!r} has {len(value)} numbers, not {expected}")
        try:
            with np.errstate(over="ignore"):
                return np.array(values, np.float32)
        except OverflowError as error:  # an integer beyond what any float holds
            raise InvalidArgument(f"{self._name}: {name!r} of lines {self._lines[0]} on: {error}") from error

    def optional_vectors(self, name: str) -> FloatArray | list[FloatArray | None]:
        present = [value is not None for value in self.python(name)]
        if all(present):
            return self.vectors(name)
        rows = list(itertools.compress(self._rows, present))
        lines = list(itertools.compress(self._lines, present))
        return _spread(JsonBatch(self._name, self.position, rows, lines).vectors(name) if rows else (), present)

    def sparse(self, name: str, field: str) -> list[SparseVector | None]:
        if name not in self.column_names and name.count(",") == 1:
            indices, values = (self.python(part) for part in name.split(","))
            pairs = [None if i is None and v is None else (i, v) for i, v in zip(indices, values, strict=True)]
        else:
            pairs = [self._pair(value, name, line) for value, line in zip(self.python(name), self._lines, strict=True)]
        return [None if p is None else self._numbers(p, name, n) for p, n in zip(pairs, self._lines, strict=True)]

    def _pair(self, value: Any, name: str, line: int) -> tuple[Any, Any] | None:
        """Indices and values of one JSON value."""
        if value is None:
            return None
        if isinstance(value, dict) and value.keys() == {"indices", "values"}:
            return value["indices"], value["values"]
        if isinstance(value, dict) and all(key.isascii() and key.isdecimal() and len(key) < 20 for key in value):
            return [int(key) for key in value], list(value.values())
        hint = 'Write {"indices": [1, 2], "values": [0.5, 0.25]} or {"1": 0.5, "2": 0.25}'
        raise InvalidArgument(f"{self._name} line {line}: {name!r} is not a sparse vector", hint)

    def _numbers(self, pair: tuple[Any, Any], name: str, line: int) -> SparseVector:
        indices, values = pair
        good = isinstance(indices, list) and isinstance(values, list) and len(indices) == len(values)
        if not good or any(type(i) is not int for i in indices) or any(type(v) not in NUMBERS for v in values):
            raise InvalidArgument(f"{self._name} line {line}: {name!r} is not as many numbers as whole indices")
        try:
            return np.array(indices, np.int64), np.array(values, np.float64)
        except OverflowError as error:
            raise InvalidArgument(f"{self._name} line {line}: {name!r}: {error}") from error

    def likely_vectors(self) -> list[str]:
        lists = {name: value for name, value in self._rows[0].items() if isinstance(value, list)}
        return [n for n, v in lists.items() if any(type(x) is float for x in v) and all(type(x) in NUMBERS for x in v)]

    def records(self, names: Sequence[str]) -> list[dict[str, Any]]:
        return [{name: row[name] for name in names if name in row} for row in self._rows]


def _spread(vectors: Iterable[FloatArray], present: Sequence[bool]) -> list[FloatArray | None]:
    """The vectors in the rows that have one, None in the others."""
    found = iter(vectors)
    return [next(found) if has else None for has in present]


def is_vector(kind: pa.DataType) -> bool:
    """Whether a column of this type holds lists of numbers."""
    from pyarrow import types

    lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return bool(lists and (types.is_integer(kind.value_type) or types.is_floating(kind.value_type)))


def _integers(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_integer(kind))


def _where(valid: Any, lists: Any) -> Any:
    """The lists, null where the row that they are of is."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return lists if valid.false_count == 0 else pc.if_else(valid, lists, pa.scalar(None, lists.type))


def _plain(column: Any) -> Any:
    """Times in nanoseconds as microseconds, which are what Python's types hold."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return column.cast(pa.timestamp("us", kind.tz), safe=False)
    return column.cast(pa.time64("us"), safe=False) if kind == pa.time64("ns") else column


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return [_value(item) for item in value]
    if isinstance(value, dict):
        return {key: _value(item) for key, item in value.items()}
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return float(value)
    return base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else value


def _few(values: Any) -> str:
    return ", ".join(str(value) for value in values[:5]) + (", ..." if len(values) > 5 else "")


def _named(names: list[str]) -> str:
    return f"Its columns are {_few(names)}"
