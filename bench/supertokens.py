"""Tokens of several words against ordinary ones, at equal size: compression, and a small language model.

    OMP_NUM_THREADS=1 python bench/supertokens.py compression      # a minute
    OMP_NUM_THREADS=1 python bench/supertokens.py model --seeds 3  # some minutes

Text: the English and the German help of LibreOffice (bench/corpus.py); of every 20 paragraphs 3 are held out. The
second, different text is GNOME's help in the same language. `compression` gives bytes per token for plain BPE and the
three kinds of boundary. `model` trains small Llamas (the same number of parameters, the same documents in the same
number of steps, so the same bytes; a batch holds fewer tokens where tokens are longer) and scores bits per byte on
held-out paragraphs and on GNOME's help. Settings were not tuned on these figures. Written to
bench/results/supertokens_*.json.
"""

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from corpus import cache_folder, corpus

from tokenry.core.intervals import Interval
from tokenry.core.patterns import known
from tokenry.core.vocab import Vocab
from tokenry.tokenization import plans, training
from tokenry.tokenization.supertoken_report import supertoken_report
from tokenry.tokenization.supertokens import train_supertokens

RESULTS = Path(__file__).resolve().parent / "results"
TEXTS = {"en": ("libreoffice-help-en-us/en-US.txt", "gnome-user-docs/en.txt"),
         "de": ("libreoffice-help-de/de.txt", "gnome-user-docs/de.txt")}  # fmt: skip
BOUNDARIES = ("stochastic", "whitespace:0.3", "superword:0.75", "superword:0.5")
SIZES = (8192, 16384)
PLAN = plans.plan_byte_level({"bos": "<s>", "eos": "</s>"}, known("o200k"), merges=True)


def paragraphs(file: str) -> list[str]:
    """The paragraphs of a text of the bench corpus."""
    path = cache_folder() / "text" / file
    if not path.is_file():
        corpus(100)
    return [part for part in path.read_text(encoding="utf-8").split("\n\n") if part.strip()]


def split(texts: list[str]) -> tuple[list[str], list[str]]:
    """(learned from, held out): 17 and 3 of every 20 paragraphs."""
    return [t for i, t in enumerate(texts) if i % 20 >= 3], [t for i, t in enumerate(texts) if i % 20 < 3]


def trained(boundary: str | None, texts: list[str], size: int) -> Vocab:
    """A tokenizer of this size, plain where there is no boundary."""
    if boundary is None:
        return training.by_merges(PLAN, texts, size=size, min_count=2, max_length=0, reading={})
    return train_supertokens(PLAN, texts, size=size, boundary=boundary)


def rounded(value: Interval) -> dict:
    """An interval for a JSON file."""
    return {"value": round(value.value, 4), "low": round(value.low, 4), "high": round(value.high, 4), "n": value.n}


def compression(languages: list[str], sizes: list[int]) -> dict:
    found = {}
    for language in languages:
        file, other = TEXTS[language]
        learn, held = split(paragraphs(file))
        found[language] = {"learned_from_bytes": sum(len(t.encode()) for t in learn), "held_out": len(held)}
        for size in sizes:
            plain = trained(None, learn, size)
            for boundary in BOUNDARIES:
                start = time.process_time()
                vocab = trained(boundary, learn, size)
                seconds = time.process_time() - start
                facts = supertoken_report(vocab, plain, {"held-out": held, "other": paragraphs(other)[:2000]}).facts
                row = {key: value if isinstance(value, int) else rounded(value) for key, value in facts.items()}
                found[language][f"{size} {boundary}"] = row | {"cpu_seconds_training": round(seconds, 1)}
                shown = ("held-out.bytes_per_token.plain", "held-out.bytes_per_token", "other.tokens_saved_share")
                print(language, size, boundary, *(str(facts[name]) for name in shown), sep="  ")
    return found


def model(seeds: int, *, n_bytes: int = 250_000, size: int = 2048, steps: int = 150) -> dict:
    from tokenry.models.batches import draw, pack, tokenise
    from tokenry.models.tiny import tiny_llama
    from tokenry.models.training import FitConfig, fit

    file, other = TEXTS["en"]
    learn, held = split(paragraphs(file))
    # Whole pages of some thousand characters rather than single paragraphs: superwords need a context to save anything.
    learn = ["\n".join(learn[i : i + 8]) for i in range(0, len(learn), 8)]
    total, short = 0, []
    for text in learn:
        if total < n_bytes:
            short.append(text)
            total += len(text.encode())
    tests = {"held-out": ["\n".join(held[i : i + 8]) for i in range(0, len(held), 8)][:60],
             "other": ["\n".join(paragraphs(other)[i : i + 8]) for i in range(0, 480, 8)]}  # fmt: skip
    rows, plain = [], {}
    for boundary in (None, "superword:0.75"):
        vocab = trained(boundary, learn, size)
        for seed in range(seeds):
            lm = tiny_llama(vocab, width=64, layers=2, heads=4, positions=256, seed=seed)
            packs = pack(tokenise(vocab, short), length=128, bos=lm.bos, eos=vocab.specials.get("eos"))
            batch = max(1, round(2 * len(packs) / steps))  # two passes over the same documents
            started = time.process_time()
            config = FitConfig(rate=4e-3, warmup=steps // 10, seed=seed)
            fit(lm.model, draw(packs, batch_size=batch, seed=seed), steps=round(2 * len(packs) / batch), config=config)
            row = {"boundary": boundary or "plain", "seed": seed, "parameters": lm.model.num_parameters(),
                   "bytes": 2 * total, "tokens": 2 * packs.n_targets, "batch": batch,
                   "cpu_seconds": round(time.process_time() - started, 1)}  # fmt: skip
            for name, texts in tests.items():
                scores = lm.score(texts, max_bytes=512)
                bits, base = scores.bits_per_byte(), plain.setdefault((name, seed), scores)
                change = scores.change_from(base)
                row[name] = {"bits_per_byte": rounded(bits), "change_from_plain": rounded(change)}
            rows.append(row)
            print(row, file=sys.stderr)
    return {"rows": rows, "size": size, "length": 128}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["compression", "model"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--languages", nargs="*", choices=TEXTS, default=list(TEXTS))
    parser.add_argument("--sizes", nargs="*", type=int, default=SIZES)
    args = parser.parse_args()
    found = compression(args.languages, args.sizes) if args.what == "compression" else model(args.seeds)
    result = {"command": "OMP_NUM_THREADS=1 python bench/supertokens.py " + " ".join(sys.argv[1:]),
              "when": datetime.now(UTC).isoformat(timespec="seconds"), "found": found}  # fmt: skip
    (RESULTS / f"supertokens_{args.what}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
