"""New rows from a translation table: a token is the mean of the old tokens it may be a translation of, by probability.

Paper: From English to Foreign Languages: Transferring Pre-trained Language Models (RAMEN; arXiv 2002.07306).
"""

import numpy as np

from tokenry.core.vocab import Kind
from tokenry.transplant.neighbours import check_fallback, with_fallback
from tokenry.transplant.planning import Gap, Rows

MOST_WORDS = 200_000
"""Words of each language whose vectors are read."""


def ramen(
    gap: Gap,
    *,
    parallel: object = None,
    vectors: object = None,
    new_vectors: object = None,
    dictionary: object = None,
    aligned: bool = False,
    min_count: float = 2.0,
    min_probability: float = 0.01,
    keep_shared: bool = False,
    fallback: str = "pieces",
) -> Rows:
    """Mix each new token from the old tokens that translate it: by probabilities from parallel text, or by likeness.

    With parallel text the weight of an old token is p(old token | new token) of IBM model 1 over the tokens of both
    sides (as fast_align estimates it); without, the sparsemax of the cosines of word vectors in one space. The weights
    make the rows of the input and of the head.

    Args:
        parallel: file of `old line<TAB>new line` lines, or (old, new) pairs, as in `trans-tokenizer`. Or:
        vectors, new_vectors, dictionary, aligned: word vectors of both languages, as in `wechsel`.
        min_count: a new token must have been aligned so often, in expected counts.
        min_probability: old tokens less probable are left out, and the others brought to sum 1.
        keep_shared: shared tokens keep their row; the paper makes them anew.
        fallback: for tokens without a translation: "pieces", "mean" or "random".

    Raises:
        ValueError: neither parallel text nor vectors, both, or no token that is translated.

    Paper: arXiv 2002.07306, section 3, by what our card says of it; its code was not at hand. The thresholds and the
        fallback are ours.
    """
    check_fallback(fallback)
    if (parallel is None) == (vectors is None and new_vectors is None):
        raise ValueError(
            "Method 'ramen' needs either parallel text (--parallel, `old line<TAB>new line` on each line) or word "
            "vectors of both languages (--vectors, --new-vectors, --dictionary). Without any, use method 'focus' with "
            "text, or 'pieces'."
        )
    if parallel is None:
        from tokenry.transplant.word_spaces import aligned_tokens, nearest_rows

        old, new, info = aligned_tokens(
            gap, vectors, new_vectors, dictionary=dictionary, aligned=aligned, max_words=MOST_WORDS, method="ramen"
        )
        known = nearest_rows(gap, old, new, asked=range(gap.ids.size), neighbours=None)
    else:
        known, info = _translated(gap, parallel, min_count=min_count, least=min_probability)
    info["shared_made_anew"] = int((gap.match.new_to_old[gap.ids] >= 0).sum())
    return with_fallback(gap, known, fallback, info=info)


def _translated(gap: Gap, parallel: object, *, min_count: float, least: float) -> tuple[dict[int, tuple], dict]:
    """Rows by position in `gap.ids` from a table p(old token | new token), and facts."""
    from tokenry.transplant.translation import LINE_TOKENS, ibm1, read_parallel

    if not 0 <= least < 1 or min_count < 0:
        raise ValueError(f"min_probability={least}, min_count={min_count}; need 0 to below 1, and 0 or more.")
    pairs = read_parallel(parallel)
    old_lines, new_lines = (
        [ids[:LINE_TOKENS].astype(np.int64) for ids in vocab.encode([pair[side] for pair in pairs])]
        for side, vocab in ((0, gap.old), (1, gap.new))
    )
    # The table is that of the old token given the new one: number 0 is the empty word of the new side.
    learned = ibm1([ids + 1 for ids in new_lines], old_lines, n_old=gap.new.size + 1, n_new=gap.old.size)
    ordinary = gap.old.kinds == Kind.NORMAL
    known = {}
    for n, i in enumerate(gap.ids.tolist()):
        span = slice(learned.indptr[i + 1], learned.indptr[i + 2])
        old_ids, shares = learned.new_words[span].astype(np.int64), learned.probabilities[span]
        kept = (shares >= least) & ordinary[old_ids]
        if gap.new.kinds[i] == Kind.NORMAL and learned.counts[span].sum() >= min_count and kept.any():
            known[n] = (old_ids[kept], shares[kept] / shares[kept].sum())
    if not known and gap.ids.size:
        raise ValueError(
            f"No token of the {len(pairs):,} parallel lines is aligned {min_count} times; give more lines, or lower "
            "min_count."
        )
    return known, {"parallel_lines": len(pairs)}
