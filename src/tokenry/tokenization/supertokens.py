"""Train tokenizers whose tokens may span words: random chunks, random white space, or a second stage across words.

- *stochastic*: the text is cut into chunks of random length, anywhere; what is frequent in spite of that becomes a
  token, whether it ends at a space or not.
- *whitespace*: as an ordinary tokenizer, but each space is a wall only with some probability.
- *superword*: an ordinary tokenizer up to some share of the entries, then merges go on across words (SuperBPE).

The result is a plain `tokenizer.json`, whose pre-tokeniser only cuts at the walls that are left (`walls.py`); no
library has to be changed to use it. Superwords can be switched off again: the first stage is a tokenizer of its own
with the same ids (`without_superwords`).

Papers: TokenAdapt, supertokens (arXiv 2505.09738); SuperBPE (arXiv 2503.13423); KL3M Tokenizers (arXiv 2503.17247).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from tokenry.core.alphabets import byte_piece
from tokenry.core.choosing import suggest
from tokenry.core.hf_json import alphabet_of
from tokenry.core.pretokens import Pretokens, count_pretokens, give_back_memory
from tokenry.core.vocab import Kind, Vocab
from tokenry.tokenization import training
from tokenry.tokenization.chunks import HISTOGRAM, Chopper, checked_histogram, count_chunks, read_histogram
from tokenry.tokenization.plans import Plan
from tokenry.tokenization.walls import with_walls

SAMPLERS = ("stochastic", "whitespace", "superword")
_SPARE = 16
"""More merges than asked are learned, for those that would spell a special token and are no entry."""
_WALLS = {"stochastic": "lines", "whitespace": "superword", "superword": "superword"}


@dataclass(frozen=True)
class SuperOptions:
    """What the options of a text-level boundary mean; `Boundary.options` has these names."""

    histogram: object = HISTOGRAM
    """stochastic: rows (from, to, weight) of chunk lengths in characters, or the path of a file with them."""
    p: float = 0.3
    """whitespace: probability that a space is a wall."""
    stage: float = 0.75
    """superword: share of all entries at which the second stage begins."""
    walls: str = ""
    """What no token may cross: "superword" (numbers, two marks or more, line ends), "lines" (line ends), "none".
    Default: lines for stochastic chunks, else superword. With "none" a whole document is one word to the encoder."""
    max_words: int = 4
    """Most words in a token, 0 = any."""
    max_characters: int = 0
    """Most characters in a token (not bytes), inclusive; 0 = any."""
    forbid: str = ""
    """superword: characters that no token of the second stage may hold, such as ":"."""
    seed: int = 0
    """Of the random cuts; with the text itself it decides where a document is cut."""
    draws: int = 1
    """How often each document is cut afresh."""


def train_supertokens(
    plan: Plan,
    source: object,
    *,
    size: int,
    boundary: object,
    min_count: int = 2,
    max_length: int = 0,
    reading: dict | None = None,
) -> Vocab:
    """Learn a BPE plan under a boundary of whole texts.

    Args:
        plan: the tokenizer but what is learned; its split pattern is where superwords' first stage may not merge.
        source: what `core.tables.stream` takes; for superwords it is read twice. Counted words are refused.
        size: entries in all.
        boundary: a `boundaries.Boundary` with a sampler, or its name: "stochastic", "whitespace:0.3", "superword:0.75".
        min_count: a pair seen less often is not merged.
        max_length: longest token as in `training.by_merges`; `max_characters` of the boundary counts characters.
        reading: keywords of `core.pretokens.count_pretokens`.

    Raises:
        ValueError: a boundary of another kind, an unknown option, or as `training.by_merges`.

    Papers: TokenAdapt (arXiv 2505.09738); SuperBPE (arXiv 2503.13423).
    """
    sampler, options = text_boundary(boundary)
    if max_length and options.max_characters:
        raise ValueError(
            f"max_length={max_length} and max_characters={options.max_characters}; tokens have one limit of length. "
            "Give one of them."
        )
    walls = options.walls or _WALLS[sampler]
    if walls == "none" and alphabet_of(plan.spec) != "byte-level":
        raise ValueError('walls="none" is for byte-level tokenizers; in metaspace spelling take walls="lines".')
    wide = replace(plan, spec={**plan.spec, "pre_tokenizer": with_walls(plan.spec.get("pre_tokenizer"), walls)})
    limits = _Limits(size, min_count, max_length, options)
    if isinstance(source, Iterator):
        source = list(source)  # it is read twice
    reading = dict(reading or {})
    if sampler != "superword":
        kind = {"p": options.p} if sampler == "whitespace" else {"histogram": _histogram(options.histogram)}
        pretokens = count_chunks(source, Chopper(wide.spec, seed=options.seed, draws=options.draws, **kind), reading)
        first = training.by_merges(wide, pretokens, size=None, min_count=min_count, max_length=0, reading={})
        return _go_on(wide, first, pretokens, limits)
    if isinstance(source, Pretokens):
        raise ValueError("a table of counted words cannot give tokens of several words; give the text itself.")
    first = training.by_merges(
        plan, source, size=int(size * options.stage), min_count=min_count, max_length=max_length, reading=reading
    )
    pretokens = count_pretokens(source, wide.spec, by_source=False, **reading)
    note = {"entries": len(first.spec["model"]["vocab"]), "merges": len(first.merges),
            "pre_tokenizer": first.spec["pre_tokenizer"]}  # fmt: skip
    return _go_on(replace(wide, config={**wide.config, "superwords": note}), first, pretokens, limits)


def text_boundary(boundary: object) -> tuple[str, SuperOptions]:
    """Sampler and options of a boundary of whole texts.

    Raises:
        ValueError: another kind of boundary, or options that say nothing here or are out of range.
    """
    if isinstance(boundary, str):
        from tokenry.tokenization.boundaries import resolve_boundary

        boundary = resolve_boundary(boundary)
    if getattr(boundary, "sampler", "") not in SAMPLERS:
        raise ValueError(
            f"boundary {getattr(boundary, 'name', boundary)!r} acts on words, not on whole texts; need one of "
            f"{', '.join(SAMPLERS)}."
        )
    given, known = dict(boundary.options), [field.name for field in fields(SuperOptions)]
    unknown = next((name for name in given if name not in known), None)
    if unknown is not None:
        raise ValueError(f"option {unknown!r} of boundary {boundary.name!r} is not known; known are {', '.join(known)}."
                         f"{suggest(unknown, known)}")  # fmt: skip
    for name, value in given.items():
        wanted = getattr(SuperOptions, name)
        if isinstance(wanted, str) or (name == "histogram" and isinstance(value, int | float)):
            given[name] = str(value)  # a file may be called 5, and 3 may be a forbidden character
        elif name != "histogram" and not isinstance(value, int if isinstance(wanted, int) else int | float):
            raise ValueError(f"{name}={value!r} of boundary {boundary.name!r}; need a number, e.g. {name}={wanted}.")
    options = SuperOptions(**given)
    for name, low, high in (("p", 0, 1), ("stage", 0, 1), ("max_words", 0, 2**20), ("max_characters", 0, 2**20),
                            ("seed", 0, 2**63), ("draws", 1, 1000)):  # fmt: skip
        if not low <= getattr(options, name) <= high:
            raise ValueError(f"{name}={getattr(options, name)} of boundary {boundary.name!r}; need {low} to {high}.")
    return boundary.sampler, options


def _histogram(given: object) -> tuple:
    return read_histogram(given) if isinstance(given, (str, bytes)) or hasattr(given, "__fspath__") else (
        checked_histogram(tuple(tuple(row) for row in given)))  # fmt: skip


@dataclass(frozen=True)
class _Limits:
    size: int
    min_count: int
    max_length: int
    options: SuperOptions


def _go_on(plan: Plan, first: Vocab, pretokens: Pretokens, limits: _Limits) -> Vocab:
    """Continue a vocabulary's merges on a table that is cut at the walls of `plan`."""
    from tokenry.tokenization.merges import Rules, learn_merges, usable_merges, word_marks
    from tokenry.tokenization.word_tables import encode_table

    model = first.spec["model"]
    n_entries = len(model["vocab"])
    room = limits.size - n_entries - len(plan.last)
    if room < 0:
        raise ValueError(
            f"size={limits.size} does not hold the {n_entries + len(plan.last):,} special tokens and characters. Ask "
            "for more."
        )
    spec = {**first.spec, "pre_tokenizer": plan.spec["pre_tokenizer"]}
    table = encode_table(Vocab.from_spec(spec, first.config), pretokens.words, pretokens.total)
    del pretokens
    give_back_memory()
    literals = [first.literal(i) for i in range(n_entries)]
    tokens = first.tokens[:n_entries]
    barred = [
        kind != Kind.NORMAL
        or literal in plan.barred
        or any(c.encode() in (token or b"") for c in limits.options.forbid)
        for kind, literal, token in zip(first.kinds[:n_entries].tolist(), literals, tokens, strict=True)
    ]
    rules = Rules(
        [None if bar else literal for bar, literal in zip(barred, literals, strict=True)],
        room + min(len(plan.first), _SPARE) if room else 0,
        min_count=limits.min_count, max_length=limits.max_length or limits.options.max_characters,
        lengths=_characters(tokens) if limits.options.max_characters else None,
        max_words=limits.options.max_words, marks=word_marks(tokens),
    )  # fmt: skip
    learned = learn_merges([table.symbols], table.offsets, table.counts, rules=rules)
    blocked = {literals[i] for i in np.flatnonzero(first.kinds[:n_entries] != Kind.NORMAL).tolist()}
    blocked |= {byte_piece(byte) for byte in range(256)} | {token["content"] for token in (*plan.first, *plan.last)}
    merges, new = usable_merges(learned, literals, blocked)
    merges, new = merges[: int(np.argmax(merges[:, 2] >= n_entries + room)) if len(new) > room else None], new[:room]
    entries = literals + new
    model = {
        **model,
        "vocab": {entry: i for i, entry in enumerate(entries)},
        "merges": [*model["merges"], *([entries[left], entries[right]] for left, right, _ in merges.tolist())],
    }
    place = {token["content"]: i for i, token in enumerate(plan.first)}
    return training.finish(plan, model, n_entries=len(entries), place=place)


