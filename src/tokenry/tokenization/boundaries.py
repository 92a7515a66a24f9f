"""Places no learned token may cross: one interface for digits, compounds, lexicons, morphemes and superwords.

A boundary is a transformation of the count table, (word, count) -> (part, count) for each part, so it works for BPE,
Unigram and WordPiece alike and costs nothing when the tokenizer is used: no string of the training data crossed a cut,
so no frequent entry does. What still crosses one by coincidence is counted (`leaks`). A boundary that no table of words
can carry (multi-word tokens) names a `sampler`, and `tokenization.supertokens` trains with it.

Papers: CompoundPiece (arXiv 2305.14214); Tokenization Counts (arXiv 2402.14903); TokenAdapt, supertokens
(arXiv 2505.09738).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from tokenry.core.alphabets import METASPACE, from_byte_level
from tokenry.core.choosing import resolve, suggest
from tokenry.core.hf_json import alphabet_of
from tokenry.core.pretokens import Pretokens, Words

CutProvider = Callable[[Sequence[str]], list[tuple[int, ...]]]
"""Plain words (no leading space, ordinary characters) -> for each the inner offsets in characters, rising, 0 < o < len,
which no learned token may cross. A pure function of the word. What stands before the first letter or digit of a word is
kept from it, unless it has an attribute `takes_punctuation` that is true."""

BOUNDARIES = {
    "digits": "tokenry.tokenization.boundaries:digits",
    "whitespace": "tokenry.tokenization.boundaries:whitespace",
    "stochastic": "tokenry.tokenization.boundaries:stochastic",
    "superword": "tokenry.tokenization.boundaries:superword",
    "compounds": "tokenry.tokenization.compounds:compound_cuts",
    "lexicon": "tokenry.tokenization.lexicons:lexicon_cuts",
    "characters": "tokenry.tokenization.boundaries:every_character",
}
"""Name -> function of what stands after the colon ("lexicon:FILE"); it gives a `Boundary` or a `CutProvider`."""

INNER = "\0"
"""Stands before a part that does not begin its word, in a table for WordPiece, which spells the two differently."""

FREE = "free"
"""The digit policy that lifts the limits of the split pattern itself."""

_SHORT = {"words": "max_words", "characters": "max_characters"}
_WORDS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class Boundary:
    """Where tokens may not cross, and who sees to it."""

    name: str
    """As the user typed it."""
    cuts: CutProvider | None = None
    """Acts on the count table; not needed when the tokenizer is used."""
    pattern: str | None = None
    """A regular expression whose matches are isolated before the split pattern, in training and in the file."""
    sampler: str = ""
    """"stochastic", "whitespace" or "superword": a boundary of whole texts, executed by `supertokens`."""
    options: dict = field(default_factory=dict)
    """Of the sampler: {"p": 0.3}, {"stage": 0.75}, {"histogram": path}; of digits: {"mode": "r2l", "k": 3}."""


def resolve_boundary(name: object) -> Boundary:
    """The boundary a user named.

    Args:
        name: "digits:r2l3", "whitespace:0.3", "stochastic", "superword:0.75,words=3,forbid=:" (the options of
            `supertokens.SuperOptions`, by name), "compounds:MODEL", "lexicon:FILE", "characters";
            "pkg.module:function" or "./file.py:function" for a `CutProvider` of your own (it is run: name only files
            you trust); a `Boundary` or a `CutProvider` itself.

    Raises:
        ValueError: unknown name, or an argument the boundary does not take. FileNotFoundError: its file is not there.
    """
    if isinstance(name, Boundary):
        return name
    if not isinstance(name, str):
        if callable(name):
            return Boundary(getattr(name, "__name__", type(name).__name__), cuts=name)
        raise ValueError(f"a boundary is a {type(name).__name__}; need a name, a Boundary or a function of words.")
    stem, _, argument = name.partition(":")
    if stem in BOUNDARIES:
        made = resolve(stem, BOUNDARIES, kind="boundary")(argument)
        return made if isinstance(made, Boundary) else Boundary(name, cuts=made)
    if near := suggest(stem, BOUNDARIES):
        raise ValueError(f"boundary {name!r} is not known.{near} Known: {', '.join(BOUNDARIES)}.")
    return Boundary(name, cuts=resolve(name, BOUNDARIES, kind="boundary"))


def digits(policy: str) -> Boundary:
    """How numbers are cut: "single", "l2r3" (123|456|7), "r2l3" (1|234|567), or "free": no limit but what is learned.

    Raises:
        ValueError: for another policy.

    Paper: Tokenization Counts (arXiv 2402.14903).
    """
    from tokenry.tokenization.numerals import digit_pattern, parse_digits

    if policy == FREE:
        return Boundary(f"digits:{FREE}", options={"mode": FREE})
    mode, k = parse_digits(policy)
    return Boundary(f"digits:{policy}", pattern=digit_pattern(mode, k), options={"mode": mode, "k": k})


def whitespace(argument: str) -> Boundary:
    """Each space is a wall with this probability (0.3 when not given); elsewhere tokens may span words."""
    return _of_texts("whitespace", argument, first="p")


def superword(argument: str) -> Boundary:
    """Ordinary merges up to this share of the entries (0.75), then merges across words (SuperBPE's two stages)."""
    return _of_texts("superword", argument, first="stage")


def stochastic(argument: str) -> Boundary:
    """Cut the text into chunks of random length; after the colon a file with another histogram of lengths."""
    return _of_texts("stochastic", argument, first="histogram")


def _of_texts(sampler: str, argument: str, *, first: str) -> Boundary:
    """A boundary of whole texts: "0.75,words=3,forbid=:" gives the first option, then others by name.

    Raises:
        ValueError: when the first option should be a number from 0 to 1, and is not.
    """
    options: dict = {}
    for i, part in enumerate(argument.split(",") if argument else []):
        name, sign, value = part.partition("=")
        name, value = (name.strip(), value) if sign else (first, part) if i == 0 else (part, "")
        options[_SHORT.get(name, name)] = _number(value)
    share = options.get(first, 0)
    if first != "histogram" and not (isinstance(share, int | float) and 0 <= share <= 1):
        raise ValueError(
            f"boundary {sampler}:{argument}; need a number from 0 to 1 after the colon, e.g. {sampler}:0.3."
        )
    return Boundary(f"{sampler}:{argument}".rstrip(":"), sampler=sampler, options=options)


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def every_character(argument: str = "") -> CutProvider:
    """A cut after every character: the limit in which nothing is learned but characters (with their space)."""
    if argument:
        raise ValueError(f"boundary characters:{argument}; 'characters' takes nothing after a colon.")

    def cuts_of(words: Sequence[str]) -> list[tuple[int, ...]]:
        return [tuple(range(1, len(word))) for word in words]

    cuts_of.takes_punctuation = True
    return cuts_of


def union(boundaries: Iterable[Boundary]) -> CutProvider | None:
    """The cuts of several boundaries together; None when none of them has cuts."""
    providers = [boundary.cuts for boundary in boundaries if boundary.cuts is not None]
    if len(providers) < 2:
        return providers[0] if providers else None

    def cuts_of(words: Sequence[str]) -> list[tuple[int, ...]]:
        found = [checked_cuts(provider, words) for provider in providers]
        return [tuple(sorted(set().union(*cuts))) for cuts in zip(*found, strict=True)]

    return cuts_of


def checked_cuts(provider: CutProvider, words: Sequence[str]) -> list[tuple[int, ...]]:
    """What a provider says, held to its contract.

    Raises:
        ValueError: another number of answers than words, or offsets that do not rise inside the word.
    """
    found = list(provider(words))
    if len(found) != len(words):
        raise ValueError(
            f"the boundary gave {len(found)} answers for {len(words)} words; need one tuple for each word."
        )
    for word, cuts in zip(words, found, strict=True):
        if cuts and not all(a < b for a, b in zip((0, *cuts), (*cuts, len(word)), strict=True)):
            raise ValueError(
                f"the boundary cuts {word!r} at {tuple(cuts)}; need rising character offsets between 0 and "
                f"{len(word)}, both exclusive."
            )
    return found


def cut_places(words: Sequence[str], provider: CutProvider, spec: dict) -> list[tuple[int, ...]]:
    """Where a provider cuts words of a count table, in characters of the model's spelling.

    What stands before the first letter or digit of a word (its space, an opening bracket) stays with the first part.

    Args:
        words: as in `Pretokens.words`.
        provider: asked once for each distinct plain word.
        spec: content of the tokenizer's `tokenizer.json`, which says how words are spelled.
    """
    alphabet = alphabet_of(spec)
    whole = getattr(provider, "takes_punctuation", False)
    cores: dict[str, int] = {}
    places, heads = np.empty(len(words), np.int64), np.empty(len(words), np.int64)
    for i, word in enumerate(words):
        plain = _plain(word, alphabet)
        head = int(plain.startswith(" "))
        head = head if whole else next((n for n, c in enumerate(plain) if c.isalnum()), head)
        places[i], heads[i] = cores.setdefault(plain[head:], len(cores)), head
    found: list[tuple[int, ...]] = []
    plains = list(cores)
    for start in range(0, len(plains), _WORDS_AT_ONCE):
        found += checked_cuts(provider, plains[start : start + _WORDS_AT_ONCE])
    out: list[tuple[int, ...]] = []
    for i, word in enumerate(words):
        cuts = found[places[i]]
        if cuts and alphabet == "byte-level":
            plain = _plain(word, alphabet)
            ends = np.cumsum([len(c.encode("utf-8", "surrogateescape")) for c in plain])
            cuts = tuple(int(ends[heads[i] + cut - 1]) for cut in cuts)
        elif cuts:
            cuts = tuple(int(heads[i]) + cut for cut in cuts)
        out.append(cuts)
    return out


def _plain(word: str, alphabet: str) -> str:
    """A word of the table in ordinary characters; bytes that are no character stay one character each."""
    if alphabet == "byte-level":
        return from_byte_level(word).decode("utf-8", "surrogateescape")
    return word.replace(METASPACE, " ") if alphabet == "metaspace" else word


def apply_cuts(pretokens: Pretokens, provider: CutProvider, spec: dict) -> Pretokens:
    """The table in which every word is replaced by its parts, with the word's counts.

    Args:
        pretokens: the counted words.
        provider: where words are cut.
        spec: content of the tokenizer's `tokenizer.json`. For WordPiece an inner part is marked with `INNER`.

    Returns:
        A table in the same order (count, then code points); the very same table where nothing is cut.

    Paper: CompoundPiece (arXiv 2305.14214), section 3.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    places = cut_places(pretokens.words, provider, spec)
    if not any(places):
        return pretokens
    mark = INNER if alphabet_of(spec) == "wordpiece" else ""
    sizes = np.fromiter((len(cuts) + 1 for cuts in places), np.int64, len(places))
    array = pa.array(_parts(pretokens.words, places, mark), pa.large_string())
    coded = array.dictionary_encode()
    counts = np.zeros((len(coded.dictionary), pretokens.counts.shape[1]), np.int64)
    np.add.at(counts, coded.indices.to_numpy(), pretokens.counts[np.repeat(np.arange(len(places)), sizes)])
    keys = pa.table({"word": coded.dictionary, "count": counts.sum(1)})
    order = pc.sort_indices(keys, [("count", "descending"), ("word", "ascending")])
    return Pretokens(
        words=Words(coded.dictionary.take(order)),
        counts=counts[order.to_numpy()],
        sources=pretokens.sources,
        n_bytes=pretokens.n_bytes,
        n_docs=pretokens.n_docs,
        fingerprint=pretokens.fingerprint,
    )


def _parts(words: Iterable[str], places: list[tuple[int, ...]], mark: str) -> list[str]:
    parts: list[str] = []
    for word, cuts in zip(words, places, strict=True):
        if not cuts:
            parts.append(word)
            continue
        ends = (*cuts, len(word))
        parts.append(word[: ends[0]])
        parts += [mark + word[a:b] for a, b in pairwise(ends)]
    return parts


@dataclass(frozen=True)
class Leaks:
    """How often a finished tokenizer crosses cuts after all."""

    n_cuts: int
    """Cuts in the text, each as often as its word occurs."""
    n_crossed: int
    """Those inside a token."""
    words: tuple[tuple[str, int], ...]
    """The words with the most crossed cuts, as the model spells them, with how often they occur."""

    @property
    def rate(self) -> float:
        """Crossed cuts in cuts; 0 where there are no cuts."""
        return self.n_crossed / self.n_cuts if self.n_cuts else 0.0


def leaks(vocab: object, pretokens: Pretokens, provider: CutProvider, *, most: int = 200_000) -> Leaks:
    """Count the cuts which tokens of a finished vocabulary cross on whole words; words with an unknown token aside.

    An entry learned inside parts may fit over a cut by coincidence ("st" + "at" in "Rat|stat"): the price of a boundary
    that costs nothing at use.

    Args:
        vocab: a `Vocab`.
        pretokens: the table before `apply_cuts`.
        provider: the same cuts.
        most: words looked at, the most frequent first.
    """
    words = list(pretokens.words[:most])
    counts = pretokens.total[:most].tolist()
    places = cut_places(words, provider, vocab.spec)
    n_cuts = n_crossed = 0
    worst: list[tuple[int, str, int]] = []
    model, unk = vocab.backend.model, vocab.specials.get("unk")
    for word, cuts, count in zip(words, places, counts, strict=True):
        if not cuts:
            continue
        ends = token_ends(model, word, unk)
        if ends is None:
            continue
        crossed = len(set(cuts) - ends)
        n_cuts += count * len(cuts)
        n_crossed += count * crossed
        if crossed:
            worst.append((count * crossed, word, count))
    worst.sort(key=lambda row: (-row[0], row[1]))
    return Leaks(n_cuts, n_crossed, tuple((word, count) for _, word, count in worst[:20]))


def token_ends(model: object, word: str, unk: int | None = None) -> set[int] | None:
    """Character offsets of a word at which a token of the library's model ends; None where it has an unknown token."""
    tokens = model.tokenize(word)
    if unk is not None and any(token.id == unk for token in tokens):
        return None
    ends = {token.offsets[1] for token in tokens}
    if word.isascii():
        return ends
    sizes = np.cumsum([len(c.encode("utf-8", "surrogatepass")) for c in word]).tolist()
    places = dict(zip(sizes, range(1, len(word) + 1), strict=True))
    return {places[end] for end in ends if end in places}
