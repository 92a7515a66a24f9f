"""A large model and small ones trained on the same step-by-step problems, kept between runs.

    python bench/routing_pair.py --seed 0     # about 10 CPU minutes the first time, 2 for each further small model

One world and one large model; a seed is that of a small model: its weights and the order of its texts.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import argparse
from pathlib import Path

from corpus import cache_folder

SHAPES = {"small": {"width": 32, "layers": 2, "steps": 800}, "large": {"width": 96, "layers": 3, "steps": 1300}}
WORLD, N_DOCUMENTS, BATCH, LENGTH, RATE = 0, 16_000, 24, 56, 4e-3


def pair(seed: int = 0) -> tuple[Path, Path]:
    """Folders (small, large), trained at the first call."""
    folders = {"large": cache_folder() / "routing" / "large-0", "small": cache_folder() / "routing" / f"small-{seed}"}
    for size, folder in folders.items():
        if not (folder / "config.json").is_file():
            _train(folder, {**SHAPES[size], "seed": seed if size == "small" else 0})
    return folders["small"], folders["large"]


def _train(folder: Path, shape: dict) -> None:
    from tokenry.models.tiny import trained_tiny
    from tokenry.tokenization.train import train
    from tokenry.worlds.digit_steps import DigitSteps

    texts = DigitSteps(WORLD).documents(N_DOCUMENTS, seed=0)
    vocab = train(texts, size=320, pattern="gpt2")
    lm = trained_tiny(texts, vocab, length=LENGTH, batch_size=BATCH, rate=RATE, **shape)
    folder.parent.mkdir(parents=True, exist_ok=True)
    lm.save(folder, overwrite=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    from tokenry.models.lm import LM
    from tokenry.worlds.digit_steps import DigitSteps

    world = DigitSteps(WORLD)
    problems = world.problems(60, seed=99)
    for folder in pair(seed):
        lm = LM.open(folder)
        right = [world.is_right(each, lm.generate(each, max_new_tokens=60)) for each in problems]
        n = sum(parameter.numel() for parameter in lm.model.parameters())
        print(f"{folder.name}: {n:,} parameters, {sum(right)} of {len(right)} right", flush=True)
        print(lm.generate(problems[0], max_new_tokens=60))


if __name__ == "__main__":
    main()
