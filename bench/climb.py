"""Does a search in rounds find better mixtures than one fit, than chance and than equal shares, at the same price?

    python bench/climb.py surfaces
    python bench/climb.py mixture --data ../shared/data/mixture
    python bench/climb.py domains

`surfaces`: 20 concave surfaces with one harmful domain of 8, whose optimum SLSQP knows; 28 measurements each; what
share of the way from equal shares to the optimum the result has made. `mixture`: the 33 categories; the target is text
of three of them in proportions that the search is not told; a proxy is a byte n-gram language model of orders 0 to 5
(interpolated as Witten and Bell do, in closed form) over a megabyte of documents drawn by the weights; its score is
bits per byte on one half of the target, and the result is judged by five fresh proxies on the other half.
`domains`: the same 33 categories with their names hidden: adjusted Rand index and purity of the domains found by words.
Results: bench/results/climb_surfaces.json, climb_mixture.json, climb_domains.json. The default predictor was chosen
after the targets 0 to 7 had been seen; climb_mixture_fresh.json has 20 targets that were not (--n 20 --first 100).
"""

import argparse
import json
import lzma
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tokenry.core.progress import set_quiet
from tokenry.corpora.mixing import Search, search_mixture
from tokenry.corpora.mixing_pool import candidates

RESULTS = Path(__file__).parent / "results"
ORDERS = 6
PROXY_BYTES = 1_000_000
FRESH = 5


def surface(seed, k=8):
    """P(a) = sum c_i (1 - exp(-a_i / b_i)); one c is negative."""
    rng = np.random.default_rng(seed)
    gains, widths = rng.uniform(0.5, 2, k), rng.uniform(0.05, 0.4, k)
    gains[rng.integers(k)] *= -1
    return lambda a: np.sum(gains * (1 - np.exp(-np.asarray(a) / widths)), axis=-1)


def optimum(score, k=8):
    from scipy.optimize import minimize

    rng, best = np.random.default_rng(0), -np.inf
    for _ in range(5):
        found = minimize(
            lambda a: -score(a), rng.dirichlet(np.ones(k)), bounds=[(0, 1)] * k, method="SLSQP",
            constraints={"type": "eq", "fun": lambda a: a.sum() - 1},
        )  # fmt: skip
        best = max(best, -float(found.fun))
    return best


def mean_interval(values):
    values = np.asarray(values, np.float64)
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    return {"mean": float(values.mean()), "low": float(values.mean() - half), "high": float(values.mean() + half)}


def surfaces(n, first, pool):
    names, made = [f"d{i}" for i in range(8)], {}
    for noise in (0.0, 0.05, 0.15):
        closed = {}
        for number in range(first, first + n):
            score = surface(number)
            low, high = float(score(np.full(8, 1 / 8))), optimum(score)

            def train_eval(weights, seed, score=score, noise=noise):
                return float(score(list(weights.values()))) + noise * np.random.default_rng(seed).normal()

            def share(weights, score=score, low=low, high=high):
                return float((score(weights) - low) / (high - low))

            drawn = candidates(np.ones(8), pool, seed=number)
            closed.setdefault("the best of the pool (not known to any method)", []).append(
                max(share(one) for one in drawn)
            )
            for predictor in ("gp", "lightgbm", "linear"):
                for plan, rounds in (("in rounds 16, 8, 4", (16, 8, 4)), ("one fit of 28", (28,))):
                    search = Search(rounds=rounds, predictor=predictor, pool=pool, seed=number)
                    found = search_mixture(train_eval, dict.fromkeys(names, 1.0), search=search)
                    closed.setdefault(f"{predictor} {plan}", []).append(share(list(found.weights.values())))
            closed.setdefault("best of 28 at random", []).append(share(list(found.best_run.weights.values())))
        rows = {
            name: {**mean_interval(shares), "shares": np.round(shares, 4).tolist()} for name, shares in closed.items()
        }
        for predictor in ("gp", "lightgbm"):
            gain = np.subtract(closed[f"{predictor} in rounds 16, 8, 4"], closed[f"{predictor} one fit of 28"])
            rows[f"{predictor}: rounds less one fit, paired"] = mean_interval(gain)
        made[f"noise {noise}"] = rows
        print(noise, {name: round(row["mean"], 3) for name, row in rows.items()}, flush=True)
    return {"n_surfaces": n, "first_seed": first, "pool": pool, "results": made}


