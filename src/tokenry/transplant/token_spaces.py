"""New rows from the company tokens keep: shared tokens that are used alike in your text, or lie near in a helper model.

Papers: FOCUS (arXiv 2305.14481), CLP-Transfer (arXiv 2301.09626), TokAlign (arXiv 2506.03523).
"""

from collections.abc import Iterable

import numpy as np

from tokenry.core.choosing import needs
from tokenry.core.vocab import Kind, Vocab
from tokenry.transplant.neighbours import (
    check_fallback,
    cosine_blocks,
    loose_match,
    near_rows,
    unit_rows,
    with_fallback,
)
from tokenry.transplant.planning import Gap, Rows

SPACES = ("counts", "cbow")


def focus(
    gap: Gap,
    *,
    texts: list[str] | None = None,
    new_vectors: object = None,
    keys: str = "words",
    space: str = "counts",
    width: int = 100,
    min_count: int = 10,
    fuzzy: bool = False,
    fallback: str = "pieces",
) -> Rows:
    """Mix each new token from the shared tokens that the new language uses alike: few of them, by sparsemax.

    The weights are the cosines' sparsemax over all shared tokens, from vectors of the new tokens; they make the rows of
    the input and of the head.

    Args:
        texts: text of the new language or domain, some megabytes; cut by the new tokenizer and turned into vectors.
        new_vectors: instead of `texts`: vectors in word2vec text format (path), or {string: vector}. Without both, the
            rows of a donor model are taken.
        keys: what those vectors belong to: "words", or "tokens", each under its stored string ("Ġthe").
        space: "counts" (no dependency; see donors.donor_rows_from_text), or "cbow": fastText's CBOW with negative
            sampling as in the paper, by gensim (extra `vectors`).
        width, min_count: numbers a vector; tokens seen more seldom have none.
        fuzzy: a new token that is an old one but for case and the space before it copies its row.
        fallback: what tokens without a vector get: "pieces", "mean", or "random" (the paper's).

    Raises:
        ValueError: without texts, vectors and donor, or when no shared token has a vector.

    Paper: arXiv 2305.14481, section 2. Differs from its code: tokens are equal by bytes; specials and half characters
        are no neighbours; the fallback, and the default space (docs/transplant.md compares them).
    """
    check_fallback(fallback)
    if texts is not None:
        vectors = text_vectors(gap.new, texts, space=space, width=width, min_count=min_count, seed=gap.seed)
    elif new_vectors is not None:
        vectors = _given(gap.new, new_vectors, keys)
    elif gap.donor is not None:
        vectors = gap.donor
    else:
        raise ValueError(
            "Method 'focus' needs to know how the new tokens are used: give text of the new language (--data, texts=), "
            "vectors (--new-vectors), or a donor model. Without any, use method 'pieces'."
        )
    new_ids, old_ids = _placed_anchors(gap, vectors)
    loose = loose_match(gap, ignore_space=True) if fuzzy else {}
    known: dict[int, tuple] = {n: (np.array([i]), np.ones(1)) for n, i in loose.items()}
    asked = [n for n in _placed(gap, vectors) if n not in known]
    made = near_rows(vectors[gap.ids[asked]], vectors[new_ids], old_ids, k=None)
    known.update(zip(asked, made, strict=True))
    return with_fallback(gap, known, fallback, info={"anchors": int(new_ids.size), "loose_matches": len(loose)})


