"""Two small models of the same text with different tokenizers, trained once and kept, for bench/bytes.py.

    python bench/bytes_models.py        # about 6 CPU minutes the first time

Text: the source code of ../shared/data/mixture and the English documentation of bench/corpus.py, a document held out or
trained on by its hash (bench/base_lm.py).
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import random
from pathlib import Path

from base_lm import heldout, training_texts
from corpus import cache_folder

STEPS, BATCH, LENGTH = 700, 16, 128
SHAPE = {"width": 128, "layers": 3}
KINDS = {
    "byte-level": {"size": 2048, "pattern": "gpt2"},
    "metaspace": {"size": 1024, "style": "metaspace"},
}
"""What is trained: byte-level BPE under GPT-2's pattern, and SentencePiece-like BPE with byte pieces."""


def member(kind: str) -> Path:
    """Folder of one of the two models, trained at the first call."""
    folder = cache_folder() / "bytes" / kind
    if (folder / "config.json").is_file():
        return folder
    from tokenry.models.tiny import trained_tiny
    from tokenry.tokenization.train import train

    texts = training_texts("en") + training_texts("code")
    random.Random(1).shuffle(texts)
    vocab = train(texts[:4000], **KINDS[kind])
    lm = trained_tiny(texts, vocab, steps=STEPS, length=LENGTH, batch_size=BATCH, rate=3e-3, **SHAPE)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return lm.save(folder)


def held_out_texts(n_bytes: int = 200_000) -> list[str]:
    """Documents neither model was trained on, half of them code, in a fixed random order."""
    texts = heldout("en", n_bytes=n_bytes // 2) + heldout("code", n_bytes=n_bytes // 2)
    random.Random(2).shuffle(texts)
    return texts


if __name__ == "__main__":
    for name in KINDS:
        print(name, member(name), flush=True)
