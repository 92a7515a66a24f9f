"""Two worlds of known truth for bench/diffusion.py: a made-up language (is the text valid?), stories of a known law.

Language: 24 words of three to five letters, each followed by one of three others, all equally likely. Within a word the
letters follow from its beginning and may be written at once; where a word begins there is a choice, and letters of two
choices written side by side make no word. A text is valid when every word is one and may follow the one before.
Stories: texts drawn from stories260K at temperature 1. Its own bits per byte are the truth, not an opinion.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from itertools import pairwise
from pathlib import Path

import numpy as np

N_WORDS, N_AFTER = 24, 3
TEXT, PROMPT = 40, 8
NEW = TEXT - PROMPT
SPECIALS = {"bos": "<s>", "eos": "</s>", "pad": "<pad>", "unk": "<unk>", "mask": "<mask>"}


class Language:
    """The language of a seed: `words`, and `after`, the words that may follow each."""

    def __init__(self, seed: int) -> None:
        generator = np.random.default_rng([seed, 11])
        made: dict[str, None] = {}
        while len(made) < N_WORDS:
            size = int(generator.integers(3, 6))
            made.setdefault("".join(generator.choice(list("abdefgiklmnoprstu"), size)))
        self.words = list(made)
        self.after = {word: list(generator.choice(self.words, N_AFTER, replace=False)) for word in self.words}

    def texts(self, n: int, seed: int) -> list[str]:
        """Texts of TEXT characters, from the beginning of a word."""
        generator, found = np.random.default_rng([seed, 12]), []
        for _ in range(n):
            word = self.words[generator.integers(N_WORDS)]
            text = word
            while len(text) < TEXT:
                word = self.after[word][generator.integers(N_AFTER)]
                text += " " + word
            found.append(text[:TEXT])
        return found

    def is_valid(self, text: str) -> bool:
        """Whether every word is one and may follow; the last may be cut."""
        *whole, cut = text.split(" ")
        if not all(word in self.after for word in whole):
            return False
        if not all(other in self.after[one] for one, other in pairwise(whole)):
            return False
        return any(word.startswith(cut) for word in (self.after[whole[-1]] if whole else self.words))


def byte_vocab():
    """One token a byte, and the special ones."""
    from tokenry.tokenization.train import train

    return train(Language(0).texts(20, 0), kind="byte", specials=SPECIALS)


def train_language(seed: int, folder: Path, *, steps: int = 900, guide_steps: int = 300, n: int = 4000) -> None:
    """A masked-diffusion model and a smaller causal guide of a language, into folder/language-SEED-dlm and -guide."""
    from tokenry.decoding.diffusion_training import diffusion_loss, masked_draw, tiny_diffusion
    from tokenry.models.batches import Packs, draw
    from tokenry.models.tiny import tiny_llama
    from tokenry.models.training import FitConfig, fit

    vocab = byte_vocab()
    ids = np.stack(vocab.encode(Language(seed).texts(n, seed))).astype(np.uint16)
    owners = np.broadcast_to(np.arange(n, dtype=np.int32)[:, None], ids.shape).copy()
    packs = Packs(ids, np.ones(ids.shape, dtype=bool), owners)
    mask, batch = vocab.specials["mask"], {"batch_size": 32, "seed": seed}
    make = {
        "guide": lambda: tiny_llama(vocab, seed=seed + 100, width=48, layers=2, positions=64),
        "dlm": lambda: tiny_diffusion(vocab, seed=seed, width=80, layers=3, positions=64),
    }
    how = {
        "guide": {"batches": draw(packs, **batch), "steps": guide_steps},
        "dlm": {"batches": masked_draw(packs, mask=mask, **batch), "loss": diffusion_loss, "steps": steps},
    }
    for name in make:
        if not (folder / f"language-{seed}-{name}" / "config.json").is_file():
            lm = make[name]()
            config = FitConfig(rate=5e-3, warmup=40, seed=seed)
            result = fit(lm.model, **how[name], config=config, label=name)
            print(f"language {seed} {name}: {result.cpu_seconds:.0f} CPU s, {curve(result)}", flush=True)
            lm.save(folder / f"language-{seed}-{name}", overwrite=True)


def train_stories(seed: int, folder: Path, *, steps: int = 1500, guide_steps: int = 500) -> None:
    """A masked-diffusion model and a smaller guide for the stories, into folder/stories-SEED-dlm and -guide."""
    from tokenry.core.tables import texts
    from tokenry.data import demo_model, demo_text
    from tokenry.decoding.diffusion_training import trained_diffusion
    from tokenry.models.lm import LM
    from tokenry.models.tiny import trained_tiny

    vocab, stories = LM.open(demo_model()).vocab, list(texts(str(demo_text("stories"))))
    make = {
        "guide": (trained_tiny, {"steps": guide_steps, "width": 64, "layers": 2}),
        "dlm": (trained_diffusion, {"steps": steps, "width": 96, "layers": 3}),
    }
    for name, (train, how) in make.items():
        if not (folder / f"stories-{seed}-{name}" / "config.json").is_file():
            lm = train(stories, vocab, length=64, batch_size=32, rate=4e-3, seed=seed, **how)
            lm.save(folder / f"stories-{seed}-{name}", overwrite=True)


def curve(result) -> list[float]:
    """Mean losses of ten stretches of the training."""
    key = "masked_nats" if "masked_nats" in result.history[0] else "loss"
    parts = np.array_split([entry[key] for entry in result.history], 10)
    return [round(float(part.mean()), 3) for part in parts]


if __name__ == "__main__":
    import sys

    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for number in map(int, sys.argv[2:]):
        train_language(number, target)