def _characters(tokens: Sequence[bytes | None]) -> np.ndarray:
    """int64, characters of each token; a token that ends inside one counts the characters it begins."""
    return np.fromiter((sum(byte & 0xC0 != 0x80 for byte in token or b"") for token in tokens), np.int64, len(tokens))


def without_superwords(vocab: Vocab) -> Vocab:
    """The first stage of a superword tokenizer: words only, under the same ids, so the same model can read it.

    Args:
        vocab: trained with the boundary "superword" here, or opened from its folder.

    Returns:
        A vocabulary without the superwords; every entry and special token keeps its id (their ids become holes, where
        special tokens stand behind them).

    Raises:
        ValueError: a tokenizer that carries no note of its first stage.

    Paper: SuperBPE (arXiv 2503.13423).
    """
    note = vocab.config.get("superwords")
    if not isinstance(note, dict) or not {"entries", "merges", "pre_tokenizer"} <= note.keys():
        raise ValueError(
            f"{vocab.name} carries no note of a first stage (superwords in tokenizer_config.json); need a tokenizer "
            "that was trained with --boundary superword. Of others, words can be aligned: supertokens.word_spans."
        )
    model = vocab.spec["model"]
    entries = {entry: i for entry, i in model["vocab"].items() if i < int(note["entries"])}
    kept = {token["content"] for token in vocab.spec["added_tokens"]}
    entries |= {entry: i for entry, i in model["vocab"].items() if entry in kept}
    model = {**model, "vocab": entries, "merges": model["merges"][: int(note["merges"])]}
    config = {key: value for key, value in vocab.config.items() if key != "superwords"}
    spec = {**vocab.spec, "model": model, "pre_tokenizer": note["pre_tokenizer"]}
    return Vocab.from_spec(spec, config, f"{vocab.name} (words)")