def clp(gap: Gap, *, neighbours: int | None = None, max_l1: float = 10.0, fallback: str = "pieces") -> Rows:
    """Mix each new token from all shared tokens, weighted by their cosine to it in a helper model of the new tokenizer.

    Weight = cosine / sum of cosines. Cosines have both signs, so where the sum is near zero the weights explode, and
    elsewhere they are all but equal: use it as a comparison. FOCUS on the same donor rows is the sound form.

    Args:
        neighbours: only that many shared tokens of greatest cosine. None takes all (the paper's) and gives dense rows:
            they are kept as they are for fine-tuned relatives.
        max_l1: a token whose weights' absolute values add to more goes to the fallback; such rows are noise.
        fallback: for those and for tokens without a donor row: "pieces", "mean" or "random".

    Raises:
        ValueError: without donor and base rows, or when no shared token has a donor row.

    Paper: arXiv 2301.09626, section 3. Its code makes the input rows only and ties the head to them; here the same
        weights make the head of an untied model. Without `max_l1` nothing guards its sums.
    """
    check_fallback(fallback)
    if gap.donor is None:
        raise ValueError(
            "Method 'clp' needs a helper model that has the new tokenizer: give it with --donor (donor=rows). "
            "Without one, use method 'focus' with text, or 'pieces'."
        )
    if neighbours is None and gap.base is None:
        raise ValueError("Method 'clp' with all neighbours makes dense rows from the model's own; pass base=rows.")
    new_ids, old_ids = _placed_anchors(gap, gap.donor)
    asked = _placed(gap, gap.donor)
    known: dict[int, tuple] = {}
    dense, head = (_blank(gap, rows) if neighbours is None else None for rows in (gap.base, gap.base_head))
    sizes = []
    for start, cosines in cosine_blocks(gap.donor[gap.ids[asked]], gap.donor[new_ids]):
        picks = None if neighbours is None else np.argsort(-cosines, axis=1, kind="stable")[:, :neighbours]
        used = cosines if picks is None else np.take_along_axis(cosines, picks, axis=1)
        sums, mass = used.sum(axis=1), np.abs(used).sum(axis=1)
        sound = np.flatnonzero((mass <= max_l1 * np.abs(sums)) & (mass > 0))
        weights = used[sound] / sums[sound, None]
        sizes.append(mass[sound] / np.abs(sums[sound]))
        at = np.array(asked, dtype=np.int64)[start + sound]
        for rows, out in ((gap.base, dense), (gap.base_head, head)):
            if out is not None:
                out[at] = weights @ rows[old_ids].astype(np.float64)
        known.update(
            (int(n), _short(old_ids, row) if picks is None else (old_ids[picks[sound[m]]], row))
            for m, (n, row) in enumerate(zip(at, weights, strict=True))
        )
    l1 = np.concatenate(sizes) if sizes else np.zeros(0)
    info = {"anchors": int(new_ids.size), "unstable_rows": len(asked) - len(known)}
    info |= {"weights_l1_median": float(np.median(l1)) if l1.size else 0.0}
    rows = with_fallback(gap, known, fallback, info=info)
    if dense is None:
        return rows
    return Rows(rows.rows, rows.kinds, info=rows.info, dense=dense, dense_head=head)


def tokalign(
    gap: Gap,
    *,
    texts: list[str] | None = None,
    space: str = "counts",
    width: int = 100,
    min_count: int = 10,
    anchors: int = 300,
    fallback: str = "pieces",
) -> Rows:
    """Copy for each new token the row of the one old token that keeps the most similar company in the same text.

    The text is cut by both tokenizers and turned into two sets of vectors. What makes them comparable: a token is
    described by its cosines to shared tokens, in its own space. The new token copies the old one of nearest
    description; several may copy the same.

    Args:
        texts: text that both tokenizers can cut: of the new language and of the old one.
        space, width, min_count: as in `focus`. The paper's vectors are GloVe's; both factorise the same counts.
        anchors: shared tokens to describe by; the most frequent in the text (the paper draws 300 at random).
        fallback: for tokens rarer than `min_count`: "pieces", "mean" or "random".

    Raises:
        ValueError: without texts, or when no shared token is frequent enough.

    Paper: arXiv 2506.03523, section 3. Its code gives rare tokens row 0; what follows there is training, see `heal`.
    """
    check_fallback(fallback)
    if texts is None:
        raise ValueError(
            "Method 'tokalign' compares how both tokenizers cut the same text: give it with --data (texts= in Python). "
            "Without text, use method 'pieces'."
        )
    options = {"space": space, "width": width, "min_count": min_count, "seed": gap.seed}
    new, old = (text_vectors(vocab, texts, **options) for vocab in (gap.new, gap.old))
    new_ids, old_ids = gap.match.anchors(gap.old, gap.new)
    both = new[new_ids].any(axis=1) & old[old_ids].any(axis=1)
    new_ids, old_ids = new_ids[both], old_ids[both]
    if not new_ids.size:
        raise ValueError(f"No shared token occurs {min_count} times in the texts; give more text, or lower min_count.")
    frequent = np.argsort(-token_counts(gap.new, texts)[new_ids], kind="stable")[:anchors]
    new_ids, old_ids = new_ids[frequent], old_ids[frequent]
    candidates = np.flatnonzero(old.any(axis=1) & (gap.old.kinds == Kind.NORMAL))
    described = unit_rows(old[candidates]) @ unit_rows(old[old_ids]).T
    asked = _placed(gap, new)
    known, nearest = {}, []
    for start, cosines in cosine_blocks(unit_rows(new[gap.ids[asked]]) @ unit_rows(new[new_ids]).T, described):
        best = cosines.argmax(axis=1)
        nearest += cosines[np.arange(len(best)), best].tolist()
        known.update({asked[start + n]: (candidates[[pick]], np.ones(1)) for n, pick in enumerate(best)})
    info = {"anchors": int(new_ids.size), "cosine_median": float(np.median(nearest)) if nearest else 0.0}
    info["old_tokens_copied"] = len({int(ids[0]) for ids, _ in known.values()})
    return with_fallback(gap, known, fallback, info=info)


