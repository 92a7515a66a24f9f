"""How well a masked model fills hidden words, in bits per byte of those words: comparable across tokenizers.

Papers: Masked Language Model Scoring (arXiv 1910.14659); A Better Way to Do Masked Language Model Scoring
(arXiv 2305.10588), whose left-to-right order inside a word is used.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from tokenry.core.splitting import segments
from tokenry.models.lm import LM
from tokenry.models.scoring import Scores
from tokenry.transplant.masked import SHARE, ends, mask_id
from tokenry.transplant.scoring import units

# Axes: B sequences, T positions.

LONGEST = 24
"""Bytes of the longest word that is hidden; each token of a word costs a pass."""
_WORD = re.compile(r"\s*\S+|\s+$")


@dataclass(frozen=True, eq=False)
class _Hidden:
    """A segment whose hidden words are given back token by token."""

    owner: int
    ids: np.ndarray
    words: list[np.ndarray]
    """places of the tokens of each hidden word."""
    n_bytes: int
    escaped: int
    """bytes of hidden words that the tokenizer has no tokens for."""


def score_masked(
    lm: LM, texts: list[str], *, segment_bytes: int = 256, share: float = SHARE, seed: int = 0, batch_tokens: int = 4096
) -> Scores:
    """Hide whole words, the same ones for every tokenizer, and let the model spell them.

    The figure is the length of a code for the hidden words, given the rest of the text. The number of tokens of each
    word is coded first (adaptively, by how often each number has come so far): the masks give it away, and a tokenizer
    that cuts more would otherwise be told more. Then come the tokens: the first of all hidden words at once, then the
    second of each given the firsts, and so on. A word that the tokenizer has no tokens for costs 8 bits a byte. So it
    is a proper code length under any tokenizer that keeps what it reads (one that folds case is flattered), though not
    the shortest, and bits per byte of hidden words can be compared between tokenizers on the same texts.

    Args:
        lm: a masked model (`masked.open_model`).
        texts: documents, the same for every model that is compared.
        segment_bytes: the context of a word, in bytes.
        share: of the words is hidden, at least one of a segment; words of more than 24 bytes never are.
        seed: which words.
        batch_tokens: positions of one forward pass.

    Returns:
        Scores of the hidden words, one entry a document (or segment where there are few documents; `scoring.units`).

    Raises:
        ValueError: no mask token, or segments that do not fit the model's context.
    """
    wanted = units(list(texts), segment_bytes)
    hidden = [part for owner, text in enumerate(wanted) for part in _hide(lm, text, owner, segment_bytes, share, seed)]
    _check_fit(lm, hidden, segment_bytes)
    nats = np.zeros(len(wanted))
    n_bytes, n_tokens = (np.zeros(len(wanted), dtype=np.int64) for _ in range(2))
    seen: Counter[int] = Counter()
    for part in hidden:
        n_bytes[part.owner] += part.n_bytes
        n_tokens[part.owner] += sum(map(len, part.words))
        nats[part.owner] += part.escaped * np.log(256)
        for word in part.words:
            # Krichevsky-Trofimov over the token counts a word of at most LONGEST bytes can have.
            nats[part.owner] -= np.log((seen[len(word)] + 0.5) / (seen.total() + 0.5 * LONGEST))
            seen[len(word)] += 1
    was_training = lm.model.training
    lm.model.eval()
    try:
        for owner, value in _spelled(lm, hidden, batch_tokens):
            nats[owner] += value
    finally:
        lm.model.train(was_training)
    return Scores(nats, n_bytes, n_tokens)


def _hide(lm: LM, text: str, owner: int, segment_bytes: int, share: float, seed: int) -> Iterator[_Hidden]:
    for number, segment in enumerate(segments(text, segment_bytes)):
        words = _WORD.findall(segment)
        sizes = np.array([len(word.strip().encode()) for word in words])
        may = (sizes > 0) & (np.array([len(word.encode()) for word in words]) <= LONGEST)
        if not may.any():
            continue
        chance = np.random.default_rng([seed, owner, number]).random(len(words))
        picked = may & (chance < share)
        if not picked.any():
            picked[np.argmin(np.where(may, chance, np.inf))] = True
        # Words are encoded one by one: so the borders of hidden words are borders of tokens under every tokenizer.
        own = [word[1:] if lm.adds_space and len(word) > 1 and word[0] == " " else word for word in words]
        before, after = ends(lm)
        parts = [np.array([before]), *(ids.astype(np.int64) for ids in lm.vocab.encode(own))]
        starts = np.cumsum([0, *map(len, parts)])
        places = [np.arange(starts[n + 1], starts[n + 2]) for n in np.flatnonzero(picked)]
        ids = np.concatenate([*parts, [] if after is None else [after]]).astype(np.int64)
        n_bytes = [len(words[n].encode()) for n in np.flatnonzero(picked)]
        unknown = lm.vocab.specials.get("unk", -1)
        is_spelt = [len(place) > 0 and unknown not in ids[place] for place in places]
        kept = [place for place, spelt in zip(places, is_spelt, strict=True) if spelt]
        escaped = sum(size for size, spelt in zip(n_bytes, is_spelt, strict=True) if not spelt)
        yield _Hidden(owner, ids, kept, sum(n_bytes), escaped)


def _spelled(lm: LM, hidden: list[_Hidden], batch_tokens: int) -> Iterator[tuple[int, float]]:
    """(owner, nats) of every hidden token."""
    mask = mask_id(lm.vocab)
    for turn in range(max((len(word) for part in hidden for word in part.words), default=0)):
        left = [part for part in hidden if any(len(word) > turn for word in part.words)]
        for group in _groups(sorted(left, key=lambda part: len(part.ids)), batch_tokens):
            longest = max(len(part.ids) for part in group)
            ids_BT = np.zeros((len(group), longest), dtype=np.int64)
            attended_BT = np.zeros((len(group), longest), dtype=np.int64)
            rows, places, targets = [], [], []
            for row, part in enumerate(group):
                ids_BT[row, : len(part.ids)] = part.ids
                attended_BT[row, : len(part.ids)] = 1
                for word in part.words:
                    ids_BT[row, word[turn:]] = mask
                    if len(word) > turn:
                        rows.append(row)
                        places.append(word[turn])
                        targets.append(part.ids[word[turn]])
            told = _log_p(lm, ids_BT, attended_BT, (rows, places, targets))
            for row, value in zip(rows, told, strict=True):
                yield group[row].owner, -value


def _log_p(lm: LM, ids_BT: np.ndarray, attended_BT: np.ndarray, asked: tuple[list, list, list]) -> list[float]:
    rows, places, targets = (torch.tensor(np.array(part), device=lm.device) for part in asked)
    with torch.inference_mode():
        # Vectors, not ids: RoBERTa counts positions by comparing ids with its padding, which a move may have displaced.
        vectors_BTD = lm.model.get_input_embeddings()(torch.from_numpy(ids_BT).to(lm.device))
        attended_BT = torch.from_numpy(attended_BT).to(lm.device)
        logits_BTV = lm.model(inputs_embeds=vectors_BTD, attention_mask=attended_BT).logits
        # Rows past the vocabulary are padding of the matrix; they are no tokens.
        log_p_NV = logits_BTV[rows, places, : lm.vocab.size].double().log_softmax(-1)
        return log_p_NV[torch.arange(len(targets), device=lm.device), targets].tolist()


def _groups(parts: list[_Hidden], batch_tokens: int) -> Iterator[list[_Hidden]]:
    group: list[_Hidden] = []
    for part in parts:
        if group and (len(group) + 1) * len(part.ids) > batch_tokens:
            yield group
            group = []
        group.append(part)
    if group:
        yield group


def _check_fit(lm: LM, hidden: list[_Hidden], segment_bytes: int) -> None:
    longest = max((len(part.ids) for part in hidden), default=0)
    room = lm.context - 2  # RoBERTa counts its positions from 2
    if longest > room:
        raise ValueError(
            f"A segment of {segment_bytes} bytes has {longest} tokens, {lm.name or 'the model'} takes {room}. "
            "Score shorter segments: segment_bytes=128."
        )