class NgramProxy:
    """Counts in every document of all n-grams whose context the target has, so that a proxy is a few sparse sums."""

    def __init__(self, documents_by_domain, target_bytes):
        self.names = list(documents_by_domain)
        documents = [document for own in documents_by_domain.values() for document in own]
        self.domain = np.repeat(np.arange(len(self.names)), [len(own) for own in documents_by_domain.values()])
        self.lengths = np.array([len(document) for document in documents], np.float64)
        self.n_target = [len(half) for half in target_bytes]
        halves = [_grams(half) for half in target_bytes]
        own = [_grams(document) for document in documents]
        self.counts, self.context_of, self.places = [], [], []
        for order in range(ORDERS):
            contexts = np.unique(np.concatenate([half[order] >> _BYTE for half in halves]))
            kept = [grams[order][_found(grams[order] >> _BYTE, contexts)[1]] for grams in own]
            known = np.unique(np.concatenate([*kept, *(half[order] for half in halves)]))
            self.counts.append(_counted(kept, known))
            self.context_of.append(np.searchsorted(contexts, known >> _BYTE))
            self.places.append([np.searchsorted(known, half[order]) for half in halves])

    def draw(self, weights, seed):
        """How often each document is drawn: at random within its domain until the domain's bytes are there."""
        rng, times = np.random.default_rng(seed), np.zeros(len(self.lengths))
        for number, name in enumerate(self.names):
            left, own = weights.get(name, 0.0) * PROXY_BYTES, np.flatnonzero(self.domain == number)
            while left > 0:
                order = rng.permutation(own)
                ends = np.cumsum(self.lengths[order])
                taken = np.minimum(1.0, np.maximum(0.0, (left - (ends - self.lengths[order])) / self.lengths[order]))
                times[order] += taken
                left -= ends[-1]
        return times

    def bits_per_byte(self, weights, seed, half):
        """Interpolated from the lowest order up: (count + kinds * share of the order below) / (all + kinds)."""
        times = self.draw(weights, seed)
        drawn = np.flatnonzero(times)
        share = np.full(self.n_target[half], 1 / 256)
        for order in range(ORDERS):
            grams = times[drawn] @ self.counts[order][drawn]
            total = np.bincount(self.context_of[order], grams)
            kinds = np.bincount(self.context_of[order], grams > 0)
            place = self.places[order][half]
            context = self.context_of[order][place]
            n, t = total[context], kinds[context]
            share = np.where(n > 0, (grams[place] + t * share) / np.maximum(n + t, 1e-12), share)
        return float(-np.log2(share).mean())


_BYTE = np.uint64(8)


def _found(values, known):
    place = np.minimum(np.searchsorted(known, values), len(known) - 1)
    return place, known[place] == values


def _counted(grams, known):
    from scipy.sparse import csr_array

    lengths = [len(one) for one in grams]
    flat = np.searchsorted(known, np.concatenate(grams))
    made = csr_array((np.ones(len(flat)), flat, np.concatenate([[0], np.cumsum(lengths)])), (len(grams), len(known)))
    made.sum_duplicates()
    return made


def _grams(document):
    """Of each order the byte with those before it, packed into one number (context << 8 | byte)."""
    codes = np.frombuffer(document, np.uint8).astype(np.uint64)
    made, packed = [], codes
    for order in range(ORDERS):
        if order:
            before = np.concatenate([np.zeros(order, np.uint64), codes[:-order] if order < len(codes) else codes[:0]])
            packed = packed | (before[: len(codes)] << np.uint64(8 * order))
        made.append(packed)
    return made


def read_domains(folder, rng, test_share=0.2):
    """Blocks of 8 kB of each category, and its held-out texts."""
    train, held = {}, {}
    for file in sorted(Path(folder).glob("*.jsonl.xz")):
        name = file.name.removesuffix(".jsonl.xz")
        with lzma.open(file, "rt", encoding="utf-8") as lines:
            texts = [json.loads(line)["text"].encode() for line in lines]
        texts = [texts[i] for i in rng.permutation(len(texts))]
        cut = round(test_share * len(texts))
        train[name], held[name] = _joined(texts[cut:]), texts[:cut]
    return train, held


def _joined(texts, size=8000):
    blocks, block = [], b""
    for text in texts:
        block += text + b"\n"
        while len(block) >= size:
            blocks.append(block[:size])
            block = block[size:]
    return [*blocks, block] if block else blocks


