"""New rows from word vectors of both languages: a token is near the old tokens whose words mean the like.

Papers: WECHSEL (arXiv 2112.06598), OFA (arXiv 2311.08849).
"""

from collections.abc import Iterable

import numpy as np

from tokenry.core.tokenmap import RowKind
from tokenry.core.vocab import Kind, Vocab
from tokenry.transplant.neighbours import check_fallback, loose_match, near_rows, with_fallback
from tokenry.transplant.planning import Gap, Rows
from tokenry.transplant.word_vectors import (
    WordVectors,
    dictionary_pairs,
    embedded_tokens,
    open_vectors,
    orthogonal_map,
    read_dictionary,
    token_vectors,
)


def wechsel(
    gap: Gap,
    *,
    vectors: object = None,
    new_vectors: object = None,
    dictionary: object = None,
    aligned: bool = False,
    neighbours: int = 10,
    temperature: float = 0.1,
    max_words: int = 200_000,
    keep_shared: bool = False,
    fallback: str = "pieces",
) -> Rows:
    """Mix each new token from the old tokens nearest in meaning, through word vectors of both languages.

    The old language's space is turned onto the new one's by the words of a dictionary (orthogonal Procrustes); a token
    lies at the mean of the words it is part of, by frequency. Its row is the mean of its nearest old tokens' rows,
    weighted by softmax(cosine / temperature); the head's likewise.

    Args:
        vectors, new_vectors: word vectors of the old and the new language: path to word2vec text format, {word:
            vector}, WordVectors, or a function from words to vectors that knows parts of words (a fastText model's).
        dictionary: file of `old word<TAB>new word` lines, or pairs; each is tried in lower case and with a capital too.
        aligned: the two spaces are one already; no dictionary.
        neighbours, temperature: old tokens mixed, and how far the nearest prevails.
        max_words: words read of each language.
        keep_shared: shared tokens keep their row. The paper makes them anew, for `die` is not one word in two
            languages; specials and half characters keep theirs either way.
        fallback: for tokens in no word: "pieces", "mean", or "random" (the paper's).

    Raises:
        ValueError: without vectors or dictionary, vectors of unequal width, or a dictionary without known pairs.

    Paper: arXiv 2112.06598, section 3. Differs from its code: widths that differ are refused (its code shrinks the
        wrong side); tokens without a vector are never neighbours; each spelling of a pair
        counts once; the fallback.
    """
    check_fallback(fallback)
    old, new, info = aligned_tokens(
        gap, vectors, new_vectors, dictionary=dictionary, aligned=aligned, max_words=max_words, method="wechsel"
    )
    known = nearest_rows(gap, old, new, asked=range(gap.ids.size), neighbours=neighbours, temperature=temperature)
    return with_fallback(gap, known, fallback, info=info | _remade(gap))


def aligned_tokens(
    gap: Gap,
    vectors: object,
    new_vectors: object,
    *,
    dictionary: object,
    aligned: bool,
    max_words: int,
    method: str,
) -> tuple[np.ndarray, np.ndarray, dict]:
    """Vectors (V_old, h), (V_new, h) of the tokens of both vocabularies in one space, and facts of how it was made.

    Args:
        vectors, new_vectors, dictionary, aligned, max_words: as in `wechsel`.
        method: which asks, for messages.

    Raises:
        ValueError: as `wechsel`.
    """
    if vectors is None or new_vectors is None or (dictionary is None and not aligned):
        raise ValueError(
            f"Method {method!r} needs word vectors of the old language (--vectors), of the new one (--new-vectors) and "
            "a dictionary of word pairs (--dictionary; --option aligned=true where both share one space). Vectors of "
            "your own text: tokenry transplant word-vectors. Without, use method 'focus' with text, or 'pieces'."
        )
    source, target = (_opened(given, max_words) for given in (vectors, new_vectors))
    old, new = _tokens(gap.old, source), _tokens(gap.new, target)
    if old.shape[1] != new.shape[1]:
        raise ValueError(
            f"The old language's vectors have {old.shape[1]} numbers, the new one's {new.shape[1]}; need equal widths. "
            "Take vectors of one width, or train both: transplant.word_vectors(texts, width=...)."
        )
    if aligned:
        return old, new, {}
    a, b = known_pairs(source, target, dictionary)
    turn = orthogonal_map(a, b)
    return old @ turn, new, {"dictionary_pairs": len(a), "dictionary_cosine": _mean_cosine(a @ turn, b)}


