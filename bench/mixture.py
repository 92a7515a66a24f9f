"""Speed of data mixture inference on 33 categories of real text (21.5 MB), against plain ways of doing each part.

    OMP_NUM_THREADS=1 python bench/mixture.py --merges 30000

Parts, each in a process of its own (its CPU seconds and peak memory, imports included, kernels compiled before):

- count: our pre-token counting of a text against HF `pre_tokenize_str` and a Counter, same counts;
- replay: our replay of the merges on all distinct words against plain Python with an inverted index pair -> words, on
  every 20th word, scaled up by symbols; same counts;
- fit: the shares at the first merges by cuts, by HiGHS with a greedy matching of rows, and by HiGHS with the five worst
  rows of every step;
- audit: everything from the files to the shares.

Writes bench/results/mixture.json. The machine's load is recorded: wall seconds mean little on a busy one.
"""

import argparse
import itertools
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
SHARED = HERE.parents[1] / "shared" / "data"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "ARROW_NUM_THREADS": "1",
              "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}  # fmt: skip
TOKENIZER = "openai/cl100k_base.tiktoken.xz"
EVERY = 20


class Clock:
    """Wall and CPU seconds of a block."""

    def __enter__(self) -> "Clock":
        self._started = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        wall, cpu = self._started
        self.seconds = {"wall": round(time.perf_counter() - wall, 2), "cpu": round(time.process_time() - cpu, 2)}


def _tokenizer() -> tuple:
    from tokenry.core.vocab import Vocab
    from tokenry.tokenization.mixture_merges import canonical_merges

    vocab = Vocab.open(SHARED / "tokenizers" / TOKENIZER)
    return vocab, canonical_merges(vocab).merges


def _categories(vocab: object) -> object:
    from tokenry.tokenization.mixture_counts import count_categories

    files = {file.name.split(".")[0]: str(file) for file in sorted((SHARED / "mixture").glob("*.jsonl.xz"))}
    return count_categories(files, vocab)


def _laid_out(n_merges: int) -> tuple:
    """(changes, first pairs, merged pairs, the seconds of each part) of the whole problem."""
    from tokenry.tokenization.mixture_counts import spell_words
    from tokenry.tokenization.mixture_replay import replay_merges

    seconds = {}
    with Clock() as clock:
        vocab, merges = _tokenizer()
    seconds["open"] = clock.seconds
    with Clock() as clock:
        categories = _categories(vocab)
    seconds["count"] = clock.seconds
    with Clock() as clock:
        spelled = spell_words(vocab, categories.words)
        replayed = replay_merges(spelled.symbols, spelled.offsets, merges[:n_merges])
    seconds["replay"] = clock.seconds
    with Clock() as clock:
        counts = categories.by_category()
        changes = replayed.changes(spelled.spread(counts))
    seconds["changes"] = clock.seconds
    facts = {"categories": len(categories.names), "bytes": int(categories.n_bytes.sum()),
             "words": len(categories.words), "symbols": len(spelled.symbols), "merges": len(replayed.merges),
             "events": len(replayed.event_step), "entries": int(replayed.events.nnz)}  # fmt: skip
    return changes, spelled.pairs(counts), replayed.merged_pair, categories.names, seconds, facts


def part_count(args: argparse.Namespace) -> dict:
    from tokenizers import Tokenizer

    from tokenry.core.pretokens import count_pretokens
    from tokenry.core.tables import read

    vocab, _ = _tokenizer()
    texts = []
    for file in sorted((SHARED / "mixture").glob("*.jsonl.xz")):
        texts += read(str(file), limit=60)["text"].to_pylist()
    n_mb = sum(len(text.encode()) for text in texts) / 1e6
    count_pretokens(texts[:3], vocab)
    with Clock() as ours:
        counted = count_pretokens(texts, vocab)
    library = Tokenizer.from_str(json.dumps(vocab.spec))
    with Clock() as theirs:
        tally: Counter = Counter()
        for text in texts:
            tally.update(word for word, _ in library.pre_tokenizer.pre_tokenize_str(text))
    same = dict(zip(counted.words, counted.total.tolist(), strict=True)) == dict(tally)
    return {"megabytes": round(n_mb, 2), "tokenry": ours.seconds, "pre_tokenize_str": theirs.seconds,
            "same_counts": same,
            "tokenry_mb_per_cpu_s": round(n_mb / ours.seconds["cpu"], 2),
            "pre_tokenize_str_mb_per_cpu_s": round(n_mb / theirs.seconds["cpu"], 2)}  # fmt: skip


