"""Compose a vocabulary: every choice in one recipe, one run, and an account of what was done.

`train` is the short way in; `compose` takes a `Recipe` and says beside the vocabulary which terms are guaranteed, how
the sources were weighed, and how often tokens cross the boundaries after all.

Papers: KL3M Tokenizers (arXiv 2503.17247); CompoundPiece (arXiv 2305.14214); Tokenization Counts (arXiv 2402.14903);
TokenAdapt, supertokens (arXiv 2505.09738).
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tokenry.core.choosing import suggest
from tokenry.core.hf_json import added_tokens
from tokenry.core.pretokens import Pretokens, count_pretokens
from tokenry.core.vocab import Vocab
from tokenry.tokenization import training
from tokenry.tokenization.boundaries import FREE, Boundary, Leaks, apply_cuts, leaks, resolve_boundary, union
from tokenry.tokenization.ensured import Ensured, Form, Terms, added_term, forms
from tokenry.tokenization.mixing_counts import Weighed, scaled_down, weigh
from tokenry.tokenization.plans import Plan, free_digits, with_isolated, with_normalizer

PADS = ("reserved", "merges", "whitespace")
MOST_PADDING = 1 << 20
PRESETS = {"char": {"size": 4096, "pattern": "gpt2", "normalizer": "nfkc", "max_characters": 3}}
"""Sets of choices by name. "char": pieces of at most three characters, so that a word and its misspelt form are cut
alike (KL3M's character family; four characters from 16,384 entries on)."""


@dataclass(frozen=True)
class Recipe:
    """Every choice about a tokenizer. The defaults are those of `train`."""

    size: int | None = None
    """Entries in all, before padding."""
    kind: str = "bpe"
    """One of `train.KINDS`."""
    style: str = "byte-level"
    specials: Mapping[str, str] | Sequence[str] | None = None
    pattern: str | None = None
    boundaries: tuple[object, ...] = ()
    """What `boundaries.resolve_boundary` takes; "digits:free" lifts the limits the pattern sets on digits."""
    min_count: int = 2
    max_length: int = 0
    """Longest entry in characters of the style's alphabet (bytes for byte-level), inclusive; 0 = any."""
    max_characters: int = 0
    """Longest entry in characters of the text, its leading space included, inclusive; 0 = any. BPE only."""
    like: Vocab | None = None
    mix: Mapping[str, float] | None = None
    """Source -> share of the bytes to learn from."""
    normalizer: str | None = None
    """"nfc", "nfkc" or "none"; None keeps the kind's own."""
    lowercase: bool = False
    terms: Terms | None = None
    pad_to: str | int | None = None
    """"pow2", or a number whose next multiple the size becomes."""
    pad_with: str = "reserved"
    """"reserved" tokens <|reserved_0|> ..., more "merges", or runs of "whitespace" as KL3M has it."""
    seed: int = 0
    """Of kinds that are learned at random."""

    state: str | Path | None = None
    """Folder that keeps what was learned so far, to go on after an interruption, or to a larger size. BPE and
    "least-effort"."""
    epochs: int | None = None
    """Of kind "least-effort", as the next three: see `least_effort.train_least_effort`, which has their defaults."""
    decoding: str | None = None
    keep_spaces: bool | None = None
    gaps: str | None = None

    @property
    def decides_digits(self) -> bool:
        """Is there a digit policy? Then every digit has an entry."""
        names = [boundary.name if isinstance(boundary, Boundary) else boundary for boundary in self.boundaries]
        return any(isinstance(name, str) and name.startswith("digits:") for name in names)


@dataclass(frozen=True, eq=False)
class Composition:
    """A vocabulary and what was done to make it."""

    vocab: Vocab
    terms: Ensured
    """What became of the terms; empty without."""
    weighed: Weighed | None
    """The sources' weights; None without a mix."""
    leaks: Leaks | None
    """Cuts crossed after all, on the training words; None without cuts."""
    n_padding: int
    """Entries added to round the size."""


def compose(source: object, recipe: Recipe, **reading: object) -> Composition:
    """Make a vocabulary by a recipe.

    Args:
        source: what `core.tables.stream` takes, or `Pretokens` cut by the same pre-tokeniser (for a mix: counted by
            source).
        recipe: every choice.
        reading: `text`, `limit`, `skip_bad`, `cache`, `workers` of `count_pretokens`.

    Raises:
        ValueError: choices that do not go together, unknown names, a size that does not hold what it must; no text.
    """
    boundaries = [resolve_boundary(boundary) for boundary in recipe.boundaries]
    samplers = [boundary for boundary in boundaries if boundary.sampler]
    if recipe.kind in OTHER_KINDS:
        return _by_another(source, recipe, reading)
    _check(recipe, boundaries, samplers)
    plan = planned(recipe, boundaries)
    if plan.kind != "BPE" and (samplers or recipe.max_characters or recipe.max_length or recipe.state):
        raise ValueError(
            f"a {plan.kind} tokenizer takes no length limit, no state and no boundary of whole texts. Leave them out, "
            "or train a bpe."
        )
    size, plan, n_padding = with_padding(plan, recipe)
    if samplers:
        from tokenry.tokenization.supertokens import train_supertokens

        vocab = train_supertokens(plan, source, size=size, boundary=samplers[0], min_count=recipe.min_count,
                                  max_length=recipe.max_length, reading=reading)  # fmt: skip
        return _told(_filled(Composition(vocab, Ensured(), None, None, n_padding), size, recipe), size, recipe)
    cuts, weighed = union(boundaries), None
    if recipe.mix:
        weighed = weigh(
            source if isinstance(source, Pretokens) else count_pretokens(source, plan.spec, **reading), recipe.mix
        )
        source = scaled_down(weighed) if plan.kind == "Unigram" else weighed.pretokens
    elif cuts is not None:
        source = training.counted(source, plan.spec, reading)
    prepare = None if cuts is None else lambda table: apply_cuts(table, cuts, plan.spec)
    unit = weighed.unit if weighed is not None and plan.kind != "Unigram" else 1
    wanted = forms(recipe.terms, plan.spec) if recipe.terms else []
    limits = training.Limits(math.ceil(recipe.min_count * unit), recipe.max_length, recipe.max_characters, recipe.state)
    vocab, ensured = _learned(plan, source, size=size, limits=limits, reading=reading, prepare=prepare, wanted=wanted,
                              recipe=recipe)  # fmt: skip
    crossed = leaks(vocab, source, cuts) if cuts is not None else None
    made = _filled(Composition(vocab, ensured, weighed, crossed, n_padding), size, recipe)
    return _told(made, size, recipe)


OTHER_KINDS = {
    "least-effort": "tokenry.tokenization.least_effort:train_least_effort",
    "unicode": "tokenry.tokenization.unicode_vocabulary:train_unicode",
}
"""Kinds that have a file and a spelling of their own; their functions take (source, *, size, **reading)."""
OTHER_CHOICES = {
    "least-effort": ("seed", "epochs", "decoding", "keep_spaces", "gaps", "state"),
    "unicode": ("min_count",),
}
"""What else of a recipe their functions take."""


def _by_another(source: object, recipe: Recipe, reading: dict) -> Composition:
    from tokenry.core.choosing import resolve

    taken = {name: getattr(recipe, name) for name in OTHER_CHOICES[recipe.kind]}
    own = {name: value for name, value in taken.items() if value is not None}
    plain = Recipe(**{"size": recipe.size, "kind": recipe.kind, "seed": recipe.seed, **own})
    changed = [name for name, value in vars(recipe).items() if value != getattr(plain, name)]
    if changed:
        raise ValueError(
            f"kind={recipe.kind!r} has an alphabet and cuts of its own; {', '.join(changed)} cannot be chosen. Leave "
            "them out, or train a bpe."
        )
    if recipe.size is None:
        raise ValueError("size is missing; say how many entries the tokenizer shall have, e.g. size=32768.")
    if state := own.pop("state", None):
        own["resume"] = Path(state) / "learner.npz"
    vocab = resolve(recipe.kind, OTHER_KINDS, kind="kind of tokenizer")(source, size=recipe.size, **own, **reading)
    return Composition(vocab, Ensured(), None, None, 0)


def _check(recipe: Recipe, boundaries: list[Boundary], samplers: list[Boundary]) -> None:
    """Choices that exclude each other."""
    wrong = None
    if len(samplers) > 1 or (samplers and any(boundary.cuts for boundary in boundaries)):
        names = ", ".join(boundary.name for boundary in boundaries if boundary.sampler or boundary.cuts)
        wrong = f"the boundaries {names} cannot go together: a boundary of whole texts stands alone (but for digits)"
    elif samplers and (recipe.mix or recipe.terms or recipe.max_characters or recipe.state):
        wrong = f"the boundary {samplers[0].name} works on whole texts; mix, terms, max_characters and state on words"
    elif recipe.kind in ("byte", "character") and (recipe.terms or recipe.boundaries):
        wrong = f"kind={recipe.kind!r} learns no merges; terms and boundaries have nothing to act on"
    elif recipe.max_characters and recipe.max_length:
        wrong = "max_characters and max_length limit the same thing"
    elif (recipe.epochs, recipe.decoding, recipe.keep_spaces, recipe.gaps) != (None, None, None, None):
        wrong = f"epochs, decoding, keep_spaces and gaps are choices of kind least-effort; kind is {recipe.kind!r}"
    elif _frees_digits(boundaries) and any(boundary.pattern for boundary in boundaries):
        wrong = "digits:free and another digit policy contradict each other"
    if wrong:
        raise ValueError(f"{wrong}. Leave one of them out.")
    if recipe.pad_with not in PADS:
        raise ValueError(
            f"pad_with={recipe.pad_with!r}; need one of {', '.join(PADS)}.{suggest(recipe.pad_with, PADS)}"
        )
    if recipe.size is None and recipe.kind != "byte":
        raise ValueError("size is missing; say how many entries the tokenizer shall have, e.g. size=32768.")


def planned(recipe: Recipe, boundaries: Sequence[Boundary]) -> Plan:
    """Everything of a recipe but what is learned: plan, normaliser, digits."""
    from tokenry.tokenization.train import plan_of

    plan = with_normalizer(plan_of(recipe), form=recipe.normalizer, lowercase=recipe.lowercase)
    if _frees_digits(boundaries):
        return free_digits(plan)
    return with_isolated(plan, [boundary.pattern for boundary in boundaries if boundary.pattern])


def _frees_digits(boundaries: Sequence[Boundary]) -> bool:
    return any(boundary.options.get("mode") == FREE for boundary in boundaries)


def with_padding(plan: Plan, recipe: Recipe) -> tuple[int | None, Plan, int]:
    """The size to train for, and the plan with padding tokens at its end."""
    size = recipe.size
    if size is None or recipe.pad_to is None:
        return size, plan, 0
    target = padded_size(size, recipe.pad_to)
    if recipe.pad_with == "merges" or target == size:
        return target, plan, 0
    if recipe.pad_with == "whitespace":
        padding = [added_term(run) | {"single_word": False} for run in whitespace_runs(target - size)]
    else:
        padding = added_tokens({k: f"<|reserved_{k}|>" for k in range(target - size)})
    return target, replace(plan, last=[*plan.last, *padding]), target - size


def padded_size(size: int, pad_to: str | int) -> int:
    """The next power of two ("pow2"), or the next multiple of a number.

    Raises:
        ValueError: for anything else.
    """
    if pad_to == "pow2":
        return 1 << (size - 1).bit_length()
    try:
        step = int(pad_to)
    except ValueError:
        step = 0
    if not 1 <= step <= MOST_PADDING:
        raise ValueError(f"pad_to={pad_to!r}; need pow2 or a number such as 64, at most {MOST_PADDING:,}.")
    return -(-size // step) * step


def whitespace_runs(n: int) -> list[str]:
    """Alternating runs of spaces and line ends of growing length, from nine on (KL3M's padding).

    Shorter ones are entries of the custom group "whitespace" there.
    """
    return [(" " if k % 2 == 0 else "\n") * (9 + k // 2) for k in range(n)]


def _learned(
    plan: Plan, source: object, *, size: int | None, limits: training.Limits, reading: dict, prepare: object,
    wanted: list[Form], recipe: Recipe,
) -> tuple[Vocab, Ensured]:  # fmt: skip
    """Run the trainer of the plan's kind."""
    how = recipe.terms.how if recipe.terms else "merges"
    if plan.kind == "Unigram":
        from tokenry.tokenization.unigram import train_unigram

        return train_unigram(plan, source, size=size, reading=reading, prepare=prepare, terms=wanted, how=how)
    if plan.kind == "WordPiece":
        from tokenry.tokenization.wordpiece import train_wordpiece

        return train_wordpiece(plan, source, size=size, min_count=limits.min_count, reading=reading, prepare=prepare,
                               terms=wanted, how=how)  # fmt: skip
    first = wanted if how == "merges-first" else []
    required = spelled_out(wanted, how) + ("0123456789" if recipe.decides_digits else "")
    learned = training.learn(plan, source, size=size, limits=limits, reading=reading, prepare=prepare, first=first,
                             required=required)  # fmt: skip
    return training.assemble(learned, size=size, terms=[] if first else wanted, how=how)


def spelled_out(wanted: Sequence[Form], how: str) -> str:
    """The characters which merges of these terms start from."""
    by_merges = wanted if how not in ("added", "whole-words") else ()
    return "".join(sorted({character for form in by_merges for character in form.word or ""}))


def _filled(made: Composition, size: int | None, recipe: Recipe) -> Composition:
    """With reserved tokens up to a rounded size which the text was too small for."""
    vocab, missing = made.vocab, (size or 0) - made.vocab.size
    if recipe.pad_to is None or recipe.pad_with != "reserved" or missing <= 0:
        return made
    names = {vocab.size + k: f"<|reserved_{made.n_padding + k}|>" for k in range(missing)}
    spec = {**vocab.spec, "added_tokens": [*vocab.spec["added_tokens"], *added_tokens(names)]}
    vocab = Vocab.from_spec(spec, vocab.config, vocab.name)
    return replace(made, vocab=vocab, n_padding=made.n_padding + missing)


def _told(made: Composition, size: int | None, recipe: Recipe) -> Composition:
    """Warn where the vocabulary is smaller than asked, or a term is not guaranteed."""
    if size is not None and made.vocab.size < size and recipe.kind != "byte":
        warnings.warn(
            f"{made.vocab.size:,} entries instead of {size:,}: the text has nothing more to learn that occurs "
            f"{recipe.min_count} times. Give more text, or lower min_count.",
            stacklevel=4,
        )
    if missed := made.terms.missed:
        shown = ", ".join(map(repr, missed[:5]))
        warnings.warn(
            f"{len(missed):,} terms are not single tokens ({shown}): the pre-tokeniser cuts them, or this way cannot "
            "hold them. Take --terms-as both (added tokens where merges cannot reach), or another --pattern.",
            stacklevel=4,
        )
    return made
