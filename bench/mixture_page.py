"""Write docs/results/mixture.md from the results of both experiments; `mixture_experiment.py --page` calls it."""

import json
from pathlib import Path
from textwrap import fill

import numpy as np

from tokenry.core.intervals import wilson_interval

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "results" / "mixture.md"
TOKENIZERS = ROOT / "bench" / "results" / "mixture_tokenizers.jsonl"
# Shares of pairs in percent, from the paper's table of real tokenizers.
PUBLISHED = {
    "gpt2": {"English": 99.1, "code": 0.7},
    "cl100k": {"English": 34.3, "code": 62.6},
    "o200k": {"English": 28.1, "code": 32.8},
    "mistral-v1": {"English": 57.6, "code": 25.8},
    "tekken": {"English": 35.0, "code": 18.3},
    "claude": {"English": 38.9, "code": 57.5},
    "llama-3": {"English": 21.3, "code": 30.2},
    "gemma": {"English": 45.8, "code": 25.9},
}
NOTE_ON_PUBLISHED = (
    "Published English is the sum of the paper's web, books, academic and wiki columns, which are English; its code is "
    "GitHub; other languages are the rest to 100. Mistral in the paper is v1; NeMo is tekken; Llama 3 is "
    "judged by its own merges in both, those after the 100,000 of cl100k."
)


def write_page(trials: Path) -> None:
    """The page as Markdown."""
    lines = [json.loads(line) for line in trials.read_text(encoding="utf-8").splitlines() if line.strip()]
    errors = [line for line in lines if line["what"] == "errors"]
    for line in (line for line in lines if line["what"] == "long"):
        same = [e for e in errors if (e["n"], e["trial"]) == (line["n"], line["trial"])]
        for other in same:
            other["at"] |= line["at"]
    covered = [line for line in lines if line["what"] == "intervals"]
    real = _real()
    text = "\n\n".join(part for part in (_head(), _errors(errors), _coverage(covered), *_tokenizers(real)) if part)
    PAGE.write_text(_wrapped(text) + "\n", encoding="utf-8")
    print(PAGE)


def _wrapped(text: str) -> str:
    """Paragraphs of prose at 120 characters; tables, lists, headings and code as they are."""
    parts, code = [], False
    for part in text.split("\n\n"):
        plain = not code and not part.startswith(("|", "-", "#", "```")) and "\n|" not in part
        code ^= part.count("```") % 2 == 1
        parts.append(fill(" ".join(part.split()), 120, break_on_hyphens=False) if plain else part)
    return "\n\n".join(parts)


def _head() -> str:
    return """# What a tokenizer was trained on: the experiments

`tokenry tokenizer mixture` (Data Mixture Inference, arXiv 2407.16607) on mixtures that are known, and on real
tokenizers. Text: the 33 categories of `../shared/data/mixture` (26 natural languages, 7 programming languages, 0.25
to 0.8 MB each, software documentation and source code). This page is made from the results by

```text
python bench/mixture_experiment.py --what errors       # results/mixture_trials.jsonl
python bench/mixture_experiment.py --what long --trials 20
python bench/mixture_experiment.py --what intervals    # the same file
python bench/mixture_tokenizers.py                     # results/mixture_tokenizers.jsonl
python bench/mixture_tokenizers.py --more llama-3=llama3/tokenizer.model:100000 gemma=gemma.json yi=yi.json
python bench/mixture_experiment.py --page
```"""


def _mean_sd(values: list[float]) -> str:
    if not values:
        return ""
    spread = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{np.mean(values):.2f}{spread}" + (f" ({len(values)})" if len(values) < 20 else "")


def _at(lines: list[dict], steps: int, what: str) -> list[float]:
    return [line["at"][str(steps)][what] for line in lines if str(steps) in line["at"]]


