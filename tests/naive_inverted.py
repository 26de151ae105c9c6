"""The inverted index from its definition: pruning, the summaries of given blocks, and a search of a given index.

Vectors are dense rows of a matrix, lists of Python. Sums are the same to the last bit where weights are whole multiples
of a power of two.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from vsearch.index import inverted_blocks, inverted_lists, inverted_search
from vsearch.index.forward import GROUP, HEAD

F = np.float32


def matrix(rows):
    """float32 [n, t]: rows with a dictionary, densely."""
    dense = np.zeros((len(rows), len(rows.terms)), F)
    dense[np.repeat(np.arange(len(rows)), np.diff(rows.offsets)), rows.numbers] = rows.weights
    return dense


def level(weight, top):
    return int(F(weight) / F(top) * F(255))


def from_heaviest(row):
    """The numbers of the terms of a dense row from the heaviest down, by 256 levels; of a level, ascending."""
    return sorted(np.flatnonzero(row).tolist(), key=lambda term: -level(row[term], row.max()))


def share(row, terms, least):
    """How many of the terms make up so much of the weight of a dense row."""
    total, taken = sum(float(weight) for weight in row), 0.0
    for count, term in enumerate(terms):
        if taken >= least * total:
            return count
        taken += float(row[term])
    return len(terms)


def pruned(dense, cap):
    """[rows of the list of each term], ascending."""
    lists = [[] for _ in range(dense.shape[1])]
    for i, row in enumerate(dense):
        terms = from_heaviest(row)
        for term in terms[: min(share(row, terms, inverted_lists.MASS), inverted_lists.MOST_TERMS)]:
            lists[term].append(i)
    for term, rows in enumerate(lists):
        if len(rows) > cap:
            top = max(dense[i, term] for i in rows)
            heaviest = sorted(rows, key=lambda i, term=term, top=top: (-level(dense[i, term], top), i))
            lists[term] = sorted(heaviest[:cap])
    return lists


def summary(dense):
    """({term: code}, step) of the rows of one block."""
    largest = dense.max(axis=0)
    step = max(largest.max() / F(255), inverted_blocks.TINY)
    codes = {t: min(255, int(np.ceil(largest[t] / step))) for t in np.flatnonzero(largest).tolist()}
    wanted, taken, least = inverted_blocks.ENERGY * sum(codes.values()), 0, 256
    while taken < wanted:
        least -= 1
        taken += sum(code for code in codes.values() if code == least)
    return {term: code for term, code in codes.items() if code >= least}, step


def blocks_of(buffers):
    """For each list, [rows of the layout of each block]."""
    lists, rows = buffers["block_starts"].tolist(), buffers["row_starts"].tolist()
    every = [buffers["rows"][first:last].tolist() for first, last in pairwise(rows)]
    return [every[first:last] for first, last in pairwise(lists)]


def place_and_mark(term, bits):
    hashed = term * inverted_blocks.HASH % 2**32
    return hashed >> (32 - bits), (hashed >> (20 - bits)) % 4_096


def directory_bits(entries):
    return next(bits for bits in range(21) if inverted_blocks.BUCKET * 2**bits >= entries or bits == 20)


def written(summaries):
    """(entries, directory) of a list, from the summaries of its blocks."""
    bits = directory_bits(sum(map(len, summaries)))
    entries = sorted(
        (*place_and_mark(term, bits), block, code)
        for block, codes in enumerate(summaries)
        for term, code in codes.items()
    )
    starts = [sum(entry[0] < place for entry in entries) for place in range(2**bits + 1)]
    return [mark << 20 | block << 8 | code for _, mark, block, code in entries], starts


def heaviest(query, mass):
    """The numbers of a dense query's largest weights that make up the share `mass`."""
    total, taken, chosen = F(query.sum()), F(0), []
    for term in sorted(np.flatnonzero(query).tolist(), key=lambda term: -query[term])[: inverted_search.MAX_LISTS]:
        if chosen and taken >= F(mass) * total:
            break
        chosen.append(term)
        taken += query[term]
    return chosen


