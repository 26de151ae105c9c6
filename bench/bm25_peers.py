"""What full-text search is compared with: bm25s, which has the scores of all terms ready and adds them up (Lù 2024,
arXiv 2407.03618), and tantivy, a search library in Rust that skips blocks of postings.

Both get the tokens that our own analysis makes, and queries cut into tokens beforehand: only the search is timed.
Scores of bm25s are of Lucene's form, idf * tf / (tf + k1 * (1 - b + b * length / mean length)); tantivy's are k1 + 1
times that, with lengths above 40 only roughly, as it keeps one byte of each.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import bm25s
import numpy as np
import pyarrow.parquet as pq
import tantivy
from numpy.typing import NDArray

from bench.sparse_data import NO_ROW
from vsearch.analysis import tokens
from vsearch.types import IntArray

K = 10
K1, B = 1.2, 0.75  # tantivy has no others
LANGUAGE = "english"
NOTHING = ""  # a token of no document, since an empty query makes bm25s read what is not its own
HEAP_BYTES = 512 << 20  # of tantivy's writer: enough for all in one segment


@dataclass(frozen=True)
class TextWordnet:
    """Texts of docs and queries, the tokens of each, and the labelled row of each query, int64 [nq]."""

    texts: list[str]
    query_texts: list[str]
    docs: list[list[str]]
    queries: list[list[str]]
    answers: IntArray


@dataclass(frozen=True)
class Ranking:
    """The K best documents by query: rows int64 [nq, K], NO_ROW where fewer matched; scores float32 [nq, K], 0 there.
    Rows of the same score come in any order."""

    rows: IntArray
    scores: NDArray[np.float32]


def text_wordnet(folder: Path, rows: int | None = None) -> TextWordnet:
    """The WordNet definitions and example sentences; with `rows`, the first definitions and the queries that they
    answer."""
    texts = pq.read_table(folder / "wordnet" / "docs.parquet", columns=["text"])["text"].to_pylist()[:rows]
    table = pq.read_table(folder / "wordnet" / "queries.parquet", columns=["text", "doc"])
    answers = table["doc"].to_numpy().astype(np.int64)
    answered = np.flatnonzero(answers < len(texts))
    query_texts = table["text"].take(answered).to_pylist()
    docs, queries = ([tokens(text, LANGUAGE) for text in some] for some in (texts, query_texts))
    return TextWordnet(texts, query_texts, docs, queries, answers[answered])


class Bm25s:
    """An index of bm25s with its fastest backend, numba, and one thread; seconds to build it, and bytes of its arrays.

    Queries are lists of token numbers (`numbers`).
    """

    def __init__(self, docs: list[list[str]]) -> None:
        start = time.perf_counter()
        vocabulary = {NOTHING: 0}
        numbered = [[vocabulary.setdefault(token, len(vocabulary)) for token in doc] for doc in docs]
        self._vocabulary = vocabulary
        self._index = bm25s.BM25(k1=K1, b=B, method="lucene", backend="numba")
        self._index.index((numbered, vocabulary), show_progress=False)
        self.build_s = time.perf_counter() - start
        self.bytes = sum(self._index.scores[name].nbytes for name in ("data", "indices", "indptr"))

    def numbers(self, queries: list[list[str]]) -> list[list[int]]:
        """Queries as they are searched: words that no document has are left out; of nothing, NOTHING is asked."""
        known = self._vocabulary
        return [[known[token] for token in query if token in known] or [known[NOTHING]] for query in queries]

    def batch(self, queries: list[list[int]]) -> Ranking:
        """One call for all queries."""
        found = self._index.retrieve(queries, k=K, show_progress=False)
        return Ranking(np.where(found.scores > 0, found.documents.astype(np.int64), NO_ROW), found.scores)

    def singly(self, queries: list[list[int]]) -> Ranking:
        """A call for each query."""
        found = [self._index.retrieve([query], k=K, show_progress=False) for query in queries]
        scores = np.concatenate([one.scores for one in found])
        documents = np.concatenate([one.documents for one in found]).astype(np.int64)
        return Ranking(np.where(scores > 0, documents, NO_ROW), scores)


class Tantivy:
    """An index of tantivy in memory, of one segment and without positions; seconds to build it.

    Queries are built beforehand (`queries`); there is a call for each, by one thread.
    """

    def __init__(self, docs: list[list[str]]) -> None:
        builder = tantivy.SchemaBuilder()
        builder.add_text_field("text", tokenizer_name="whitespace", index_option="freq")
        self._schema = builder.build()
        start = time.perf_counter()
        index = tantivy.Index(self._schema)
        writer = index.writer(HEAP_BYTES, 1)
        for doc in docs:
            writer.add_document(tantivy.Document(text=" ".join(doc)))
        writer.commit()
        writer.wait_merging_threads()
        index.reload()
        self.build_s = time.perf_counter() - start
        self._searcher = index.searcher()
        assert self._searcher.num_segments == 1, "rows are documents of one segment"

    def queries(self, queries: list[list[str]]) -> list[tantivy.Query]:
        """Any of the words, as often as the query has them."""
        return [
            tantivy.Query.boolean_query(
                [
                    (tantivy.Occur.Should, tantivy.Query.term_query(self._schema, "text", token, "freq"))
                    for token in query
                ]
            )
            for query in queries
        ]

    def singly(self, queries: list[tantivy.Query]) -> Ranking:
        """A call for each query, without counting what matches, which would rule out skipping."""
        out = Ranking(np.full((len(queries), K), NO_ROW, np.int64), np.zeros((len(queries), K), np.float32))
        search = self._searcher.search
        for at, query in enumerate(queries):
            hits = search(query, K, count=False).hits
            if hits:
                out.rows[at, : len(hits)] = [address.doc for _, address in hits]
                out.scores[at, : len(hits)] = [score for score, _ in hits]
        return out
