"""What the tokenizer verbs write: a folder AutoTokenizer opens, its report, and run.json, all or nothing."""

from dataclasses import replace
from pathlib import Path

from tokenry.core.report import Report, TokenSample
from tokenry.core.runs import atomic_folder, write_run
from tokenry.core.vocab import Kind, Vocab

_KIND_NAMES = {Kind.NORMAL: "normal", Kind.BYTE: "byte", Kind.SPECIAL: "special", Kind.UNUSED: "unused"}


def train_to_folder(
    source: list[str],
    out: Path,
    *,
    reading: dict,
    overwrite: bool = False,
    sizes: list[int] | None = None,
    heldout: list[str] | None = None,
    terms_budget: int | None = None,
    **options: object,
) -> Report:
    """Train a tokenizer on `source` and write it to `out`; returns a Report of what was made.

    Args:
        source: paths as `core.tables.stream` takes them.
        out: folder to create; refused when it exists unless `overwrite`. With `sizes`, one folder a size inside it.
        reading: `limit`, `text`, `skip_bad`, `cache`, `workers`.
        sizes: a family of nested vocabularies from one run; `size` is then not used.
        heldout: paths of text for measuring compression.
        terms_budget: keep only so many of the terms, those that save most tokens on the training text.
        options: the keywords of `recipe_options.recipe_from`.

    Raises:
        ValueError, FileNotFoundError: from reading or training. FileExistsError: `out` exists.
    """
    from tokenry.core.places import find_places
    from tokenry.core.tables import texts
    from tokenry.tokenization.composing import compose
    from tokenry.tokenization.recipe_options import recipe_from, with_selected_terms
    from tokenry.tokenization.training_report import family_report, training_report

    recipe = recipe_from(**options)
    if heldout:
        find_places(heldout)  # what is not there is said before the training, not after it
    plain = {key: value for key, value in reading.items() if key in ("limit", "text", "skip_bad")}
    counting = {"cache": reading.get("cache"), "workers": reading.get("workers", 1)}
    reading = plain | {key: value for key, value in counting.items() if value not in (None, 1)}
    with atomic_folder(out, overwrite=overwrite) as folder:
        if terms_budget is not None:
            bare = compose(source, replace(recipe, terms=None), **reading).vocab
            recipe = with_selected_terms(recipe, texts(source, **plain), bare, budget=terms_budget)
        if sizes:
            report = family_report(source, sizes, recipe, folder=folder, heldout=heldout, reading=reading)
        else:
            made = compose(source, recipe, **reading)
            made.vocab.to_hf(folder)
            report = training_report(made, source=source, heldout=heldout, reading=plain)
        report.facts["folder"] = str(out)
        report.save(folder / "report")
        arguments = {**options, "sizes": sizes, "heldout": heldout, "terms_budget": terms_budget, **reading}
        write_run(folder, verb="tokenizer train", arguments=arguments, seed=recipe.seed, inputs=source)
    return report


def extend_to_folder(
    tokenizer: str, source: list[str], out: Path, *, reading: dict, overwrite: bool = False,
    method: str = "continued", other: str | None = None, **options: object,
) -> Report:  # fmt: skip
    """Extend `tokenizer` by tokens learned from `source`, write it to `out`, and return the Extension's Report.

    Args:
        tokenizer: whatever `Vocab.open` takes.
        source: paths as `core.tables.stream` takes them.
        out: folder to create; refused when it exists unless `overwrite`.
        reading: `limit`, `text`, `skip_bad` of the reader.
        method: "continued" (`extend.extend`), or a way to append pieces (`extend.extend_by_pieces`).
        other: tokenizer whose pieces are appended.
        options: the keywords of the function.

    Raises:
        ValueError, FileNotFoundError: from reading or extending. FileExistsError: `out` exists.
    """
    from tokenry.core.choosing import suggest
    from tokenry.tokenization.append_pieces import ORDERS
    from tokenry.tokenization.extend import extend, extend_by_pieces

    if method not in (known := ("continued", *ORDERS)):
        raise ValueError(f"method={method!r}; need one of {', '.join(known)}.{suggest(method, known)}")
    if method == "continued" and other is not None:
        raise ValueError(
            "--other gives pieces to append; continued merges are learned from the text. Add --method append."
        )
    with atomic_folder(out, overwrite=overwrite) as folder:
        vocab = Vocab.open(tokenizer)
        if method == "continued":
            extension = extend(vocab, source, **reading, **options)
        else:
            second = Vocab.open(other) if other else None
            extension = extend_by_pieces(vocab, source, method=method, other=second, **reading, **options)
        extension.vocab.to_hf(folder)
        extension.report.facts["folder"] = str(out)
        extension.report.save(folder / "report")
        arguments = {**options, "method": method, "other": other, **reading}
        inputs = [tokenizer, *source, *([other] if other else [])]
        write_run(folder, verb="tokenizer extend", arguments=arguments, seed=None, inputs=inputs)
    return extension.report


def prune_to_folder(
    tokenizer: str, source: list[str], out: Path, *, reading: dict, overwrite: bool = False, **options: object
) -> Report:
    """Take out of `tokenizer` what `source` uses least and write `out`, with `token_map.npz` for the model's rows.

    Args:
        tokenizer, source, out, reading, overwrite: as `extend_to_folder`.
        options: `keep` or `min_uses` of `prune.prune`.

    Raises:
        ValueError, FileNotFoundError: from reading or pruning. FileExistsError: `out` exists.
    """
    from tokenry.tokenization.prune import prune

    with atomic_folder(out, overwrite=overwrite) as folder:
        pruned = prune(Vocab.open(tokenizer), source, **reading, **options)
        pruned.vocab.to_hf(folder)
        pruned.token_map.save(folder / "token_map.npz")
        pruned.report.facts["folder"] = str(out)
        pruned.report.save(folder / "report")
        write_run(
            folder, verb="tokenizer prune", arguments={**options, **reading}, seed=None, inputs=[tokenizer, *source]
        )
    return pruned.report


def split_report(tokenizer: str, text: str) -> Report:
    """How `tokenizer` cuts `text`: one row a token with id, text, bytes and kind, and the tokens in colour."""
    import pyarrow as pa

    from tokenry.tokenization.entries import shown

    vocab = Vocab.open(tokenizer)
    ids = [int(i) for i in vocab.encode([text])[0]]
    pieces, texts = [vocab.tokens[i] for i in ids], [shown(vocab, i) for i in ids]
    table = pa.table(
        {
            "id": ids,
            "token": texts,
            "bytes": ["" if p is None else p.hex(" ") for p in pieces],
            "kind": [_KIND_NAMES[int(vocab.kinds[i])] for i in ids],
        }
    )
    n_bytes = len(text.encode())
    facts = {
        "n_tokens": len(ids),
        "n_bytes": n_bytes,
        "bytes_per_token": n_bytes / len(ids) if ids else 0.0,
        "round_trip": vocab.decode(ids) == text,
    }
    return Report(
        kind="tokenizer-split",
        title=f"{vocab.name or tokenizer}: {len(ids)} tokens",
        facts=facts,
        tables={"tokens": table},
        samples=[TokenSample(title="tokens", rows=[(vocab.name or "text", texts)])],
    )
