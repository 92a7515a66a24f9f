"""Two simpler guesses of a tokenizer's training mixture, to hold the inferred one against.

`vocabulary_frequency`: each token belongs to the category where its string is most frequent. `encoding_efficiency`: a
category that is encoded nearly as well as by a tokenizer of its own must have been frequent.

Papers: Data Mixture Inference: What do BPE Tokenizers Reveal about their Training Data? (arXiv 2407.16607; its
baselines TC and TEE).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tokenry.core.pretokens import Words
from tokenry.core.trie import ByteTrie
from tokenry.core.vocab import Vocab
from tokenry.tokenization.mixture_calibration import halves, learn_merges, weights_for
from tokenry.tokenization.mixture_counts import CategoryCounts, SpelledWords, spell_words

# Axes: W words, n categories, M known mixtures.

KNOWN_MIXTURES = 8
"""Mixtures of known shares the efficiency is fitted on."""
LEAST_SHARE = 1e-4
"""Shares below are taken as this in the fit, which works on logarithms."""


def vocabulary_frequency(
    tokens: Sequence[bytes], words: Words, *, counts_Wn: object, bytes_n: np.ndarray
) -> np.ndarray:
    """Share of the tokens whose string is most frequent, per byte, in each category (TC).

    A string counts wherever it stands inside a pre-token, so a short one is counted inside longer ones too. Tokens no
    category holds are left out; among equals the first category has it.

    Args:
        tokens: the strings, in the spelling of the words (UTF-8).
        words: pre-tokens.
        counts_Wn: scipy csr (W, n).
        bytes_n: float64 (n,), bytes of each category.

    Returns:
        float64 (n,), sums to 1; all equal where no token is found.

    Paper: Data Mixture Inference (arXiv 2407.16607), section 4 (TC).
    """
    from tokenry.tokenization.substring_kernels import substring_counts

    trie = ByteTrie.build(list(tokens))
    totals = np.zeros((len(tokens), counts_Wn.shape[1]))
    encoded = [word.encode("utf-8", "surrogatepass") for word in words]
    ends = np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)))
    counts = counts_Wn.tocsr()
    substring_counts(
        trie.child_start, trie.labels, trie.children, trie.values, np.frombuffer(b"".join(encoded), np.uint8), ends,
        counts.indptr.astype(np.int64), counts.indices.astype(np.int64), counts.data.astype(np.int64), totals,
    )  # fmt: skip
    found = totals.any(1)
    if not found.any():
        return np.full(len(bytes_n), 1 / len(bytes_n))
    home = np.argmax(totals[found] / np.maximum(bytes_n, 1), axis=1)
    return np.bincount(home, minlength=len(bytes_n)) / found.sum()


@dataclass(frozen=True, eq=False)
class EfficiencyModel:
    """What `encoding_efficiency` learned of these categories: it serves every tokenizer of as many merges."""

    counts_Wn: object
    """csr (W, n), the text that is encoded."""
    bytes_n: np.ndarray
    own_n: np.ndarray
    """float64 (n,), bytes per token of each category under a tokenizer trained on it alone."""
    slope: float
    """Of log share over log relative efficiency; one line for all categories."""
    n_merges: int


def fit_efficiency(
    vocab: Vocab,
    categories: CategoryCounts,
    spelled: SpelledWords,
    *,
    n_merges: int,
    seed: int,
    longest: int = 0,
) -> EfficiencyModel:
    """Train a tokenizer on each category and on known mixtures, and fit log share to log relative efficiency.

    Half of the shards train and the other half is encoded, as for the tokenizer that is judged.

    Args:
        vocab: whose start symbols spell the words.
        categories, spelled: the categories and their words.
        n_merges: merges of every tokenizer.
        seed: of the halves and of the mixtures (uniform on the simplex).
        longest: longest token, see `learn_merges`.

    Raises:
        ValueError: for a category that cannot be halved.

    Paper: Data Mixture Inference (arXiv 2407.16607), section 4 (TEE).
    """  # fmt: skip
    rng = np.random.default_rng(seed)
    first, second = halves(categories, rng)
    train, test = categories.by_category(first.astype(np.int64)), categories.by_category(second.astype(np.int64))
    n = len(categories.names)
    bytes_train, bytes_test = (
        np.bincount(categories.shard_category, weights=categories.n_bytes * half, minlength=n)
        for half in (first, second)
    )
    how = {"n_merges": n_merges, "longest": longest}
    own = np.array([_own_efficiency(vocab, categories.only([i]), (first, second), i=i, **how) for i in range(n)])
    shares = rng.dirichlet(np.ones(n), KNOWN_MIXTURES)
    relative = np.empty_like(shares)
    for row, share in enumerate(shares):
        merges = learn_merges(
            vocab, spelled, train @ weights_for(share, bytes_train), n_merges=n_merges, longest=longest
        )
        relative[row] = bytes_per_token(spelled, merges, counts_Wn=test, bytes_n=bytes_test) / own
    x, y = np.log(relative).ravel(), np.log(np.maximum(shares, LEAST_SHARE)).ravel()
    spread = ((x - x.mean()) ** 2).sum()
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / spread) if spread > 0 else 0.0
    return EfficiencyModel(test, bytes_test, own, slope, n_merges)


def _own_efficiency(
    vocab: Vocab, alone: CategoryCounts, halves_C: tuple[np.ndarray, np.ndarray], *, i: int, n_merges: int, longest: int
) -> float:
    """Bytes per token of category i under a tokenizer of its own, over its own words only."""
    shards = slice(i * alone.n_shards, (i + 1) * alone.n_shards)
    train, test = (half[shards].astype(np.int64) for half in halves_C)
    spelled = spell_words(vocab, alone.words)
    merges = learn_merges(vocab, spelled, alone.counts @ train, n_merges=n_merges, longest=longest)
    return float(
        bytes_per_token(spelled, merges, counts_Wn=alone.by_category(test), bytes_n=np.array([alone.n_bytes @ test]))[0]
    )


def encoding_efficiency(model: EfficiencyModel, spelled: SpelledWords, merges: np.ndarray) -> np.ndarray:
    """Shares of bytes from how well a tokenizer encodes each category (TEE).

    Args:
        model: from `fit_efficiency`.
        spelled: the same words.
        merges: int32 (T, 3); the first `model.n_merges` are used.

    Returns:
        float64 (n,), sums to 1.

    Paper: Data Mixture Inference (arXiv 2407.16607), section 4 (TEE).
    """
    reached = bytes_per_token(spelled, merges[: model.n_merges], counts_Wn=model.counts_Wn, bytes_n=model.bytes_n)
    log_share = model.slope * np.log(reached / model.own_n)
    share = np.exp(log_share - log_share.max())
    return share / share.sum()


def bytes_per_token(spelled: SpelledWords, merges: np.ndarray, *, counts_Wn: object, bytes_n: np.ndarray) -> np.ndarray:
    """float64 (n,): bytes of each category over its tokens, words cut by these merges alone."""
    from tokenry.tokenization.merges import encode_words

    _, ends = encode_words(spelled.symbols, spelled.offsets, merges)
    tokens_W = np.bincount(spelled.word_of_part, weights=np.diff(ends), minlength=counts_Wn.shape[0])
    return bytes_n / np.maximum(counts_Wn.T @ tokens_W, 1)