def ofa(
    gap: Gap,
    *,
    vectors: object = None,
    new_vectors: object = None,
    rank: int | None = None,
    neighbours: int = 10,
    temperature: float = 0.1,
    max_words: int = 200_000,
    fuzzy: bool = True,
    fallback: str = "pieces",
) -> Rows:
    """Mix each new token from the old tokens nearest in one multilingual word space, in few dimensions if asked.

    The embedding is written F P (SVD without centring: F coordinates, P the leading `rank` directions); new coordinates
    are the mean of the ten nearest old tokens', by softmax(cosine / temperature), and F' P is the new embedding. With
    full rank that is a mix of old rows, as a plan can hold for relatives of the model; `rank` gives dense rows.

    Args:
        vectors: word vectors of both languages in one space, as in `wechsel`.
        new_vectors: those of the new language, if they stand in a file of their own (aligned to `vectors`).
        rank: directions kept (the paper: 100 to 768); None keeps all.
        neighbours, temperature, max_words: as in `wechsel`.
        fuzzy: a new token that is an old one but for case copies its row.
        fallback: for tokens in no word: "pieces", "mean", or "random" (the paper's; in F).

    Raises:
        ValueError: without vectors, with `rank` and no base rows, or a rank outside 1..width.

    Paper: arXiv 2311.08849, section 3. Shared tokens keep their whole row (there: their F P). The small form it trains,
        F' and P apart, would need rank * (V' + width) numbers, which `info` gives, and a model class with a plain
        projection behind its embedding; of the standard ones only OPT has that, so it is not written.
    """
    check_fallback(fallback)
    if vectors is None:
        raise ValueError(
            "Method 'ofa' needs word vectors that hold both languages in one space: give them with --vectors (and "
            "--new-vectors where the new language has its own file). Without, use method 'wechsel' or 'focus'."
        )
    source = _opened(vectors, max_words)
    target = source if new_vectors is None else _opened(new_vectors, max_words)
    old, new = (_tokens(vocab, words, by_frequency=False) for vocab, words in ((gap.old, source), (gap.new, target)))
    if old.shape[1] != new.shape[1]:
        raise ValueError(f"The vectors have {old.shape[1]} and {new.shape[1]} numbers; one space has one width.")
    loose = loose_match(gap, ignore_space=False) if fuzzy else {}
    known: dict[int, tuple] = {n: (np.array([i]), np.ones(1)) for n, i in loose.items()}
    others = (n for n in range(gap.ids.size) if n not in loose)
    known |= nearest_rows(gap, old, new, asked=others, neighbours=neighbours, temperature=temperature)
    rows = with_fallback(gap, known, fallback, info={"loose_matches": len(loose)})
    return rows if rank is None else _low_rank(gap, rows, rank)


