"""The nouns that every layer shares: fields, search parameters, payload columns, and the limits.

Only the standard library and numpy may be imported here: `index/` and `storage/` build on this module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InvalidArgument

PointId = int | str
Payload = dict[str, Any]
Metric = Literal["cosine", "dot", "l2"]
SparseIndexKind = Literal["auto", "flat", "inverted"]
Distance = Literal["dot", "l2"]  # what an index computes: minus the inner product, or the squared Euclidean distance
IndexKind = Literal["auto", "flat", "hnsw", "binary"]
ScoreKind = Literal["similarity", "probability"]
Durability = Literal["sync", "os"]
ColumnType = Literal["int", "float", "str", "bool", "null", "list", "object"]
Progress = Callable[[int, int], None]  # (done, total) in rows; may raise to stop the work

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
Bitset = NDArray[np.uint64]  # bit i of a set is bit (i & 63) of word (i >> 6)

# Limits, each with its reason.
MAX_DIM: Final = 65_536  # one float32 vector stays within 256 KiB
MIN_BINARY_DIM: Final = 8  # with fewer components, vectors are hardly longer than their codes
FINE_BITS: Final = (2, 4, 8)  # of a second code: a byte holds a whole number of components
MAX_BINARY_DIM: Final = 8_192  # the sums of a code's lookups stay below 65,536
MAX_COMPONENT: Final = 1e15  # magnitude of a component under dot and l2: sums of squares stay finite in float32
MAX_ID_BYTES: Final = 1_024  # an id is a RocksDB key; longer keys bloat every block index
MAX_LIMIT: Final = 10_000  # k of one search: hits are materialised as Python objects
MAX_BATCH_POINTS: Final = 100_000  # one batch is one atomic write held in memory
MAX_BATCH_BYTES: Final = 1 << 30  # a RocksDB write batch holds at most 4 GiB; stay well below
MAX_PAYLOAD_BYTES: Final = 1 << 20  # payloads are read whole for every hit
MAX_PAYLOAD_DEPTH: Final = 32  # nesting of objects and lists
MAX_FILTER_DEPTH: Final = 32  # nesting of and, or, not
MAX_FILTER_VALUES: Final = 100_000  # values in one `any` or ids in one `has_id`
MAX_NAME_LENGTH: Final = 255  # collection and field names
MAX_FIELDS: Final = 64  # named vectors of one collection
MAX_EF: Final = 16_384  # beam of a graph walk: its arrays stay in the second-level cache
MAX_TERM: Final = 2**32 - 1  # of a sparse vector: as other engines have it
MAX_TERMS: Final = 65_535  # non-zero weights of one sparse vector, and distinct words of one text
MAX_WEIGHT: Final = 1e15  # of a sparse vector: sums of products stay finite in float32
MAX_KNN: Final = 64  # neighbours of a row in the graph of an inverted index
MAX_K1: Final = 100.0  # of BM25; customary is 1.2
LANGUAGES: Final = (  # that PyStemmer has a stemmer for, and vsearch/analysis.py stop words
    "arabic", "danish", "dutch", "english", "finnish", "french", "german", "hungarian", "italian", "norwegian",
    "portuguese", "romanian", "russian", "spanish", "swedish", "turkish",
)  # fmt: skip
MAX_TEXT_BYTES: Final = 1 << 20  # of one text: about a book of 170,000 words


@dataclass(frozen=True, slots=True)
class Dense:
    """A field of dense vectors.

    `dim`: components of a vector. `metric`: cosine (vectors are normalised when they are stored), dot or l2.
    `index`: the kind built for sealed segments; auto builds hnsw for large segments, binary for small ones and
    none for the smallest. `dtype`: how components are stored: float32, float16, or int8 (whole numbers from -128 to
    127, not under cosine). `m`, `ef_construction`: the graph's degree (twice that on its lowest level) and the width of
    the search that finds a new vector's neighbours (Malkov and Yashunin 2018).
    `extra_bits`: with binary, 2, 4 or 8 bits a component for a second code, which leaves fewer vectors to be read.

    Raises InvalidArgument for a value out of range.
    """

    dim: int
    metric: Metric = "cosine"
    index: IndexKind = "auto"
    dtype: Literal["float32", "float16", "int8"] = "float32"
    m: int = 16
    ef_construction: int = 200
    extra_bits: int = 0

    def __post_init__(self) -> None:
        def need(good: bool, message: str, hint: str) -> None:
            if not good:
                raise InvalidArgument(message, hint)

        def whole(value: object) -> bool:
            return isinstance(value, int) and not isinstance(value, bool)

        need(whole(self.dim) and 1 <= self.dim <= MAX_DIM, f"dim is {self.dim!r}", f"Use 1 to {MAX_DIM}")
        need(self.metric in ("cosine", "dot", "l2"), f"unknown metric {self.metric!r}", "Use cosine, dot or l2")
        kinds = ("auto", "flat", "hnsw", "binary")
        need(self.index in kinds, f"unknown index kind {self.index!r}", "Use auto, flat, hnsw or binary")
        good = self.index != "binary" or MIN_BINARY_DIM <= self.dim <= MAX_BINARY_DIM
        hint = f"Use {MIN_BINARY_DIM} to {MAX_BINARY_DIM}, or index='auto'"
        need(good, f"dim is {self.dim} with index='binary'", hint)
        good = whole(self.extra_bits) and self.extra_bits in (0, *FINE_BITS)
        need(good, f"extra_bits is {self.extra_bits!r}", "Use 0, 2, 4 or 8")
        dtypes = ("float32", "float16", "int8")
        need(self.dtype in dtypes, f"unknown dtype {self.dtype!r}", "Use float32, float16 or int8")
        good = self.dtype != "int8" or self.metric != "cosine"
        need(good, "int8 vectors cannot be normalised, as cosine needs", "Use metric='dot' or 'l2', or float16")
        need(whole(self.m) and 2 <= self.m <= 128, f"m is {self.m!r}", "Use an integer from 2 to 128")
        good = whole(self.ef_construction) and 8 <= self.ef_construction <= 4096
        need(good, f"ef_construction is {self.ef_construction!r}", "Use an integer from 8 to 4096")

    @property
    def distance(self) -> Distance:
        """What an index computes for this metric; cosine is the inner product of normalised vectors."""
        return "l2" if self.metric == "l2" else "dot"

    @property
    def coded(self) -> bool:
        """Whether rows without an index are searched by codes of one bit a component."""
        return self.index != "flat" and MIN_BINARY_DIM <= self.dim <= MAX_BINARY_DIM

    def to_dict(self) -> dict[str, Any]:
        names = ("dim", "metric", "index", "dtype", "m", "ef_construction", "extra_bits")
        return {"kind": "dense", **{name: getattr(self, name) for name in names}}

    @classmethod
    def from_dict(cls, spec: dict[str, Any]) -> Dense:
        return cls(**{name: value for name, value in spec.items() if name != "kind"})


@dataclass(frozen=True, slots=True)
class Sparse:
    """A field of sparse vectors {term: weight}, compared by their inner product.

    Terms are integers from 0 to 2**32 - 1; weights of points are above 0. `index`: auto and inverted build a
    block-summary inverted index for sealed segments, flat builds none. `dtype`: how weights are stored.
    `modifier`: "idf" multiplies the weights of a query with the inverse document frequency of their terms, over the
    whole collection, as BM25 does. `knn`: neighbours a row in the refinement graph of the index; 0 for none.

    Raises InvalidArgument for a value out of range.
    """

    index: SparseIndexKind = "auto"
    dtype: Literal["float32", "float16"] = "float32"
    modifier: Literal["idf"] | None = None
    knn: int = 0

    def __post_init__(self) -> None:
        if self.index not in ("auto", "flat", "inverted"):
            raise InvalidArgument(f"unknown index kind {self.index!r}", "Use auto, flat or inverted")
        if self.dtype not in ("float32", "float16"):
            raise InvalidArgument(f"unknown dtype {self.dtype!r}", "Use float32 or float16")
        if self.modifier not in (None, "idf"):
            raise InvalidArgument(f"unknown modifier {self.modifier!r}", "Use 'idf' or None")
        if not isinstance(self.knn, int) or isinstance(self.knn, bool) or not 0 <= self.knn <= MAX_KNN:
            raise InvalidArgument(f"knn is {self.knn!r}", f"Use an integer from 0 to {MAX_KNN}")

    @property
    def metric(self) -> Metric:
        return "dot"

    @property
    def distance(self) -> Distance:
        return "dot"

    def to_dict(self) -> dict[str, Any]:
        names = ("index", "dtype", "modifier", "knn")
        return {"kind": "sparse", **{name: getattr(self, name) for name in names}}

    @classmethod
    def from_dict(cls, spec: dict[str, Any]) -> Sparse:
        return cls(**{name: value for name, value in spec.items() if name != "kind"})


@dataclass(frozen=True, slots=True)
class Text:
    """A field of texts, found by the words that they share with a query and ranked by BM25.

    `language`: whose stop words are left out and whose words are reduced to their stems (vsearch/analysis.py), or None
    for words as they are. `k1`, `b`: how soon more of the same word stops counting, and how much long texts are held
    back (Robertson and Zaragoza 2009, Foundations and Trends in Information Retrieval 3(4)).

    Raises InvalidArgument for a value out of range.
    """

    language: str | None = "english"
    k1: float = 1.2
    b: float = 0.75

    def __post_init__(self) -> None:
        def number(value: object, highest: float) -> bool:
            return isinstance(value, int | float) and not isinstance(value, bool) and 0.0 <= value <= highest

        if self.language is not None and self.language not in LANGUAGES:
            raise InvalidArgument(f"unknown language {self.language!r}", f"Use None or one of {', '.join(LANGUAGES)}")
        if not number(self.k1, MAX_K1):
            raise InvalidArgument(f"k1 is {self.k1!r}", f"Use a number from 0 to {MAX_K1:g}")
        if not number(self.b, 1.0):
            raise InvalidArgument(f"b is {self.b!r}", "Use a number from 0 to 1")

    @property
    def metric(self) -> Metric:
        return "dot"

    @property
    def distance(self) -> Distance:
        return "dot"

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "text", "language": self.language, "k1": self.k1, "b": self.b}

    @classmethod
    def from_dict(cls, spec: dict[str, Any]) -> Text:
        return cls(**{name: value for name, value in spec.items() if name != "kind"})


Field = Dense | Sparse | Text
FIELD_KINDS: Final[dict[str, type[Dense] | type[Sparse] | type[Text]]] = {
    "dense": Dense,
    "sparse": Sparse,
    "text": Text,
}


def field_from_dict(spec: dict[str, Any]) -> Field:
    """The field that `to_dict` described. Raises InvalidArgument for an unknown kind or setting."""
    kind = spec.get("kind", "dense")
    if kind not in FIELD_KINDS:
        raise InvalidArgument(f"unknown kind of field {kind!r}", f"Use one of {', '.join(FIELD_KINDS)}")
    return FIELD_KINDS[kind].from_dict(spec)


@dataclass(frozen=True, slots=True)
class SparseRows:
    """Sparse vectors, row after row: row i has `numbers[offsets[i]:offsets[i + 1]]`, ascending and distinct, with
    `weights` beside them.

    offsets int64 [n + 1]; weights float32 or float16 [m]; numbers [m]: the terms themselves, uint32 (of texts uint64),
    or, where `terms` is there, positions in this ascending array of all terms, uint16 or uint32.
    """

    offsets: IntArray
    numbers: NDArray[Any]
    weights: NDArray[Any]
    terms: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, rows: slice | IntArray) -> SparseRows:
        """The rows of a slice of step 1, as views, or those at int64 ordinals, as copies."""
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self))
            stop = max(start, stop)
            first, last = int(self.offsets[start]), int(self.offsets[stop])
            offsets = self.offsets[start : stop + 1] - first
            return SparseRows(offsets, self.numbers[first:last], self.weights[first:last], self.terms)
        starts = self.offsets[:-1][rows]
        lengths = self.offsets[1:][rows] - starts
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        at = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
        return SparseRows(offsets, self.numbers[at], self.weights[at], self.terms)

    @property
    def nbytes(self) -> int:
        arrays = (self.offsets, self.numbers, self.weights, self.terms)
        return sum(array.nbytes for array in arrays if array is not None)

    def term_values(self) -> NDArray[Any]:
        """The terms themselves [m]."""
        return self.numbers if self.terms is None else self.terms[self.numbers]


@dataclass(frozen=True, slots=True)
class TextQueries:
    """Queries of a text field, ready to be scored by BM25: `rows` [nq] with the weight of each term, which is its
    inverse document frequency times how often the query has it; `mean_length`: words of a text, over the collection."""

    rows: SparseRows
    mean_length: float

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class SearchParams:
    """How hard a search should try, and how its hits are scored.

    `exact`: compare with every matching vector. `recall`: the wanted share of the true nearest that is found, from
    which the widths are chosen (of an index of kind binary: the chance that none of them is missing, which finds a
    larger share). `ef`: the beam of a graph walk, instead of the one chosen. `oversampling`: candidates rescored from
    stored vectors, as a multiple of the limit. `rescore`: whether to rescore at all.

    `score`: "similarity" is the cosine, the inner product, or minus the Euclidean distance; "probability" the estimated
    probability that a random point of the collection is farther than the hit, between 0 and 1 (vsearch/likelihood.py).

    Raises InvalidArgument for a value out of range.
    """

    exact: bool = False
    recall: float = 0.95
    ef: int | None = None
    oversampling: float | None = None
    rescore: bool = True
    score: ScoreKind = "similarity"

    def __post_init__(self) -> None:
        if not 0.0 < self.recall <= 1.0:
            raise InvalidArgument(f"recall is {self.recall!r}", "Use a number above 0 and at most 1")
        if self.ef is not None and not 1 <= self.ef <= MAX_EF:
            raise InvalidArgument(f"ef is {self.ef!r}", f"Use an integer from 1 to {MAX_EF}")
        if self.oversampling is not None and not 1.0 <= self.oversampling <= 100.0:
            raise InvalidArgument(f"oversampling is {self.oversampling!r}", "Use a number from 1 to 100")
        if self.score not in ("similarity", "probability"):
            raise InvalidArgument(f"unknown score {self.score!r}", "Use similarity or probability")


@dataclass(frozen=True)
class Column:
    """All values of one type that one payload path holds in a segment, in row order.

    Row i holds `values[offsets[i]:offsets[i + 1]]`: none when the path is missing there, several when it is a list.
    A path is the keys joined by dots, with `[]` after a key whose value is a list of objects (`authors[].name`).
    Values by type: int int64; float float64; bool uint8; str int32 codes into `dictionary`; null, list and object are
    markers that say what stands at the path itself: null 0, list its length, object 0, each int32.
    """

    path: str
    type: ColumnType
    offsets: NDArray[np.int64]
    values: NDArray[Any]
    dictionary: Sequence[str] = field(default=())

    @cached_property
    def rows(self) -> IntArray:
        """int64 [len(values)]: the row of each value."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))
