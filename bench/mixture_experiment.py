"""Controlled mixtures: train tokenizers at known shares of real categories, infer the shares, and score the intervals.

    python bench/mixture_experiment.py --what errors            # one line a trial into results/mixture_trials.jsonl
    python bench/mixture_experiment.py --what long --trials 20   # the same with 10,000 merges
    python bench/mixture_experiment.py --what intervals         # the same for the coverage of the intervals
    python bench/mixture_experiment.py --page                   # docs/results/mixture.md from the results

Categories are the 33 of ../shared/data/mixture. Each is halved by document (hash of the text): one half trains, the
other attacks. A trial draws n categories and shares uniform on the simplex (flat Dirichlet, in bytes), weights the
words' counts so, and learns merges with cl100k's split pattern. Trials already in the file are not run again, so an
interrupted run goes on. A line holds the errors at several T and those of the baselines, or for each kind of interval
how many of the n true shares it covers at 90 %.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import argparse
import json
import time
from pathlib import Path

import numpy as np

from tokenry.core.progress import set_quiet
from tokenry.core.vocab import Vocab
from tokenry.tokenization.mixture import ends_in_bytes
from tokenry.tokenization.mixture_baselines import encoding_efficiency, fit_efficiency, vocabulary_frequency
from tokenry.tokenization.mixture_calibration import calibrate, calibrated_interval, learn_merges, weights_for
from tokenry.tokenization.mixture_counts import CategoryCounts, count_categories, spell_words
from tokenry.tokenization.mixture_evidence import Evidence, gather_evidence, solve, to_bytes
from tokenry.tokenization.train import train

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "mixture"
RESULTS = ROOT / "bench" / "results" / "mixture_trials.jsonl"
CACHE = Path(os.environ.get("TOKENRY_BENCH_CACHE", Path.home() / ".cache" / "tokenry-bench")) / "mixture"
STEPS, LONG = (300, 1000, 3000), (10_000,)
INTERVALS_AT = 1000
EFFICIENCY_AT = 1000
LEVEL, RESAMPLES, ROUNDS, SLACK = 0.9, 20, 10, 0.01
N_SHARDS = 40


def categories() -> tuple[Vocab, CategoryCounts]:
    """A byte vocabulary with cl100k's pattern, and the counts of the 33 categories."""
    vocab = train(["nothing is learned"], kind="byte", pattern="cl100k", specials=[])
    files = {file.name.split(".")[0]: str(file) for file in sorted(DATA.glob("*.jsonl.xz"))}
    return vocab, count_categories(files, vocab, n_shards=N_SHARDS, cache=CACHE)


def attacked(
    vocab: Vocab, everything: CategoryCounts, *, n: int, number: int, n_merges: int
) -> tuple[Evidence, np.ndarray]:
    """A tokenizer of a random mixture of n categories, replayed on the attack halves, and the true shares of bytes."""
    rng = np.random.default_rng([n, number])
    chosen = np.sort(rng.choice(len(everything.names), n, replace=False))
    shares = rng.dirichlet(np.ones(n))
    whole = everything.only(chosen)
    first = np.tile(np.arange(N_SHARDS) % 2 == 0, n)
    training = whole.within(first)
    words = spell_words(vocab, training.words)
    weights = training.by_category() @ weights_for(shares, training.bytes_by_category)
    merges = learn_merges(vocab, words, weights, n_merges=n_merges)
    return gather_evidence(vocab, whole.within(~first), merges), shares


def errors(vocab: Vocab, everything: CategoryCounts, n: int, number: int, *, steps_at: tuple[int, ...]) -> dict:
    """How far the inferred shares and the baselines are off, at several T."""
    evidence, shares = attacked(vocab, everything, n=n, number=number, n_merges=max(steps_at))
    attack = evidence.categories
    names: dict[int, str] = {}
    for left, right, made in evidence.trajectories.merges.tolist():
        names[made] = (names.get(left) or vocab.literal(left)) + (names.get(right) or vocab.literal(right))
    line = {"categories": list(attack.names), "shares": shares.round(6).tolist(), "at": {}}
    for steps in steps_at:
        start = time.process_time()
        part = evidence.first(steps)
        fit = solve(part)
        seconds = time.process_time() - start
        guess = to_bytes(fit.pairs_share, part.bytes_n, part.pairs_n)
        tokens = [names[int(i)].encode() for i in part.trajectories.merges[:, 2]]
        frequency = vocabulary_frequency(
            tokens, attack.words, counts_Wn=attack.by_category(), bytes_n=attack.bytes_by_category
        )
        line["at"][str(steps)] = {
            "inferred": score(guess, shares), "vocabulary_frequency": score(frequency, shares),
            "gap": fit.gap, "rows": fit.n_rows, "cpu_seconds": round(seconds, 2),
        }  # fmt: skip
    line["uniform"] = score(np.full(n, 1 / n), shares)
    if steps_at == LONG:
        return line
    model = fit_efficiency(vocab, attack, evidence.spelled, n_merges=EFFICIENCY_AT, seed=number)
    guess = encoding_efficiency(model, evidence.spelled, evidence.trajectories.merges)
    line["encoding_efficiency"] = score(guess, shares)
    return line


