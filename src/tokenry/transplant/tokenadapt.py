"""New rows from a token's old pieces and from old tokens that mean the like, both weighted by a text encoder.

Paper: Achieving Tokenizer Flexibility in Language Models through Heuristic Adaptation (TokenAdapt, arXiv 2505.09738).
"""

from pathlib import Path

import numpy as np

from tokenry.core.tokenmap import RowKind
from tokenry.core.vocab import Kind, Vocab
from tokenry.models.encoders import embed, open_encoder
from tokenry.transplant.interpolation import nearest
from tokenry.transplant.neighbours import cosine_blocks, unit_rows
from tokenry.transplant.planning import Gap, Rows
from tokenry.transplant.string_vectors import counted_encoder, row_encoder


def tokenadapt(
    gap: Gap,
    *,
    encoder: object = None,
    texts: list[str] | None = None,
    tau: float = 0.3,
    top_k: int = 3,
    global_weight: float = 0.3,
    threshold: float = 0.0,
    cache: str | None = None,
    device: str | None = None,
) -> Rows:
    """Mix each new token from its pieces (local) and from the old tokens nearest to it (global), without a donor.

    Local: piece i of m weighs softmax((softmax(cosine with the token)_i + its share of the bytes) / 2 / tau). Global:
    the `top_k` old tokens of greatest cosine weigh softmax(cosine / tau); those below `threshold` are dropped and the
    rest brought to sum 1. The row is (1 - global_weight) local + global_weight global, or whichever of both exists, and
    the mean row where neither does. Weights are positive and sum to 1; input and head share them.

    Args:
        encoder: path of any sentence encoder or language model, or a function from strings to vectors; see
            encoders.open_encoder. None: counted on `texts` where those are given, else the model's own rows.
        tau: temperature of both; 0 takes the best alone, infinity the plain mean.
        top_k: old tokens of the global half.
        global_weight: 0 to 1.
        threshold: least cosine of a neighbour; the paper found values above 0 to hurt.
        cache: folder where vectors of an encoder by path are kept between runs, by its content.
        device: of the encoder.

    Raises:
        ValueError: a number out of its range, or no encoder, no texts and no rows of the model.

    Paper: arXiv 2505.09738. Differs from its code: tokens and shares go by bytes; what is not whole UTF-8 has no vector
        (as a piece it gets the mean cosine, as a token no global half); specials are no neighbours; tau is not raised
        by 1e-5; the mean row instead of a random one where both halves fail.
    """
    _check(gap, encoder, texts, tau=tau, top_k=top_k, global_weight=global_weight)
    encode, key, name = _encoder(gap, encoder, texts, device)
    strings, old_ids, old_strings = _strings(gap)
    asked = sorted(strings)
    # One pass for all: pieces are old tokens, whose vectors the global half needs anyway.
    vectors = embed(encode, [strings[n] for n in asked] + old_strings, key=key, cache=cache)
    new_NH, old_NH = unit_rows(vectors[: len(asked)]), unit_rows(vectors[len(asked) :])
    old_row = {i: n for n, i in enumerate(old_ids.tolist()) if old_NH[n].any()}
    known = {n: new_NH[m] for m, n in enumerate(asked) if new_NH[m].any()}
    near = _neighbours(known, old_ids, old_NH, tau=tau, top_k=top_k, threshold=threshold) if global_weight > 0 else {}
    rows = []
    for n, pieces in enumerate(gap.pieces):
        local = local_weights(gap.old, pieces, _cosines(pieces, known.get(n), old_row, old_NH), tau=tau)
        rows.append(_mixed(pieces, local, near.get(n), global_weight))
    kinds = np.array([RowKind.COMBINE if len(ids) else RowKind.MEAN for ids, _ in rows], dtype=np.uint8)
    info = {
        "encoder": name,
        "encoded_strings": len(set(strings.values()) | set(old_strings)),
        "local_rows": sum(map(bool, gap.pieces)),
        "global_rows": len(near),
        "rows_without_either": int((kinds == RowKind.MEAN).sum()),
        "not_whole_characters": len(gap.pieces) - len(strings),
    }
    return Rows(rows, kinds, info=info)


