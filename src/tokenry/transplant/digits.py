"""Whether two tokenizers cut numbers alike, told before a move; and rows for numbers from old digit pieces after it.

Arithmetic and the copying of numbers suffer most from a move between tokenizers that cut digits differently.

Papers: Training-Free Tokenizer Transplantation via OMP (arXiv 2506.06607); Tokenization counts (arXiv 2402.14903).
"""

from dataclasses import dataclass, replace

import numpy as np

from tokenry.core.tokenmap import RowKind, TokenMap
from tokenry.core.vocab import Kind, Vocab
from tokenry.tokenization.counting import encode_words
from tokenry.tokenization.probes import DigitScheme, digit_scheme
from tokenry.transplant.heuristics import POSITIONS, piece_weights
from tokenry.transplant.matching import EXACT, UNMATCHED, Match, match
from tokenry.transplant.planning import Plan

NUMBERS = (*(str(n) for n in range(1000)), "1000000")
"""All numbers of one to three digits, and one that tells from which side longer ones are read."""


@dataclass(frozen=True)
class DigitChange:
    """How two vocabularies cut numbers."""

    before: DigitScheme
    after: DigitScheme
    """of numbers behind a line break or sign."""
    before_spaced: DigitScheme
    after_spaced: DigitScheme
    """of numbers behind a space."""
    n_numbers: int
    n_different: int
    """numbers of NUMBERS, with and without a space in front, whose groups of digits differ."""
    n_made: int
    """new tokens of two or more digits without an old row."""
    n_idle: int
    """new tokens of two or more digits whose old equal exists, but is never made of a text by the old tokenizer: its
    row was hardly trained, and copying it is worth little."""

    @property
    def differs(self) -> bool:
        """Some number is cut another way."""
        return self.n_different > 0

    def facts(self) -> dict:
        """For a report or the record of a plan."""
        return {
            "digits.before": self.before.name,
            "digits.after": self.after.name,
            "digits.example_before": self.before.example,
            "digits.example_after": self.after.example,
            "digits.numbers_cut_otherwise": self.n_different,
            "digits.numbers": self.n_numbers,
            "digits.tokens_made": self.n_made,
            "digits.tokens_idle": self.n_idle,
        }

    def sentences(self, *, repaired: bool = False) -> list[str]:
        """Warnings; empty where nothing changes. `repaired`: the rows of numbers were made by `repair_digits`."""
        found = []
        if self.differs:
            cut = f"{self.before.name} ({self.before.example}) before, {self.after.name} ({self.after.example}) after"
            found.append(
                f"The two tokenizers cut numbers differently: {cut}; {self.n_different:,} of {self.n_numbers:,} probed "
                "numbers change. Arithmetic and copying of digits will suffer until healed on text with numbers."
            )
        if self.n_made + self.n_idle and self.differs and not repaired:
            found.append(
                f"{self.n_made:,} new tokens of several digits have no old row and {self.n_idle:,} copy one the old "
                "tokenizer never used; rows from the old digit pieces: --digits decompose, or transplant.repair_digits."
            )
        return found


def compare_digits(old: Vocab, new: Vocab, *, found: Match | None = None) -> DigitChange:
    """Compare how two vocabularies cut numbers: 0 to 999 and 1,000,000, each with and without a space in front.

    Args:
        old, new: the vocabularies.
        found: their match, if it is known.
    """
    found = match(old, new) if found is None else found
    probes = [space + number for space in ("", " ") for number in NUMBERS]
    cuts = [_groups(vocab, probes) for vocab in (old, new)]
    schemes = [digit_scheme(vocab, after_space=spaced) for spaced in (False, True) for vocab in (old, new)]
    numbers = _number_tokens(new)
    idle = _idle(old, new, found, numbers)
    return DigitChange(
        before=schemes[0],
        after=schemes[1],
        before_spaced=schemes[2],
        after_spaced=schemes[3],
        n_numbers=len(probes),
        n_different=sum(a != b for a, b in zip(*cuts, strict=True)),
        n_made=int((found.klass[numbers] == UNMATCHED).sum()),
        n_idle=int(idle.size),
    )


def digit_warnings(old: Vocab, new: Vocab) -> list[str]:
    """What to tell before a move; empty where both cut numbers alike."""
    return compare_digits(old, new).sentences()


