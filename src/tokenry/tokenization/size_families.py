"""One training run, vocabularies of many sizes: the smaller ones are the beginnings of the larger ones.

Byte-pair merges are learned in an order that does not depend on how many are wanted, so each member is bit for bit what
training for its size alone would give.

Paper: KL3M Tokenizers (families of sizes; arXiv 2503.17247).
"""

from collections.abc import Sequence
from dataclasses import replace

from tokenry.core.vocab import Vocab
from tokenry.tokenization import training
from tokenry.tokenization.boundaries import apply_cuts, resolve_boundary, union
from tokenry.tokenization.composing import Recipe, planned, spelled_out, with_padding
from tokenry.tokenization.ensured import forms


def train_family(
    source: object, sizes: Sequence[int], recipe: Recipe | None = None, **reading: object
) -> dict[int, Vocab]:
    """Train BPE vocabularies of several sizes in one run.

    Args:
        source: what `core.tables.stream` takes, or `Pretokens`.
        sizes: entries of each member, special tokens and alphabet included.
        recipe: everything else; its own size is not used. Terms are guaranteed in every member.
        reading: keywords of `count_pretokens`.

    Returns:
        Size as asked -> vocabulary, smallest first. With `pad_to` a member is larger than its key.

    Raises:
        ValueError: no sizes, or a kind whose smaller vocabularies are not beginnings of larger ones.

    Paper: KL3M Tokenizers (arXiv 2503.17247).
    """
    recipe = recipe or Recipe()
    wanted = sorted(set(sizes))
    boundaries = [resolve_boundary(boundary) for boundary in recipe.boundaries]
    how = recipe.terms.how if recipe.terms else "merges"
    nested = recipe.kind == "bpe" and not recipe.mix and not any(boundary.sampler for boundary in boundaries)
    if not wanted or not nested or how == "merges-first":
        raise ValueError(
            f"a family of sizes {wanted} of kind {recipe.kind!r}; need at least one size and plain bpe (no mix, no "
            "boundary of whole texts, no terms whose merges come first). Train the others one by one."
        )
    plan = planned(replace(recipe, size=wanted[-1]), boundaries)
    if plan.kind != "BPE":
        raise ValueError(f"{recipe.like.name} is a {plan.kind} tokenizer; a family is trained for BPE.")
    cuts = union(boundaries)
    members = {size: with_padding(plan, replace(recipe, size=size)) for size in wanted}
    terms = forms(recipe.terms, plan.spec) if recipe.terms else []
    learned = training.learn(
        plan, source, size=max(target for target, _, _ in members.values()),
        limits=training.Limits(recipe.min_count, recipe.max_length, recipe.max_characters, recipe.state),
        reading=reading,
        prepare=None if cuts is None else lambda table: apply_cuts(table, cuts, plan.spec),
        required=spelled_out(terms, how) + ("0123456789" if recipe.decides_digits else ""),
    )  # fmt: skip
    return {
        size: training.assemble(replace(learned, plan=own), size=target, terms=terms, how=how)[0]
        for size, (target, own, _) in members.items()
    }