def local_weights(old: Vocab, pieces: list[int], cosines: np.ndarray, *, tau: float) -> np.ndarray:
    """Weights (m,) float64 of a token's pieces: by likeness to the token and by length, through one softmax.

    Args:
        cosines: of each piece with the token; NaN where one of both has no vector. Those count as the mean of the
            others, so that they neither gain nor lose.
    """
    if not pieces:
        return np.zeros(0)
    seen = ~np.isnan(cosines)
    cosines = np.where(seen, cosines, cosines[seen].mean() if seen.any() else 0.0)
    lengths = old.byte_lengths[pieces].astype(np.float64)
    return tempered((tempered(cosines, 1.0) + lengths / lengths.sum()) / 2, tau)


def tempered(scores: np.ndarray, tau: float) -> np.ndarray:
    """softmax(scores / tau) in float64; all on the (first) best at tau 0, equal weights at infinity."""
    if tau == 0:
        return np.eye(len(scores))[int(np.argmax(scores))]
    weights = np.exp((scores - scores.max()) / tau)
    return weights / weights.sum()


def _check(gap: Gap, encoder, texts, *, tau: float, top_k: int, global_weight: float) -> None:
    if not tau >= 0 or top_k < 1 or not 0 <= global_weight <= 1:
        raise ValueError(
            f"tau={tau}, top_k={top_k}, global_weight={global_weight}; need tau >= 0, top_k >= 1 and a weight from 0 "
            "to 1."
        )
    if encoder is None and texts is None and gap.base is None:
        raise ValueError(
            "Method 'tokenadapt' needs a text encoder: give encoder=PATH (any sentence encoder or language model), "
            "texts=[...] to count vectors on, or base=rows to use the model's own. Without any, use method 'pieces'."
        )


def _encoder(gap: Gap, encoder, texts, device: str | None):
    """The function, the key of its content, and what to call it."""
    if encoder is not None:
        encode, key = open_encoder(encoder, device=device)
        return encode, key, str(encoder) if isinstance(encoder, str | Path) else "a function"
    if texts is not None:
        return counted_encoder(texts, seed=gap.seed), "", "counted on text"
    return row_encoder(gap.old, gap.base), "", "the model's own rows"


def _strings(gap: Gap) -> tuple[dict[int, str], np.ndarray, list[str]]:
    """What can be read: gap position -> string, old ids, their strings."""
    strings = {n: text for n, i in enumerate(gap.ids.tolist()) if (text := _text(gap.new, i)) is not None}
    old = {i: text for i in range(gap.old.size) if (text := _text(gap.old, i)) is not None}
    return strings, np.array(list(old), dtype=np.int64), list(old.values())


def _text(vocab: Vocab, i: int) -> str | None:
    """The text of an ordinary token; None for specials, byte pieces, holes, and parts of a character."""
    if vocab.kinds[i] != Kind.NORMAL or not vocab.tokens[i]:
        return None
    try:
        return vocab.tokens[i].decode("utf-8")
    except UnicodeDecodeError:
        return None


def _cosines(pieces: list[int], token, old_row: dict[int, int], old_NH: np.ndarray) -> np.ndarray:
    if token is None:
        return np.full(len(pieces), np.nan)
    return np.array([old_NH[old_row[p]] @ token if p in old_row else np.nan for p in pieces])


def _neighbours(known: dict, old_ids, old_NH, *, tau: float, top_k: int, threshold: float) -> dict[int, tuple]:
    """Gap position -> (old ids, weights) of the global half; those without a neighbour are left out."""
    usable = np.flatnonzero(old_NH.any(axis=1))
    found, asked = {}, list(known)
    if not usable.size or not asked:
        return found
    top_k = min(top_k, usable.size)
    for start, cosines in cosine_blocks(np.stack(list(known.values())), old_NH[usable]):
        for m, picks in enumerate(nearest(-cosines, top_k)):
            weights = tempered(cosines[m, picks], tau) * (cosines[m, picks] >= threshold)
            if weights.sum() > 0:
                kept = weights > 0
                found[asked[start + m]] = old_ids[usable[picks[kept]]], weights[kept] / weights.sum()
    return found


def _mixed(pieces: list[int], local: np.ndarray, near: tuple | None, share: float):
    if near is None:
        return pieces, local
    if not pieces or share == 1:
        return near
    ids = np.concatenate([np.asarray(pieces, dtype=np.int64), near[0]])
    return ids, np.concatenate([(1 - share) * local, share * near[1]])
