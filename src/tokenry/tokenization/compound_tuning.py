"""Stage 2 of decompounding: fine-tune a decompounder on gold compounds, so that it cuts better and names constituents.

`tune_decompounder` goes on from the network that learned from hyphens, `compare_stages` measures both on words it never
saw, `tune_to_folder` does the whole for a user.

Paper: CompoundPiece: Evaluating and Improving Decompounding Performance of Language Models (arXiv 2305.14214).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.core.choosing import needs
from tokenry.core.intervals import ratio_change_interval, wilson_interval
from tokenry.core.report import Report
from tokenry.core.runs import atomic_folder, write_run
from tokenry.tokenization.compound_audit import CompoundGold, read_compounds
from tokenry.tokenization.compound_network import batches, build, constituent_loss, numbered
from tokenry.tokenization.compounds import Decompounder, Rule, folded, may_be_cut
from tokenry.tokenization.hyphens import Cuts, parts_of

# Axes: W gold words.

_MOST_RULES = 500
_SAME: Rule = (0, "")
_SHOWN = 30


def rule_of(part: str, constituent: str) -> Rule:
    """What makes a part its constituent, upper and lower case alike: what follows the letters both begin with."""
    part, constituent = folded(part), folded(constituent)
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(part, constituent, strict=False)))
    return len(part) - common, constituent[common:]


def learned_rules(gold: CompoundGold, *, least_count: int = 2) -> tuple[Rule, ...]:
    """The rules that gold compounds need, most frequent first; the one that changes nothing is always there, first."""
    seen = Counter(
        rule_of(part, constituent)
        for word, cuts, constituents in zip(gold.words, gold.cuts, gold.constituents, strict=True)
        if cuts
        for part, constituent in zip(parts_of(word, cuts), constituents, strict=True)
    )
    frequent = sorted((rule for rule, n in seen.items() if n >= least_count), key=lambda rule: (-seen[rule], rule))
    return tuple(dict.fromkeys([_SAME, *frequent]))[:_MOST_RULES]


def tune_decompounder(
    model: Decompounder,
    gold: CompoundGold,
    *,
    steps: int = 600,
    batch_size: int = 128,
    rate: float = 1e-3,
    balanced: bool = False,
    seed: int = 0,
    resume: str | Path | None = None,
) -> Decompounder:
    """Fine-tune a decompounder on gold compounds and simple words (stage 2 of the paper).

    The paper's ByT5 writes the constituents byte by byte. Here the network goes on scoring gaps, and a new layer
    chooses at the end of each part the rule that makes it its constituent (Arbeits -> Arbeit, Schul -> Schule): what to
    take from its end and what to put there. A constituent that begins otherwise than its part has a rule as long as
    itself, which is learned only where two compounds need it.

    Args:
        model: of stage 1 (`compounds.learn_decompounder`), left as it is; a tuned one loses its rules.
        gold: words with cuts and constituents, as `read_compounds` gives them, simple words among them.
        steps, batch_size, rate: of the training (AdamW, linear to zero).
        balanced: repeat the rarer of compounds and simple words until both weigh about the same, as in stage 1; else
            the gold's own mix, as the paper. Gold with four simple words to a compound teaches to cut seldom.
        seed: of the new layer, order and dropout.
        resume: folder for the state of an interrupted training.

    Raises:
        ImportError: torch is not installed. ValueError: gold without constituents, or without a compound of letters.

    Paper: CompoundPiece (arXiv 2305.14214), section 3.2.
    """
    needs("models", "torch", "safetensors")
    from tokenry.models.training import FitConfig, fit

    if len(gold.constituents) != len(gold.words):
        raise ValueError("the gold says where words are cut and not of what they are made; read it by read_compounds.")
    rules = learned_rules(gold)
    pairs, ends = _examples(gold, rules, balanced=balanced)
    if not any(cuts for _, cuts in pairs):
        raise ValueError(f"none of {len(gold.words):,} gold words is a compound of letters alone; need some to learn.")
    network = build(len(model.alphabet), n_rules=len(rules), seed=seed, **model.sizes)
    known = {name: value for name, value in model.network.state_dict().items() if not name.startswith("rule.")}
    network.load_state_dict(network.state_dict() | known)
    config = FitConfig(rate=rate, warmup=max(1, steps // 20), seed=seed, weight_decay=0.01)
    take = batches(pairs, numbered(model.alphabet), size=batch_size, seed=seed, ends=ends)
    result = fit(network, take, constituent_loss, steps=steps, config=config, resume=resume, label="learning from gold")
    notes = model.notes | {
        "gold_compounds": int(gold.is_compound.sum()), "gold_simple_words": int((~gold.is_compound).sum()),
        "gold_balanced": balanced, "rules": len(rules), "gold_steps": result.steps, "gold_seed": seed,
        "gold_last_loss": round(result.history[-1]["loss"], 4),
    }  # fmt: skip
    return replace(model, network=network.eval(), notes=notes, rules=rules, _known={})


def _examples(
    gold: CompoundGold, rules: Sequence[Rule], *, balanced: bool
) -> tuple[list[tuple[str, Cuts]], list[list[tuple[int, int]]]]:
    """Words of letters with their cuts, and for each the (gap, rule) of the ends of its parts, rare rules left out."""
    place = {rule: r for r, rule in enumerate(rules)}
    found: dict[bool, list] = {True: [], False: []}
    for word, cuts, constituents in zip(gold.words, gold.cuts, gold.constituents, strict=True):
        if not may_be_cut(word):
            continue
        needed = map(rule_of, parts_of(word, cuts), constituents) if cuts else ()
        ends = [(end, place[r]) for end, r in zip((*cuts, len(word)), needed, strict=False) if r in place]
        found[bool(cuts)].append(((folded(word), cuts), ends))
    most = max(map(len, found.values()))
    examples = [row for rows in found.values() for row in rows * (round(most / max(1, len(rows))) if balanced else 1)]
    return [pair for pair, _ in examples], [ends for _, ends in examples]


def split_by_type(gold: CompoundGold, *, share: float, seed: int = 0) -> tuple[CompoundGold, CompoundGold]:
    """Split gold into words to learn from and words to keep: each word once, Haus and haus the same.

    Args:
        gold: words.
        share: of them to keep, at least one.
        seed: of the draw.

    Raises:
        ValueError: a share outside 0..1, or too few words to have some on both sides.
    """
    first = {}
    for w, word in enumerate(gold.words):
        first.setdefault(folded(word), w)
    rows = np.array(list(first.values()))
    n_kept = max(1, round(share * len(rows)))
    if not 0 < share < 1 or n_kept >= len(rows):
        raise ValueError(
            f"a share of {share} of {len(rows):,} words leaves nothing; need 0 < share < 1 and more words."
        )
    order = np.random.default_rng(seed).permutation(rows)
    return _chosen_words(gold, order[n_kept:]), _chosen_words(gold, order[:n_kept])


def _chosen_words(gold: CompoundGold, rows: np.ndarray) -> CompoundGold:
    names = ("words", "cuts", "constituents")
    return CompoundGold(**{name: tuple(getattr(gold, name)[w] for w in rows.tolist()) for name in names})


def joined_gold(golds: Sequence[CompoundGold]) -> CompoundGold:
    """Several lists as one."""
    names = ("words", "cuts", "constituents")
    return CompoundGold(
        **{name: tuple(x for gold in golds for x in getattr(gold, name)) for name in names},
        skipped=sum(gold.skipped for gold in golds),
    )


def compare_stages(
    gold: CompoundGold, stages: Mapping[str, Decompounder], *, learned: CompoundGold | None = None, seed: int = 0
) -> Report:
    """Score decompounders on gold words none of them has learned from, and each against the first.

    Args:
        gold: words with constituents.
        stages: name -> decompounder; the first is what the others are compared with.
        learned: what stage 2 learned from; closed compounds with a constituent that none of it has are then scored
            apart.
        seed: of the bootstrap.

    Returns:
        Report of kind "decompounding-stages": for each name the shares of words right, `<name>.constituents` (all of
        them, upper and lower case alike) and `<name>.cuts`, each over `.all` words, `.compounds`, those `.closed` (of
        letters alone; no model cuts the others), those `.new`, and `.simple` words (Wilson intervals); for each but
        the first `<name>.gain.*` (paired bootstrap over words).

    Raises:
        ValueError: no decompounder, or a gold word that was learned from.
    """
    if not stages:
        raise ValueError("no decompounder to compare; need at least one.")
    seen = {folded(word) for word in learned.words} if learned else set()
    if both := sorted(seen & set(map(folded, gold.words))):
        raise ValueError(f"{len(both):,} words ({both[0]}) are learned from and scored on; split by split_by_type.")
    groups = _groups(gold, learned)
    report = Report("decompounding-stages", f"Decompounding, {len(gold.words):,} words kept back")
    report.facts |= {"n_compounds": int(gold.is_compound.sum()), "n_simple": int((~gold.is_compound).sum())}
    rows: dict[str, list] = {name: [] for name in ("decompounder", "measure", "words", "right", "gain")}
    base: dict[str, np.ndarray] = {}
    for name, model in stages.items():
        right = _right(gold, model)
        base = base or right
        for measure, right_W in right.items():
            for group, chosen in groups.items():
                n = int(chosen.sum())
                share = wilson_interval(int(right_W[chosen].sum()), n)
                report.facts[f"{name}.{measure}.{group}"] = share
                gain = None
                if right is not base:
                    ones = np.ones(n)
                    gain = ratio_change_interval((base[measure][chosen], ones), (right_W[chosen], ones), seed=seed)
                    report.facts[f"{name}.gain.{measure}.{group}"] = gain
                for column, value in zip(rows, (name, measure, group, str(share), str(gain or "")), strict=True):
                    rows[column].append(value)
        report.tables[f"mistakes of {name}"] = _mistakes(gold, model, right["constituents"])
    report.tables = {"stages": pa.table(rows), **report.tables}
    return report


def _groups(gold: CompoundGold, learned: CompoundGold | None) -> dict[str, np.ndarray]:
    """Name -> bool (W,), those with a word in them."""
    groups = {"all": np.ones(len(gold.words), bool), "compounds": gold.is_compound, "simple": ~gold.is_compound}
    groups["closed"] = gold.is_compound & np.array([may_be_cut(word) for word in gold.words])
    if learned is not None:
        known = {folded(part) for parts in learned.constituents for part in parts}
        is_new = [any(folded(part) not in known for part in parts) for parts in gold.constituents]
        groups["new"] = groups["closed"] & np.array(is_new)
    return {name: chosen for name, chosen in groups.items() if chosen.any()}


def _right(gold: CompoundGold, model: Decompounder) -> dict[str, np.ndarray]:
    """Measure -> float (W,), 1 where a word is right."""
    wanted = [[folded(part) for part in parts] for parts in gold.constituents]
    named = [found == parts for found, parts in zip(model.constituents(gold.words), wanted, strict=True)]
    cut = [tuple(found) == cuts for found, cuts in zip(model(gold.words), gold.cuts, strict=True)]
    return {"constituents": np.array(named, np.float64), "cuts": np.array(cut, np.float64)}


def _mistakes(gold: CompoundGold, model: Decompounder, right_W: np.ndarray) -> pa.Table:
    wrong = np.flatnonzero(right_W == 0)[:_SHOWN].tolist()
    words = [gold.words[w] for w in wrong]
    return pa.table(
        {
            "word": words,
            "gold": ["|".join(gold.constituents[w]) for w in wrong],
            "found": ["|".join(parts) for parts in model.constituents(words)],
        },
        schema=pa.schema([(column, pa.string()) for column in ("word", "gold", "found")]),
    )


def tune_to_folder(
    model: str | Path,
    golds: Sequence[str | Path],
    out: str | Path,
    *,
    held_share: float = 0.2,
    steps: int = 600,
    rate: float = 1e-3,
    balanced: bool = False,
    seed: int = 0,
    overwrite: bool = False,
) -> Report:
    """Fine-tune a decompounder's folder on gold files, write it to `out`, and measure both stages on words kept back.

    Args:
        model: folder of stage 1.
        golds: files as `compound_audit.read_compounds` takes them.
        out: folder to make; the counts beside the model come along.
        held_share: of the distinct words, kept back.
        steps, rate, balanced, seed: of the training, see `tune_decompounder`.
        overwrite: replace `out`.

    Returns:
        The report of `compare_stages` ("stage 1", "stage 2").

    Raises:
        FileNotFoundError, ValueError: no model or gold. ImportError: torch is missing. FileExistsError: `out` exists.
    """
    first = Decompounder.open(model)
    gold = joined_gold([read_compounds(path) for path in golds])
    learn, kept = split_by_type(gold, share=held_share, seed=seed)
    with atomic_folder(out, overwrite=overwrite) as folder:
        tuned = tune_decompounder(first, learn, steps=steps, rate=rate, balanced=balanced, seed=seed)
        tuned.save(folder)
        counts = Path(model) / "counts.tsv"
        if counts.is_file():
            (folder / counts.name).write_bytes(counts.read_bytes())
        write_run(
            folder, verb="tokenizer decompound tune", seed=seed, inputs=[model, *golds],
            arguments={"held_share": held_share, "steps": steps, "rate": rate, "balanced": balanced},
        )  # fmt: skip
    report = compare_stages(kept, {"stage 1": first, "stage 2": tuned}, learned=learn, seed=seed)
    report.facts |= {"folder": str(out), "n_learned": len(learn.words)} | {
        name: value for name, value in tuned.notes.items() if name.startswith(("gold", "rules"))
    }
    if gold.skipped:
        report.notes.append(f"{gold.skipped:,} gold lines left out (mixed morphology, or parts that do not fit).")
    report.notes.append(
        "Words kept back share no word with those learned from, but share constituents; `new` ones have one that "
        "is in none of them. Words which stage 1 has read with a hyphen are not kept out: give it --exclude GOLD."
    )
    return report