def _errors(lines: list[dict]) -> str:
    if not lines:
        return ""
    sizes = sorted({line["n"] for line in lines})
    by_n = {n: [line for line in lines if line["n"] == n] for n in sizes}
    steps = sorted({int(t) for line in lines for t in line["at"]})
    rows = [("uniform guess", [[line["uniform"] for line in by_n[n]] for n in sizes])]
    rows += [
        (f"vocabulary frequency (TC), T={t:,}", [_at(by_n[n], t, "vocabulary_frequency") for n in sizes])
        for t in steps
        if t in (1000, 3000)
    ]
    rows.append(
        ("encoding efficiency (TEE), T=1,000", [[line["encoding_efficiency"] for line in by_n[n]] for n in sizes])
    )
    rows += [(f"**inferred**, T={t:,}", [_at(by_n[n], t, "inferred") for n in sizes]) for t in steps]
    table = ["| log10 of the mean squared error | " + " | ".join(f"n={n}" for n in sizes) + " |",
             "|---|" + "---|" * len(sizes)]  # fmt: skip
    table += [f"| {name} | " + " | ".join(_mean_sd(values) for values in cells) + " |" for name, cells in rows]
    counts = ", ".join(f"{len(by_n[n])} of n={n}" for n in sizes)
    at_most = max(x["at"][t]["gap"] for x in lines for t in x["at"])
    return f"""## Known mixtures

Each category is halved by document. Shares are drawn uniformly on the simplex; one half, weighted so, trains a
byte-level BPE (cl100k's split pattern), the other half attacks it. Mean ± sd over {counts} random mixtures (a number
in brackets: fewer trials than 20); every seed is the number of the trial. Scored in bytes, as the paper scores; lower
is better.

{chr(10).join(table)}

Every fit is within a certified relative gap of {at_most:.1e} of the optimum. The paper, with 1 GB a category and
30,000 merges, reports -7.30 ± 1.31 (n=5), -7.66 ± 1.04 (n=10) and -7.73 ± 1.12 (n=30) for languages. Here a category
has 0.1 to 0.4 MB on each side, and its two halves come from the same books, so there is no shift of domain: that is
what these figures do not test."""


def _coverage(lines: list[dict]) -> str:
    if not lines:
        return ""
    rows = []
    for kind in ("bootstrap", "near-optimal", "calibrated"):
        cells = []
        for n in sorted({line["n"] for line in lines}):
            found = [line["intervals"][kind] for line in lines if line["n"] == n]
            hit, total = sum(x["covered"] for x in found), n * len(found)
            width = np.mean([x["width"] for x in found])
            # Shares of one mixture are not independent: the interval is of trials, by their own spread.
            by_trial = np.array([x["covered"] / n for x in found])
            error = 1.96 * by_trial.std(ddof=1) / np.sqrt(len(by_trial)) if len(by_trial) > 1 else float("nan")
            low, high = max(hit / total - error, 0), min(hit / total + error, 1)
            if by_trial.std() == 0:
                interval = wilson_interval(hit, total)
                low, high = interval.low, interval.high
            cells.append(f"{hit / total:.0%} [{low:.0%}, {high:.0%}], width {width:.4f}")
        rows.append(f"| {kind} | " + " | ".join(cells) + " |")
    sizes = sorted({line["n"] for line in lines})
    counts = ", ".join(f"{sum(line['n'] == n for line in lines)} of n={n}" for n in sizes)
    rmse = {key: np.sqrt(np.mean([line["rmse"][key] ** 2 for line in lines])) for key in ("error", "calibrated")}
    return f"""## Do the intervals cover?

Asked for 90 %, at T=1,000; share of true shares inside ({counts} mixtures; 95 % interval over mixtures), and mean
width.

| kind | {" | ".join(f"n={n}" for n in sizes)} |
|---|{"---|" * len(sizes)}
{chr(10).join(rows)}

{_judged(lines)} The bootstrap (20 resamples of 20 document shards) sees the noise of the attacker's sample only. The
near-optimal range (all mixtures within 1 % of the optimum) shows what cannot be told apart; it is no confidence
interval, and what it covers is luck of the margin. The calibrated interval trains 10 tokenizers at the estimate on a
random half of the attacker's documents and infers them from the other half: both halves are smaller than what the
estimate itself had, so its errors are larger (root mean square {rmse["calibrated"]:.4f}, against a true error of
{rmse["error"]:.4f})."""


def _judged(lines: list[dict]) -> str:
    told = []
    for kind in ("bootstrap", "near-optimal", "calibrated"):
        hit = sum(line["intervals"][kind]["covered"] for line in lines)
        share = hit / sum(line["n"] for line in lines)
        verdict = (
            "covers about as asked"
            if 0.86 <= share <= 0.94
            else "covers less than asked: do not trust it"
            if share < 0.86
            else "covers more than asked (it is conservative)"
        )
        told.append(f"the {kind} interval {verdict} ({share:.0%} in all)")
    return "In short: " + "; ".join(told) + "."


def _real() -> list[dict]:
    if not TOKENIZERS.is_file():
        return []
    lines = [json.loads(line) for line in TOKENIZERS.read_text(encoding="utf-8").splitlines() if line.strip()]
    return list({line["tokenizer"]: line for line in lines}.values())


