"""What a move between digit schemes costs in copying and addition, and what repairs it: small models, several seeds.

    python bench/digits.py                              # 2 directions x 3 seeds, about 4 CPU minutes on one core
    python bench/digits.py --seeds 1 --steps 300        # a quick look

Toy models (Llama, width 64, 2 layers, head of its own) learn stories and two tasks from made text, the loss of a task
on its answer alone: a sum "a+b=" (operands of 2 or 3 digits out of 0, 1, 5 and 6) and a copy "a=" (2 to 4 digits, all
ten). Both tokenizers hold the same words; one cuts single digits, the other pairs from the right. Then each model is
moved onto the other's tokenizer by every method and asked held-out problems: right after the move, and after steps of
healing on the training text in the new cut. The donor of OMP is a model trained on the new cut with another seed.
"native" is a model trained on the new cut from the start, with as many steps as the base. An answer counts when the
greedy continuation, its end included, is exactly the right tokens. The result is written to bench/results/digits.json.
"""

import argparse
import functools
import json
import os
import time
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402  (the threads must be set first)
from arithmetic import held_out, operands  # noqa: E402

from tokenry.core.intervals import wilson_interval  # noqa: E402
from tokenry.core.tables import texts  # noqa: E402
from tokenry.core.vocab import Vocab  # noqa: E402
from tokenry.data import demo_text  # noqa: E402
from tokenry.tokenization.numerals import retrofit  # noqa: E402
from tokenry.tokenization.train import train  # noqa: E402
from tokenry.transplant.digits import compare_digits, repair_digits  # noqa: E402

RESULTS = Path(__file__).resolve().parent / "results" / "digits.json"
SIZE, LENGTH = 600, 64
ARMS = {
    "random": ("random", {}, None),
    "pieces": ("pieces", {}, None),
    "omp": ("omp", {}, None),
    "decompose last/first": ("pieces", {}, ("last", "first")),
    "decompose last/weighted": ("pieces", {}, ("last", "weighted")),
    "decompose late/early": ("pieces", {}, ("late", "early")),
    "omp, then decompose late/early": ("omp", {}, ("late", "early")),
}
SHARED_ARMS = ("random", "pieces")
"""Where every new token is an old one all methods make the same rows."""


@functools.cache
def number_vocab(cut: str) -> Vocab:
    """Words of the stories, digits, and pairs of digits where they are used; the ids differ between the cuts."""
    learned = train(list(texts(demo_text("stories"))), size=SIZE)
    model = learned.spec["model"]
    words = [piece for piece in model["vocab"] if piece not in learned.config.get("added", ())]
    special = [token["content"] for token in learned.spec["added_tokens"]]
    words = [piece for piece in words if piece not in special and (len(piece) == 1 or not any(map(str.isdigit, piece)))]
    merges = [pair for pair in model["merges"] if not any(map(str.isdigit, "".join(pair)))]
    if cut != "single":
        pairs = [f"{n:02d}" for n in range(100)]
        words, merges = pairs + words[::-1], merges + [[pair[0], pair[1]] for pair in pairs]
    entries = {piece: i for i, piece in enumerate([*special, *words])}
    spec = {**learned.spec, "model": {**model, "vocab": entries, "merges": merges}}
    return retrofit(Vocab.from_spec(spec, learned.config, f"numbers {cut}"), digits=cut).vocab


def problems(rng: np.random.Generator, n: int, *, test: bool) -> dict[str, list[tuple[str, str]]]:
    """`n` sums and `n` copies as (question, answer), all held out or none; a pair (or number) is one or the other."""
    found: dict[str, list[tuple[str, str]]] = {"add": [], "copy": []}
    while min(map(len, found.values())) < n:
        a, b = (operands(rng, rng.integers(2, 4, 4 * n)) for _ in range(2))
        kept = held_out(a, b) == test
        found["add"] += [(f"{x}+{y}=", str(x + y)) for x, y in zip(a[kept].tolist(), b[kept].tolist(), strict=True)]
        lengths = rng.integers(2, 5, 4 * n)
        c = rng.integers(10 ** (lengths - 1), 10**lengths)
        found["copy"] += [(f"{x}=", str(x)) for x in c[held_out(c, c) == test].tolist()]
    return {task: pairs[:n] for task, pairs in found.items()}


