"""Constrained text: how far from the right law, and at what cost, against token masking and genlm-control.

    python bench/constrained.py places --out bench/results/constrained_places.json
    python bench/constrained.py cost --out bench/results/constrained_cost.json      # also needs genlm-control

places: a small model of lines such as `lyon is in france`, trained here (28 tokens). The text must be one of the 20
places, each said to be in the rarest country, which masking checks too late: it has chosen the place freely by then.
The truth is enumerated. KL in nats over the 20 texts.

cost: the model of bench/base_lm.py (4,096 tokens); a line without the letter e, judged by a Python function that
counts its calls. Ours and genlm-control get the same function, particles, lengths and prompts, in one process.
"""

import argparse
import asyncio
import json
import math
import os
import platform
import statistics
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch

from tokenry.core.intervals import bootstrap_interval, ratio_interval
from tokenry.core.vocab import Vocab
from tokenry.decoding.constrained import sample
from tokenry.decoding.constraints import Checked, Constraint, WordList
from tokenry.decoding.regexes import Regex
from tokenry.decoding.sampling import Settings
from tokenry.models.lm import LM

PLACES = {
    "england": ["london", "leeds", "york", "bath"],
    "france": ["paris", "lyon", "nice", "lille"],
    "spain": ["madrid", "seville", "bilbao", "toledo"],
    "italy": ["rome", "milan", "turin", "pisa"],
    "norway": ["oslo", "bergen", "bodo", "narvik"],
}
TARGET, MOST = "norway", 24
PROMPTS = ("The settings of the program", "You can use the mouse to", "To open a file", "If you want to print")


# places ---------------------------------------------------------------------------------------------------------------


def places_model(steps: int) -> LM:
    """Places fall off as 1 / rank, countries in the order above; one line in twenty names a wrong country."""
    from tokenizers import Tokenizer, models

    from tokenry.models.tiny import trained_tiny

    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(" abcdefghijklmnopqrstuvwxyz")}, merges=[]))
    tokenizer.add_special_tokens(["<|end|>"])
    vocab = Vocab.from_spec(json.loads(tokenizer.to_str()), {"eos_token": "<|end|>"}, "places")
    generator = np.random.default_rng(0)
    known = [(place, country) for country, some in PLACES.items() for place in some]
    shares = 1 / np.arange(1, len(known) + 1)
    texts = []
    for number in generator.choice(len(known), 20_000, p=shares / shares.sum()):
        place, country = known[number]
        country = country if generator.random() < 0.95 else str(generator.choice(list(PLACES)))
        texts.append(f"{place} is in {country}")
    return trained_tiny(texts, vocab, steps=steps, length=64, batch_size=16, width=64, layers=2)


def asked_texts() -> list[str]:
    return [f"{place} is in {TARGET}" for some in PLACES.values() for place in some]


def enumerated(lm: LM) -> tuple[np.ndarray, np.ndarray, float]:
    """Laws over the texts (20,): the truth, and masking one token at a time; and the evidence."""
    end, constraint, truth, masked = lm.vocab.specials["eos"], WordList(asked_texts()), [], []
    for text in asked_texts():
        ids = lm.vocab.encode([text])[0].tolist()
        with torch.inference_mode():
            laws_TV = lm.model(torch.tensor([[end, *ids]])).logits[0].double().softmax(-1).numpy()
        p = q = 1.0
        for place, token in enumerate([*ids, end]):
            data = text[:place].encode()
            ok = [constraint.complete_ok(data) if t == end else constraint.prefix_ok(data + lm.vocab.tokens[t])
                  for t in range(lm.vocab.size)]  # fmt: skip
            p, q = p * laws_TV[place, token], q * laws_TV[place, token] / laws_TV[place, ok].sum()
        truth.append(p)
        masked.append(q)
    return np.array(truth) / sum(truth), np.array(masked), float(sum(truth))


def divergence(truth: np.ndarray, other: np.ndarray, n: float) -> float:
    """KL in nats; a text that was never drawn counts as half a draw of n."""
    other = np.maximum(other, 0.5 / n)
    return float(np.sum(truth * np.log(np.maximum(truth, 1e-300) / (other / other.sum()))))


