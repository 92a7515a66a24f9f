"""Training rows of the same text under two tokenizers, aligned by bytes: what distilling across tokenizers reads.

Axes: B rows of a batch, T student positions, S teacher positions, C chunks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tokenry.core.splitting import segments
from tokenry.models.batches import NOT_LEARNED, Batch, draw_rows
from tokenry.models.lm import LM
from tokenry.transplant.alignment import START, Chunks, align, spelt

_BATCH = 256
LEAST_ROOM = 0.25
"""A row with less room than this share of its bytes left is closed: a text cut so short teaches little."""


@dataclass(frozen=True, eq=False)
class Pair:
    """One row: the same texts under both tokenizers, each after its start token."""

    ids: tuple[np.ndarray, np.ndarray]
    """int64 (T,), (S,): student, teacher."""
    learned: np.ndarray
    """bool (T,): whether the student's token is a target; the start token of a text cut in two is none."""
    chunks: Chunks
    n_bytes: int


def pair(student: LM, teacher: LM, texts: Sequence[str], *, row_bytes: int, longest: tuple[int, int]) -> list[Pair]:
    """Lay texts into rows of about `row_bytes` bytes, cut at white space, and encode them for both models.

    Args:
        longest: most positions of a row of either side; what passes them is cut off.

    Raises:
        ValueError: no text.
    """
    rows = _rows(texts, row_bytes)
    if not rows:
        raise ValueError("There is nothing to train on: the documents hold no text. Give more text.")
    found = []
    for at in range(0, len(rows), _BATCH):
        some = rows[at : at + _BATCH]
        pieces = [piece for row in some for piece, _ in row]
        encoded = [side.vocab.encode([_bare(side, piece) for piece in pieces]) for side in (student, teacher)]
        place = 0
        for row in some:
            own = [ids[place : place + len(row)] for ids in encoded]
            found.append(_laid_out(student, teacher, row, ids=own, longest=longest))
            place += len(row)
    return found


def _rows(texts: Sequence[str], row_bytes: int) -> list[list[tuple[str, bool]]]:
    """Rows of (piece, whether it begins a text)."""
    rows, row, room = [], [], row_bytes
    for text in texts:
        start = 0
        while start < len(text):
            if row and room < LEAST_ROOM * row_bytes:
                rows.append(row)
                row, room = [], row_bytes
            # A little more than fits, so that the piece is cut at white space and not where the slice ends.
            piece = segments(text[start : start + room + 32], max(room, 4))[0]
            row.append((piece, start == 0))
            start += len(piece)
            room -= len(piece.encode())
    return [*rows, row] if row else rows


def _bare(lm: LM, piece: str) -> str:
    """A tokenizer that adds a space of its own takes the piece's away first."""
    return piece[1:] if lm.adds_space and len(piece) > 1 and piece[0] == " " else piece


def _laid_out(
    student: LM, teacher: LM, row: list[tuple[str, bool]], *, ids: list[list[np.ndarray]], longest: tuple[int, int]
) -> Pair:
    sides: tuple[list, list] = ([], [])
    learned, ends, same, special = [], [], [], []
    places = [0, 0]
    for number, (_, begins) in enumerate(row):
        own, theirs = ids[0][number], ids[1][number]
        first = [START, *spelt(student.vocab, teacher.vocab, own)]
        second = [START, *spelt(teacher.vocab, student.vocab, theirs)]
        chunks = align(first, second)
        ends.append(chunks.ends + np.array(places)[:, None])
        same.append(chunks.same)
        special.append(chunks.special)
        learned += [begins and number > 0, *[True] * len(own)]
        for side, lm, found in ((0, student, own), (1, teacher, theirs)):
            sides[side].append(np.concatenate([[lm.start], found]).astype(np.int64))
            places[side] += len(found) + 1
    whole = tuple(np.concatenate(side)[:limit] for side, limit in zip(sides, longest, strict=True))
    together = Chunks(np.concatenate(ends, axis=1), np.concatenate(same), np.concatenate(special))
    kept = (together.ends < np.array([[len(side)] for side in whole])).all(axis=0)
    chunks = Chunks(together.ends[:, kept], together.same[kept], together.special[kept])
    return Pair(whole, np.array(learned)[: len(whole[0])], chunks, sum(len(piece.encode()) for piece, _ in row))


def draw_pairs(
    pairs: Sequence[Pair], *, batch_size: int, seed: int = 0, device: torch.device | str = "cpu"
) -> Callable[[int], Batch]:
    """A function from step to batch, in the order that `models.batches.draw` takes for as many sequences."""
    rows_of = draw_rows(len(pairs), batch_size=batch_size, seed=seed)

    def batch(step: int) -> Batch:
        rows = rows_of(step)
        made = collate_pairs([pairs[row] for row in rows])
        made["rows"] = torch.from_numpy(rows)
        return {key: value.to(device, non_blocking=True) for key, value in made.items()}

    return batch


def collate_pairs(pairs: Sequence[Pair]) -> Batch:
    """The tensors of some rows.

    Returns:
        `input_ids`, `labels` (B, T) and `teacher_ids` (B, S), padded on the right; `ends` (2, B, C), -1 behind the
        last chunk; `usable` (B, C): both sides spell the chunk alike and the student learns all of it; `closed`
        (B, C): a special token follows or is the chunk itself, so the chunk ends whatever the teacher thinks.
    """
    n_chunks = max(len(pair.chunks) for pair in pairs)
    sizes = [max(len(pair.ids[side]) for pair in pairs) for side in (0, 1)]
    ids = [np.zeros((len(pairs), size), np.int64) for size in sizes]
    labels = np.full((len(pairs), sizes[0]), NOT_LEARNED, np.int64)
    ends = np.full((2, len(pairs), n_chunks), -1, np.int64)
    usable = np.zeros((len(pairs), n_chunks), bool)
    closed = np.zeros((len(pairs), n_chunks), bool)
    for row, one in enumerate(pairs):
        for side in (0, 1):
            ids[side][row, : len(one.ids[side])] = one.ids[side]
        n, c = len(one.ids[0]), len(one.chunks)
        labels[row, :n] = np.where(one.learned, one.ids[0], NOT_LEARNED)
        ends[:, row, :c] = one.chunks.ends
        missed = np.concatenate([[0], np.cumsum(~one.learned)])
        last = one.chunks.ends[0]
        first = np.concatenate([[0], last[:-1] + 1]).astype(np.int64)
        usable[row, :c] = one.chunks.same & (missed[last + 1] == missed[first])
        closed[row, :c] = one.chunks.special
        closed[row, : c - 1] |= one.chunks.special[1:]
    tensors = {"input_ids": ids[0], "teacher_ids": ids[1], "labels": labels, "ends": ends, "usable": usable}
    return {key: torch.from_numpy(value) for key, value in {**tensors, "closed": closed}.items()}
