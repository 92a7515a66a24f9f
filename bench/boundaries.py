"""What a lexicon of morphemes as a boundary buys and costs, for three trainers (the transformation of CompoundPiece).

    python bench/boundaries.py        # needs ../shared/data beside the project; about two minutes

Gold segmentations of SIGMORPHON 2022 (Czech, Hungarian) become a lexicon; tokenizers of 8,192 entries are trained on
the mixture's documents of that language with and without it. Reported: share of the lexicon's cuts in held-out text
which a token crosses, and bytes per token there, as a paired change with its 95 % interval over documents. Most words
of a text are not in the lexicon and are not cut. Written to bench/results/boundaries.json.
"""

import json
import lzma
import platform
import tarfile
import tempfile
import time
import warnings
from datetime import UTC, datetime
from pathlib import Path

from tokenry.core.intervals import ratio_change_interval
from tokenry.core.pretokens import count_pretokens
from tokenry.tokenization.boundaries import leaks
from tokenry.tokenization.composing import Recipe, compose
from tokenry.tokenization.gold_segmentations import read_gold
from tokenry.tokenization.lexicons import lexicon_cuts

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
RESULTS = Path(__file__).resolve().parent / "results" / "boundaries.json"
SIZE, SEED = 8192, 0
LANGUAGES = {"cs": "data/ces.word.train.tsv", "hu": "data/hun.word.test.gold.tsv"}


def lexicon(member: str, folder: Path) -> Path:
    """The gold words that have cuts, as a file of segmented words."""
    with tarfile.open(SHARED / "morphology-sigmorphon2022" / "segmentation.tar.xz") as archive:
        (folder / "gold.tsv").write_bytes(archive.extractfile(member).read())
    lines = [f"{word.text}\t{'|'.join(word.parts)}" for word in read_gold(folder / "gold.tsv") if word.cuts]
    (folder / "lexicon.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "lexicon.tsv"


def documents(language: str) -> list[str]:
    """The language's documents of the mixture."""
    with lzma.open(SHARED / "mixture" / f"{language}.jsonl.xz", "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines]


def compared(kind: str, texts: list[str], path: Path) -> dict:
    """One trainer with and without the lexicon."""
    learn, held = [t for i, t in enumerate(texts) if i % 5], texts[::5]
    sizes = [len(text.encode()) for text in held]
    made = {name: compose(learn, Recipe(size=SIZE, kind=kind, boundaries=tuple(boundaries))).vocab
            for name, boundaries in (("plain", []), ("bounded", [f"lexicon:{path}"]))}  # fmt: skip
    cuts = lexicon_cuts(path)
    found = {name: leaks(vocab, count_pretokens(held, vocab, by_source=False), cuts) for name, vocab in made.items()}
    tokens = {name: [len(ids) for ids in vocab.encode(held)] for name, vocab in made.items()}
    change = ratio_change_interval((sizes, tokens["plain"]), (sizes, tokens["bounded"]), seed=SEED)
    return {
        "kind": kind, "n_documents": len(held), "cuts_in_held_out_text": found["plain"].n_cuts,
        "crossed_plain": round(found["plain"].rate, 4), "crossed_bounded": round(found["bounded"].rate, 4),
        "bytes_per_token_plain": round(sum(sizes) / sum(tokens["plain"]), 4),
        "change_of_bytes_per_token": [round(x, 4) for x in (change.value, change.low, change.high)],
    }  # fmt: skip


def main() -> None:
    started, rows = time.process_time(), []
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        for language, member in LANGUAGES.items():
            path = lexicon(member, Path(folder))
            texts = documents(language)
            for kind in ("bpe", "wordpiece", "unigram"):
                rows.append({"language": language, **compared(kind, texts, path)})
                print(rows[-1], flush=True)
    result = {
        "what": "share of gold morpheme cuts crossed in held-out text, and bytes per token, with a lexicon as boundary",
        "command": "python bench/boundaries.py", "size": SIZE, "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": platform.machine(), "rows": rows, "cpu_seconds": round(time.process_time() - started, 1),
    }  # fmt: skip
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
