"""A small and a large model trained on the same step-by-step problems, kept between runs.

python bench/routing_pair.py --seed 0     # about 3 CPU minutes the first time
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import argparse
from pathlib import Path

from corpus import cache_folder

SHAPES = {"small": {"width": 40, "layers": 2, "steps": 900}, "large": {"width": 96, "layers": 3, "steps": 1300}}
N_DOCUMENTS, BATCH, LENGTH, RATE = 16_000, 24, 56, 4e-3


def pair(seed: int = 0) -> tuple[Path, Path]:
    """Folders (small, large) of a seed, trained at the first call; the world is of the seed too."""
    from tokenry.models.tiny import trained_tiny
    from tokenry.tokenization.train import train
    from tokenry.worlds.digit_steps import DigitSteps

    folders = {size: cache_folder() / "routing" / f"{size}-{seed}" for size in SHAPES}
    if not all((folder / "config.json").is_file() for folder in folders.values()):
        texts = DigitSteps(seed).documents(N_DOCUMENTS, seed=seed)
        vocab = train(texts, size=330, pattern="gpt2")
        for size, folder in reversed(folders.items()):
            shape = {**SHAPES[size], "seed": seed}
            lm = trained_tiny(texts, vocab, length=LENGTH, batch_size=BATCH, rate=RATE, **shape)
            folder.parent.mkdir(parents=True, exist_ok=True)
            lm.save(folder, overwrite=True)
    return folders["small"], folders["large"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    from tokenry.models.lm import LM
    from tokenry.worlds.digit_steps import DigitSteps

    world = DigitSteps(seed)
    problems = world.problems(60, seed=99)
    for folder in pair(seed):
        lm = LM.open(folder)
        right = [world.is_right(each, lm.generate(each, max_new_tokens=60)) for each in problems]
        n = sum(parameter.numel() for parameter in lm.model.parameters())
        print(f"{folder.name}: {n:,} parameters, {sum(right)} of {len(right)} right", flush=True)
        print(lm.generate(problems[0], max_new_tokens=60))


if __name__ == "__main__":
    main()