def text_vectors(
    vocab: Vocab,
    texts: Iterable[str],
    *,
    space: str = "counts",
    width: int = 100,
    min_count: int = 10,
    epochs: int = 3,
    seed: int = 0,
) -> np.ndarray:
    """A vector for each token of a vocabulary, from the tokens near it in texts cut by that vocabulary.

    Args:
        space: "counts" (donors.donor_rows_from_text) or "cbow" (gensim: fastText's CBOW over the stored strings of the
            tokens, their parts of 3 to 6 characters included, 10 negatives, windows of 5, one thread).
        epochs: passes over the text, for "cbow".

    Returns:
        float32 (V, width); tokens that occur less than `min_count` times have a row of zeros.

    Raises:
        ValueError: an unknown space, or too little text. ImportError: "cbow" without gensim.
    """
    if space not in SPACES:
        raise ValueError(f"space={space!r} is unknown; need one of {', '.join(SPACES)}.")
    texts = list(texts)
    seen = token_counts(vocab, texts) >= min_count
    if not seen.any():
        raise ValueError(f"No token occurs {min_count} times in the texts; give more text, or lower min_count.")
    if space == "counts":
        from tokenry.transplant.donors import donor_rows_from_text

        rows = donor_rows_from_text(vocab, texts, width=width, seed=seed)
    else:
        rows = _cbow(vocab, texts, width=width, min_count=min_count, epochs=epochs, seed=seed)
    rows[~seen] = 0
    return rows


def token_counts(vocab: Vocab, texts: list[str]) -> np.ndarray:
    """int64 (V,): how often each token occurs in the texts."""
    total = np.zeros(vocab.size, dtype=np.int64)
    for start in range(0, len(texts), 4096):
        encoded = vocab.encode(texts[start : start + 4096])
        if encoded:
            total += np.bincount(np.concatenate(encoded).astype(np.int64), minlength=vocab.size)
    return total


def _cbow(vocab: Vocab, texts: list[str], *, width: int, min_count: int, epochs: int, seed: int) -> np.ndarray:
    needs("vectors", "gensim")
    from gensim.models import FastText

    names = [vocab.literal(i) for i in range(vocab.size)]
    lines = [[names[i] for i in ids.tolist()] for ids in vocab.encode(texts)]
    # fastText's own defaults; its 2 million buckets would take 800 MB at width 100.
    settings = {"sg": 0, "negative": 10, "window": 5, "alpha": 0.05, "sample": 1e-4, "bucket": 200_000}
    shape = {"vector_size": width, "min_count": min_count, "epochs": epochs}
    model = FastText(sentences=lines, workers=1, seed=seed, **shape, **settings)
    out = np.zeros((vocab.size, width), dtype=np.float32)
    for i, name in enumerate(names):
        if name in model.wv.key_to_index:
            out[i] = model.wv[name]
    return out


def _given(vocab: Vocab, source: object, keys: str) -> np.ndarray:
    """Vectors for the tokens of a vocabulary from vectors that belong to words or to tokens."""
    from tokenry.transplant.word_vectors import embedded_tokens, open_vectors, token_vectors

    if keys not in ("words", "tokens"):
        raise ValueError(f"keys={keys!r} is unknown; need 'words' or 'tokens'.")
    if callable(source):
        return embedded_tokens(vocab, source)
    vectors = open_vectors(source)
    if keys == "words":
        return token_vectors(vocab, vectors)
    out = np.zeros((vocab.size, vectors.matrix.shape[1]), dtype=np.float32)
    for i in range(vocab.size):
        row = vectors.index.get(vocab.literal(i))
        if row is not None:
            out[i] = vectors.matrix[row]
    return out


def _placed_anchors(gap: Gap, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """New and old ids of the shared ordinary tokens that have a vector."""
    new_ids, old_ids = gap.match.anchors(gap.old, gap.new)
    placed = vectors[new_ids].any(axis=1)
    if not placed.any():
        raise ValueError(
            f"None of the {new_ids.size} shared tokens has a vector: nothing to mix from. Give more text of "
            "the new language, vectors whose words are of it, or use method 'pieces'."
        )
    return new_ids[placed], old_ids[placed]


def _placed(gap: Gap, vectors: np.ndarray) -> list[int]:
    """Positions in `gap.ids` of the ordinary tokens that have a vector."""
    ordinary = gap.new.kinds[gap.ids] == Kind.NORMAL
    return np.flatnonzero(ordinary & vectors[gap.ids].any(axis=1)).tolist()


def _blank(gap: Gap, rows: np.ndarray | None) -> np.ndarray | None:
    return None if rows is None else np.full((gap.ids.size, rows.shape[1]), np.nan, dtype=np.float32)


def _short(ids: np.ndarray, weights: np.ndarray, most: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """The greatest weights, scaled to sum 1: what a dense row is made of, roughly, for the record."""
    top = np.sort(np.argsort(-weights, kind="stable")[:most])
    return ids[top], weights[top] / weights[top].sum()
