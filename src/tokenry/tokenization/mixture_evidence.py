"""One inference problem: merges replayed on the categories' words, solved for the shares, in pairs and in bytes.

Papers: Data Mixture Inference: What do BPE Tokenizers Reveal about their Training Data? (arXiv 2407.16607).
"""

import os
import shutil
import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from tokenry.core.hashing import fingerprint
from tokenry.core.pretokens import Words
from tokenry.core.vocab import Vocab
from tokenry.tokenization.mixture_counts import CategoryCounts, SpelledWords, spell_words

# Axes: T merges, W words, C columns (category x shard), n categories, P pairs.


@dataclass(frozen=True, eq=False)
class Evidence:
    """Everything the linear programme reads."""

    categories: CategoryCounts
    spelled: SpelledWords
    trajectories: object
    """`mixture_replay.Trajectories` over the parts of `spelled`."""
    counts: object
    """scipy csr int64 (parts, C)."""
    constrained: np.ndarray
    """bool (T,), merges that are evidence."""
    excluded: np.ndarray
    """bool (P,), pairs the trainer could never have merged."""

    @property
    def bytes_n(self) -> np.ndarray:
        """int64 (n,)."""
        return self.categories.bytes_by_category

    @property
    def pairs_n(self) -> np.ndarray:
        """int64 (n,), adjacent pairs of start symbols."""
        return self.spelled.pairs(self.categories.by_category())

    def first(self, n_merges: int) -> "Evidence":
        """The same with the first merges only; nothing is replayed."""
        if n_merges >= len(self.constrained):
            return self
        all_steps = self.trajectories
        events = int(np.searchsorted(all_steps.event_step, n_merges, side="right"))
        shorter = replace(
            all_steps,
            merges=all_steps.merges[:n_merges],
            merged_pair=all_steps.merged_pair[:n_merges],
            event_step=all_steps.event_step[:events],
            event_pair=all_steps.event_pair[:events],
            events=all_steps.events[:events],
        )
        return replace(self, trajectories=shorter, constrained=self.constrained[:n_merges])


def to_bytes(pairs_share: np.ndarray, bytes_n: np.ndarray, pairs_n: np.ndarray) -> np.ndarray:
    """Shares of pairs as shares of bytes: each times its bytes per pair, made to sum to 1 on the last axis."""
    scaled = np.asarray(pairs_share, np.float64) * (bytes_n / pairs_n)
    return scaled / scaled.sum(-1, keepdims=True)


def to_pairs(bytes_share: np.ndarray, bytes_n: np.ndarray, pairs_n: np.ndarray) -> np.ndarray:
    """The inverse of `to_bytes`."""
    return to_bytes(bytes_share, pairs_n, bytes_n)


def gather_evidence(
    vocab: Vocab,
    categories: CategoryCounts,
    merges: np.ndarray,
    *,
    constrained: np.ndarray | None = None,
    first_merge: int = 0,
    excluded: object = None,
    folder: str | Path | None = None,
    spelled: SpelledWords | None = None,
    workers: int = 1,
) -> Evidence:
    """Replay merges on the words of the categories.

    Args:
        vocab: whose start symbols spell the words.
        categories: the words and their counts.
        merges: int32 (T, 3).
        constrained: bool (T,), merges that are evidence; None: all from `first_merge` on.
        first_merge: merges before it are applied silently.
        excluded: function (P, 2) pairs -> bool (P,), pairs that are no evidence.
        folder: keep the replay here and use what is there: only words it does not hold are replayed, and after an
            interruption only what was not finished.
        spelled: the words already spelled (not used with a folder that holds more words).
        workers: threads.

    Raises:
        ValueError: for a category without a single pair.
    """
    from tokenry.tokenization.mixture_replay import replay_merges

    if folder is None:
        spelled = spelled or spell_words(vocab, categories.words)
        trajectories = replay_merges(spelled.symbols, spelled.offsets, merges, first_step=first_merge, workers=workers)
    else:
        alphabet = "".join(vocab.literal(i) for i in range(vocab.size) if len(vocab.literal(i)) == 1)
        key = fingerprint(merges.tobytes(), first_merge, categories.fingerprint, alphabet)
        place = Path(folder) / f"trajectories-{key}"
        categories, spelled, trajectories = _kept(place, vocab, categories, (merges, first_merge, workers))
    if constrained is None:
        constrained = np.arange(len(merges)) >= first_merge
    found = Evidence(
        categories=categories,
        spelled=spelled,
        trajectories=trajectories,
        counts=spelled.spread(categories.counts),
        constrained=constrained & (np.arange(len(merges)) >= first_merge),
        excluded=np.zeros(len(trajectories.pairs), bool) if excluded is None else excluded(trajectories.pairs),
    )
    empty = np.flatnonzero(found.pairs_n == 0)
    if len(empty):
        raise ValueError(
            f"the category {categories.names[empty[0]]!r} holds no two neighbouring symbols inside a word, so no merge "
            "says anything about it. Give it more text, or leave it out."
        )
    return found


