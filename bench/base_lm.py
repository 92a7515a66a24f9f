"""The base model of the transplant benches: a small Llama trained here on real text, kept between runs.

    python bench/base_lm.py            # about 12 CPU minutes the first time
    from base_lm import base_model, heldout, training_texts

Text: the documentation of bench/corpus.py, cut into documents of about 2,000 bytes at paragraphs; English is joined by
the source code of ../shared/data/mixture where that is there. Each document is held out or trained on by its hash, so
the two parts share none. Everything lies in `~/.cache/tokenry-bench/base-lm`.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import argparse
import hashlib
import random
from pathlib import Path

from corpus import PACKAGES, cache_folder, corpus

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "mixture"
LANGUAGES = {"en": ("en", "en-US"), "pt": ("pt", "pt-BR")}
DOCUMENT_BYTES, HELD_OUT = 2000, 0.03
SIZE, STEPS, BATCH, LENGTH = 4096, 1000, 16, 128
SHAPE = {"width": 192, "layers": 4}
MASKED = {"size": 2048, "steps": 2500, "share": 0.2, "length": 96, "batch": 16}
"""A few more masks than usual: a short training learns from more places."""
SPECIALS = {"bos": "<s>", "eos": "</s>", "pad": "<pad>", "unk": "<unk>", "mask": "<mask>"}


def documents(lang: str) -> list[tuple[str, bool]]:
    """Documents of a language ("en", "de", "tr", "pt", ... or "code"), each with whether it is held out."""
    found = list(dict.fromkeys(_code() if lang == "code" else _documentation(lang)))
    if not found:
        raise ValueError(f"no text for {lang!r}; need the code of a language that bench/corpus.py has, or 'code'.")
    marked = [(text, _share(text) < HELD_OUT) for text in found]
    random.Random(0).shuffle(marked)
    return marked


def training_texts(lang: str) -> list[str]:
    """Documents to train on, in a fixed random order."""
    return [text for text, out in documents(lang) if not out]


def heldout(lang: str, *, n_bytes: int = 100_000) -> list[str]:
    """Documents nothing was trained on, about `n_bytes` of them, in a fixed random order."""
    kept, total = [], 0
    for text, out in documents(lang):
        if out and total < n_bytes:
            kept.append(text)
            total += len(text.encode())
    return kept


def base_model(lang: str = "en", *, steps: int = STEPS) -> Path:
    """Folder of the model of a language, trained at the first call; "en" has seen code too."""
    folder = cache_folder() / "base-lm" / (lang if steps == STEPS else f"{lang}-{steps}")
    if (folder / "config.json").is_file():
        return folder
    from tokenry.models.tiny import trained_tiny
    from tokenry.tokenization.train import train

    texts = training_texts(lang)
    if lang == "en" and SHARED.is_dir():
        texts += training_texts("code")
        random.Random(1).shuffle(texts)
    vocab = train(texts, size=SIZE)
    lm = trained_tiny(texts, vocab, steps=steps, length=LENGTH, batch_size=BATCH, rate=3e-3, **SHAPE)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return lm.save(folder)


def base_masked(lang: str = "en", *, steps: int = MASKED["steps"]) -> Path:
    """Folder of a small BERT of a language, trained at the first call on the same text (about 6 CPU minutes)."""
    folder = cache_folder() / "base-lm" / f"masked-{lang}-{steps}"
    if (folder / "config.json").is_file():
        return folder
    from tokenry.core.runs import atomic_folder
    from tokenry.models.tiny import tiny_bert
    from tokenry.models.training import FitConfig, fit
    from tokenry.tokenization.train import train
    from tokenry.transplant.masked import masked_batches, masked_loss

    texts = training_texts(lang)
    lm = tiny_bert(train(texts, size=MASKED["size"], specials=SPECIALS), width=128, layers=3)
    drawn = masked_batches(lm, texts, **{key: MASKED[key] for key in ("length", "batch", "share")})
    how = FitConfig(rate=1.5e-3, warmup=steps // 10)
    result = fit(lm.model, drawn, masked_loss, steps=steps, config=how, label="masked base")
    print(f"masked base: {result.cpu_seconds:.0f} CPU s, last 50 steps {_mean_loss(result.history[-50:]):.3f} nats")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(folder) as part:
        lm.model.save_pretrained(part)
        lm.tokenizer.save_pretrained(part)
    return folder


def _mean_loss(history: list[dict]) -> float:
    return sum(entry["loss"] for entry in history) / len(history)


def _documentation(lang: str) -> list[str]:
    corpus(100)
    names = LANGUAGES.get(lang, (lang,))
    files = [cache_folder() / "text" / package / f"{name}.txt" for package in PACKAGES for name in names]
    out: list[str] = []
    for file in files:
        parts: list[str] = []
        for paragraph in file.read_text(encoding="utf-8").split("\n\n") if file.is_file() else []:
            parts.append(paragraph)
            if sum(len(part) for part in parts) >= DOCUMENT_BYTES:
                out.append("\n\n".join(parts))
                parts = []
        out += ["\n\n".join(parts)] if parts else []
    return out


def _code() -> list[str]:
    from tokenry.core.tables import texts

    return [text for file in sorted(SHARED.glob("code_*.jsonl.xz")) for text in texts(str(file))]


def _share(text: str) -> float:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big") / 2**32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lang", default="en")
    chosen = parser.parse_args()
    from tokenry.models.lm import LM
    from tokenry.transplant.scoring import measure

    folder = base_model(chosen.lang)
    for lang in dict.fromkeys([chosen.lang, "en", "code", "de", "tr"]):
        scores = measure(LM.open(folder), heldout(lang), segment_bytes=512)
        print(f"{lang}: {scores.bits_per_byte()} bits per byte, {scores.bytes_per_token()} bytes a token", flush=True)


if __name__ == "__main__":
    main()