class NaiveInverted:
    """Searches by the buffers of an index over dense rows, whose weights are exactly what the index stores."""

    def __init__(self, dense, buffers):
        self.dense, self.buffers = dense, buffers
        self.layout = dense[buffers["ordinals"].astype(np.int64)]
        self.heads = np.zeros_like(self.layout)
        for i, row in enumerate(self.layout):
            terms = from_heaviest(row)
            groups = -(-share(row, terms, HEAD) // GROUP)
            self.heads[i, terms[: groups * GROUP]] = row[terms[: groups * GROUP]]
        self.blocks = blocks_of(buffers)

    def scores(self, chosen, told, query):
        """[(score, rows)] of the blocks of the chosen lists, as a query lets expect them."""
        found = []
        for number in chosen:
            start, end = self.buffers["entry_starts"][number : number + 2].tolist()
            entries, bits = self.buffers["entries"][start:end].tolist(), directory_bits(end - start)
            directory = self.buffers["directory"][self.buffers["directory_starts"][number] :]
            sums = [F(0)] * len(self.blocks[number])
            for term in told:
                place, mark = place_and_mark(term, bits)
                for entry in entries[int(directory[place]) : int(directory[place + 1])]:
                    if entry >> 20 == mark:
                        sums[(entry >> 8) % 4_096] += query[term] * F(entry % 256)
            steps = self.buffers["steps"][self.buffers["block_starts"][number] :]
            found += [(total * steps[i], self.blocks[number][i]) for i, total in enumerate(sums)]
        return found

    def order(self, scores):
        """The blocks in the order in which they are visited: (how many are sorted, their positions)."""
        top = max([F(0), *scores])
        least = F(inverted_search.NEAR) * top
        scale = F(inverted_search.ORDERS - 1) / max(top - least, F(1e-30))
        near = [i for i, score in enumerate(scores) if score >= least]
        near.sort(key=lambda i: -int((scores[i] - least) * scale))
        return len(near), near + [i for i, score in enumerate(scores) if score < least]

    def search(self, query, effort, k, live):
        """([ordinals], [scores]) of a dense query, best first, and how many rows were compared; live: a set."""
        weights = query * self.buffers["scale"][0]
        codes = self.layout / self.buffers["scale"][0], self.heads / self.buffers["scale"][0]
        blocks = self.scores(heaviest(weights, effort.mass), heaviest(weights, inverted_search.TOLD), weights)
        best, met, waiting = [], set(), []
        compared = 0

        def worst():
            return best[k - 1][0] if len(best) >= k else F(np.inf)

        def compare(rows, head_factor):
            for row in rows:
                if head_factor is not None and codes[1][row] @ weights < -F(head_factor) * worst():
                    continue
                score = codes[0][row] @ weights
                if score > 0:
                    best.append((-score, int(self.buffers["ordinals"][row])))
                    best.sort()
                    del best[k:]

        def fresh(rows):
            new = [row for row in rows if row not in met]
            met.update(new)
            return [row for row in new if int(self.buffers["ordinals"][row]) in live]

        head_factor = min(effort.heap_factor, inverted_search.MOST_HEAD)
        ordered, places = self.order([score for score, _ in blocks])
        for at, place in enumerate(places):
            score, rows = blocks[place]
            if score < -F(effort.heap_factor) * worst():
                if at < ordered:  # the others score no more
                    break
                continue
            rows = fresh(rows)
            compare(waiting, head_factor)  # of the block before
            waiting, compared = rows, compared + len(rows)
        compare(waiting, head_factor)
        if effort.knn:
            near = [self.buffers["neighbours"][ordinal, : effort.knn].tolist() for _, ordinal in best]
            rows = fresh(dict.fromkeys(row for some in near for row in some))
            compare(rows, None)
            compared += len(rows)
        return [ordinal for _, ordinal in best], [-distance for distance, _ in best], compared