def arrays(vocab: Vocab, pairs: list[tuple[str, str]]):
    """ids and labels (B, T), labels -100 but on the answer and its end."""
    import torch

    start, end = vocab.specials["bos"], vocab.specials["eos"]
    asked, told = (vocab.encode(list(side)) for side in zip(*pairs, strict=True))
    rows = [[start, *map(int, q), *map(int, r), end] for q, r in zip(asked, told, strict=True)]
    width = max(map(len, rows))
    ids = np.full((len(rows), width), end, dtype=np.int64)
    labels = np.full((len(rows), width), -100, dtype=np.int64)
    for i, (row, q) in enumerate(zip(rows, asked, strict=True)):
        ids[i, : len(row)] = row
        labels[i, 1 + len(q) : len(row)] = row[1 + len(q) :]
    return torch.from_numpy(ids), torch.from_numpy(labels)


def batches(vocab: Vocab, size: int, seed: int):
    """step -> fresh problems, three quarters sums, or a batch of stories at each fourth step; what is asked depends on
    seed and step alone, not on the tokenizer."""
    import torch

    stories = np.concatenate(vocab.encode(list(texts(demo_text("stories"))))).astype(np.int64)

    def batch(step: int) -> dict:
        rng = np.random.default_rng([seed, step])
        if step % 4 == 0:
            starts = (rng.random(size // 8) * (stories.size - LENGTH)).astype(np.int64)
            ids = torch.from_numpy(stories[starts[:, None] + np.arange(LENGTH)])
            return {"input_ids": ids, "labels": ids}
        made = problems(rng, size, test=False)
        ids, labels = arrays(vocab, made["add"][: 3 * size // 4] + made["copy"][: size // 4])
        return {"input_ids": ids, "labels": labels}

    return batch


def trained(cut: str, seed: int, given):
    """A small Llama that learned both tasks."""
    from tokenry.models.tiny import tiny_llama
    from tokenry.models.training import FitConfig, fit

    vocab = number_vocab(cut)
    lm = tiny_llama(vocab, width=given.width, positions=LENGTH, tied=False, seed=seed)
    config = FitConfig(rate=given.rate, weight_decay=0.01, warmup=given.steps // 20, schedule="cosine", seed=seed)
    fit(lm.model, batches(vocab, given.batch, seed), steps=given.steps, config=config, label=f"{cut} seed {seed}")
    return lm


def right(lm, asked: dict) -> dict[str, int]:
    """Answers whose every token, the end included, is the likeliest one: what greedy decoding would give."""
    import torch

    found = {}
    for task, pairs in asked.items():
        ids, labels = arrays(lm.vocab, pairs)
        with torch.inference_mode():
            said = lm.model(input_ids=ids).logits[:, :-1, : lm.vocab.size].argmax(-1)
        found[task] = int(((said == labels[:, 1:]) | (labels[:, 1:] < 0)).all(1).sum())
    return found


def healed(lm, given, seed: int, asked: dict) -> list[dict]:
    """Right answers after each number of healing steps; all weights train, at a constant rate after a warm-up."""
    from tokenry.models.training import FitConfig, fit

    points = [{"steps": 0, **right(lm, asked)}]
    wanted = set(given.heal)

    def after(step: int, _entry: dict) -> None:
        if step in wanted:
            points.append({"steps": step, **right(lm, asked)})

    config = FitConfig(rate=given.heal_rate, warmup=5, schedule="constant", seed=seed)
    fit(lm.model, batches(lm.vocab, given.batch, seed + 7_000), steps=max(wanted), config=config, on_step=after,
        label="healing")  # fmt: skip
    return points


def run_seed(seed: int, given, asked: dict) -> list[dict]:
    """Both directions of one seed."""
    from tokenry.transplant.planning import plan
    from tokenry.transplant.surgery import move

    models = {cut: trained(cut, seed, given) for cut in given.cuts}
    donors = {given.cuts[1]: trained(given.cuts[1], seed + 100, given)}
    rows = []
    for cut, target in (given.cuts, given.cuts[::-1]):
        base, to = models[cut], models[target].vocab
        common = {"seed": seed, "from": cut, "to": target}
        rows.append({**common, "arm": "before (old tokenizer)", "points": [{"steps": 0, **right(base, asked)}]})
        rows.append({**common, "arm": "native", "points": [{"steps": 0, **right(models[target], asked)}]})
        given_rows = {
            "base": base.model.get_input_embeddings().weight.detach().numpy(),
            "base_head": base.model.get_output_embeddings().weight.detach().numpy(),
        }
        donor = {}
        if target in donors:
            donor["donor"] = donors[target].model.get_input_embeddings().weight.detach().numpy()
            donor["donor_head"] = donors[target].model.get_output_embeddings().weight.detach().numpy()
        for arm, (method, options, repair) in ARMS.items():
            if not donor and arm not in SHARED_ARMS:
                continue
            options = {**given_rows, **(donor if method == "omp" else {}), **options, "seed": seed}
            made = plan(base.vocab, to, method=method, **options)
            made = repair_digits(made, base.vocab, to, input=repair[0], head=repair[1]) if repair else made
            moved = move(base, to, plan=made).lm
            rows.append({**common, "arm": arm, "made_rows": int(made.info["classes"]["unmatched"]),
                         "repaired": made.info.get("digits_repaired", 0), "k": made.info.get("k"),
                         "points": healed(moved, given, seed, asked)})  # fmt: skip
            print(json.dumps(rows[-1]), flush=True)
    return rows


def pooled(rows: list[dict], n: int) -> list[dict]:
    """Shares of right answers over all seeds, with Wilson intervals, and the range of the seeds."""
    found = {}
    for row in rows:
        for point in row["points"]:
            found.setdefault((row["from"], row["to"], row["arm"], point["steps"]), []).append(point)
    out = []
    for (cut, target, arm, steps), points in found.items():
        entry = {"from": cut, "to": target, "arm": arm, "healing_steps": steps, "seeds": len(points)}
        for task in ("copy", "add"):
            hits = [point[task] for point in points]
            one = wilson_interval(sum(hits), n * len(hits))
            entry[task] = {"share": one.value, "low": one.low, "high": one.high, "n": n * len(hits),
                           "seeds": [h / n for h in hits]}  # fmt: skip
        out.append(entry)
    return out


def main() -> None:
    """Train, move, ask, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--rate", type=float, default=5e-3)
    parser.add_argument("--heal", type=int, nargs="+", default=[10, 30, 100])
    parser.add_argument("--heal-rate", type=float, default=2e-3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=10, help="seed 0 was looked at while this was written")
    parser.add_argument("--n", type=int, default=300, help="held-out problems of each task")
    parser.add_argument("--cuts", nargs=2, default=["single", "r2l2"])
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    given.cuts = tuple(given.cuts)
    started, rows = time.process_time(), []
    asked = problems(np.random.default_rng(10_000), given.n, test=True)
    change = compare_digits(*(number_vocab(cut) for cut in given.cuts))
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        rows += run_seed(seed, given, asked)
        result = {
            "command": "python bench/digits.py",
            "settings": {k: v for k, v in vars(given).items() if k != "out"},
            "cpu_seconds": round(time.process_time() - started, 1),
            "detector": {**change.facts(), "warnings": change.sentences()},
            "pooled": pooled(rows, given.n),
            "runs": rows,
        }
        given.out.write_text(json.dumps(result, indent=1) + "\n")
    for entry in result["pooled"]:
        shares = ", ".join(
            f"{t} {entry[t]['share']:.3f} [{entry[t]['low']:.3f}, {entry[t]['high']:.3f}]" for t in ("copy", "add")
        )
        print(f"{entry['from']} -> {entry['to']}  {entry['arm']}  after {entry['healing_steps']} steps: {shares}")


if __name__ == "__main__":
    main()