def score(guess: np.ndarray, truth: np.ndarray) -> float:
    """log10 of the mean squared error over the categories."""
    return float(np.log10(((guess - truth) ** 2).mean()))


def intervals(vocab: Vocab, everything: CategoryCounts, n: int, number: int) -> dict:
    """Kind of interval -> how many of the n true shares it covers, and its mean width."""
    from tokenry.tokenization.mixture_intervals import bootstrap_shares, near_optimal_range

    evidence, truth = attacked(vocab, everything, n=n, number=number, n_merges=INTERVALS_AT)
    part = evidence
    fit = solve(part)
    guess = to_bytes(fit.pairs_share, part.bytes_n, part.pairs_n)
    steps = part.trajectories
    shared = {"constrained_T": part.constrained, "excluded_pairs": part.excluded}
    draws = bootstrap_shares(
        steps, part.counts, part.categories.shard_category, n_pairs_C=part.spelled.pairs(part.categories.counts),
        n_resamples=RESAMPLES, seed=0, start=fit, **shared,
    )  # fmt: skip
    draws = to_bytes(draws, part.bytes_n, part.pairs_n)
    summed = part.spelled.spread(part.categories.by_category())
    near = near_optimal_range(
        steps.changes(summed), part.pairs_n, merged_pair=steps.merged_pair, slack=SLACK, start=fit, **shared
    )
    found = calibrate(vocab, part, guess, n_rounds=ROUNDS, seed=0)
    ends = {
        "bootstrap": np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0).T,
        "calibrated": calibrated_interval(guess, found.errors_bytes, level=LEVEL),
        "near-optimal": ends_in_bytes(near, fit.pairs_share, part),
    }
    kinds = {
        kind: {
            "covered": int(((low_high[:, 0] <= truth) & (truth <= low_high[:, 1])).sum()),
            "width": float((low_high[:, 1] - low_high[:, 0]).mean()),
        }
        for kind, low_high in ends.items()
    }
    rmse = {"error": float(np.sqrt(((guess - truth) ** 2).mean())),
            "calibrated": float(np.sqrt((found.errors_bytes**2).mean()))}  # fmt: skip
    return {"intervals": kinds, "rmse": rmse}


def run(chosen: argparse.Namespace) -> None:
    """Run what is not in the file yet."""
    set_quiet(True)
    done = {(line["what"], line["n"], line["trial"]) for line in read(chosen.results)}
    vocab, everything = categories()
    for number in range(chosen.first, chosen.trials):
        for n in chosen.n:
            if (chosen.what, n, number) in done:
                continue
            start = time.process_time()
            if chosen.what != "intervals":
                found = errors(vocab, everything, n, number, steps_at=STEPS if chosen.what == "errors" else LONG)
            else:
                found = intervals(vocab, everything, n, number)
            seconds = round(time.process_time() - start, 1)
            line = {"what": chosen.what, "n": n, "trial": number, **found, "cpu_seconds": seconds}
            chosen.results.parent.mkdir(parents=True, exist_ok=True)
            with chosen.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            told = found.get("intervals") or {t: round(at["inferred"], 2) for t, at in found["at"].items()}
            print(chosen.what, n, number, seconds, told, flush=True)


def read(file: Path) -> list[dict]:
    """The lines of a results file; none when it is not there."""
    if not file.is_file():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20, help="mixtures of each n")
    parser.add_argument("--first", type=int, default=0, help="number of the first one")
    parser.add_argument("--n", type=int, nargs="+", default=[5, 10, 30], help="categories of a mixture")
    parser.add_argument("--what", choices=["errors", "long", "intervals"], default="errors",
                        help="errors at T up to 3,000; at 10,000 (slow); coverage of the intervals")  # fmt: skip
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", action="store_true", help="write docs/results/mixture.md and stop")
    chosen = parser.parse_args()
    if chosen.page:
        from mixture_page import write_page

        write_page(chosen.results)
    else:
        run(chosen)


if __name__ == "__main__":
    main()
