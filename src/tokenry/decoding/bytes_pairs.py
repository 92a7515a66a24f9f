"""Which token may follow which inside one pre-token: the pairwise theorem of byte-pair encoding, and Viterbi's for
Unigram. A mask over the whole vocabulary for every last token, without encoding anything.

Papers: Exact Byte-Level Probabilities (arXiv 2410.09303) for the use; genlm-control and "Where is the signal in
tokenization space?" for canonical filters.
"""

# Axes: V ids, M merges.

import json
from collections import defaultdict
from functools import cached_property, lru_cache
from itertools import pairwise

import numpy as np

from tokenry.core import hf_json
from tokenry.core.vocab import Kind, Vocab

_NEVER = np.int64(1) << 60
_TIE = 1e-9
"""Scores closer than this count as equal."""


class MergePairs:
    """Stable pairs of a BPE vocabulary.

    Inside one pre-token a sequence is what merging its bytes gives if and only if every token is, and no two
    neighbours merge earlier than they were made: for no member u of the right spine of a and w of the left spine of b
    is there a merge (u, w) before the one that consumed u, and not after the one that consumed w.
    """

    def __init__(self, vocab: Vocab) -> None:
        self.vocab = vocab
        self.row = lru_cache(maxsize=max(64, (1 << 27) // max(vocab.size, 1)))(self._row)

    def stable(self, a: int, b: int) -> bool:
        """Whether b may stand after a."""
        return bool(self.row(a)[b])

    def all_stable(self, tokens: tuple[int, ...]) -> bool:
        """Whether a run of tokens inside one pre-token is what merging its bytes gives."""
        return all(self.whole[t] for t in tokens) and all(self.stable(a, b) for a, b in pairwise(tokens))

    def _row(self, a: int) -> np.ndarray:
        from tokenry.decoding.bytes_kernels import stable_row

        return stable_row(a, self.whole, *self._made, self._by_left, self._spines)

    @cached_property
    def whole(self) -> np.ndarray:
        """bool (V,): tokens that merging their own bytes gives; byte pieces count as such."""
        whole_V = np.zeros(self.vocab.size, bool)
        whole_V[self.vocab.kinds == Kind.BYTE] = True
        tokenize = merging_model(self.vocab).tokenize
        for i, piece in hf_json.model_pieces(self.vocab.spec):
            if self.vocab.kinds[i] == Kind.NORMAL:
                found = tokenize(piece)
                whole_V[i] = len(found) == 1 and found[0].id == i
        return whole_V

    @cached_property
    def _made(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Left part, right part and rank of the merge that makes each token."""
        left_V, right_V = (np.full(self.vocab.size, -1, np.int64) for _ in range(2))
        rank_V = np.full(self.vocab.size, _NEVER, np.int64)
        ways: dict[int, list[int]] = defaultdict(list)
        for rank, result in enumerate(self.vocab.merges[:, 2].tolist()):
            ways[result].append(rank)
        known: dict[tuple[int, int], tuple[int, int]] = {}
        for rank, (left, right, result) in enumerate(self.vocab.merges.tolist()):
            known.setdefault((left, right), (rank, result))
        for token, ranks in ways.items():
            rank = ranks[0] if len(ranks) == 1 else self._last_merge(token, known)
            if rank is not None:
                left_V[token], right_V[token] = self.vocab.merges[rank, :2]
                rank_V[token] = rank
        return left_V, right_V, rank_V

    def _last_merge(self, token: int, known: dict[tuple[int, int], tuple[int, int]]) -> int | None:
        """The last merge in merging a token's own bytes, where several merges make it (SentencePiece files)."""
        entries = self.vocab.spec["model"]["vocab"]
        parts = [entries.get(character, -1) for character in self.vocab.literal(token)]
        last = None
        while len(parts) > 1:
            found = [(*known[pair], i) for i, pair in enumerate(pairwise(parts)) if pair in known]
            if not found:
                return None
            last, result, i = min(found, key=lambda way: (way[0], way[2]))
            parts[i : i + 2] = [result]
        return last

    @cached_property
    def _by_left(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        left_M, right_M, _ = self.vocab.merges.T.astype(np.int64)
        order_M = np.lexsort((np.arange(len(left_M)), left_M))
        return _starts(left_M, self.vocab.size), right_M[order_M], order_M.astype(np.int64)

    @cached_property
    def _spines(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        left_V, _, rank_V = self._made
        members, owners, ranks = [], [], []
        part_N = owner_N = np.flatnonzero(self.whole)
        consumed_N = np.full(len(part_N), _NEVER, np.int64)
        while len(part_N):
            members.append(part_N)
            owners.append(owner_N)
            ranks.append(consumed_N)
            goes_on = left_V[part_N] >= 0
            consumed_N = rank_V[part_N][goes_on]
            part_N, owner_N = left_V[part_N][goes_on], owner_N[goes_on]
        member_N, owner_N, rank_N = (np.concatenate(rows).astype(np.int64) for rows in (members, owners, ranks))
        order_N = np.argsort(member_N, kind="stable")
        return _starts(member_N, self.vocab.size), owner_N[order_N], rank_N[order_N]


class UnigramPairs:
    """What may follow a run of tokens inside one pre-token under Viterbi: the run and the token must be the best cut.

    Args:
        vocab: a Unigram vocabulary.
    """

    def __init__(self, vocab: Vocab) -> None:
        self.vocab = vocab
        self.pieces: dict[bytes, tuple[int, float]] = {}
        scores = vocab.scores
        for i in np.flatnonzero(vocab.kinds == Kind.NORMAL).tolist():
            if vocab.tokens[i] not in self.pieces:
                self.pieces[vocab.tokens[i]] = i, float(scores[i])
        self.longest = max((len(piece) for piece in self.pieces), default=1)
        self.after = lru_cache(maxsize=4096)(self._after)
        self._known: dict[bytes, float] = {}

    def best(self, data: bytes) -> tuple[list[int] | None, float]:
        """Ids of the best cut of `data` into pieces, and its score; (None, -inf) where there is none."""
        score, back = [0.0, *[-np.inf] * len(data)], [None] * (len(data) + 1)
        for stop in range(1, len(data) + 1):
            for start in range(max(0, stop - self.longest), stop):
                found = self.pieces.get(data[start:stop])
                if found is not None and score[start] + found[1] > score[stop]:
                    score[stop], back[stop] = score[start] + found[1], (start, found[0])
        if data and back[-1] is None:
            return None, -np.inf
        ids, at = [], len(data)
        while at:
            at, token = back[at]
            ids.append(token)
        return ids[::-1], score[-1]

    def all_stable(self, tokens: tuple[int, ...]) -> bool:
        """Whether a run of tokens inside one pre-token is the best cut of its bytes."""
        return list(tokens) == self.best(b"".join(self.vocab.tokens[t] for t in tokens))[0]

    @cached_property
    def whole(self) -> np.ndarray:
        """bool (V,): pieces that are the best cut of their own bytes."""
        whole_V = np.zeros(self.vocab.size, bool)
        for piece, (token, _) in self.pieces.items():
            whole_V[token] = self.best(piece)[0] == [token]
        return whole_V

    def _after(self, tokens: tuple[int, ...]) -> np.ndarray:
        """bool (V,): tokens v such that run + v is the best cut of its bytes.

        Only a piece u that straddles the end of the run can beat run + v: a better cut of the run's beginning, u, and
        the best cut of what is left of v.
        """
        data = b"".join(self.vocab.tokens[t] for t in tokens)
        own = sum(self.pieces[self.vocab.tokens[t]][1] for t in tokens)
        row_V = self.whole.copy()
        trie = self.vocab.trie
        for size in range(1, min(self.longest, len(data) + 1)):
            head = self.best(data[:-size])[1] - own
            for u in trie.prefix_range(data[-size:]).tolist():
                spoken = self.vocab.tokens[u][size:]
                if not spoken or self.pieces.get(self.vocab.tokens[u], (-1,))[0] != u:
                    continue
                gain = head + self.pieces[self.vocab.tokens[u]][1]
                for v in trie.prefix_range(spoken).tolist():
                    if (
                        row_V[v]
                        and gain + self._rest(self.vocab.tokens[v][len(spoken) :]) > self.vocab.scores[v] + _TIE
                    ):
                        row_V[v] = False
        return row_V

    def _rest(self, data: bytes) -> float:
        found = self._known.get(data)
        if found is None:
            found = self._known[data] = self.best(data)[1]
        return found


def merging_model(vocab: Vocab) -> object:
    """The library's model of a vocabulary, merging also what is a token as a whole (`ignore_merges` off)."""
    if not vocab.spec["model"].get("ignore_merges"):
        return vocab.backend.model
    from tokenizers import Tokenizer

    spec = {**vocab.spec, "model": {**vocab.spec["model"], "ignore_merges": False}}
    return Tokenizer.from_str(json.dumps(spec, ensure_ascii=False)).model


def _starts(values: np.ndarray, size: int) -> np.ndarray:
    """Where each value 0..size-1 begins among the sorted values, int64 (size + 1,)."""
    return np.concatenate([[0], np.cumsum(np.bincount(values, minlength=size))]).astype(np.int64)