def places(steps: int, particles: list[int], budget: int, seed: int) -> dict:
    lm, texts = places_model(steps), asked_texts()
    truth, masked, evidence = enumerated(lm)
    right = np.array([text.split()[0] in PLACES[TARGET] for text in texts])
    noise = [divergence(truth, np.random.default_rng([seed, i]).multinomial(budget, truth) / budget, budget)
             for i in range(200)]  # fmt: skip
    rows = [{"sampler": "mask (exact)", "particles": 1, "kl_nats": divergence(truth, masked, 1e9),
             "right": float(masked[right].sum())}]  # fmt: skip
    for sampler, n in [("mask", 1), ("awrs", 1), *(("awrs", n) for n in particles), ("mask", particles[-1]),
                       ("reject", 64)]:  # fmt: skip
        laws, shares, checks, tokens, started = [], [], 0, 0, time.process_time()
        for run in range(max(5, budget // n) if n > 1 else 300):
            counting = Counting(WordList(texts))
            found = sample(lm, [lm.vocab.specials["eos"]], counting.constraint, sampler=sampler, particles=n,
                           most_rejects=20_000 if sampler == "reject" else None,
                           settings=Settings(max_new_tokens=MOST, temperature=1.0, seed=seed + run))  # fmt: skip
            checks, tokens = checks + counting.n_calls, tokens + found.n_tokens
            shares.append(math.exp(found.log_evidence))
            law = np.zeros(len(texts))
            for ids, weight in zip(found.ids, found.weights_M, strict=True):
                if weight > 0:
                    law[texts.index(lm.vocab.decode_bytes(ids).decode())] += weight
            if law.sum():
                laws.append(law / law.sum())
        law = np.mean(laws, axis=0)
        rows.append({
            "sampler": sampler, "particles": n, "runs": len(shares), "kl_nats": divergence(truth, law, n * len(shares)),
            "right": float(law[right].sum()), "checks_per_token": checks / tokens, "tokens": tokens,
            "evidence": str(bootstrap_interval(shares)), "cpu_seconds": time.process_time() - started,
        })  # fmt: skip
        print(rows[-1], file=sys.stderr, flush=True)
    return {"right_in_truth": float(truth[right].sum()), "evidence": evidence,
            "kl_of_as_many_exact_draws": statistics.median(noise), "rows": rows}  # fmt: skip


# cost -----------------------------------------------------------------------------------------------------------------


class Counting:
    """A constraint judged one beginning at a time, every question counted."""

    def __init__(self, constraint: Constraint) -> None:
        self.inner, self.n_calls = constraint, 0
        self.constraint = Checked(self.complete_ok, self.prefix_ok)

    def prefix_ok(self, data: bytes) -> bool:
        self.n_calls += 1
        return self.inner.prefix_ok(data)

    def complete_ok(self, data: bytes) -> bool:
        self.n_calls += 1
        return self.inner.complete_ok(data)


NO_E = r" [^eE\n]*"


def ours(lm: LM, prompt: str, sampler: str, particles: int, seed: int, *, counted: bool = True) -> dict:
    counting = Counting(Regex(NO_E))
    started = time.process_time()
    found = sample(lm, prompt, counting.constraint if counted else counting.inner, sampler=sampler, particles=particles,
                   settings=Settings(max_new_tokens=16, temperature=1.0, seed=seed))  # fmt: skip
    return {"checks": counting.n_calls, "tokens": found.n_tokens, "seconds": time.process_time() - started,
            "log_evidence": found.log_evidence}  # fmt: skip


class Peer:
    """genlm-control on the same folder and the same function."""

    def __init__(self, folder: str) -> None:
        from genlm.control import PromptedLLM

        self.llm = PromptedLLM.from_name(folder, backend="hf")

    def run(self, prompt_ids: list[int], sampler: str, particles: int, seed: int) -> dict:
        return asyncio.run(self._run(prompt_ids, sampler, particles, seed))

    async def _run(self, prompt_ids: list[int], sampler: str, particles: int, seed: int) -> dict:
        from genlm.control import AWRS, SMC, Potential, direct_token_sampler

        counting = Counting(Regex(NO_E))

        class Judge(Potential):
            async def complete(self, context):
                return 0.0 if counting.complete_ok(bytes(context)) else -np.inf

            async def prefix(self, context):
                return 0.0 if counting.prefix_ok(bytes(context)) else -np.inf

        np.random.seed(seed)
        torch.manual_seed(seed)
        llm = self.llm.spawn(prompt_ids=prompt_ids)
        judge = Judge(list(range(256))).coerce(llm, f=b"".join)
        unit = AWRS(llm, judge, seed=seed) if sampler == "awrs" else direct_token_sampler(llm * judge)
        started = time.process_time()
        found = await SMC(unit)(n_particles=particles, ess_threshold=0.5, max_tokens=16)
        seconds = time.process_time() - started
        return {"checks": counting.n_calls, "tokens": sum(len(context) for context in found.contexts),
                "seconds": seconds, "log_evidence": float(found.log_ml)}  # fmt: skip


def cost(folder: str, particles: int, seeds: int) -> dict:
    lm = LM.open(folder)
    ways = {
        "ours awrs": lambda p, s: ours(lm, p, "awrs", particles, s),
        "ours mask": lambda p, s: ours(lm, p, "mask", particles, s),
        "ours mask, automaton": lambda p, s: ours(lm, p, "mask", particles, s, counted=False),
    }
    try:
        peer = Peer(folder)
        ids = {p: lm.encode([p])[0].tolist() for p in PROMPTS}
        ways["genlm-control awrs"] = lambda p, s: peer.run(ids[p], "awrs", particles, s)
        ways["genlm-control mask"] = lambda p, s: peer.run(ids[p], "mask", particles, s)
    except ImportError as problem:
        print(f"without genlm-control: {problem}", file=sys.stderr)
    found = {name: [] for name in ways}
    for turn in range(seeds):
        for prompt in PROMPTS:
            for name, way in ways.items():
                if (turn or prompt != PROMPTS[0]) and name.endswith("mask"):
                    continue  # half a million questions a run: once
                if turn == 0 and prompt == PROMPTS[0]:
                    way(prompt, 999) if not name.endswith("mask") else None  # warm up
                found[name].append({"prompt": prompt, **way(prompt, turn)})
                print(name, found[name][-1], file=sys.stderr, flush=True)
    rows = {name: summary(runs) for name, runs in found.items()}
    result = {"n_tokens_of_vocabulary": lm.vocab.size, "particles": particles, "seeds": seeds, "rows": rows}
    if "genlm-control awrs" in found:
        mine, theirs = found["ours awrs"], found["genlm-control awrs"]
        result["seconds_per_token_theirs_over_ours"] = str(ratio_interval(
            [t["seconds"] / t["tokens"] for t in theirs], [m["seconds"] / m["tokens"] for m in mine]))  # fmt: skip
    return result


def summary(runs: list[dict]) -> dict:
    tokens = [run["tokens"] for run in runs]
    shares = {p: [math.exp(run["log_evidence"]) for run in runs if run["prompt"] == p] for p in PROMPTS}
    return {
        "runs": len(runs),
        "checks_per_token": str(ratio_interval([run["checks"] for run in runs], tokens)),
        "cpu_ms_per_token": str(ratio_interval([1000 * run["seconds"] for run in runs], tokens)),
        "evidence": {p: str(bootstrap_interval(share)) for p, share in shares.items() if len(share) > 1},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("places", "cost"))
    parser.add_argument("--model", help="folder of the model for cost; the one of bench/base_lm.py unless given")
    parser.add_argument("--steps", type=int, default=800, help="training of the model of places")
    parser.add_argument("--particles", type=int, default=8)
    parser.add_argument("--budget", type=int, default=2000, help="weighted texts for each sampler of places")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.part == "places":
        result = places(asked.steps, [4, 16, 64, 256], asked.budget, asked.seed)
    else:
        from base_lm import base_model

        result = cost(asked.model or str(base_model("en")), asked.particles, asked.seeds)
    result |= {"machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread", "seed": asked.seed,
               "torch": torch.__version__, "command": f"python {' '.join(sys.argv)}"}  # fmt: skip
    print(json.dumps(result, indent=1))
    if asked.out:
        asked.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