def solve(evidence: Evidence, *, tolerance: float = 1e-3, start: np.ndarray | None = None) -> object:
    """The `MixtureFit` of a problem.

    Args:
        evidence: the problem.
        tolerance: relative gap to stop at.
        start: shares of pairs to start from.
    """
    from tokenry.tokenization.mixture_programme import fit_mixture

    silence_solver()
    summed = evidence.spelled.spread(evidence.categories.by_category())
    return fit_mixture(
        evidence.trajectories.changes(summed),
        evidence.pairs_n,
        merged_pair=evidence.trajectories.merged_pair,
        constrained_T=evidence.constrained,
        excluded_pairs=evidence.excluded,
        tolerance=tolerance,
        start=start,
    )


@cache
def silence_solver() -> None:
    """Let HiGHS say its name, which it does once a process and straight to standard output, where nobody reads it."""
    import highspy

    sys.stdout.flush()
    with open(os.devnull, "w") as nowhere:
        kept = os.dup(1)
        try:
            os.dup2(nowhere.fileno(), 1)
            highspy.Highs()
        finally:
            os.dup2(kept, 1)
            os.close(kept)


def _kept(place: Path, vocab: Vocab, categories: CategoryCounts, how: tuple) -> tuple:
    """(categories, spelled words, trajectories) over the words kept at `place` and those of the categories."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import parquet

    from tokenry.core.runs import atomic_folder, log
    from tokenry.tokenization.mixture_replay import Trajectories, add_words, replay_merges

    merges, first_merge, workers = how
    words = categories.words.array.cast(pa.large_string())
    old = parquet.read_table(place / "words.parquet")["word"].combine_chunks() if place.is_dir() else words[:0]
    old = old if isinstance(old, pa.Array) else old.combine_chunks()
    new = words.filter(pc.invert(pc.is_in(words, value_set=old)))
    both = Words(pa.concat_arrays([old.cast(pa.large_string()), new]))
    spelled = spell_words(vocab, both)
    if len(new):
        first_new = int(np.searchsorted(spelled.word_of_part, len(old)))
        start = spelled.offsets[first_new]
        fresh = (spelled.symbols[start:], spelled.offsets[first_new:] - start)
        # Named by its words, so that after an interruption the same corpora go on and others do not stumble over it.
        parts = place.with_name(f"{place.name}-parts-{fingerprint(*fresh)}")
        if len(old):
            log(f"{len(new):,} words are new to {place}; {len(old):,} are not replayed again")
            trajectories = add_words(Trajectories.load(place / "replay"), *fresh, workers=workers, folder=parts)
        else:
            trajectories = replay_merges(*fresh, merges, first_step=first_merge, workers=workers, folder=parts)
        with atomic_folder(place, overwrite=True) as part:
            trajectories.save(part / "replay")
            parquet.write_table(pa.table({"word": both.array}), part / "words.parquet", compression="zstd")
        shutil.rmtree(parts)
    else:
        trajectories = Trajectories.load(place / "replay")
    return _reindexed(categories, both), spelled, trajectories


def _reindexed(categories: CategoryCounts, words: Words) -> CategoryCounts:
    """The counts over a longer list of words, which holds all of theirs."""
    import pyarrow.compute as pc
    from scipy import sparse

    own = categories.words.array
    place = pc.index_in(own.cast(words.array.type), value_set=words.array).to_numpy().astype(np.int64)
    pick = sparse.csr_matrix((np.ones(len(own), np.int64), (place, np.arange(len(own)))), shape=(len(words), len(own)))
    return replace(categories, words=words, counts=(pick @ categories.counts).tocsr())
