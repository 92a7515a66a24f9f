"""Write a mixture that was searched as `mixture.json`, read it again, and show the search.

Papers: CLIMB: CLustering-based Iterative Data Mixture Bootstrapping (arXiv 2504.13161).
"""

import json
import shlex
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.core.intervals import Interval
from tokenry.core.report import Figure, Report
from tokenry.core.runs import atomic_write
from tokenry.corpora.mixing import Found
from tokenry.corpora.mixtures import effective_tokens

__all__ = ["mixture_report", "next_line", "read_weights", "write_mixture"]

_MOST_BYTES = 64 * 2**20


def write_mixture(found: Found, path: str | Path) -> Path:
    """Write weights, evidence and settings as one JSON file, which `--weights` and `--quota` of the verbs read."""
    search = asdict(found.search)
    if not isinstance(search["predictor"], str):
        search["predictor"] = getattr(found.search.predictor, "__qualname__", "a function")
    record = {
        "format": 1,
        "weights": found.weights,
        "predicted": _interval(found.predicted),
        "measured": _interval(found.measured),
        "best_measured": {
            "score": found.best_run.score,
            "again": _interval(found.best_again),
            "weights": found.best_run.weights,
        },
        "epochs": found.epochs,
        "budget": found.budget,
        "sizes": found.sizes,
        "search": search,
        "pool": found.pool_key,
        "rounds": [{key: _finite(value) for key, value in asdict(one).items()} for one in found.rounds],
    }
    atomic_write(path, json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return Path(path)


def read_weights(path: str | Path) -> dict[str, float]:
    """Domain -> weight of a mixture.json.

    Raises:
        FileNotFoundError: no such file. ValueError: it holds no weights.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"no mixture at {path}. Give the mixture.json of tokenry corpus search-mixture.")
    if file.stat().st_size > _MOST_BYTES:
        raise ValueError(
            f"{path} is over 64 MB; no mixture is. Give the mixture.json of tokenry corpus search-mixture."
        )
    try:
        weights = json.loads(file.read_text(encoding="utf-8"))["weights"]
        made = {str(name): float(weight) for name, weight in weights.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{path} holds no weights ({type(error).__name__}: {error}). Need JSON with an object `weights`, as "
            "tokenry corpus search-mixture writes it."
        ) from error
    if not made or not all(np.isfinite(weight) and weight >= 0 for weight in made.values()):
        raise ValueError(f"{path}: weights have to be numbers of 0 or more.")
    return made


def next_line(path: str | Path, domains: str | Path | None = None) -> str:
    """The command that draws the mixture."""
    file = shlex.quote(str(path))
    if domains is None:
        return f"tokenry corpus mix --source NAME=DOCUMENTS ... --weights {file} --budget ... --out mixed/"
    labels = shlex.quote(str(domains))
    return (
        f"tokenry corpus select DOCUMENTS --signals {labels} --where 'not missing(domains.label)' --per domains.label "
        f"--quota {file} --repeat --unit bytes --budget ... --out mixed/"
    )


def mixture_report(found: Found, *, line: str = "") -> Report:
    """The mixture, what each round told, and what to run next."""
    total = sum(found.sizes.values())
    rows = []
    for name, weight in sorted(found.weights.items(), key=lambda pair: -pair[1]):
        row = {"domain": name, "share_of_text": found.sizes[name] / total, "weight": weight,
               "best_measured": found.best_run.weights[name]}  # fmt: skip
        if found.epochs:
            taken = weight * found.budget
            fresh = effective_tokens(found.sizes[name], found.epochs[name])
            row |= {"epochs": found.epochs[name], "worth_in_fresh": fresh / taken if taken else None}
        rows.append(row)
    rounds = [{"round": number, **asdict(one)} for number, one in enumerate(found.rounds, 1)]
    best = found.best_run
    facts: dict[str, object] = {
        "proxies": len(found.runs),
        "proxies.without_score": sum(run.score is None for run in found.runs),
        "proxies.seconds": round(sum(run.seconds for run in found.runs), 1),
        "score.predicted": found.predicted,
        "score.best_proxy": best.score,
    }
    if found.measured is not None:
        facts |= {"score.measured": found.measured, "score.best_proxy_again": found.best_again}
    figures = [
        Figure("bar", "Shares", "domain", "share", {
            "of the text": [(row["domain"], row["share_of_text"]) for row in rows],
            "of the mixture": [(row["domain"], row["weight"]) for row in rows],
        }),
        Figure("line", "Scores of the proxies", "proxy", "score", {
            f"round {number}": [(run.number, run.score) for run in found.runs
                                if run.round == number and run.score is not None]
            for number in range(1, len(found.rounds) + 1)
        }),
    ]  # fmt: skip
    return Report(
        kind="mixture search",
        title="Mixture search",
        facts=facts,
        tables={"weights": pa.Table.from_pylist(rows), "rounds": pa.Table.from_pylist(rounds)},
        figures=figures,
        verdict=f"{rows[0]['domain']} has {rows[0]['weight']:.1%} of the mixture; predicted score {found.predicted}."
        + (f" Next: {line}" if line else ""),
        warnings=_warnings(found),
        notes=[
            "The interval of a prediction is 1.96 times the predictor's error in five-fold cross-validation.",
            "spearman: what the predictor said of a round's mixtures before they were measured, against their scores; "
            "– in the first round, and where it said the same of all.",
            *(
                ["worth_in_fresh: what a drawn byte is worth of one that is never repeated (arXiv 2305.16264)."]
                if found.epochs
                else []
            ),
        ],
    )


def _warnings(found: Found) -> list[str]:
    sign, made = (1 if found.search.better == "higher" else -1), []
    again = found.best_again
    if found.measured is None:
        made.append("the mixture itself was not measured; add --repeats 3 to measure it with fresh seeds.")
    elif again is not None and sign * (found.measured.value - again.value) < 0:
        made.append(
            f"with the same fresh seeds the mixture scores {found.measured}, the best proxy {again}. Take the weights "
            "of that one if more --repeats confirm it: best_measured in mixture.json."
        )
    last = found.rounds[-1].spearman_within
    if not last > 0.3:
        made.append(
            f"the predictor ranks mixtures it has not seen hardly better than chance (rank correlation {last:.2f}): "
            "the proxies are too noisy, or too few for so many domains."
        )
    if lost := sum(run.score is None for run in found.runs):
        made.append(f"{lost} proxies gave no finite score and were left out.")
    return made


def _interval(interval: Interval | None) -> dict | None:
    if interval is None:
        return None
    ends = {"value": interval.value, "low": interval.low, "high": interval.high}
    return {**{key: _finite(value) for key, value in ends.items()}, "n": interval.n}


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
