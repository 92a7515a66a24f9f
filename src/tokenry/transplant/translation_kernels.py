"""Compiled loops of word alignment: which word pairs occur together, and the expectation step of IBM model 1.

Paper: The Mathematics of Statistical Machine Translation (Brown et al. 1993), model 1.
"""

import numpy as np
from numba import njit


@njit(cache=True)
def pair_keys(old_words, old_starts, new_words, new_starts, first, last, n_new):
    """Sorted unique keys old * n_new + new of the words that share a line, lines first..last; old word 0 is in each."""
    size = 0
    for line in range(first, last):
        size += (old_starts[line + 1] - old_starts[line] + 1) * (new_starts[line + 1] - new_starts[line])
    keys = np.empty(size, np.int64)
    at = 0
    for line in range(first, last):
        for j in range(new_starts[line], new_starts[line + 1]):
            keys[at] = new_words[j]
            at += 1
            for i in range(old_starts[line], old_starts[line + 1]):
                keys[at] = np.int64(old_words[i]) * n_new + new_words[j]
                at += 1
    return np.unique(keys)


@njit(cache=True)
def _place(cols, low, high, word):
    """Where `word` stands among cols[low:high], which are sorted and hold it."""
    while low < high:
        middle = (low + high) // 2
        if cols[middle] < word:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True)
def expected_counts(old_words, old_starts, new_words, new_starts, indptr, cols, probabilities, counts):
    """Add to `counts` how often each old word made each new one, by the present chances; returns the log-likelihood.

    Each new word of a line comes from one of the line's old words or from the empty word 0, all equally likely before.
    """
    log_likelihood = 0.0
    places = np.empty(1024, np.int64)
    for line in range(len(old_starts) - 1):
        start, stop = old_starts[line], old_starts[line + 1]
        if stop - start + 1 > len(places):
            places = np.empty(stop - start + 1, np.int64)
        for j in range(new_starts[line], new_starts[line + 1]):
            word = new_words[j]
            places[0] = _place(cols, indptr[0], indptr[1], word)
            total = probabilities[places[0]]
            for i in range(start, stop):
                old = old_words[i]
                place = _place(cols, indptr[old], indptr[old + 1], word)
                places[i - start + 1] = place
                total += probabilities[place]
            for n in range(stop - start + 1):
                counts[places[n]] += probabilities[places[n]] / total
            log_likelihood += np.log(total / (stop - start + 1))
    return log_likelihood
