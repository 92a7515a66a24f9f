"""The network of the decompounder: a two-layer bidirectional GRU over characters that scores each gap of a word.

After stage 2 it also chooses, at each end of a part, the rule that makes the part its constituent.

Papers: CompoundPiece (arXiv 2305.14214; the task and its self-supervision, its network was ByT5).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor, nn

# Axes: B words, T characters, G = T + 1 gaps (before each character, and the end), R rules, P part ends.

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


def build(
    n_characters: int, *, width: int = 48, hidden: int = 96, n_rules: int = 0, dropout: float = 0.2, seed: int = 0
) -> "nn.Module":
    """The network with random weights: symbols (B, T) -> logit (B, T) of a cut before each character.

    With rules its method `both` gives (B, T) and the logits (B, G, R) of the rules for a part that ends at each gap.

    Args:
        n_characters: characters known.
        width, hidden: of the embedding and of each direction of the GRU.
        n_rules: rules that make a part a constituent (stage 2), 0 for none.
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
            if n_rules:
                self.rule = nn.Linear(4 * hidden, n_rules)

        def gaps(self, symbols_BT: "Tensor") -> "Tensor":
            lengths_B = (symbols_BT != _PAD).sum(1).clamp(min=1).cpu()
            packed = nn.utils.rnn.pack_padded_sequence(
                self.drop(self.embedding(symbols_BT)), lengths_B, batch_first=True, enforce_sorted=False
            )
            states, _ = nn.utils.rnn.pad_packed_sequence(
                self.reader(packed)[0], batch_first=True, total_length=symbols_BT.shape[1]
            )
            # A gap is seen from the character on either side; nothing is on the far side of an end.
            before, after = nn.functional.pad(states, (0, 0, 1, 0)), nn.functional.pad(states, (0, 0, 0, 1))
            return torch.cat([before, after], -1)

        def forward(self, symbols_BT: "Tensor") -> "Tensor":
            return self.score(self.drop(self.gaps(symbols_BT)[:, :-1])).squeeze(-1)

        def both(self, symbols_BT: "Tensor") -> "tuple[Tensor, Tensor]":
            gaps_BGD = self.drop(self.gaps(symbols_BT))
            return self.score(gaps_BGD[:, :-1]).squeeze(-1), self.rule(gaps_BGD)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Tagger()


def gap_loss(model: "nn.Module", batch: dict) -> tuple["Tensor", dict]:
    """Mean binary cross-entropy over the gaps of words, as `models.training.fit` takes it."""
    from torch.nn import functional

    logits_BT, cuts_BT = model(batch["symbols"]), batch["cuts"]
    is_gap_BT = _is_gap(batch["symbols"])
    losses = functional.binary_cross_entropy_with_logits(logits_BT[is_gap_BT], cuts_BT[is_gap_BT])
    return losses, {"tokens": int(is_gap_BT.sum())}


def constituent_loss(model: "nn.Module", batch: dict) -> tuple["Tensor", dict]:
    """`gap_loss` and the mean cross-entropy of the rules at the ends of parts; a batch without any has the first alone.

    The batch holds "ends", int64 (P, 3): word, gap, and rule.
    """
    from torch.nn import functional

    logits_BT, rules_BGR = model.both(batch["symbols"])
    is_gap_BT, ends_P3 = _is_gap(batch["symbols"]), batch["ends"]
    loss = functional.binary_cross_entropy_with_logits(logits_BT[is_gap_BT], batch["cuts"][is_gap_BT])
    if len(ends_P3):
        loss = loss + functional.cross_entropy(rules_BGR[ends_P3[:, 0], ends_P3[:, 1]], ends_P3[:, 2])
    return loss, {"tokens": int(is_gap_BT.sum())}


def _is_gap(symbols_BT: "Tensor") -> "Tensor":
    """Where a word goes on before a character."""
    is_gap_BT = symbols_BT != _PAD
    is_gap_BT[:, 0] = False
    return is_gap_BT


def batches(
    pairs: Sequence[tuple[str, Sequence[int]]],
    number: Mapping[str, int],
    *,
    size: int,
    seed: int,
    ends: Sequence[Sequence[tuple[int, int]]] | None = None,
):
    """A function of the micro-batch number: words of like length together, each pass in another order.

    Args:
        pairs: words and their cuts.
        number: see `numbered`.
        size: words of a batch.
        seed: of the order.
        ends: for each word (gap, rule) of the ends of its parts, for `constituent_loss`.
    """
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
        rows = cached[round_][place].tolist()
        chosen = [pairs[i] for i in rows]
        symbols_BT = symbols([word for word, _ in chosen], number)
        cuts_BT = np.zeros(symbols_BT.shape, np.float32)
        for row, (_, cuts) in enumerate(chosen):
            cuts_BT[row, list(cuts)] = 1
        batch = {"symbols": torch.from_numpy(symbols_BT), "cuts": torch.from_numpy(cuts_BT)}
        if ends is not None:
            found = [(row, gap, rule) for row, i in enumerate(rows) for gap, rule in ends[i]]
            batch["ends"] = torch.tensor(found, dtype=torch.int64).reshape(-1, 3)
        return batch

    return take