def inverted_index_replay(words: list[list[int]], merges: list[tuple[int, int, int]]) -> list[dict]:
    """The plain way: an index pair -> words; each merge visits its words and counts their pairs before and after."""
    where = defaultdict(set)
    first: Counter = Counter()
    for number, word in enumerate(words):
        for pair in itertools.pairwise(word):
            where[pair].add(number)
            first[pair] += 1
    steps = [dict(first)]
    for left, right, made in merges:
        change: Counter = Counter()
        for number in where.pop((left, right), ()):
            word = words[number]
            change.subtract(itertools.pairwise(word))
            merged, i = [], 0
            while i < len(word):
                both = i + 1 < len(word) and word[i] == left and word[i + 1] == right
                merged.append(made if both else word[i])
                i += 2 if both else 1
            words[number] = merged
            for pair in itertools.pairwise(merged):
                change[pair] += 1
                where[pair].add(number)
        steps.append({pair: n for pair, n in change.items() if n})
    return steps


def part_replay(args: argparse.Namespace) -> dict:
    import numpy as np

    from tokenry.tokenization.mixture_counts import spell_words
    from tokenry.tokenization.mixture_replay import replay_merges

    vocab, merges = _tokenizer()
    merges = merges[: args.merges]
    spelled = spell_words(vocab, _categories(vocab).words)
    replay_merges(spelled.symbols[: spelled.offsets[10]], spelled.offsets[:11], merges)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with Clock() as ours:
        replayed = replay_merges(spelled.symbols, spelled.offsets, merges)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with Clock() as two:
        replay_merges(spelled.symbols, spelled.offsets, merges, workers=2)
    some = [spelled.symbols[a:b].tolist() for a, b in
            zip(spelled.offsets[:-1:EVERY], spelled.offsets[1::EVERY], strict=False)]  # fmt: skip
    share = sum(map(len, some)) / len(spelled.symbols)
    with Clock() as plain:
        steps = inverted_index_replay(some, list(map(tuple, merges.tolist())))
    columns = np.arange(0, len(spelled.offsets) - 1, EVERY)[: len(some)]
    mask = np.zeros((replayed.n_words, 1), np.int64)
    mask[columns] = 1
    changes = replayed.changes(mask)
    pairs = list(map(tuple, replayed.pairs.tolist()))
    found = [{} for _ in steps]
    for step, pair, n in zip(changes.event_step, changes.event_pair, changes.counts.toarray()[:, 0], strict=True):
        found[step][pairs[pair]] = int(n)
    return {"merges": len(merges), "words": replayed.n_words, "symbols": len(spelled.symbols), "tokenry": ours.seconds,
            "tokenry_two_threads": two.seconds, "tokenry_mb_over_words": round((peak - before) / 1e3),
            "inverted_index": plain.seconds, "inverted_index_share_of_symbols": round(share, 4),
            "inverted_index_cpu_scaled_up": round(plain.seconds["cpu"] / share, 1),
            "times_faster_extrapolated": round(plain.seconds["cpu"] / share / ours.seconds["cpu"], 1),
            "same_counts": found == steps}  # fmt: skip


def naive_rows(problem: object, *, tolerance: float, most_seconds: float) -> dict:
    """HiGHS with the five worst violations of every step added in each round."""
    import numpy as np

    from tokenry.tokenization.mixture_programme import Programme, relative_gap

    programme, shares = Programme(problem), np.full(problem.n_categories, 1 / problem.n_categories)
    started, best, rounds = time.process_time(), np.inf, 0
    while True:
        steps, pairs, _, worst = problem.violations(
            shares, programme.step_slacks, programme.pair_slacks, last=problem.n_steps, top=5
        )
        best = min(best, float(programme.step_slacks.sum() + programme.pair_slacks.sum() + worst.sum()))
        seconds, gap = time.process_time() - started, relative_gap(best, programme.value)
        if gap <= tolerance or seconds > most_seconds:
            break
        programme.add(steps, pairs)
        programme.solve()
        shares, rounds = programme.shares, rounds + 1
    return {"cpu": round(seconds, 2), "objective_ppm": round(best, 1), "gap": gap, "rows": programme.n_rows,
            "rounds": rounds, "reached": gap <= tolerance}  # fmt: skip


