"""From texts to training batches: tokenise, keep as shards of ids on disk, pack to a fixed length, draw by step.

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

    @property
    def n_targets(self) -> int:
        """Tokens that are learned in one pass (the first of a sequence never is)."""
        return int(self.learned[:, 1:].sum())


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
    packs: Packs, *, batch_size: int, seed: int = 0, isolate: bool = False, device: str | torch.device = "cpu"
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


def collate(packs: Packs, rows: np.ndarray, *, isolate: bool = False, device: str | torch.device = "cpu") -> Batch:
    """The batch of the sequences `rows` (B,); `isolate` and `device` as for `draw`."""
    ids_BT = packs.ids[rows].astype(np.int64)
    documents_BT = packs.documents[rows]
    learned_BT = packs.learned[rows].copy()
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


def write_shard(folder: str | Path, documents: Iterable[np.ndarray], *, vocab_size: int) -> int:
    """Write ids of documents as `ids.npy` (uint16, or uint32 from 65,536 ids on) and `offsets.npy` (int64, D + 1).

    Ids go to disk as they come, so a shard may be larger than memory.

    Returns:
        Number of documents written.

    Raises:
        FileExistsError: the folder exists.
        ValueError: an id outside the vocabulary.
    """
    from tokenry.core.runs import atomic_folder

    kind = np.dtype(np.uint16 if vocab_size <= 1 << 16 else np.uint32)
    offsets = [0]
    with atomic_folder(Path(folder)) as beside:
        raw = beside / "ids.raw"
        with raw.open("wb") as file:
            for ids in documents:
                if len(ids) and int(ids.max()) >= vocab_size:
                    raise ValueError(
                        f"Document {len(offsets) - 1} holds id {int(ids.max())}, the vocabulary ends at "
                        f"{vocab_size - 1}. Encode it with this vocabulary."
                    )
                file.write(np.ascontiguousarray(ids, dtype=kind).tobytes())
                offsets.append(offsets[-1] + len(ids))
        _as_npy(raw, beside / "ids.npy", kind, offsets[-1])
        np.save(beside / "offsets.npy", np.array(offsets, dtype=np.int64), allow_pickle=False)
    return len(offsets) - 1


def read_shard(folder: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """(ids, offsets) of a shard, mapped from disk: document d is `ids[offsets[d]:offsets[d + 1]]`.

    Raises:
        FileNotFoundError: the folder holds no shard.
        ValueError: the two files do not belong together.
    """
    folder = Path(folder)
    if not (folder / "ids.npy").is_file() or not (folder / "offsets.npy").is_file():
        raise FileNotFoundError(f"{folder} is not a shard of ids; need ids.npy and offsets.npy. Make it: write_shard.")
    offsets = np.load(folder / "offsets.npy", mmap_mode="r", allow_pickle=False)
    mode = "r" if len(offsets) and offsets[-1] else None  # nothing cannot be mapped
    ids = np.load(folder / "ids.npy", mmap_mode=mode, allow_pickle=False)
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(ids) or (np.diff(offsets) < 0).any():
        raise ValueError(f"{folder}: offsets.npy does not fit ids.npy ({len(ids)} ids). Write the shard again.")
    return ids, offsets


def shard_documents(ids: np.ndarray, offsets: np.ndarray) -> Iterator[np.ndarray]:
    """The documents of a shard in order, each a view (T,)."""
    for first, last in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        yield ids[first:last]


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


def _as_npy(raw: Path, path: Path, kind: np.dtype, size: int) -> None:
    """Put the header of the .npy format before raw numbers, in blocks; the raw file goes."""
    import shutil

    with path.open("wb") as target, raw.open("rb") as source:
        header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": (size,)}
        np.lib.format.write_array_header_1_0(target, header)
        shutil.copyfileobj(source, target, 1 << 22)
    raw.unlink()