def mixture(data, seeds, rounds, out):
    total, results = sum(rounds), []
    for seed in seeds:
        rng = np.random.default_rng([2026, seed])
        train, held = read_domains(data, rng)
        names = list(train)
        hidden = dict(
            zip(rng.choice(names, 3, replace=False).tolist(), rng.dirichlet(np.full(3, 2.0)).tolist(), strict=True)
        )
        target = [b"", b""]
        for name, share in hidden.items():
            for half in (0, 1):
                text = b"\n".join(held[name][half::2])
                target[half] += text[: round(share * 40_000)]
        started = time.process_time()
        proxy = NgramProxy(train, target)
        sizes = {name: float(sum(map(len, own))) for name, own in train.items()}

        def train_eval(weights, one, proxy=proxy):
            return proxy.bits_per_byte(weights, one, 0)

        def judged(weights, proxy=proxy, seed=seed):
            return float(np.mean([proxy.bits_per_byte(weights, 10**6 + 100 * seed + i, 1) for i in range(FRESH)]))

        row = {
            "seed": seed,
            "hidden": hidden,
            "prepared_s": round(time.process_time() - started, 1),
            "bits_per_byte": {},
        }
        scores = row["bits_per_byte"]
        for predictor in ("gp", "lightgbm"):
            for plan, own in ((f"in rounds {rounds}", rounds), (f"one fit of {total}", (total,))):
                found = search_mixture(
                    train_eval, sizes, search=Search(rounds=own, predictor=predictor, better="lower", seed=seed)
                )
                scores[f"{predictor} {plan}"] = judged(found.weights)
                row[f"{predictor} {plan}: spearman"] = [
                    [round(r.spearman, 3), round(r.spearman_within, 3)] for r in found.rounds
                ]
                row[f"{predictor} {plan}: on the target"] = round(sum(found.weights[n] for n in hidden), 3)
                if len(own) == 1:
                    scores[f"best of {total} at random"] = judged(found.best_run.weights)
                else:
                    scores[f"{predictor} best measured in rounds"] = judged(found.best_run.weights)
        scores["equal shares"] = judged(dict.fromkeys(names, 1 / len(names)))
        scores["by size"] = judged({name: size / sum(sizes.values()) for name, size in sizes.items()})
        scores["the hidden proportions (not known to any method)"] = judged(hidden)
        row["cpu_s"] = round(time.process_time() - started, 1)
        results.append(row)
        print(seed, hidden, {name: round(v, 4) for name, v in scores.items()}, row["cpu_s"], flush=True)
        _write(out, {"rounds": list(rounds), "proxy_bytes": PROXY_BYTES, "fresh_proxies": FRESH, "targets": results})
    first = f"gp in rounds {rounds}"
    paired = {
        f"{other} less {name}": mean_interval([r["bits_per_byte"][other] - r["bits_per_byte"][name] for r in results])
        for name in (first, f"lightgbm in rounds {rounds}")
        for other in results[0]["bits_per_byte"]
        if other != name
    }
    means = {name: mean_interval([r["bits_per_byte"][name] for r in results]) for name in results[0]["bits_per_byte"]}
    told = {"rounds": list(rounds), "proxy_bytes": PROXY_BYTES, "fresh_proxies": FRESH}
    return {**told, "means": means, "paired": paired, "targets": results}


def domains(data, k=200):
    from sklearn.metrics import adjusted_rand_score

    from tokenry.corpora.domain_model import Settings
    from tokenry.corpora.domains import build_domains
    from tokenry.corpora.sidecars import read_signals

    files, truth, rows = sorted(Path(data).glob("*.jsonl.xz")), [], []
    for number, file in enumerate(files):
        with lzma.open(file, "rt", encoding="utf-8") as lines:
            truth += [number] * sum(1 for _ in lines)
    truth = np.array(truth)
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(3):
            for linkage in ("average", "complete", "ward"):
                for n in (20, 33, 60):
                    out = Path(folder) / str(seed)
                    settings = Settings(k=k, linkage=linkage, n_domains=n, seed=seed)
                    build_domains(list(map(str, files)), out, settings=settings)
                    labels = read_signals(out, ["domains.label"]).column("domains.label").to_pylist()
                    shutil.rmtree(out)
                    found = np.unique(labels, return_inverse=True)[1]
                    counts = np.histogram2d(truth, found, bins=(len(files), found.max() + 1))[0]
                    row = {"seed": seed, "linkage": linkage, "domains": n, "largest": float(counts.sum(axis=0).max())}
                    row["largest"] /= len(truth)
                    row["rand"] = float(adjusted_rand_score(truth, found))
                    row["purity"] = float(counts.max(axis=0).sum() / len(truth))
                    rows.append(row)
                    print(row, flush=True)
    return {"k": k, "documents": len(truth), "rows": rows}


def _write(path, record):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["surfaces", "mixture", "domains"])
    parser.add_argument("--data", default="../shared/data/mixture")
    parser.add_argument("--n", type=int, default=20, help="surfaces, or targets (8 is what the table has)")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--pool", type=int, default=8000)
    parser.add_argument("--rounds", default="64,32,16")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    set_quiet(True)
    out = options.out or RESULTS / f"climb_{options.what}.json"
    started, cpu = time.time(), time.process_time()
    if options.what == "surfaces":
        made = surfaces(options.n, options.first, options.pool)
    elif options.what == "domains":
        made = domains(options.data)
    else:
        rounds = tuple(int(n) for n in options.rounds.split(","))
        made = mixture(options.data, range(options.first, options.first + options.n), rounds, out)
    made["command"] = " ".join(["python", "bench/climb.py", *sys.argv[1:]])
    made["seconds"], made["cpu_seconds"] = round(time.time() - started), round(time.process_time() - cpu)
    _write(out, made)


if __name__ == "__main__":
    main()
