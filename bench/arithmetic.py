"""Does it matter to a small model from which side numbers are cut? Addition learned with three tokenizers, three seeds.

    python bench/arithmetic.py                      # 3 cuts x 3 seeds, about 3 CPU minutes on one core
    python bench/arithmetic.py --steps 300 --seeds 1   # a quick look

Toy models, trained on nothing but sums a+b= with the same problems in the same order, the loss on the answer alone;
digits single, or in pairs from the left or from the right. The operands have 3 or 4 digits, all of them 0, 1, 5 or 6:
that keeps carries and length mismatch, and leaves 256 sums of pairs to be learned instead of 10,000, which a minute of
one core can do. Asked: pairs of operands that were held out, 400 with an answer as long as an operand, 200 (operands
of equal length) with one a digit longer, which shifts pairs read from the left. Then the same models are asked with the
other direction put in at inference. The result is written to bench/results/arithmetic.json.
"""

import argparse
import json
import os
import time
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402  (the threads must be set first)

from tokenry.core.hf_json import added_tokens, bpe_model, template, whole_spec  # noqa: E402
from tokenry.core.intervals import wilson_interval  # noqa: E402
from tokenry.core.patterns import byte_level, split_pretokenizer  # noqa: E402
from tokenry.core.vocab import Vocab  # noqa: E402
from tokenry.tokenization.arithmetic import Problem, Setting  # noqa: E402
from tokenry.tokenization.arithmetic_probe import ask  # noqa: E402
from tokenry.tokenization.arithmetic_scores import paired, score, taxonomy  # noqa: E402
from tokenry.tokenization.numerals import digit_pattern  # noqa: E402

RESULTS = Path(__file__).resolve().parent / "results" / "arithmetic.json"
CUTS = ("single", "l2r2", "r2l2")
DIGITS = "0156"
LOW, HIGH = 3, 4
HELD_OUT = 5
"""Every fifth pair of operands (by a hash) is never trained on; only such pairs are asked."""
END = 1


def number_vocab(cut: str) -> Vocab:
    """Digits, pairs of digits, "+", "=" (and "a", by which LM sees that <s> goes in front); the same for every cut."""
    pairs = [f"{n:02d}" for n in range(100)]
    entries = ["<s>", "</s>", *"0123456789+=a", *pairs]
    mode, k = cut.rstrip("0123456789"), int(cut[-1]) if cut[-1].isdigit() else 1
    spec = whole_spec(
        bpe_model({e: i for i, e in enumerate(entries)}, [[p[0], p[1]] for p in pairs], ignore_merges=True),
        added_tokens=added_tokens({0: "<s>", END: "</s>"}),
        pre_tokenizer=split_pretokenizer((digit_pattern(mode, k),)),
        decoder=byte_level(use_regex=False),
        post_processor=template(("<s>", 0), None),
    )
    return Vocab.from_spec(spec, {"bos_token": "<s>", "eos_token": "</s>"}, f"numbers {cut}")


