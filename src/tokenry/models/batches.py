"""From texts or packed shards to training batches: tokenise, pack to a fixed length, draw by step.

Axes: N packed sequences, B sequences of a batch, T positions.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tokenry.core.vocab import Vocab

Batch = dict[str, Tensor]
"""What a loss takes: `input_ids` and `labels`, both int64 (B, T); `attention_mask` and `position_ids` where needed.

Labels stand at the place of their own token (the loss shifts them); -100 is not learned.
"""
NOT_LEARNED = -100


@dataclass(frozen=True, eq=False)
class Packs:
    """Documents laid end to end and cut into sequences of one length.

    Attributes:
        ids: uint16 or uint32 (N, T).
        learned: bool (N, T), whether the token here is a target.
        documents: int32 (N, T), number of the document a token belongs to, -1 for padding.
    """

    ids: np.ndarray
    learned: np.ndarray
    documents: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: np.ndarray) -> "Packs":
        """The sequences `rows` (B,)."""
        return Packs(self.ids[rows], self.learned[rows], self.documents[rows])

    @property
    def n_targets(self) -> int:
        """Tokens that are learned in one pass (the first of a sequence never is)."""
        return int(self.learned[:, 1:].sum())


class PackedShards:
    """The sequences of shards on disk, as `corpora.packing.pack_corpus` writes them: `Packs` larger than memory.

    Sequences are cut anew in every shard, and documents are numbered through. `draw` takes it in the place of `Packs`.

    Args:
        folder: the packed corpus.
        length: T; None takes that of the packed corpus.

    Attributes:
        vocab: fingerprint of the vocabulary that the ids belong to.

    Raises:
        FileNotFoundError: it is none. ValueError: no length is known, or the folder is damaged.
    """

    def __init__(self, folder: str | Path, *, length: int | None = None) -> None:
        from tokenry.core.shards import read_manifest, read_shard

        record = read_manifest(folder)
        self.length, self.vocab = length or record["length"], record["vocabulary"]["fingerprint"]
        if not self.length or self.length < 2:
            raise ValueError(f"{folder} has no sequence length; need one of 2 or more. Give length=.")
        self._both = record["bos"] is not None and record["eos"] is not None
        self._pad = record["pad"]
        self._shards = [read_shard(Path(folder) / shard["name"]) for shard in record["shards"]]
        sizes = [int(offsets[-1]) for _, offsets in self._shards]
        self._first_S = np.cumsum([0, *(-(-size // self.length) for size in sizes)])
        self._documents_S = np.cumsum([0, *(len(offsets) - 1 for _, offsets in self._shards)])

    def __len__(self) -> int:
        return int(self._first_S[-1])

    def take(self, rows: np.ndarray) -> Packs:
        """The sequences `rows` (B,), read from disk."""
        shape = (len(rows), self.length)
        ids, learned = np.full(shape, self._pad, np.uint32), np.zeros(shape, bool)
        documents = np.full(shape, -1, np.int32)
        for place, row in enumerate(np.asarray(rows).tolist()):
            number = int(np.searchsorted(self._first_S, row, side="right")) - 1
            flat, offsets = self._shards[number]
            start = (row - int(self._first_S[number])) * self.length
            stop = min(start + self.length, int(offsets[-1]))
            owners = np.searchsorted(offsets, np.arange(start, stop), side="right") - 1
            ids[place, : stop - start] = flat[start:stop]
            documents[place, : stop - start] = owners + self._documents_S[number]
            # A bos behind an eos says nothing, see `pack`.
            learned[place, : stop - start] = offsets[owners] != np.arange(start, stop) if self._both else True
        return Packs(ids, learned, documents)


Sequences = Packs | PackedShards
"""What batches are drawn from."""


def tokenise(vocab: Vocab, texts: Iterable[str], *, batch_texts: int = 256) -> Iterator[np.ndarray]:
    """Ids (T,) of each text in order, without special tokens around; reads `batch_texts` ahead."""
    waiting = []
    for text in texts:
        waiting.append(text)
        if len(waiting) == batch_texts:
            yield from vocab.encode(waiting)
            waiting = []
    if waiting:
        yield from vocab.encode(waiting)


def pack(
    documents: Iterable[np.ndarray], *, length: int, bos: int | None = None, eos: int | None = None, pad: int = 0
) -> Packs:
    """Lay documents end to end, each as [bos] ids [eos], and cut the row into sequences of `length`.

    The end of a document is learned once: as its `eos`, or where there is none as the `bos` of the next one (so a model
    whose documents are separated by bos alone keeps its sign to stop). A bos behind an eos says nothing and is not
    learned. Only the last sequence is padded, on the right.

    Args:
        documents: ids (T,) of each text, without special tokens.
        length: T, at least 2.
        bos, eos: ids put around each document; None puts none.
        pad: id that fills the last sequence; never a target.

    Returns:
        Packs; no sequence at all when the documents hold fewer than 2 ids together.

    Raises:
        ValueError: if length is under 2.
    """
    if length < 2:
        raise ValueError(f"length={length}; a sequence needs 2 tokens, one to see and one to learn. Take 64 or more.")
    before, after = (np.array([] if token is None else [token], dtype=np.uint32) for token in (bos, eos))
    ids, learned, owners = [], [], []
    for number, document in enumerate(documents):
        ids.append(np.concatenate([before, np.asarray(document, dtype=np.uint32), after]))
        learn = np.ones(len(ids[-1]), dtype=bool)
        if len(before) and len(after):
            learn[0] = False
        learned.append(learn)
        owners.append(np.full(len(learn), number, dtype=np.int32))
    size = sum(map(len, ids))
    n_rows = -(-size // length) if size >= 2 else 0
    rows = np.full(n_rows * length, pad, dtype=np.uint32)
    targets = np.zeros(n_rows * length, dtype=bool)
    numbers = np.full(n_rows * length, -1, dtype=np.int32)
    if n_rows:
        rows[:size], targets[:size], numbers[:size] = map(np.concatenate, (ids, learned, owners))
    shape = (n_rows, length)
    return Packs(_smallest(rows).reshape(shape), targets.reshape(shape), numbers.reshape(shape))


def draw(
    packs: Sequences,
    *,
    batch_size: int,
    seed: int = 0,
    isolate: bool = False,
    device: str | torch.device = "cpu",
) -> Callable[[int], Batch]:
    """A function from step to batch: every epoch is a new shuffle of all sequences, fixed by `seed` and step alone.

    So a resumed run sees what the interrupted one would have seen, and nothing needs to be stored.

    Args:
        packs: at least one sequence.
        batch_size: B; a batch may run over the end of an epoch.
        seed: of the shuffles.
        isolate: documents do not see each other: attention is cut at document borders, positions start anew, and the
            first token of a document is not learned (nothing of its own stands before it).
        device: where the tensors go.

    Raises:
        ValueError: without sequences, or batch_size under 1.
    """
    rows_of = draw_rows(len(packs), batch_size=batch_size, seed=seed)
    return lambda step: collate(packs, rows_of(step), isolate=isolate, device=device)


def draw_rows(n_rows: int, *, batch_size: int, seed: int = 0) -> Callable[[int], np.ndarray]:
    """A function from step to the numbers (B,) of the sequences in its batch; the order of `draw`.

    Raises:
        ValueError: without sequences, or batch_size under 1.
    """
    if n_rows == 0:
        raise ValueError("There is nothing to train on: the documents gave no sequence. Give more text.")
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}; need at least 1. Ask for one sequence or more.")
    shuffles: dict[int, np.ndarray] = {}

    def shuffle(epoch: int) -> np.ndarray:
        if epoch not in shuffles:
            if len(shuffles) > 1:  # a batch touches two epochs at most, unless it is larger than an epoch
                shuffles.clear()
            shuffles[epoch] = np.random.default_rng([seed, epoch]).permutation(n_rows)
        return shuffles[epoch]

    def rows(step: int) -> np.ndarray:
        places = range(step * batch_size, (step + 1) * batch_size)
        return np.array([shuffle(place // n_rows)[place % n_rows] for place in places])

    return rows


def collate(packs: Sequences, rows: np.ndarray, *, isolate: bool = False, device: str | torch.device = "cpu") -> Batch:
    """The batch of the sequences `rows` (B,); `isolate` and `device` as for `draw`."""
    taken = packs.take(rows)
    ids_BT, documents_BT, learned_BT = taken.ids.astype(np.int64), taken.documents, taken.learned
    found = {"input_ids": torch.from_numpy(ids_BT)}
    if isolate:
        first_BT = np.ones(documents_BT.shape, dtype=bool)
        first_BT[:, 1:] = documents_BT[:, 1:] != documents_BT[:, :-1]
        learned_BT &= ~first_BT
        places_T = np.arange(ids_BT.shape[1])
        starts_BT = np.maximum.accumulate(np.where(first_BT, places_T, 0), axis=1)
        found["position_ids"] = torch.from_numpy(places_T - starts_BT)
        found["attention_mask"] = _document_mask(torch.from_numpy(documents_BT))
    found["labels"] = torch.from_numpy(np.where(learned_BT, ids_BT, NOT_LEARNED))
    return {key: tensor.to(device, non_blocking=True) for key, tensor in found.items()}


def _document_mask(documents_BT: Tensor) -> Tensor:
    """Additive float mask (B, 1, T, T): 0 where a token may look, the lowest number elsewhere.

    Additive because eager attention adds a boolean mask as 0 and 1, silently wrong. Padding sees itself, so that no
    row of the softmax is empty.
    """
    size = documents_BT.shape[1]
    same = documents_BT[:, :, None] == documents_BT[:, None, :]
    causal = torch.ones(size, size, dtype=torch.bool).tril()
    allowed = (same & causal)[:, None]
    return torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)


def _smallest(ids: np.ndarray) -> np.ndarray:
    return ids.astype(np.uint16) if len(ids) == 0 or int(ids.max()) < 1 << 16 else ids
