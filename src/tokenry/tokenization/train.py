"""Train a tokenizer: BPE and WordPiece by our merge engine, Unigram by the library; bytes; characters.

`train` has the usual choices; `composing.compose` has them all; `train_family` gives many sizes of one run.

Papers: Neural Machine Translation of Rare Words with Subword Units (arXiv 1508.07909); Subword Regularization (Unigram,
arXiv 1804.10959); KL3M Tokenizers (arXiv 2503.17247).
"""

from collections.abc import Mapping, Sequence

from tokenry.core.alphabets import METASPACE
from tokenry.core.choosing import suggest
from tokenry.core.hf_json import ROLES
from tokenry.core.patterns import PATTERNS, known
from tokenry.core.vocab import Vocab
from tokenry.tokenization import plans
from tokenry.tokenization.composing import OTHER_KINDS, Recipe, compose
from tokenry.tokenization.size_families import train_family

__all__ = ["KINDS", "METASPACE_PATTERNS", "Recipe", "compose", "plan_of", "train", "train_family"]

KINDS = ("bpe", "unigram", "wordpiece", "byte", "character", *OTHER_KINDS)
SPECIALS = {"bos": "<s>", "eos": "</s>", "pad": "<pad>", "unk": "<unk>"}
WORDPIECE_SPECIALS = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
_LETTERS = METASPACE + r"+(?=" + METASPACE + r")|" + METASPACE + r"?\p{L}[\p{L}\p{M}]*"
_OTHERS = r"|" + METASPACE + r"?[^" + METASPACE + r"\s\p{L}\p{N}]+|" + METASPACE + r"|\s+"
METASPACE_PATTERNS = {
    "digits": _LETTERS + r"|\p{N}" + _OTHERS,
    "words": _LETTERS + r"|" + METASPACE + r"?\p{N}+" + _OTHERS,
}
"""Split patterns of metaspace BPE: each digit alone (default), or numbers like words. Neither lets a token hold a space
and what stands before it, or a line end beside anything else."""


def train(
    source: object,
    *,
    size: int | None = None,
    kind: str = "bpe",
    style: str = "byte-level",
    specials: Mapping[str, str] | Sequence[str] | None = None,
    pattern: str | None = None,
    min_count: int = 2,
    max_length: int = 0,
    like: Vocab | None = None,
    boundary: object = None,
    **reading: object,
) -> Vocab:
    """Train a tokenizer on text. The same text gives the same tokenizer (Unigram: up to rounding of the scores).

    Args:
        source: what `core.tables.stream` takes, or `Pretokens` cut by the same pre-tokeniser.
        size: entries in all, special tokens and alphabet included. Not used by kind "byte".
        kind: "bpe", "unigram", "wordpiece", "byte" (byte-level without merges) or "character" (the most frequent
            characters, byte pieces for the rest), "least-effort" or "unicode".
        style: how BPE spells text: "byte-level" (GPT-2) or "metaspace" (SentencePiece, with byte pieces).
        specials: role (bos eos pad unk ...) -> token, or only tokens; they get the first ids. Default: <s> </s> <pad>
            <unk>, for WordPiece BERT's five.
        pattern: where BPE may not merge across: a name of `core.patterns.PATTERNS` or a regular expression for
            byte-level (default "cl100k"), of `METASPACE_PATTERNS` for metaspace (default "digits").
        min_count: a pair seen less often is not merged.
        max_length: longest token in characters of the style's alphabet (bytes for byte-level), inclusive; 0 = any.
        like: keep this vocabulary's kind, style, normaliser, pre-tokeniser, decoder, template, special tokens and byte
            pieces, and learn only the entries anew; kind, style, specials and pattern are then not used.
        boundary: where no learned token may cross, or several in a list: see `boundaries.resolve_boundary`.
        reading: `text`, `limit`, `skip_bad`, `cache`, `workers` of `count_pretokens`.

    Returns:
        The vocabulary. It is smaller than `size`, with a warning, where the text has nothing left to merge.

    Raises:
        ValueError: unknown kind, style or pattern; a size that does not hold specials and alphabet; no text.

    Paper: Neural Machine Translation of Rare Words with Subword Units (arXiv 1508.07909).
    """
    several = boundary if isinstance(boundary, list | tuple) else [] if boundary is None else [boundary]
    recipe = Recipe(size=size, kind=kind, style=style, specials=specials, pattern=pattern, boundaries=tuple(several),
                    min_count=min_count, max_length=max_length, like=like)  # fmt: skip
    return compose(source, recipe, **reading).vocab


def plan_of(recipe: Recipe) -> plans.Plan:
    """The plan of a recipe's kind, style, special tokens and pattern.

    Raises:
        ValueError: unknown kind, style, role or pattern.
    """
    if recipe.like is not None:
        return plans.plan_like(recipe.like)
    return _plan(recipe.kind, recipe.style, _roles(recipe.specials, recipe.kind), recipe.pattern)


def _roles(specials: Mapping[str, str] | Sequence[str] | None, kind: str) -> dict[str, str]:
    """Role -> token; tokens without a role are keyed by themselves."""
    if specials is None:
        return dict(WORDPIECE_SPECIALS if kind == "wordpiece" else SPECIALS)
    if isinstance(specials, str):
        raise ValueError(f"specials is the string {specials!r}; give a list of tokens, or a dictionary role -> token.")
    if not isinstance(specials, Mapping):
        return {token: token for token in specials}
    unknown = next((role for role in specials if role not in ROLES), None)
    if unknown is not None:
        raise ValueError(
            f"{unknown!r} is no role of a special token; roles are {', '.join(ROLES)}.{suggest(unknown, ROLES)}"
        )
    return dict(specials)


def _plan(kind: str, style: str, roles: dict[str, str], pattern: str | None) -> plans.Plan:
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r}; need one of {', '.join(KINDS)}.{suggest(kind, KINDS)}")
    if style not in ("byte-level", "metaspace"):
        raise ValueError(f"style={style!r}; need byte-level or metaspace.{suggest(style, ('byte-level', 'metaspace'))}")
    if kind in ("unigram", "wordpiece"):
        return plans.plan_library(kind, roles)
    if kind == "character" or (kind == "bpe" and style == "metaspace"):
        return plans.plan_metaspace(roles, _metaspace_pattern(pattern), merges=kind == "bpe")
    return plans.plan_byte_level(roles, _byte_level_patterns(pattern), merges=kind == "bpe")


def _byte_level_patterns(pattern: str | None) -> tuple[str, ...]:
    if pattern is None or pattern in PATTERNS or not any(character in pattern for character in "\\[|+*?"):
        return known(pattern or "cl100k")
    return (_compiles(pattern),)


def _compiles(pattern: str) -> str:
    """The pattern, if the library can read it; its error has no type of its own."""
    from tokenizers import Regex

    try:
        Regex(pattern)
    except Exception as error:
        raise ValueError(
            f"pattern {pattern!r} is no regular expression of the tokenizers library ({error}). Mend it, or take a "
            "known one: gpt2, cl100k, o200k."
        ) from None
    return pattern


def _metaspace_pattern(pattern: str | None) -> str:
    if pattern is None or pattern in METASPACE_PATTERNS:
        return METASPACE_PATTERNS[pattern or "digits"]
    if any(character in pattern for character in "\\[|+*?"):
        return _compiles(pattern)
    names = ", ".join(METASPACE_PATTERNS)
    raise ValueError(f"unknown metaspace pattern {pattern!r}; known are {names}.{suggest(pattern, METASPACE_PATTERNS)} "
                     "A regular expression is taken too.")  # fmt: skip
