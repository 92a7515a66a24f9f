"""Small corpora for the tests of mixture inference: random words and merges, naive counting, planted mixtures."""

import itertools
from collections import Counter

import numpy as np

from tokenry.tokenization.merges import train_merges


def random_words(rng, n_words=8, longest=12, n_symbols=3):
    """(symbols, offsets) of random words over few symbols, so that runs are common; some are empty."""
    sizes = rng.integers(0, longest, n_words)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    return rng.integers(0, n_symbols, offsets[-1]).astype(np.int32), offsets


def random_merges(rng, n_merges, n_symbols=3):
    """Merges of random symbols, made or not; some pairs stand twice, some can never be held."""
    merges, made = [], n_symbols
    for _ in range(n_merges):
        merges.append((*rng.integers(0, made, 2), made))
        made += 1
        if rng.random() < 0.3:
            merges.append(merges[rng.integers(len(merges))])
    return np.array(merges[:n_merges], np.int32).reshape(-1, 3)


def counts_from_scratch(symbols, offsets, merges):
    """Before each merge and after the last: per word, a Counter of its pairs, counted anew every time."""
    words = [symbols[a:b].tolist() for a, b in itertools.pairwise(offsets)]
    history = [[Counter(itertools.pairwise(word)) for word in words]]
    for left, right, made in merges.tolist():
        words = [_merged(word, left, right, made) for word in words]
        history.append([Counter(itertools.pairwise(word)) for word in words])
    return history


def _merged(word, left, right, made):
    out, i = [], 0
    while i < len(word):
        both = i + 1 < len(word) and word[i] == left and word[i + 1] == right
        out.append(made if both else word[i])
        i += 2 if both else 1
    return out


def counts_by_step(trajectories, counts_WC):
    """float64 (T, P, C): the count of every pair before each merge is chosen."""
    changes = trajectories.changes(counts_WC)
    n_steps = len(trajectories.merges)
    table = np.zeros((n_steps + 1, changes.n_pairs, changes.counts.shape[1]))
    np.add.at(table, (changes.event_step, changes.event_pair), changes.counts.toarray())
    return table.cumsum(0)[:n_steps]


def language(rng, n_words, n_symbols=12):
    """Words of a made-up language: symbols follow each other by a sparse random chain; counts fall as Zipf's."""
    chain = rng.dirichlet(np.full(n_symbols, 0.25), n_symbols)
    words = []
    for _ in range(n_words):
        word = [int(rng.integers(n_symbols))]
        while len(word) < 3 or (rng.random() < 0.8 and len(word) < 12):
            word.append(int(rng.choice(n_symbols, p=chain[word[-1]])))
        words.append(word)
    return words, np.rint(20_000 / (1 + np.arange(n_words))).astype(np.int64)


def planted(seed, n_categories=3, n_words=120, n_symbols=12, n_merges=80):
    """Categories whose words do not mix: (symbols, offsets, counts (W, C), merges of their sum).

    The tokenizer is trained on all of them, so the true share of pairs is that of the counts.
    """
    rng = np.random.default_rng(seed)
    weights = rng.integers(1, 8, n_categories)
    words, columns = [], []
    for k in range(n_categories):
        own, counts = language(rng, n_words, n_symbols)
        words += own
        columns.append(np.pad(counts * weights[k], (k * n_words, (n_categories - 1 - k) * n_words)))
    symbols = np.array([s for word in words for s in word], np.int32)
    offsets = np.concatenate([[0], np.cumsum([len(word) for word in words])])
    counts_WC = np.column_stack(columns)
    names = [bytes([97 + k]) for k in range(n_symbols)]
    learned = train_merges(symbols, offsets, counts_WC.sum(1), n_symbols=n_symbols, n_merges=n_merges, names=names)
    return symbols, offsets, counts_WC, learned.triples


def pairs_of(offsets, counts_WC):
    """First pairs of each column."""
    return np.maximum(np.diff(offsets) - 1, 0) @ counts_WC


def dense_programme(table_TPC, n_pairs_C, merged_pair):
    """All rows written down and solved by scipy's `linprog`: (value in pairs per million, shares)."""
    from scipy.optimize import linprog

    n_steps, n_pairs, n = table_TPC.shape
    rates = table_TPC * (1e6 / n_pairs_C)
    used = [t for t in range(n_steps) if merged_pair[t] >= 0 and rates[t, merged_pair[t]].max() > 0]
    rows = []
    for t in used:
        for p in range(n_pairs):
            if p != merged_pair[t]:
                row = np.zeros(n + n_steps + n_pairs)
                row[:n] = rates[t, p] - rates[t, merged_pair[t]]
                row[n + t] = row[n + n_steps + p] = -1
                rows.append(row)
    if not rows:
        return 0.0, np.full(n, 1 / n)
    cost = np.concatenate([np.zeros(n), np.ones(n_steps + n_pairs)])
    total = np.concatenate([np.ones(n), np.zeros(n_steps + n_pairs)])[None]
    found = linprog(cost, np.array(rows), np.zeros(len(rows)), total, [1.0], bounds=(0, None), method="highs")
    return found.fun, found.x[:n]
