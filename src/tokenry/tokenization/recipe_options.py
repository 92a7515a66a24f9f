"""A recipe from what a user types: `en=0.5,code=0.3`, groups of terms, digit policies, presets.

Paper: KL3M Tokenizers (arXiv 2503.17247).
"""

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace

from tokenry.core.choosing import suggest
from tokenry.core.vocab import Vocab
from tokenry.tokenization.boundaries import digits
from tokenry.tokenization.composing import PRESETS, Recipe
from tokenry.tokenization.domain import groups
from tokenry.tokenization.domain_terms import read_terms
from tokenry.tokenization.ensured import Terms, forms


def recipe_from(
    *,
    preset: str | None = None,
    mix: str | None = None,
    digit_policy: str | None = None,
    boundary: Sequence[object] = (),
    terms: str | None = None,
    custom_group: Sequence[str] = (),
    terms_as: str = "merges",
    like: object = None,
    **choices: object,
) -> Recipe:
    """A recipe from the words of a command line.

    Args:
        preset: a name of `composing.PRESETS`; what is also chosen by hand goes before it.
        mix: "en=0.5,code=0.3".
        digit_policy: single, l2r, r2l (with a group size, l2r2) or free.
        boundary: what `boundaries.resolve_boundary` takes.
        terms: file with one term a line (what follows a tab is its group, for `tokenizer audit --lens terms`).
        custom_group: groups of terms, "html", "years:1776-2049", or several with commas.
        terms_as: one of `ensured.HOWS`.
        like: tokenizer whose pre-tokeniser, normaliser and special tokens are kept.
        choices: other fields of `Recipe`; None leaves the default.

    Raises:
        ValueError: unknown names, or a mix that is not `source=weight`. FileNotFoundError: no such file.
    """
    if preset is not None and preset not in PRESETS:
        raise ValueError(f"preset {preset!r}; known are {', '.join(PRESETS)}.{suggest(preset, PRESETS)}")
    known = {field.name for field in fields(Recipe)}
    unknown = next((name for name in choices if name not in known), None)
    if unknown is not None:
        raise ValueError(
            f"{unknown!r} is no choice of a recipe.{suggest(unknown, known)} Known: {', '.join(sorted(known))}."
        )
    items = [term for term, _ in read_terms(terms)] if terms else []
    items += groups([name for many in custom_group for name in many.split(",")])
    chosen = {**PRESETS.get(preset, {}), **{name: value for name, value in choices.items() if value is not None}}
    boundaries = [*boundary, *([] if digit_policy is None else [digits(digit_policy)])]
    recipe = Recipe(
        boundaries=tuple(boundaries),
        mix=read_mix(mix) if mix else None,
        terms=Terms(tuple(items), terms_as) if items else None,
        like=Vocab.open(like) if like is not None else None,
    )
    return replace(recipe, **chosen)


def read_mix(text: str) -> dict[str, float]:
    """Source -> weight of "en=0.5,code=0.3".

    Raises:
        ValueError: for anything else, or a source named twice.
    """
    mix: dict[str, float] = {}
    for part in text.split(","):
        name, sign, weight = part.rpartition("=")
        try:
            number = float(weight)
        except ValueError:
            number = -1.0
        if not sign or not name.strip() or not 0 <= number < float("inf") or name.strip() in mix:
            raise ValueError(f"mix {part!r} in {text!r}; need source=weight, each source once, e.g. en=0.5,code=0.3.")
        mix[name.strip()] = number
    return mix


def read_sizes(text: str | None) -> list[int] | None:
    """Sizes of "8192,16384"; None for None.

    Raises:
        ValueError: for anything but whole numbers.
    """
    if text is None:
        return None
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise ValueError(f"sizes {text!r}; need whole numbers with commas, e.g. 8192,16384.")
    return [int(part) for part in parts]


def with_selected_terms(recipe: Recipe, texts: Iterable[str], vocab: Vocab, *, budget: int) -> Recipe:
    """The recipe with only those of its terms that save most tokens on a text, at most `budget`.

    Terms which its way of guaranteeing cannot hold are left out.

    Raises:
        ValueError: when it has no terms.
    """
    from tokenry.tokenization.domain import select_terms

    if recipe.terms is None:
        raise ValueError("a budget of terms without terms; name them (--terms FILE, --custom-group html).")
    how = recipe.terms.how
    items = [form.text for form in forms(recipe.terms, vocab.spec) if not form.text.startswith(" ")
             and (form.word is not None or how in ("added", "both"))]  # fmt: skip
    picked = select_terms(items, texts, vocab, budget=budget, joins_space=how != "added")
    kept = Terms(tuple(row.term for row in picked), recipe.terms.how) if picked else None
    return replace(recipe, terms=kept)
