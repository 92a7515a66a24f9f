"""Guarantee terms as single tokens: by merges of their own, as whole-word entries, or as added tokens.

- `merges` ("ensured BPE"): merges are appended after all learned ones until each term is one token. The learned merges
  stay those of plain BPE, and a term's merges have the lowest priority: inside a longer word they only join what
  nothing else would join.
- `merges-first`: the merges stand before all learned ones, as the paper's remark on ensured BPE has it. They then fire
  inside longer words before anything else, and shape what is learned.
- `whole-words`: one entry a term and no merge; the model looks a whole pre-token up first (`ignore_merges`, as Llama 3
  does). Never inside a longer word, but not every format can say so.
- `added`: the library's added tokens, matched before the pre-tokeniser, so a term may hold spaces or cross its cuts.
- `both`: merges where the pre-tokeniser leaves the term whole, added tokens for the others.

The guarantee: encoded alone, and wherever it stands as a whole pre-token, a term is one token.

Paper: KL3M Tokenizers (arXiv 2503.17247).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tokenry.core.alphabets import from_byte_level
from tokenry.core.cutters import Cutter
from tokenry.core.hf_json import alphabet_of

HOWS = ("merges", "merges-first", "whole-words", "added", "both")
LONGEST_TERM = 1000

Pair = tuple[str, str]


@dataclass(frozen=True)
class Terms:
    """Strings that shall be single tokens."""

    items: tuple[str, ...]
    """As they stand in text, without a leading space."""
    how: str = "merges"
    """One of `HOWS`."""

    def __post_init__(self) -> None:
        if self.how not in HOWS:
            raise ValueError(f"terms as {self.how!r}; need one of {', '.join(HOWS)}.")
        long = next((item for item in self.items if not item or len(item) > LONGEST_TERM), None)
        if long is not None:
            raise ValueError(f"a term of {len(long)} characters ({long[:40]!r}); need 1 to {LONGEST_TERM}.")
        object.__setattr__(self, "items", tuple(dict.fromkeys(self.items)))


@dataclass(frozen=True)
class TermRow:
    """What became of one term, or of its form after a space."""

    text: str
    """The term, with its leading space where that form is meant."""
    outcome: str
    """ "token already", "merges", "whole word", "added" or "not ensured"."""
    n_new: int = 0
    """Entries it cost."""


@dataclass(frozen=True)
class Ensured:
    """What terms add to a vocabulary."""

    rows: tuple[TermRow, ...] = ()
    entries: tuple[str, ...] = ()
    """New entries of the model."""
    pairs: tuple[Pair, ...] = ()
    """New merges, in order."""
    added: tuple[dict, ...] = ()
    """Added tokens, ids not yet right."""

    @property
    def n_new(self) -> int:
        """Ids the terms take."""
        return len(self.entries) + len(self.added)

    @property
    def missed(self) -> list[str]:
        """Terms that are not ensured, because the pre-tokeniser cuts them."""
        return [row.text for row in self.rows if row.outcome == "not ensured"]


@dataclass(frozen=True)
class Form:
    """A term as the model sees it."""

    text: str
    word: str | None
    """The one pre-token it is; None where the pre-tokeniser cuts it."""
    addable: bool = True
    """Whether it may be an added token: the library's byte-level decoder takes "Größe" for bytes, unless a character
    outside its alphabet, such as a space, stands in it."""


def forms(terms: Terms, spec: dict) -> list[Form]:
    """Each term alone, and after a space where the pre-tokeniser keeps the space with it."""
    cutter, out = Cutter(spec), []
    as_bytes = alphabet_of(spec) == "byte-level"
    for item in terms.items:
        alone = cutter(item)
        addable = not as_bytes or from_byte_level(item) == item.encode()
        out.append(Form(item, alone[0] if len(alone) == 1 else None, addable))
        if item[0].isalnum() and terms.how != "added":
            spaced = cutter(" " + item)
            if len(spaced) == 1 and spaced != alone:
                out.append(Form(" " + item, spaced[0]))
    return out


@dataclass
class MergeList:
    """A merge list in strings, of which the first `n` new entries count."""

    start: dict[str, list[str]]
    """Character -> the strings of its start symbols."""
    alphabet: Iterable[str]
    """Entries before any merge."""
    pairs: Sequence[Pair]
    births: Sequence[int]
    """Row of the merge that makes each new entry."""
    blocked: frozenset[str] = frozenset()
    ranks: dict[Pair, int] = field(init=False)
    born: dict[str, int] = field(init=False)
    """String -> row that makes it; -1 for the alphabet."""

    def __post_init__(self) -> None:
        self.ranks = {pair: i for i, pair in enumerate(self.pairs)}
        self.born = dict.fromkeys(self.alphabet, -1)
        for row in self.births:
            self.born[self.pairs[row][0] + self.pairs[row][1]] = row

    def n_rows(self, n: int) -> int:
        """Merges up to the one that makes the n-th new entry."""
        return len(self.pairs) if n >= len(self.births) else self.births[n - 1] + 1 if n > 0 else 0

    def spelled(self, word: str) -> list[str] | None:
        """A word in start symbols; None where a character has none that merges can join."""
        return list(word) if all(self.start.get(character) == [character] for character in word) else None

    def encode(self, symbols: list[str], n_rows: int, extra: dict[Pair, int]) -> list[str]:
        """The first `n_rows` merges and then the extra ones, always the earliest first, leftmost first."""
        symbols, never = list(symbols), len(self.pairs) + len(extra)
        while len(symbols) > 1:
            best, place = never, -1
            for i, pair in enumerate(pairwise(symbols)):
                rank = self.ranks.get(pair, never)
                rank = rank if rank < n_rows else len(self.pairs) + extra[pair] if pair in extra else never
                if rank < best:
                    best, place = rank, i
            if place < 0:
                break
            symbols[place : place + 2] = [symbols[place] + symbols[place + 1]]
        return symbols


def ensure(terms: Sequence[Form], how: str, merges: MergeList, *, n: int) -> Ensured:
    """What makes every form one token after the first `n` learned entries.

    Later merges never undo an earlier term: an encoder takes the earliest merge that applies, so it finishes the term
    by the older ones before it looks at a newer one.
    """
    n_rows = merges.n_rows(n)
    extra: dict[Pair, int] = {}
    entries: dict[str, None] = {}
    added: dict[str, dict] = {}
    rows = []
    for form in terms:
        symbols = merges.spelled(form.word) if form.word is not None else None
        can_merge = symbols is not None and form.word not in merges.blocked
        pieces = merges.encode(symbols, n_rows, extra) if can_merge else []
        before = len(entries) + len(added)
        if len(pieces) == 1 or form.word in entries:
            outcome = "token already"
        elif form.addable and (how == "added" or (how == "both" and not can_merge)):
            outcome, added[form.text] = "added", added_term(form.text)
        elif how == "whole-words" and form.word is not None and form.word not in merges.blocked:
            outcome = "whole word"
            if merges.born.get(form.word, n_rows) >= n_rows:
                entries[form.word] = None
        elif how != "added" and can_merge and _joined(pieces, symbols, merges, n_rows, extra, entries):
            outcome = "merges"
        else:
            outcome = "not ensured"
        rows.append(TermRow(form.text, outcome, len(entries) + len(added) - before))
    return Ensured(tuple(rows), tuple(entries), tuple(extra), tuple(added.values()))


def _joined(
    pieces: list[str],
    symbols: list[str],
    merges: MergeList,
    n_rows: int,
    extra: dict[Pair, int],
    entries: dict[str, None],
) -> bool:
    """Append merges until the symbols are one token: a join that is an entry already first, else the leftmost."""
    while len(pieces) > 1:
        joins = [left + right for left, right in pairwise(pieces)]
        open_to = [i for i, join in enumerate(joins) if join not in merges.blocked]
        if not open_to:
            return False
        known = [join in entries or merges.born.get(join, n_rows) < n_rows for join in joins]
        place = next((i for i in open_to if known[i]), open_to[0])
        if not known[place]:
            entries[joins[place]] = None
        extra[pieces[place], pieces[place + 1]] = len(extra)
        pieces = merges.encode(symbols, n_rows, extra)
    return True


def added_term(text: str) -> dict:
    """An added token; one that begins or ends with a letter or digit is matched as a whole word only."""
    single = text[0].isalnum() or text[-1].isalnum()
    return {"id": 0, "content": text, "single_word": single, "lstrip": False, "rstrip": False, "normalized": False,
            "special": False}  # fmt: skip


def settle(room: int, cost: Callable[[int], Ensured]) -> tuple[int, Ensured]:
    """The most learned entries that leave room for what the terms then cost.

    Returns:
        n, and what the terms add after `n` learned entries.

    Raises:
        ValueError: when the terms alone take more than there is.
    """
    n, ensured = room, cost(room)
    while n + ensured.n_new > room:
        if n <= 0:
            raise ValueError(
                f"the terms take {ensured.n_new:,} entries, size leaves room for {room:,}. Ask for a larger size, or "
                "choose terms by what they save: tokenry.tokenization.domain.select_terms."
            )
        n = max(0, min(n - 1, room - ensured.n_new))
        ensured = cost(n)
    return n, ensured


def ensure_entries(terms: Sequence[Form], how: str, *, known: Callable[[str], bool], longest: int) -> Ensured:
    """What makes every form one token of a model that matches entries, not merges.

    Args:
        terms: the forms.
        how: one of `HOWS`; all but "added" and "both" mean an entry.
        known: is this word an entry already?
        longest: characters of the longest word the model looks at.
    """
    entries: dict[str, None] = {}
    added: dict[str, dict] = {}
    rows = []
    for form in terms:
        whole = form.word is not None and len(form.word) <= longest
        before = len(entries) + len(added)
        if whole and (known(form.word) or form.word in entries):
            outcome = "token already"
        elif form.addable and (how == "added" or (how == "both" and not whole)):
            outcome, added[form.text] = "added", added_term(form.text)
        elif whole and how != "added":
            outcome, entries[form.word] = "whole word", None
        else:
            outcome = "not ensured"
        rows.append(TermRow(form.text, outcome, len(entries) + len(added) - before))
    return Ensured(tuple(rows), tuple(entries), (), tuple(added.values()))
