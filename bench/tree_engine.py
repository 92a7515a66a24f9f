"""What the decoding loop costs beside the model: processor time of a step against the bare forward of the same tokens.

    python bench/tree_engine.py --out bench/results/tree_engine.json

A random Llama of about 100 million parameters. One step = draft a tree of fixed shape, build masks, forward, choose,
walk, keep the path, count. The bare forward runs the same ids with masks and positions made beforehand, in the same
cache; bare and whole are measured in turn and compared by the median of each. Also: plain decoding against the
library's generate at two lengths.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from tokenry.decoding.sampling import Settings
from tokenry.decoding.speculate import FixedSize, NoDrafter, _Loop
from tokenry.decoding.trees import best_ranks
from tokenry.models.session import Session

RATES = (0.45, 0.15, 0.08, 0.05, 0.035, 0.025, 0.02, 0.015)


def model_of(width: int, layers: int, n_tokens: int) -> torch.nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=n_tokens, hidden_size=width, intermediate_size=width * 8 // 3, num_hidden_layers=layers,
        num_attention_heads=width // 64, num_key_value_heads=width // 64, max_position_embeddings=4096,
        tie_word_embeddings=True, initializer_range=0.1, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).eval()
    model.generation_config.eos_token_id = None
    return model


class FixedTree(NoDrafter):
    """The same shape each step, random tokens; every other step its first chain is what the model wrote before."""

    def __init__(self, n_guesses: int, n_tokens: int) -> None:
        self.shape, self.n_tokens = best_ranks(RATES, n_guesses) if n_guesses else None, n_tokens
        self.generator = np.random.default_rng(0)

    def propose(self, context, *, budget, depth):
        if self.shape is None:
            return None
        tokens = self.generator.integers(3, self.n_tokens, len(self.shape))
        tokens[0] = context[-1]
        return self.shape.filled(tokens)


def bare_forward(session: Session, drafter: FixedTree, context: list[int]) -> float:
    """Processor seconds of the forward alone, everything made beforehand; the cache is put back as it was."""
    tree = drafter.propose(context, budget=0, depth=0)
    like = session.model.get_input_embeddings().weight
    settings: dict = {}
    ids = torch.tensor([context[-1:] if tree is None else tree.tokens.tolist()])
    if tree is not None:
        settings["attention_mask"] = session._attention.tree_masks(tree, n_cached=len(session), known=0, like=like)
        settings["position_ids"] = torch.from_numpy(tree.depth + len(session))[None]
    started = time.process_time()
    with torch.inference_mode():
        session.model(input_ids=ids, use_cache=True, **{session._attention.cache_name: session._cache}, **settings)
    seconds = time.process_time() - started
    session._cache.crop(-ids.shape[1])
    return seconds


def overhead(model: torch.nn.Module, n_guesses: int, length: int, *, temperature: float, repeats: int) -> dict:
    """Medians over alternating bare forwards and whole steps at about one length."""
    n_tokens = model.config.vocab_size
    prompt = np.random.default_rng(1).integers(3, n_tokens, length).tolist()
    session, drafter = Session.open(model), FixedTree(n_guesses, n_tokens)
    settings = Settings(max_new_tokens=10_000, temperature=temperature, top_p=0.95 if temperature else 1.0)
    loop = _Loop(session, prompt, drafter, settings, None, None)
    loop.start()
    bare, whole = [], []
    for number in range(repeats + 3):
        first = bare_forward(session, drafter, loop.context)
        started = time.process_time()
        loop.step(FixedSize(n_guesses))
        if number >= 3:
            whole.append(time.process_time() - started)
            bare.append(first)
    middle = statistics.median(bare)
    return {"guesses": n_guesses, "length": length, "temperature": temperature, "bare_ms": 1e3 * middle,
            "step_ms": 1e3 * statistics.median(whole), "overhead": statistics.median(whole) / middle - 1,
            "overhead_of_minima": min(whole) / min(bare) - 1}  # fmt: skip


def against_library(model: torch.nn.Module, length: int, n_new: int) -> dict:
    """Processor milliseconds a token of plain decoding, ours and the library's, prompt left out by a difference."""
    from tokenry.decoding.speculate import generate

    prompt = np.random.default_rng(2).integers(3, model.config.vocab_size, length).tolist()
    ids = torch.tensor([prompt])
    costs: dict[str, list[float]] = {"library": [], "ours": []}
    for name in ("library", "ours", "library", "ours"):
        seconds = []
        for n in (1, 1 + n_new):
            started = time.process_time()
            if name == "ours":
                generate(Session.open(model), prompt, settings=Settings(max_new_tokens=n))
            else:
                model.generate(
                    ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=n, pad_token_id=0
                )
            seconds.append(time.process_time() - started)
        costs[name].append(1e3 * (seconds[1] - seconds[0]) / n_new)
    best = {name: min(values) for name, values in costs.items()}
    return {
        "length": length,
        "n_new": n_new,
        **{f"{k}_ms": v for k, v in best.items()},
        "ratio": best["ours"] / best["library"],
    }


def main() -> None:
    """Print the table; write it where --out says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=32_000)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--guesses", type=int, nargs="*", default=[0, 8, 32, 80])
    parser.add_argument("--lengths", type=int, nargs="*", default=[128, 1024])
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    model = model_of(asked.width, asked.layers, asked.tokens)
    n_parameters = sum(weight.numel() for weight in model.parameters())
    print(f"{n_parameters / 1e6:.0f} M parameters, {asked.tokens} tokens, float32, one thread, {asked.repeats} repeats")
    found: dict = {"n_parameters": n_parameters, "steps": [], "plain": []}
    for length in asked.lengths:
        for n_guesses in asked.guesses:
            for temperature in (0.0, 1.0):
                row = overhead(model, n_guesses, length, temperature=temperature, repeats=asked.repeats)
                found["steps"].append(row)
                print("  ".join(f"{k} {v:.3g}" for k, v in row.items()), flush=True)
        row = against_library(model, length, 16)
        found["plain"].append(row)
        print("plain:  " + "  ".join(f"{k} {v:.3g}" for k, v in row.items()), flush=True)
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