def _tokenizers(lines: list[dict]) -> list[str]:
    if not lines:
        return []
    rows = []
    for line in lines:
        groups = {row["group"]: row for row in line["groups"]}
        cells = [_share(groups[name], "pairs_share") for name in ("English", "code", "languages but English")]
        said = PUBLISHED.get(line["tokenizer"])
        paper = ""
        if said:
            paper = f"{said['English']:.1f} / {said['code']:.1f} / {100 - said['English'] - said['code']:.1f}"
        facts = line["facts"]
        missing = facts["n_merges.missing"] / line["merges"]
        rows.append(
            f"| {line['tokenizer']} | {_merges(line)} | {' | '.join(cells)} | {paper} | "
            f"{missing:.0%} | "
            f"{facts['zero_slack_share']:.0%} | {line['refit'][-1]['overlap']:.0%} | {line['cpu_seconds']:.0f} |"
        )
    largest = [
        f"- **{line['tokenizer']}**: "
        + ", ".join(f"{row['source']} {_share(row, 'pairs_share')}" for row in line["shares"][:8])
        for line in lines
    ]
    absent = []
    for line in lines:
        found = [f"{x['script']} ({x['missing']} of {x['merges']} merges)" for x in line["missing_scripts"][:5]]
        absent.append(f"- **{line['tokenizer']}**: " + (", ".join(found) or "none"))
    return [f"""## Real tokenizers

Shares of pairs in percent among the 33 categories, first T merges, bootstrap 90 % in brackets (the noise of these
samples alone: see above how much that understates). "Paper": English / code / other languages as published, where
they are.

| tokenizer | T | English | code | other languages | paper | missing | no slack | refit | CPU s |
|---|---|---|---|---|---|---|---|---|---|
{chr(10).join(rows)}

{NOTE_ON_PUBLISHED} "Missing": merges whose pair stands in no sample. "No slack": merges the solution explains wholly.
"Refit": share of the T merges which a tokenizer trained at the estimate also has.""",
            "Largest shares of pairs, in percent:\n\n" + "\n".join(largest),
            "Scripts of the merges no sample holds: they name the missing categories.\n\n" + "\n".join(absent),
            _frank(lines)]  # fmt: skip


def _merges(line: dict) -> str:
    first = line.get("first_merge", 0)
    return f"{line['merges']:,}" + (f" after {first:,}" if first else "")


def _share(row: dict, column: str) -> str:
    return f"{100 * row[column]:.1f} [{_percent(row['low'])}, {_percent(row['high'])}]"


def _percent(value: float | None) -> str:
    return "?" if value is None else f"{100 * value:.1f}"


def _frank(lines: list[dict]) -> str:
    gpt2 = next((line for line in lines if line["tokenizer"] == "gpt2"), None)
    measured = ""
    if gpt2:
        found = {row["group"]: 100 * row["pairs_share"] for row in gpt2["groups"]}
        measured = (
            f" GPT-2 is the yardstick, because its training text is known to be nearly all English (99 % by the "
            f"paper's 1 GB samples): these samples give it {found['English']:.0f} % English, {found['code']:.0f} % "
            f"code and {found['languages but English']:.0f} % other languages. That is the size of "
            f"the error to expect of every row."
        )
    text = f"""A category here is at most 0.8 MB of one genre: manuals of one Linux desktop and one handbook for the
    languages, one project for each programming language. The paper used 1 GB of web, books, encyclopedia and code.
    So, first, what a web crawl has and a manual lacks (names, dates, chat, fiction) is credited to whichever category
    happens to have the pair.{measured} Second, code_c is SQLite and code_go is Go's own library: their shares say
    which of seven styles looks most like the tokenizer's code, not which language it was; English and code trade off,
    because source code is full of English comments and manuals are full of commands. Third, languages outside the 26
    have no column: where their script is their own their merges are missing and listed above, where it is shared
    (Danish beside Norwegian) the neighbour takes them. Yi spells Tamil, Korean and most Arabic in single bytes, which
    no merge joins; such categories would explain any merges and are left out (with a warning). Qwen 2.5 has
    cl100k's row because it has cl100k's merges: 4,889 of its first 5,000 are among cl100k's first 5,000
    (`mixture_merges.canonical_merges` of both). Llama 3's own merges come so late that these samples cannot rank
    them: a tenth is explained without slack where a third is usual, the refit shares 7 % of the merges, and the row
    is wrong; it is shown because that is how such a failure looks, and the report warns of it. What holds up is the
    order of tokenizers: which is nearly all English, which holds much code, which was trained on many languages. A
    share below a few percent, or the ranking of two close languages, is not supported by samples of this size. The
    intervals shown do not hold the difference of genre, which is the largest error here; no resampling of these
    texts can show it, only other texts can."""
    return "### What samples of this kind can and cannot tell\n\n" + fill(
        " ".join(text.split()), 120, break_on_hyphens=False
    )
