"""A made-up language of known truth for bench/diffusion.py, and the small models that learn it in a minute or two.

24 words of three to five letters, each followed by one of three others, all equally likely. Within a word the letters
follow from its beginning and may be written at once; where a word begins there is a choice, and letters of two choices
written side by side make no word. A text is valid when every word is one and may follow the one before.
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


def train_language(seed: int, folder: Path, *, n: int = 4000) -> None:
    """The models of a language: folder/language-SEED-dlm, -guide, and -judge, which has seen other texts than they."""
    from tokenry.models.batches import draw
    from tokenry.models.tiny import tiny_llama
    from tokenry.models.training import FitConfig, fit

    vocab, name = byte_vocab(), folder / f"language-{seed}"
    packs = packs_of(vocab, Language(seed).texts(n, seed))
    train_pair(name, packs, vocab, steps=(300, 900), guide_width=48, width=80, seed=seed)
    if not Path(f"{name}-judge", "config.json").is_file():
        judge, packs = (
            tiny_llama(vocab, seed=seed + 200, width=56),
            packs_of(vocab, Language(seed).texts(n, seed + 500)),
        )
        config = FitConfig(rate=5e-3, warmup=40, seed=seed + 1)
        fit(judge.model, draw(packs, batch_size=32, seed=seed + 1), steps=300, config=config, label="judge")
        judge.save(f"{name}-judge", overwrite=True)


def packs_of(vocab, texts: list[str]):
    """One text a sequence."""
    from tokenry.models.batches import Packs

    ids = np.stack(vocab.encode(texts)).astype(np.uint16)
    owners = np.broadcast_to(np.arange(len(ids), dtype=np.int32)[:, None], ids.shape).copy()
    return Packs(ids, np.ones(ids.shape, dtype=bool), owners)


def train_pair(name: Path, packs, vocab, *, steps: tuple[int, int], guide_width: int, width: int, seed: int) -> None:
    """A masked-diffusion model and a smaller causal guide of the same texts, trained unless they are there.

    The diffusion model is made from a causal one, as Dream was: predictions stay one place to the left.
    """
    from tokenry.decoding.diffusion_training import diffusion_loss, look_both_ways, masked_draw
    from tokenry.models.batches import draw
    from tokenry.models.tiny import tiny_llama
    from tokenry.models.training import FitConfig, fit

    if Path(f"{name}-dlm", "config.json").is_file():
        return
    mask = vocab.specials.get("mask", vocab.size)
    batch, config = {"batch_size": 32, "seed": seed}, FitConfig(rate=5e-3, warmup=40, seed=seed)
    guide = tiny_llama(vocab, seed=seed + 100, width=guide_width, layers=2)
    lm = tiny_llama(vocab, seed=seed, width=width, layers=3, rows=max(vocab.size, mask + 1))
    for what, model in (("guide", guide), ("causal", lm)):
        result = fit(model.model, draw(packs, **batch), steps=steps[0], config=config, label=what)
        print(f"{name.name} {what}: {result.cpu_seconds:.0f} CPU s, {curve(result)}", flush=True)
    guide.save(f"{name}-guide", overwrite=True)
    look_both_ways(lm.model, mask=mask)
    drawn = masked_draw(packs, mask=mask, shift=True, **batch)
    result = fit(lm.model, drawn, diffusion_loss, steps=steps[1], config=config, label="dlm")
    print(f"{name.name} dlm: {result.cpu_seconds:.0f} CPU s, {curve(result)}", flush=True)
    lm.save(f"{name}-dlm", overwrite=True)


def curve(result) -> list[float]:
    """Mean losses of ten stretches of the training."""
    key = "masked_nats" if "masked_nats" in result.history[0] else "loss"
    parts = np.array_split([entry[key] for entry in result.history], 10)
    return [round(float(part.mean()), 3) for part in parts]
