"""Which tokens of two vocabularies are the same: by the bytes they stand for, specials by role and then by text."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tokenry.core.hashing import fingerprint
from tokenry.core.vocab import Kind, Vocab

UNMATCHED, EXACT, BYTE_FALLBACK, SPECIAL_ROLE, SPECIAL_TEXT, UNUSED, UNTRAINED = range(7)
CLASSES = ("unmatched", "exact bytes", "byte-fallback", "special role", "special text", "unused", "untrained")
# The role that says most about a token comes first; one id often has several (bos and eos, eos and pad).
ROLES = ("bos", "eos", "cls", "sep", "mask", "unk", "pad")


@dataclass(frozen=True, eq=False)
class Match:
    """Which old token each new token is."""

    new_to_old: np.ndarray
    """int64 (V_new,): the old id, -1 where there is none."""
    head_to_old: np.ndarray
    """int64 (V_new,): the same for the output head; differs where one new id is both bos and eos of two old ids: the
    input reads it as bos, the head must predict it as eos."""
    klass: np.ndarray
    """uint8 (V_new,): positions in CLASSES."""
    classes: dict[str, int]
    """number of new ids in each class; unmatched ids include specials, not unused ids."""
    is_long: np.ndarray
    """bool (V_new,): tokens of two bytes or more."""

    def anchors(self, old: Vocab, new: Vocab) -> tuple[np.ndarray, np.ndarray]:
        """New ids and old ids (int64, equal length) of the shared tokens that may stand for meaning.

        Left out: specials, byte tokens, and single bytes from 0x80 up, whose rows mean half a character.
        """
        ids = np.flatnonzero(self.klass == EXACT)
        is_half = [new.kinds[i] != Kind.NORMAL or (len(new.tokens[i]) == 1 and new.tokens[i][0] >= 0x80) for i in ids]
        ids = ids[~np.array(is_half, dtype=bool)]
        return ids, self.new_to_old[ids]

    def without(self, old_ids: Sequence[int], new_ids: Sequence[int]) -> "Match":
        """The same without the pairs of which one side was never trained: they are neither copied nor anchors.

        Only ordinary tokens of two bytes or more are taken out (class "untrained"); a byte or a special keeps its row,
        as no other could be made for it.

        Args:
            old_ids, new_ids: under-trained tokens of either side; `tokenization.undertrained` finds them.

        Raises:
            ValueError: an id outside its vocabulary.
        """
        n_old = int(self.new_to_old.max(initial=-1))
        for name, ids, size in (("new", new_ids, self.klass.size), ("old", old_ids, None)):
            if any(i < 0 or (size is not None and i >= size) for i in ids):
                raise ValueError(
                    f"Under-trained {name} ids must lie inside the vocabulary; got {min(ids)}..{max(ids)}."
                )
        is_bad = np.zeros(max(n_old + 1, max(old_ids, default=0) + 1), dtype=bool)
        is_bad[np.asarray(old_ids, dtype=np.int64)] = True
        bad = np.zeros(self.klass.size, dtype=bool)
        bad[np.asarray(new_ids, dtype=np.int64)] = True
        bad |= (self.new_to_old >= 0) & is_bad[np.maximum(self.new_to_old, 0)]
        bad &= (self.klass == EXACT) & self.is_long
        to_old, head_to_old, klass = self.new_to_old.copy(), self.head_to_old.copy(), self.klass.copy()
        to_old[bad], head_to_old[bad], klass[bad] = -1, -1, UNTRAINED
        number = np.bincount(klass, minlength=len(CLASSES)).tolist()
        classes = dict(zip(CLASSES, number, strict=True))
        return replace(self, new_to_old=to_old, head_to_old=head_to_old, klass=klass, classes=classes)

    def old_to_new(self, old_id: int) -> list[int]:
        """The new ids that an old id has become, for its input or its head row."""
        return np.flatnonzero((self.new_to_old == old_id) | (self.head_to_old == old_id)).tolist()


def match(old: Vocab, new: Vocab) -> Match:
    """Match two vocabularies by bytes.

    An ordinary token meets the ordinary token with the same bytes; a byte-fallback token (`<0x41>`) the byte-fallback
    token of that byte; only what is left crosses over (a byte-level `A` and `<0x41>`). Where several ids of one
    vocabulary stand for the same bytes, equal stored strings pair first, then ids in order, and whatever new id is
    left over takes the first old one: no duplicate loses its row. A special token meets the old special of its role,
    else the old token with its literal text.
    """
    new_to_old = np.full(new.size, -1, dtype=np.int64)
    klass = np.zeros(new.size, dtype=np.uint8)
    klass[new.kinds == Kind.UNUSED] = UNUSED
    old_groups, new_groups = _groups(old), _groups(new)
    for (kind, data), ids in new_groups.items():
        candidates = old_groups.get((kind, data))
        if candidates:
            new_to_old[ids] = _pair(old, new, candidates, ids)
            klass[ids] = EXACT if kind == Kind.NORMAL else BYTE_FALLBACK
            continue
        other = Kind.BYTE if kind == Kind.NORMAL else Kind.NORMAL
        candidates = old_groups.get((other, data)) if len(data) == 1 else None
        if candidates:
            new_to_old[ids], klass[ids] = candidates[0], BYTE_FALLBACK
    head_to_old = _match_specials(old, new, new_to_old, klass, old_groups)
    number = np.bincount(klass, minlength=len(CLASSES)).tolist()
    is_long = np.array([len(data or b"") > 1 for data in new.tokens], dtype=bool)
    return Match(new_to_old, head_to_old, klass, dict(zip(CLASSES, number, strict=True)), is_long)


def rows_fingerprint(vocab: Vocab) -> str:
    """16 hex digits of what the rows of a model mean: the stored string of every id, in order.

    Templates, roles and how text is cut are left out: the plan of a base model fits its fine-tuned relatives.
    """
    return fingerprint(*(vocab.literal(i) for i in range(vocab.size)))


def raw_overlap(old: Vocab, new: Vocab) -> int:
    """How many new ids are shared when stored strings are compared, as most tools do (`Ġthe` never meets `▁the`)."""
    known = {old.literal(i) for i in range(old.size) if old.kinds[i] != Kind.UNUSED}
    return sum(new.kinds[i] != Kind.UNUSED and new.literal(i) in known for i in range(new.size))


def _groups(vocab: Vocab) -> dict[tuple[int, bytes], list[int]]:
    groups = defaultdict(list)
    for i, (kind, data) in enumerate(zip(vocab.kinds.tolist(), vocab.tokens, strict=True)):
        if data is not None and kind in (Kind.NORMAL, Kind.BYTE):
            groups[kind, data].append(i)
    return groups


def _pair(old: Vocab, new: Vocab, old_ids: list[int], new_ids: list[int]) -> list[int]:
    if len(old_ids) == 1:
        return old_ids * len(new_ids)
    left = {old.literal(i): i for i in reversed(old_ids)}
    paired = [left.pop(new.literal(i), -1) for i in new_ids]
    free = iter(i for i in old_ids if i not in paired)
    return [next(free, old_ids[0]) if i < 0 else i for i in paired]


def _match_specials(old: Vocab, new: Vocab, new_to_old, klass, old_groups) -> np.ndarray:
    """Fill in the special tokens of `new`; returns the map for the head."""
    head_to_old = new_to_old.copy()
    roles_of = defaultdict(list)
    for role in sorted(new.specials, key=lambda r: ROLES.index(r) if r in ROLES else len(ROLES)):
        roles_of[new.specials[role]].append(role)
    old_text = {old.literal(i): i for i in sorted(old.special_ids, reverse=True)}
    for i in np.flatnonzero(klass == UNMATCHED).tolist():
        if new.kinds[i] != Kind.SPECIAL:
            # An added token that is special in one vocabulary and ordinary in the other; a word of the text is not.
            same = old_text.get(new.literal(i)) if i in new.special_ids else None
            if same is not None:
                new_to_old[i] = head_to_old[i] = same
                klass[i] = SPECIAL_TEXT
            continue
        same_role = [old.specials[role] for role in roles_of[i] if role in old.specials]
        text = new.literal(i)
        if same_role:
            eos = old.specials["eos"] if "eos" in roles_of[i] and "eos" in old.specials else same_role[0]
            new_to_old[i], head_to_old[i], klass[i] = same_role[0], eos, SPECIAL_ROLE
        elif text in old_text:
            new_to_old[i] = head_to_old[i] = old_text[text]
            klass[i] = SPECIAL_TEXT
        elif ordinary := old_groups.get((Kind.NORMAL, text.encode())):
            new_to_old[i] = head_to_old[i] = ordinary[0]
            klass[i] = SPECIAL_TEXT
    return head_to_old