@dataclass(frozen=True)
class WordSpan:
    """A word of a text and the tokens it lies in."""

    start: int
    """First character of the word."""
    end: int
    """Character after its last."""
    first: int
    """First token that holds a part of it."""
    last: int
    """Last such token."""
    shared: bool
    """Whether one of these tokens also holds a part of another word."""


def word_spans(vocab: Vocab, text: str) -> list[WordSpan]:
    """Which tokens each word of a text lies in, so that labels and scores of words survive tokens of several words.

    Words are those of `core.splitting.word_spans` (Unicode's); the tokens are numbered as `vocab.encode([text])[0]`. A
    normaliser that changes the text shifts nothing: the library keeps track of it.
    """
    from tokenry.core.splitting import word_spans as spans_of

    encoding = vocab.backend.encode(text, add_special_tokens=False)
    starts, ends = (np.array([span[side] for span in encoding.offsets], np.int64) for side in (0, 1))
    words = [(a, b) for a, b in spans_of(text) if text[a:b].strip()]
    held = [_between(starts, ends, a, b) for a, b in words]
    n_words = np.zeros(len(starts), np.int64)
    for tokens in held:
        n_words[tokens] += 1
    return [
        WordSpan(a, b, int(tokens[0]), int(tokens[-1]), bool((n_words[tokens] > 1).any()))
        for (a, b), tokens in zip(words, held, strict=True)
        if len(tokens)
    ]


def _between(starts: np.ndarray, ends: np.ndarray, a: int, b: int) -> np.ndarray:
    """Tokens that hold a part of the characters a to b, where starts and ends never fall."""
    return np.arange(np.searchsorted(ends, a, side="right"), np.searchsorted(starts, b, side="left"))