def _fitted(problem: object, solver: str, tolerance: float) -> dict:
    from tokenry.tokenization.mixture_cuts import solve_by_cuts
    from tokenry.tokenization.mixture_programme import solve_by_rows

    with Clock() as clock:
        solve = solve_by_cuts if solver == "cuts" else solve_by_rows
        fit = solve(problem, tolerance=tolerance)
    return {**clock.seconds, "objective_ppm": round(fit.objective, 1), "gap": fit.gap, "rows": fit.n_rows,
            "rounds": fit.n_rounds}  # fmt: skip


def part_fit(args: argparse.Namespace) -> dict:
    from tokenry.tokenization.mixture_programme import MixtureProblem

    changes, n_pairs, merged, *_ = _laid_out(args.merges)
    _fitted(MixtureProblem(changes, n_pairs, merged_pair=merged[:20]), "cuts", 0.1)  # loads the kernels
    few = MixtureProblem(changes, n_pairs, merged_pair=merged[: args.few])
    return {"merges": args.few, "tolerance": args.tolerance,
            "cuts": _fitted(few, "cuts", args.tolerance),
            "rows_by_matching": _fitted(few, "simplex", args.tolerance),
            "rows_five_worst": naive_rows(few, tolerance=args.tolerance, most_seconds=args.most_seconds)}  # fmt: skip


def part_audit(args: argparse.Namespace) -> dict:
    from tokenry.tokenization.mixture_programme import fit_mixture

    with Clock() as whole:
        changes, n_pairs, merged, names, seconds, facts = _laid_out(args.merges)
        with Clock() as clock:
            fit = fit_mixture(changes, n_pairs, merged_pair=merged, tolerance=args.tolerance)
    shares = dict(sorted(zip(names, fit.pairs_share.round(4).tolist(), strict=True), key=lambda row: -row[1]))
    return {**facts, **seconds, "fit": clock.seconds, "whole": whole.seconds, "tolerance": args.tolerance,
            "gap": fit.gap,
            "rounds": fit.n_rounds, "objective_ppm": round(fit.objective, 1), "pairs_share": shares}  # fmt: skip


PARTS = {"count": part_count, "replay": part_replay, "fit": part_fit, "audit": part_audit}


def _run(args: argparse.Namespace, name: str) -> dict:
    """One part in a process of its own."""
    command = [sys.executable, __file__, "--part", name, "--merges", str(args.merges), "--few", str(args.few),
               "--tolerance", str(args.tolerance), "--most-seconds", str(args.most_seconds)]  # fmt: skip
    load = os.getloadavg()[0]
    done = subprocess.run(command, env={**os.environ, **ONE_THREAD}, stdout=subprocess.PIPE, check=True, text=True)
    return {**json.loads(done.stdout), "load_at_start": round(load, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--merges", type=int, default=30_000)
    parser.add_argument("--few", type=int, default=1000, help="merges at which ways to solve are compared")
    parser.add_argument("--tolerance", type=float, default=1e-3)
    parser.add_argument("--most-seconds", type=float, default=180, help="CPU seconds the naive way may take")
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        found = PARTS[args.part](args)
        print(json.dumps({**found, "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)}))
        return
    file = HERE / "results" / "mixture.json"
    held = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    held |= {"tokenizer": TOKENIZER, "machine": {"system": platform.platform(), "cores": os.cpu_count()}}
    for name in args.only or PARTS:
        command = f"python bench/mixture.py --merges {args.merges} --few {args.few} --tolerance {args.tolerance}"
        command += f" --most-seconds {args.most_seconds:g} --only {name}"
        held[name] = _run(args, name) | {"command": command}
        print(json.dumps({name: held[name]}, indent=1), flush=True)
        file.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
