"""How far off an inferred mixture may be: train tokenizers of a known mixture, infer it again, and look at the errors.

A bootstrap of the attacker's documents sees only half of the noise, because the tokenizer's own training text was a
sample too. Here both halves are drawn: half of each category's shards train a tokenizer at the estimated shares, the
other half infers them back. Each half is smaller than what the estimate itself used, so the errors are on the large
side.

Papers: Data Mixture Inference: What do BPE Tokenizers Reveal about their Training Data? (arXiv 2407.16607).
"""

from dataclasses import dataclass

import numpy as np

from tokenry.core.progress import Progress
from tokenry.core.vocab import Vocab
from tokenry.tokenization.mixture_counts import CategoryCounts, SpelledWords
from tokenry.tokenization.mixture_evidence import Evidence, gather_evidence, solve, to_bytes
from tokenry.tokenization.mixture_merges import barred

# Axes: W words, C columns (category x shard), n categories, R rounds, T merges.

_SCALE = 2.0**40
"""Symbols a weighted corpus is scaled to, so that rounding the words' counts orders no pair anew."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """Errors of inferring a mixture that was known."""

    errors_bytes: np.ndarray
    """float64 (R, n), inferred minus true share of bytes."""
    errors_pairs: np.ndarray
    """float64 (R, n), the same in pairs."""

    def errors(self, unit: str) -> np.ndarray:
        """float64 (R, n), in "bytes" or "pairs"."""
        return self.errors_bytes if unit == "bytes" else self.errors_pairs


def learn_merges(
    vocab: Vocab,
    spelled: SpelledWords,
    counts_W: np.ndarray,
    *,
    n_merges: int,
    inherited: np.ndarray | None = None,
    longest: int = 0,
) -> np.ndarray:
    """Learn merges on weighted words, from the start symbols of a vocabulary.

    Args:
        vocab: whose start symbols spell the words.
        spelled: the words.
        counts_W: float64 or int (W,), weight of each word.
        n_merges: merges to learn after the inherited ones.
        inherited: int32 (M, 3), merges applied before learning.
        longest: most characters of a token in the stored spelling; 0 = no limit.

    Returns:
        int32 (T, 3): inherited and learned merges; new symbols are numbered from `vocab.size`.
    """
    from tokenry.tokenization.merges import encode_words, train_merges

    weights = np.asarray(counts_W, np.float64).ravel()[spelled.word_of_part]
    total = float(weights @ np.diff(spelled.offsets))
    factor = _SCALE / total
    if (weights == np.rint(weights)).all():
        factor = max(np.floor(factor), 1.0)  # whole counts keep their ties
    counts = np.rint(weights * factor).astype(np.int64)
    before = np.zeros((0, 3), np.int32) if inherited is None else inherited
    symbols, offsets = spelled.symbols, spelled.offsets
    if len(before):
        symbols, offsets = encode_words(symbols, offsets, before)
    used = np.zeros(vocab.size, bool)
    used[symbols] = True
    used[before[:, 2]] = True
    used &= ~barred(vocab)
    names = [vocab.literal(i) if used[i] else None for i in range(vocab.size)]
    learned = train_merges(
        symbols, offsets, counts, n_symbols=vocab.size, n_merges=n_merges, names=names, max_length=longest
    )
    return np.concatenate([before, learned.triples])


def weights_for(shares_bytes: np.ndarray, bytes_n: np.ndarray) -> np.ndarray:
    """float64 (n,): how often each category is taken, so that the bytes have these shares."""
    return np.where(shares_bytes > 0, shares_bytes / np.maximum(bytes_n, 1), 0.0)


def halves(categories: CategoryCounts, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """bool (C,) twice: a random half of each category's non-empty shards, and the rest.

    Raises:
        ValueError: for a category with fewer than two shards that hold text.
    """
    first = np.zeros(len(categories.n_bytes), bool)
    second = first.copy()
    for i, name in enumerate(categories.names):
        columns = np.flatnonzero((categories.shard_category == i) & (categories.n_bytes > 0))
        if len(columns) < 2:
            raise ValueError(
                f"the category {name!r} has {int(categories.n_docs[categories.shard_category == i].sum())} documents, "
                "which cannot be halved by document. Give it more documents (cut a long one), or leave out --calibrate."
            )
        columns = rng.permutation(columns)
        first[columns[: len(columns) // 2]] = True
        second[columns[len(columns) // 2 :]] = True
    return first, second


def sampled_weights(
    categories: CategoryCounts,
    half_C: np.ndarray,
    shares_bytes: np.ndarray,
    *,
    n_bytes: float | None,
    rng: np.random.Generator,
) -> np.ndarray:
    """float64 (C,): how often each shard of a half is taken to make a corpus of these shares.

    Args:
        categories: counts by shard.
        half_C: bool (C,), the shards to draw from.
        shares_bytes: float64 (n,).
        n_bytes: size of the corpus; a category whose part is smaller than its half is a sample of whole shards (the
            last one in part). None: all of each half.

    Returns:
        Weights; those of a category times its shards' bytes sum to its share.
    """  # fmt: skip
    weights = np.zeros(len(half_C))
    for i, share in enumerate(shares_bytes):
        columns = rng.permutation(np.flatnonzero(half_C & (categories.shard_category == i)))
        sizes = categories.n_bytes[columns].astype(np.float64)
        wanted = sizes.sum() if n_bytes is None else min(share * n_bytes, sizes.sum())
        taken = np.clip(wanted - (np.cumsum(sizes) - sizes), 0, sizes)
        if share > 0 and taken.sum() > 0:
            weights[columns] = taken / sizes * (share / taken.sum())
    return weights


def calibrate(
    vocab: Vocab,
    evidence: Evidence,
    bytes_share: np.ndarray,
    *,
    n_rounds: int,
    seed: int,
    first_merge: int = 0,
    trained_bytes: float | None = None,
    longest: int = 0,
    tolerance: float = 1e-3,
) -> Calibration:
    """Train tokenizers at the estimated shares on half of the documents, and infer the shares from the other half.

    Args:
        vocab: the tokenizer; its start symbols spell the words.
        evidence: the problem the estimate comes from.
        bytes_share: float64 (n,), the estimate.
        n_rounds: tokenizers to train, each with halves of its own.
        seed: of the halves.
        first_merge: merges of the tokenizer to keep before learning.
        trained_bytes: size of its training text, where known.
        longest: longest token, see `learn_merges`.
        tolerance: of the solver.

    Raises:
        ValueError: for a category that cannot be halved.
    """
    categories, merges = evidence.categories, evidence.trajectories.merges
    pairs_C = evidence.spelled.pairs(categories.counts)
    in_bytes, in_pairs = [], []
    with Progress("calibrating", total=n_rounds, unit="rounds") as progress:
        for round_ in range(n_rounds):
            rng = np.random.default_rng([seed, round_])
            train, test = halves(categories, rng)
            weights = sampled_weights(categories, train, bytes_share, n_bytes=trained_bytes, rng=rng)
            learned = learn_merges(
                vocab, evidence.spelled, categories.counts @ weights, n_merges=len(merges) - first_merge,
                inherited=merges[:first_merge], longest=longest,
            )  # fmt: skip
            attacked = gather_evidence(
                vocab, categories.within(test), learned, first_merge=first_merge,
                excluded=lambda pairs, learned=learned: never_candidates(vocab, learned, pairs, longest=longest),
            )  # fmt: skip
            shares = np.asarray(solve(attacked, tolerance=tolerance).pairs_share)
            true_pairs = (pairs_C * weights).reshape(len(bytes_share), -1).sum(1)
            in_pairs.append(shares - true_pairs / true_pairs.sum())
            in_bytes.append(to_bytes(shares, attacked.bytes_n, attacked.pairs_n) - bytes_share)
            progress.add(1)
    return Calibration(np.array(in_bytes), np.array(in_pairs))


def never_candidates(vocab: Vocab, merges: np.ndarray, pairs: np.ndarray, *, longest: int) -> np.ndarray:
    """bool (P,): pairs `learn_merges` could not have merged, whose new symbols are numbered from `vocab.size`."""
    size = int(max(vocab.size, merges.max(initial=0) + 1))
    closed = np.zeros(size, bool)
    closed[: vocab.size] = barred(vocab)
    out = closed[pairs].any(1)
    if longest:
        lengths = np.zeros(size, np.int64)
        lengths[: vocab.size] = [len(vocab.literal(i)) for i in range(vocab.size)]
        for left, right, made in merges.tolist():
            lengths[made] = lengths[left] + lengths[right]
        out |= lengths[pairs].sum(1) > longest
    return out


def calibrated_interval(estimate_n: np.ndarray, errors_Rn: np.ndarray, *, level: float) -> np.ndarray:
    """Interval of each share from the errors of R rounds: estimate -+ t times the root of the mean squared error.

    The errors are taken as draws from a centred normal distribution, so with R rounds the quantile is that of Student's
    t with R degrees of freedom: with ten rounds a percentile of the errors themselves would be the largest of them. A
    bias widens the interval instead of moving it.

    Args:
        estimate_n: float64 (n,).
        errors_Rn: float64 (R, n).
        level: coverage asked for.

    Returns:
        float64 (n, 2), inside [0, 1].
    """
    from scipy.stats import t

    rounds = len(errors_Rn)
    reach = t.ppf((1 + level) / 2, rounds) * np.sqrt((errors_Rn**2).mean(0))
    return np.clip(np.stack([estimate_n - reach, estimate_n + reach], 1), 0.0, 1.0)
