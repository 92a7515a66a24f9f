"""The network of the decompounder: a two-layer bidirectional GRU over characters that scores each gap of a word.

Papers: CompoundPiece (arXiv 2305.14214; the task and its self-supervision, its network was ByT5).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor, nn

# Axes: B words, T characters, V characters known.

LONGEST = 64
_PAD, _UNKNOWN = 0, 1
_MOST_CHARACTERS = 2000


def alphabet_of_words(words: Iterable[str], *, least_count: int = 2) -> tuple[str, ...]:
    """The characters of words, most frequent first; rare ones are left to the unknown symbol."""
    seen = Counter(character for word in words for character in word)
    frequent = sorted((c for c, n in seen.items() if n >= least_count), key=lambda c: (-seen[c], c))
    return tuple(frequent[:_MOST_CHARACTERS])


def symbols(words: Sequence[str], number: Mapping[str, int]) -> np.ndarray:
    """Characters as int64 (B, T), padded with 0; unknown ones are 1."""
    out = np.zeros((len(words), max(map(len, words))), np.int64)
    for row, word in enumerate(words):
        out[row, : len(word)] = [number.get(character, _UNKNOWN) for character in word]
    return out


def numbered(alphabet: Sequence[str]) -> dict[str, int]:
    """Character -> its symbol."""
    return {character: i for i, character in enumerate(alphabet, _UNKNOWN + 1)}


def build(n_characters: int, *, width: int = 48, hidden: int = 96, dropout: float = 0.2, seed: int = 0) -> "nn.Module":
    """The network with random weights: symbols (B, T) -> logit (B, T) of a cut before each character.

    Args:
        n_characters: characters known.
        width, hidden: of the embedding and of each direction of the GRU.
        dropout: between layers, while training.
        seed: of the weights.
    """
    import torch
    from torch import nn

    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(n_characters + 2, width, padding_idx=_PAD)
            self.reader = nn.GRU(width, hidden, num_layers=2, batch_first=True, bidirectional=True, dropout=dropout)
            self.drop = nn.Dropout(dropout)
            self.score = nn.Linear(4 * hidden, 1)

        def forward(self, symbols_BT: "Tensor") -> "Tensor":
            lengths_B = (symbols_BT != _PAD).sum(1).clamp(min=1).cpu()
            packed = nn.utils.rnn.pack_padded_sequence(
                self.drop(self.embedding(symbols_BT)), lengths_B, batch_first=True, enforce_sorted=False
            )
            states, _ = nn.utils.rnn.pad_packed_sequence(
                self.reader(packed)[0], batch_first=True, total_length=symbols_BT.shape[1]
            )
            before = nn.functional.pad(states[:, :-1], (0, 0, 1, 0))  # a gap is seen from the character on either side
            return self.score(self.drop(torch.cat([before, states], -1))).squeeze(-1)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Tagger()


def gap_loss(model: "nn.Module", batch: dict) -> tuple["Tensor", dict]:
    """Mean binary cross-entropy over the gaps of words, as `models.training.fit` takes it."""
    from torch.nn import functional

    logits_BT, cuts_BT = model(batch["symbols"]), batch["cuts"]
    is_gap_BT = batch["symbols"] != _PAD
    is_gap_BT[:, 0] = False
    losses = functional.binary_cross_entropy_with_logits(logits_BT[is_gap_BT], cuts_BT[is_gap_BT])
    return losses, {"tokens": int(is_gap_BT.sum())}


def batches(pairs: Sequence[tuple[str, Sequence[int]]], number: Mapping[str, int], *, size: int, seed: int):
    """A function of the micro-batch number: words of like length together, each pass in another order."""
    import torch

    lengths = np.array([len(word) for word, _ in pairs])
    cached: dict[int, list[np.ndarray]] = {}
    per_pass = -(-len(pairs) // size)

    def take(step: int) -> dict:
        round_, place = divmod(step, per_pass)
        if round_ not in cached:
            cached.clear()
            draws = np.random.default_rng([seed, round_])
            order = np.argsort(lengths + draws.uniform(0, 3, len(pairs)), kind="stable")
            groups = [order[i : i + size] for i in range(0, len(order), size)]
            cached[round_] = [groups[i] for i in draws.permutation(len(groups))]
        chosen = [pairs[i] for i in cached[round_][place].tolist()]
        symbols_BT = symbols([word for word, _ in chosen], number)
        cuts_BT = np.zeros(symbols_BT.shape, np.float32)
        for row, (_, cuts) in enumerate(chosen):
            cuts_BT[row, list(cuts)] = 1
        return {"symbols": torch.from_numpy(symbols_BT), "cuts": torch.from_numpy(cuts_BT)}

    return take
