"""Two worlds with known truth for bench/diffusion.py: worked sums (is the answer right?) and stories of a known law.

Sums modulo five: "4 1 3 2 = 4+1=0 0+3=3 3+2=0;": each line carries the sum before it. Signs and copied
digits can be written at once; a result needs the one before, so writing all at once must fail, and one knows where.
Stories: texts drawn from stories260K at temperature 1. Its own bits per byte are the truth, not an opinion.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from pathlib import Path

import numpy as np

N_DIGITS, MODULUS = 6, 5
SUM_PROMPT = 2 * N_DIGITS + 2
SUM_ANSWER = 6 * (N_DIGITS - 1)
SUM_SHAPE = {"width": 64, "layers": 3, "heads": 4, "positions": 64}
SPECIALS = {"bos": "<s>", "eos": "</s>", "pad": "<pad>", "unk": "<unk>", "mask": "<mask>"}


def problem(generator: np.random.Generator) -> tuple[str, str]:
    """A prompt and its only right answer, both of fixed length in characters."""
    digits = generator.integers(0, MODULUS, N_DIGITS).tolist()
    lines, value = [], digits[0]
    for digit in digits[1:]:
        result = (value + digit) % MODULUS
        lines.append(f"{value}+{digit}={result}")
        value = result
    return " ".join(map(str, digits)) + " = ", " ".join(lines) + ";"


def problems(n: int, seed: int | list[int]) -> list[tuple[str, str]]:
    """Problems, drawn with replacement."""
    generator = np.random.default_rng([*np.atleast_1d(seed), N_DIGITS])
    return [problem(generator) for _ in range(n)]


def unseen(n: int, seed: int, trained_on: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Problems that were not trained on."""
    known = {prompt for prompt, _ in trained_on}
    return [one for one in problems(8 * n, [seed, 77]) if one[0] not in known][:n]


def characters():
    """One token a byte, and the special ones."""
    from tokenry.tokenization.train import train

    return train([a + b for a, b in problems(20, 99)], kind="byte", specials=SPECIALS)


def sum_packs(vocab, n: int, seed: int):
    """Packs of problems, one a sequence, of which only the answers are learned."""
    from tokenry.models.batches import Packs

    ids = np.stack([vocab.encode([a + b])[0] for a, b in problems(n, seed)]).astype(np.uint16)
    learned = np.zeros(ids.shape, dtype=bool)
    learned[:, SUM_PROMPT:] = True
    owners = np.broadcast_to(np.arange(n, dtype=np.int32)[:, None], ids.shape)
    return Packs(ids, learned, owners.copy())


def train_sums(seed: int, folder: Path, *, steps: int = 1500, guide_steps: int = 900, n: int = 8_000) -> None:
    """A masked-diffusion model and a smaller causal guide for the sums, into folder/sums-SEED-dlm and -guide."""
    from tokenry.decoding.diffusion_training import diffusion_loss, masked_draw, tiny_diffusion
    from tokenry.models.batches import draw
    from tokenry.models.tiny import tiny_llama
    from tokenry.models.training import FitConfig, fit

    vocab = characters()
    packs = sum_packs(vocab, n, seed)
    guide_folder, folder = folder / f"sums-{seed}-guide", folder / f"sums-{seed}-dlm"
    if not (guide_folder / "config.json").is_file():
        guide = tiny_llama(vocab, seed=seed + 100, width=48, layers=2, heads=4, positions=64)
        drawn = draw(packs, batch_size=64, seed=seed)
        how = FitConfig(rate=4e-3, warmup=50, seed=seed)
        result = fit(guide.model, drawn, steps=guide_steps, config=how, label="guide")
        print(f"sums {seed} guide: {result.cpu_seconds:.0f} CPU s, {last(result):.4f} nats", flush=True)
        guide.save(guide_folder, overwrite=True)
    if not (folder / "config.json").is_file():
        lm = tiny_diffusion(vocab, seed=seed, **SUM_SHAPE)
        drawn = masked_draw(packs, mask=vocab.specials["mask"], batch_size=64, seed=seed)
        how = FitConfig(rate=4e-3, warmup=100, seed=seed)
        result = fit(lm.model, drawn, diffusion_loss, steps=steps, config=how, label="sums")
        print(f"sums {seed}: {result.cpu_seconds:.0f} CPU s, {last(result):.4f} nats", flush=True)
        lm.save(folder, overwrite=True)


def train_stories(seed: int, folder: Path, *, steps: int = 1500, guide_steps: int = 500) -> None:
    """A masked-diffusion model and a guide of half its size for the stories, into folder/stories-SEED-dlm and -guide."""
    from tokenry.core.tables import texts
    from tokenry.data import demo_model, demo_text
    from tokenry.decoding.diffusion_training import trained_diffusion
    from tokenry.models.lm import LM
    from tokenry.models.tiny import trained_tiny

    vocab, stories = LM.open(demo_model()).vocab, list(texts(str(demo_text("stories"))))
    make = {"guide": (trained_tiny, {"steps": guide_steps, "width": 64, "layers": 2}),
            "dlm": (trained_diffusion, {"steps": steps, "width": 96, "layers": 3})}  # fmt: skip
    for name, (train, how) in make.items():
        if not (folder / f"stories-{seed}-{name}" / "config.json").is_file():
            lm = train(stories, vocab, length=64, batch_size=32, rate=4e-3, seed=seed, **how)
            lm.save(folder / f"stories-{seed}-{name}", overwrite=True)


def last(result) -> float:
    """Mean loss of the last 50 steps."""
    return float(np.mean([entry["loss"] for entry in result.history[-50:]]))


if __name__ == "__main__":
    import sys

    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for number in map(int, sys.argv[2:]):
        train_sums(number, target)