def low_rank(rows_VD: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates F (V, rank) and directions P (rank, d) whose product is the nearest matrix of that rank.

    Raises:
        ValueError: a rank outside 1..d.
    """
    n, width = rows_VD.shape
    if not 1 <= rank <= min(n, width):
        raise ValueError(f"rank={rank} asked of an embedding of {n} rows and width {width}; need 1 <= rank <= {width}.")
    work = rows_VD.astype(np.float64)
    # The directions from the small (d, d) product; the coordinates are then orthonormal, as those of an SVD.
    values, directions = np.linalg.eigh(work.T @ work)
    values, directions = np.sqrt(np.maximum(values[::-1][:rank], 0)), directions[:, ::-1][:, :rank]
    coordinates = work @ directions / np.where(values > 0, values, 1)
    return coordinates, values[:, None] * directions.T


def _low_rank(gap: Gap, rows: Rows, rank: int) -> Rows:
    """The same rows as F' P, dense."""
    if gap.base is None:
        raise ValueError("Method 'ofa' with a rank factorises the model's own rows; pass base=rows.")
    made = []
    for matrix, stream in ((gap.base, 0), (gap.base_head, 1)):
        if matrix is None:
            made.append(None)
            continue
        coordinates, directions = low_rank(matrix[: gap.old.size], rank)
        out = np.full((gap.ids.size, matrix.shape[1]), np.nan, dtype=np.float32)
        rng = np.random.default_rng([gap.seed, stream])
        for n, ((ids, weights), kind) in enumerate(zip(rows.rows, rows.kinds, strict=True)):
            if kind == RowKind.COMBINE:
                out[n] = np.asarray(weights) @ coordinates[np.asarray(ids)] @ directions
            elif kind == RowKind.RANDOM:
                drawn = rng.normal(coordinates.mean(axis=0), coordinates.std(axis=0))
                out[n] = drawn @ directions
        made.append(out)
    width = gap.base.shape[1]
    info = {**rows.info, "rank": rank, "factorised_numbers": rank * (gap.new.size + width)}
    return Rows(rows.rows, rows.kinds, info=info, dense=made[0], dense_head=made[1])


def _opened(given: object, max_words: int) -> object:
    return given if callable(given) else open_vectors(given, max_words=max_words)


def _tokens(vocab: Vocab, given: object, *, by_frequency: bool = True) -> np.ndarray:
    if isinstance(given, WordVectors):
        return token_vectors(vocab, given, by_frequency=by_frequency, title_case=not by_frequency)
    return embedded_tokens(vocab, given)


def known_pairs(source: object, target: object, dictionary: object) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of the dictionary's words that both sides know."""
    pairs = read_dictionary(dictionary)
    spread = dictionary_pairs(pairs)
    for side, given in enumerate((source, target)):
        if isinstance(given, WordVectors):
            spread = [pair for pair in spread if pair[side] in given.index]
    if not spread:
        raise ValueError(
            f"None of the dictionary's {len(pairs)} pairs has vectors on both sides; need words of the old language "
            "first and of the new one second. Is it the other way round?"
        )
    found = []
    for side, given in enumerate((source, target)):
        words = [pair[side] for pair in spread]
        known = isinstance(given, WordVectors)
        found.append(given.matrix[[given.index[w] for w in words]] if known else np.asarray(given(words)))
    return found[0], found[1]


def nearest_rows(
    gap: Gap,
    old: np.ndarray,
    new: np.ndarray,
    *,
    asked: Iterable[int],
    neighbours: int | None,
    temperature: float = 0.1,
) -> dict[int, tuple]:
    """Rows from the nearest old tokens, by position in `gap.ids`, for ordinary tokens with a vector.

    Args:
        old, new: vectors of the tokens of both vocabularies in one space.
        asked: positions in `gap.ids`.
        neighbours, temperature: as in `neighbours.near_rows`.

    Raises:
        ValueError: no old token has a vector.
    """
    others = np.flatnonzero(old.any(axis=1) & (gap.old.kinds == Kind.NORMAL))
    if not others.size:
        raise ValueError("No old token is part of a word that has a vector; are these vectors of the old language?")
    asked = [n for n in asked if gap.new.kinds[gap.ids[n]] == Kind.NORMAL and new[gap.ids[n]].any()]
    made = near_rows(new[gap.ids[asked]], old[others], others, k=neighbours, temperature=temperature)
    return dict(zip(asked, made, strict=True))


def _remade(gap: Gap) -> dict:
    return {"shared_made_anew": int((gap.match.new_to_old[gap.ids] >= 0).sum())}


def _mean_cosine(a: np.ndarray, b: np.ndarray) -> float:
    from tokenry.transplant.neighbours import unit_rows

    return float((unit_rows(a) * unit_rows(b)).sum(axis=1).mean())
