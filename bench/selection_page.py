"""The table of docs/results/selectors.md from bench/results/selection.json; see bench/selection.py."""

import json
import textwrap
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from scipy.stats import t as student

from tokenry.core.intervals import ratio_change_interval

PAGE = Path(__file__).resolve().parent.parent / "docs" / "results" / "selectors.md"
TARGET = ("en", "code_python")
HEAD = (
    "| selector | bits per byte of the target | minus random | 95 % over seeds | seeds below random | clean target | "
    "noise | copies | tokens | KL reduction | CPU s |\n|---|---|---|---|---|---|---|---|---|---|---|"
)

# Axes: S seeds.


def over_seeds(values_S: np.ndarray) -> tuple[float, float]:
    """A 95 % interval of the mean over seeds (Student's t), nan of a single one."""
    n = len(values_S)
    if n < 2:
        return float("nan"), float("nan")
    half = float(student.ppf(0.975, n - 1) * np.std(values_S, ddof=1) / n**0.5)
    return float(np.mean(values_S)) - half, float(np.mean(values_S)) + half


def row(name: str, mine: list[dict], random: list[dict]) -> tuple[float, str]:
    """A line of the table, and what it is sorted by."""
    bits_S, random_S = (np.array([one["bits_per_byte"] for one in runs]) for runs in (mine, random))
    change_S = bits_S - random_S
    low, high = over_seeds(change_S)
    told = {
        "clean": np.mean([sum(one["shares"][kind] for kind in TARGET) for one in mine]),
        "noise": np.mean([one["shares"]["shuffled"] + one["shares"]["boilerplate"] for one in mine]),
        "copy": np.mean([one["shares"]["copy"] for one in mine]),
    }
    below = sum(seen_apart(one, other) for one, other in zip(mine, random, strict=True))
    kl = [one["kl_reduction"] for one in mine if one["kl_reduction"] is not None]
    value = float(bits_S.mean())
    return value, (
        f"| {name} | {value:.3f} | {change_S.mean():+.3f} | {f'[{low:+.3f}, {high:+.3f}]' if len(mine) > 1 else ''} | "
        f"{int((change_S < 0).sum())} ({below}) of {len(mine)} | {told['clean']:.0%} | {told['noise']:.0%} | "
        f"{told['copy']:.0%} | {np.mean([one['tokens'] for one in mine]):,.0f} | "
        f"{f'{np.mean(kl):+.2f}' if kl else ''} | {np.mean([one['seconds'] for one in mine]):.1f} |"
    )


def seen_apart(one: dict, other: dict) -> bool:
    """Whether the target's own documents tell one model to be better than the other (paired bootstrap)."""
    nats, bytes_ = (np.array(one[key]) for key in ("nats", "n_bytes"))
    return ratio_change_interval((np.array(other["nats"]), bytes_), (nats, bytes_)).high < 0


def page(results: Path) -> None:
    """Write the page from the complete seeds of a record."""
    from selection import complete

    record = json.loads(results.read_text())
    seeds, settings = complete(record), record["settings"]
    if not seeds:
        raise SystemExit(f"{results} has no complete seed yet: {len(record['runs'])} runs.")
    runs = {name: [one for one in record["runs"] if one["method"] == name and one["seed"] in seeds]
            for name in settings["methods"]}  # fmt: skip
    lines = [text for _, text in sorted(row(name, mine, runs["random"]) for name, mine in runs.items())]
    worlds = [one for one in record["worlds"] if one["seed"] in seeds]
    kinds = {kind: np.mean([one["kinds"][kind] / one["tokens"] for one in worlds]) for kind in worlds[0]["kinds"]}
    quotas = [shares_of(way, worlds) for way in ("doremi", "doge") if all(one.get("quotas") for one in worlds)]
    kl_rank = rank_correlation([mine for name, mine in runs.items() if name != "full"])
    steps = ", ".join(str(one["steps"]) for one in worlds)
    n_pool, n_tested = (np.mean([one[key] for one in worlds]) for key in ("tokens", "tested"))
    pool = textwrap.fill(", ".join(f"{kind} {share:.0%}" for kind, share in kinds.items()), 110)
    width, layers = settings["shape"]["width"], settings["shape"]["layers"]
    text = f"""# Selectors at equal token budgets

`python bench/selection.py --seeds {len(seeds)}`, then `--page` ({record["when"]}, one core,
{record["cpu_minutes"]} CPU minutes so far; {len(seeds)} complete seeds).

A toy. Each seed draws its own pool of {n_pool:,.0f} tokens and its own target (English and Python, {n_tested:.0f}
documents to test on). A selector keeps {settings["share"]:.0%} of the pool, and a Llama of width {width} with {layers}
layers reads {settings["epochs"]} times as many tokens of it ({steps} steps of
{settings["batch"]} x {settings["length"]}). The pool: {pool}.
Most of it is of no use for this target, and the order below is that of this pool, this target and this
length of training: it says nothing about the web. `labels` cheats (it reads the planted labels), `full` is the whole
pool for the same steps, the second draw of `random` shows how far chance alone goes.

{HEAD}
{chr(10).join(lines)}

Bits per byte: mean over the seeds. Minus random: paired, with the same world, weights and order of batches; the
interval is Student's t over {len(seeds)} seeds, of one row at a time: with {len(lines) - 1} rows one interval or two
miss by chance. Seeds below random: how many, and in brackets those in which the target's documents alone tell it (95 %
paired bootstrap). Clean target, noise, copies: shares of the kept tokens. KL reduction (nats): as DSIR defines it,
against `random`. Tokens: a noisy draw may leave less than the budget, the model then reads it more often. CPU seconds:
measuring and deciding, without training of what the selector was given. Over all rows but `full` KL reduction and
`minus random` have a rank correlation of {kl_rank:+.2f} (-1: the nearer to the target, the better).
{chr(10).join(quotas)}
"""
    PAGE.write_text(text)
    print(text)


def rank_correlation(runs: list[list[dict]]) -> float:
    """Spearman's correlation over selectors of the mean KL reduction with the mean bits per byte."""
    means = [[np.mean([one[key] for one in mine]) for mine in runs] for key in ("kl_reduction", "bits_per_byte")]
    return float(spearmanr(*means).statistic)


def shares_of(way: str, worlds: list[dict]) -> str:
    """The mean shares that a way gave to the sources."""
    found = {name: np.mean([one["quotas"][way][name] for one in worlds]) for name in worlds[0]["quotas"][way]}
    return f"\nShares by {way}: {', '.join(f'{name} {share:.0%}' for name, share in found.items())}."
