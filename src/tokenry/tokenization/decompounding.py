"""What the verbs on compounds do: train a decompounder into a folder, cut words, score several on gold.

Papers: CompoundPiece: Evaluating and Improving Decompounding Performance of Language Models (arXiv 2305.14214).
"""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from tokenry.core.report import Report
from tokenry.core.runs import atomic_folder, write_run
from tokenry.tokenization.boundaries import CutProvider
from tokenry.tokenization.compound_audit import read_compounds, score_decompounders
from tokenry.tokenization.compound_frequency import FrequencySplitter, read_counts, with_frequent_splits, write_counts
from tokenry.tokenization.compounds import Decompounder, compound_cuts, decompound, learn_decompounder
from tokenry.tokenization.hyphens import mine_hyphens, word_counts

COUNTS = "counts.tsv"
_MOST_ROWS = 10_000


def train_to_folder(
    source: object,
    out: str | Path,
    *,
    reading: dict | None = None,
    steps: int = 2000,
    min_count: int = 1,
    hyphens_only: bool = False,
    counts: str | Path | None = None,
    exclude: str | Path | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> Report:
    """Learn a decompounder from text and write it to `out`, with the word counts the frequency splitter needs.

    Args:
        source: documents, as `core.tables.stream` takes them.
        out: folder to make.
        reading: `text`, `limit`, `skip_bad` of the reader.
        steps, seed: of the training.
        min_count: words seen less often are not looked at. The paper has 2, from web text of hundreds of gigabytes.
        hyphens_only: learn from hyphens alone, as the paper; else also from what the frequency splitter cuts.
        counts: a frequency list of the language for that splitter, as `compound_frequency.read_counts` takes it; else
            the text's own counts.
        exclude: gold words (see `compound_audit.read_compounds`) to keep out of the training.
        overwrite: replace `out`.

    Returns:
        Report of kind "decompounder": facts positives, negatives, last_loss, folder, and examples.

    Raises:
        ValueError: no hyphenated word in the text. ImportError: torch is missing. FileExistsError: `out` exists.
    """
    from tokenry.core.tables import texts

    with atomic_folder(out, overwrite=overwrite) as folder:
        table = word_counts(texts(source, **(reading or {})))
        excluded = read_compounds(exclude).words if exclude else ()
        examples = mine_hyphens(table, least_count=min_count, excluded=excluded)
        from_hyphens = len(examples.positives)
        known = read_counts(counts) if counts else table
        if not hyphens_only:
            examples = with_frequent_splits(examples, FrequencySplitter.of(known), excluded=excluded)
        model = learn_decompounder(examples, steps=steps, seed=seed)
        model.notes |= {"from_hyphens": from_hyphens, "hyphens_only": hyphens_only}
        model.save(folder)
        write_counts(known, folder / COUNTS)
        arguments = {"steps": steps, "min_count": min_count, "hyphens_only": hyphens_only,
                     "counts": counts, "exclude": exclude}  # fmt: skip
        inputs = source if isinstance(source, list) else [source]
        write_run(
            folder, verb="tokenizer decompound train", arguments=arguments | (reading or {}), seed=seed, inputs=inputs
        )
    report = Report(kind="decompounder", title=f"Decompounder from {len(examples.positives):,} examples")
    report.facts |= {"words": len(table), **model.notes, "folder": str(out)}
    shown = list(examples.positives)[:20]
    report.tables["examples"] = _as_table(shown, [list(examples.positives[word]) for word in shown])
    report.notes.append(f"The frequency splitter over the same counts: --model freq:{Path(out) / COUNTS}")
    return report


def apply_report(
    words: Sequence[str], model: str, *, source: object = None, limit: int | None = None, constituents: bool = False
) -> Report:
    """Cut the given words, or the distinct words of a text.

    Args:
        words: to cut.
        model: what `compounds.compound_cuts` takes.
        source: text whose distinct words are cut too; `limit` documents of it.
        constituents: name what a word is made of too; only a tuned decompounder can.

    Raises:
        ValueError: no words, or no model; constituents asked of a model that knows none.
    """
    from tokenry.core.tables import texts

    words = list(words)
    if source is not None:
        words += list(word_counts(texts(source, limit=limit)))
    if not words or not model:
        raise ValueError("nothing to cut, or nothing to cut it with; give words (or --data TEXT) and --model FOLDER.")
    provider = compound_cuts(model)
    cuts = provider(words)
    report = Report(kind="decompound", title=f"{sum(map(bool, cuts)):,} of {len(words):,} words are cut")
    report.facts |= {"n_words": len(words), "n_cut": sum(map(bool, cuts))}
    report.tables["words"] = _as_table(words[:_MOST_ROWS], cuts[:_MOST_ROWS])
    if constituents:
        named = provider.constituents(words[:_MOST_ROWS]) if isinstance(provider, Decompounder) else []
        if not isinstance(provider, Decompounder) or not provider.rules:
            raise ValueError(f"{model} cuts and knows no constituents; tune it on gold: tokenizer decompound tune.")
        column = pa.array(["|".join(parts) for parts in named], pa.string())
        report.tables["words"] = report.tables["words"].append_column("constituents", column)
    if len(words) > _MOST_ROWS:
        report.notes.append(f"The table shows the first {_MOST_ROWS:,} words; the Python call gives all.")
    return report


def score_report(gold: str | Path, models: Sequence[str]) -> Report:
    """Score decompounders on gold; see `compound_audit.score_decompounders`."""
    names = [_short(model) for model in models]
    names = [
        model.replace(".", "_") if names.count(name) > 1 else name for name, model in zip(names, models, strict=True)
    ]
    return score_decompounders(read_compounds(gold), {n: _provider(m) for n, m in zip(names, models, strict=True)})


def _provider(model: str) -> CutProvider:
    if ":" in model and not model.startswith("freq:") and not Path(model).exists():
        from tokenry.core.choosing import resolve

        return resolve(model, {}, kind="decompounder")
    return compound_cuts(model)


def _short(model: str) -> str:
    return ("frequency" if model.startswith("freq:") else Path(model).name.replace(".", "_")) or model


def _as_table(words: Sequence[str], cuts: Sequence[Sequence[int]]) -> pa.Table:
    parts = decompound(words, lambda _: [tuple(c) for c in cuts])
    return pa.table({"word": list(words), "parts": ["|".join(p) for p in parts]},
                    schema=pa.schema([("word", pa.string()), ("parts", pa.string())]))  # fmt: skip