def held_out(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Whether a sum is kept for the test; the same for a + b and b + a."""
    low, high = np.minimum(a, b), np.maximum(a, b)
    return (low * 2654435761 + high * 40503) % 997 % HELD_OUT == 0


def operands(rng: np.random.Generator, lengths: np.ndarray) -> np.ndarray:
    """Numbers of these lengths from the four digits, the first not 0."""
    figures = np.array([int(d) for d in DIGITS])
    numbers = figures[rng.integers(1, len(DIGITS), lengths.shape)]
    for place in range(1, HIGH):
        more = place < lengths
        numbers = np.where(more, numbers * 10 + figures[rng.integers(0, len(DIGITS), lengths.shape)], numbers)
    return numbers


def test_problems(n: int) -> list[Problem]:
    """`n` held-out pairs for each (length, length, length match or not)."""
    rng, found, seen = np.random.default_rng(10_000), {}, set()
    pairs = [(a, b) for a in range(LOW, HIGH + 1) for b in range(LOW, HIGH + 1)]
    for _ in range(4000):
        for pair in pairs:
            a, b = (int(operands(rng, np.array([length]))[0]) for length in pair)
            problem = Problem(0, a, b)
            key = (*pair, problem.length_match)
            if held_out(np.array(a), np.array(b)) and (a, b) not in seen and len(found.setdefault(key, [])) < n:
                seen.add((a, b))
                found[key].append(problem)
    return [Problem(i, p.a, p.b) for i, p in enumerate(p for _, group in sorted(found.items()) for p in group)]


def batches(vocab: Vocab, size: int, seed: int):
    """step -> a batch of fresh sums; the sums depend on seed and step alone, not on the tokenizer."""
    import torch

    def batch(step: int) -> dict:
        rng = np.random.default_rng([seed, step])
        a, b = (operands(rng, rng.integers(LOW, HIGH + 1, 2 * size)) for _ in range(2))
        kept = ~held_out(a, b)
        a, b = a[kept][:size], b[kept][:size]
        asked = vocab.encode([f"{x}+{y}=" for x, y in zip(a.tolist(), b.tolist(), strict=True)])
        told = vocab.encode([str(x + y) for x, y in zip(a.tolist(), b.tolist(), strict=True)])
        rows = [[0, *map(int, q), *map(int, r), END] for q, r in zip(asked, told, strict=True)]
        width = max(map(len, rows))
        ids = np.full((size, width), END, dtype=np.int64)
        labels = np.full((size, width), -100, dtype=np.int64)
        for i, (row, q) in enumerate(zip(rows, asked, strict=True)):
            ids[i, : len(row)] = row
            labels[i, 1 + len(q) : len(row)] = row[1 + len(q) :]
        return {"input_ids": torch.from_numpy(ids), "labels": torch.from_numpy(labels)}

    return batch


def trained(cut: str, seed: int, given):
    """A small Llama that learned to add, and the CPU seconds it took."""
    from tokenry.models.tiny import tiny_llama
    from tokenry.models.training import FitConfig, fit

    vocab = number_vocab(cut)
    lm = tiny_llama(vocab, width=given.width, layers=given.layers, heads=4, positions=64, seed=seed)
    config = FitConfig(
        rate=given.rate, weight_decay=given.decay, warmup=given.steps // 20, schedule="cosine", seed=seed
    )
    result = fit(
        lm.model, batches(vocab, given.batch, seed), steps=given.steps, config=config, label=f"{cut} seed {seed}"
    )
    return lm, result


def shares(scored: list) -> dict:
    """Right answers in all, and by length match, with Wilson intervals."""
    found = {}
    for name, part in (
        ("all", scored),
        ("match", [s for s in scored if s.length_match]),
        ("mismatch", [s for s in scored if not s.length_match]),
    ):
        one = wilson_interval(sum(s.right for s in part), len(part))
        found[name] = {
            "right": sum(s.right for s in part),
            "n": len(part),
            "share": one.value,
            "low": one.low,
            "high": one.high,
        }
    return found


def main() -> None:
    """Train, ask, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=450)
    parser.add_argument("--batch", type=int, default=192)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--rate", type=float, default=5e-3)
    parser.add_argument("--decay", type=float, default=0.01)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--n", type=int, default=100, help="problems for each pair of lengths, match and mismatch")
    parser.add_argument("--cuts", nargs="+", default=list(CUTS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    started, runs, answers = time.process_time(), [], {}
    asked = test_problems(given.n)
    for seed in range(given.seeds):
        for cut in given.cuts:
            lm, fitted = trained(cut, seed, given)
            other = {"l2r2": "r2l2", "r2l2": "l2r2"}.get(cut)
            for digits in filter(None, ("as trained", other)):
                rows = ask(lm, asked, [Setting(shots=0)], digits=None if digits == "as trained" else digits)
                scored = score(rows)
                side = (cut if digits == "as trained" else digits).rstrip("2")
                errors = taxonomy([s for s in scored if not s.length_match], direction=side, chunk=2)
                answers.setdefault((cut, digits), []).extend(scored)
                runs.append({
                    "cut": cut, "seed": seed, "asked as": digits, **shares(scored),
                    "mismatch errors": {"wrong": errors.wrong, "right length": errors.length_right,
                                        "by digit": errors.digit, "by token": errors.token,
                                        "off by one": errors.off_by_one},
                    "last loss": fitted.history[-1]["loss"], "train cpu seconds": round(fitted.cpu_seconds, 1),
                })  # fmt: skip
                print(json.dumps(runs[-1]), flush=True)
        _write(given, started, runs, answers)


def _write(given, started: float, runs: list, answers: dict) -> None:
    """What is known so far, after each seed."""
    pooled = {f"{cut}, asked {how}": shares(scored) for (cut, how), scored in answers.items()}
    tests = {}
    for first, second in (("r2l2", "l2r2"), ("r2l2", "single"), ("single", "l2r2")):
        a, b = answers.get((first, "as trained")), answers.get((second, "as trained"))
        for part in ("match", "mismatch") if a and b else ():
            keep = [i for i, s in enumerate(a) if s.length_match == (part == "match")]
            test = paired([_numbered(a[i], i) for i in keep], [_numbered(b[i], i) for i in keep])
            tests[f"{first} against {second}, {part}"] = vars(test)
    found = {
        "command": "python bench/arithmetic.py", 
        "settings": {k: str(v) for k, v in vars(given).items() if k != "out"},
        "examples_seen": given.steps * given.batch, "cpu_seconds": round(time.process_time() - started, 1),
        "pooled over seeds": pooled, "paired": tests, "runs": runs,
    }  # fmt: skip
    given.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps({"pooled": pooled, "paired": tests}, indent=1))


def _numbered(one, place: int):
    """The same response under a number of its own, so that seeds are not mixed up."""
    from dataclasses import replace

    return replace(one, index=str(place))


if __name__ == "__main__":
    main()