def repair_digits(
    plan: Plan, old: Vocab, new: Vocab, *, input: str = "late", head: str = "early", untie: bool | None = None
) -> Plan:
    """Make the rows of new tokens of several digits from the digit pieces the old tokenizer cuts them into.

    A wrapper around any method: all other rows stay. Repaired are tokens that the method had to make, and tokens that
    copy an old token which the old tokenizer never makes of these digits, so that its row was hardly trained. A token
    is left as it is where the old tokenizer makes one token of its digits, or cannot spell them.

    Args:
        plan: of any method.
        old, new: its vocabularies.
        input, head: how the pieces count: "late" (each half as much as the one behind it), "early", "last", "first",
            "mean", "weighted" (by length). The body reads a number at its last piece, the head must predict how it
            begins. The last piece alone makes 12 and 32 one row, the mean makes 12 and 21 one row; "late" and "early"
            keep all apart.
        untie: whether a model with one matrix gets two; None: where input and head differ, as else the head's rows
            would have no place.

    Raises:
        ValueError: an unknown position, vocabularies that are not the plan's.
    """
    for value in (input, head):
        if value not in POSITIONS:
            raise ValueError(f"{value!r} is no way to combine pieces; need one of {', '.join(POSITIONS)}.")
    if plan.input.shape != (new.size, old.size):
        raise ValueError(
            f"The plan leads from {plan.n_old} to {plan.n_new} ids, the vocabularies have {old.size} and {new.size}; "
            "give the two vocabularies the plan was made for."
        )
    found = match(old, new)
    numbers = _number_tokens(new)
    wanted = np.concatenate([numbers[found.klass[numbers] == UNMATCHED], _idle(old, new, found, numbers)])
    pieces = _pieces(old, new, np.sort(wanted))
    input_map = _replaced(plan.input, {i: piece_weights(old, ids, input) for i, ids in pieces.items()})
    head_map = _replaced(plan.head, {i: piece_weights(old, ids, head) for i, ids in pieces.items()})
    info = {
        **plan.info,
        "rows": input_map.counts(),
        "digits_repaired": len(pieces),
        "digits_input": input,
        "digits_head": head,
    }
    untied = plan.untie or (input != head and bool(pieces) if untie is None else untie)
    changed = {"input": input_map, "head": head_map, "untie": untied, "info": info}
    for name in ("dense", "dense_head", "dense_bias"):
        rows = getattr(plan, name, None)
        if rows is not None:
            changed[name] = _without(plan, rows, pieces)
    return replace(plan, **changed)


def _without(plan: Plan, rows: np.ndarray, pieces: dict[int, list[int]]) -> np.ndarray:
    """Rows given as numbers, with the repaired ones taken out so that their combination counts."""
    rows = rows.copy()
    ids = getattr(plan, "dense_ids", np.arange(len(rows)))
    rows[np.isin(ids, list(pieces))] = np.nan
    return rows


def _groups(vocab: Vocab, texts: list[str]) -> list[list[bytes]]:
    cut = [[(vocab.tokens[i] or b"?").strip() for i in ids] for ids in encode_words(vocab, texts)]
    return [[piece for piece in pieces if piece] for pieces in cut]


def _number_tokens(vocab: Vocab) -> np.ndarray:
    """Ids (int64) of ordinary tokens of two or more digits, a space in front allowed."""

    def is_number(token: bytes | None) -> bool:
        digits = (token or b"").removeprefix(b" ")
        return len(digits) > 1 and digits.isdigit()

    ids = np.flatnonzero(vocab.kinds == Kind.NORMAL)
    return np.array([i for i in ids.tolist() if is_number(vocab.tokens[i])], dtype=np.int64)


def _idle(old: Vocab, new: Vocab, found: Match, numbers: np.ndarray) -> np.ndarray:
    """Shared number tokens that the old tokenizer holds but does not make of their own digits."""
    shared = numbers[found.klass[numbers] == EXACT]
    cut = encode_words(old, [new.tokens[i].decode() for i in shared.tolist()])
    return shared[np.array([len(ids) != 1 for ids in cut], dtype=bool)]


def _pieces(old: Vocab, new: Vocab, ids: np.ndarray) -> dict[int, list[int]]:
    """New id -> what the old tokenizer, its own cuts included, makes of the digits; only true splits."""
    texts = [new.tokens[i].decode() for i in ids.tolist()]
    found = {}
    for i, text, cut in zip(ids.tolist(), texts, encode_words(old, texts), strict=True):
        if len(cut) > 1 and b"".join(old.tokens[p] or b"?" for p in cut) == text.encode():
            found[i] = [int(p) for p in cut]
    return found


def _replaced(tokens: TokenMap, rows: dict[int, tuple[list[int], np.ndarray]]) -> TokenMap:
    """The same map with some rows given anew, as COMBINE."""
    lengths, kinds = np.diff(tokens.indptr), tokens.kinds.copy()
    kept = np.repeat(~np.isin(np.arange(lengths.size), list(rows)), lengths)
    for i, (ids, _) in rows.items():
        lengths[i], kinds[i] = len(ids), RowKind.COMBINE
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    cols, weights = np.zeros(indptr[-1], np.int64), np.zeros(indptr[-1], tokens.weights.dtype)
    is_old = np.repeat(~np.isin(np.arange(lengths.size), list(rows)), lengths)
    cols[is_old], weights[is_old] = tokens.cols[kept], tokens.weights[kept]
    for i, (ids, values) in rows.items():
        cols[indptr[i] : indptr[i + 1]], weights[indptr[i] : indptr[i + 1]] = ids, values
    return TokenMap(indptr, cols, weights, tokens.n_cols, kinds)
