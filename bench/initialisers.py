"""Auxiliary-space initialisers on a real pair: an English model moved to a German or Turkish tokenizer.

    python bench/initialisers.py --lang de            # figures of docs/transplant.md
    python bench/initialisers.py --lang tr --spaces   # which vectors suit FOCUS (the default was chosen here)

The model is bench/base_lm.py's; the tokenizer is trained on the new language, as large. Parallel lines are paragraphs
of LibreOffice's help with one id in both languages, without those the held-out documents hold; the dictionary is
FreeDict's (GPL, package dict-freedict-eng-*). Bits per byte at step 0 say how far each start is from useful, not which
one is best after training: `tokenry transplant compare` tells that.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import argparse
import gzip
import html
import json
import re
import shutil
import sys
import time
from pathlib import Path

from base_lm import SIZE, base_model, heldout, training_texts
from corpus import ENGLISH_HELP, _unpack, cache_folder

RESULTS = Path(__file__).parent / "results"
DICTIONARIES = {"de": "deu", "tr": "tur"}
HELPER = {"steps": 300, "length": 128, "batch_size": 16, "rate": 3e-3, "width": 96, "layers": 2}
_BLOCK = re.compile(r'(?is)<(p|h\d)\s+id="([^"]+)"[^>]*>(.*?)</\1>')
_ENTRY = re.compile(r"(?m)^(\S+) /[^\n]*/$\n([^\n]+)")
_NOTE = re.compile(r"<[^>]*>|\[[^\]]*\]|\([^)]*\)|^\s*\d+\.")
_TAG = re.compile(r"(?s)<[^>]*>")


def parallel_lines(lang: str) -> list[tuple[str, str]]:
    """(English, other) paragraphs of LibreOffice's help that share page and paragraph id; cached as a TSV."""
    file = cache_folder() / "parallel" / f"en-{lang}.tsv"
    if not file.is_file():
        english, other = _blocks(ENGLISH_HELP), _blocks(f"libreoffice-help-{lang}")
        pairs = [(text, other[key]) for key, text in english.items() if other.get(key, text) != text]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{a}\t{b}\n" for a, b in dict.fromkeys(pairs)), encoding="utf-8")
    return [tuple(line.split("\t")) for line in file.read_text(encoding="utf-8").splitlines()]


def dictionary(lang: str) -> list[tuple[str, str]]:
    """English word, its first translation, where both are single words; from FreeDict."""
    file = cache_folder() / "parallel" / f"dictionary-en-{lang}.tsv"
    if not file.is_file():
        unpacked = _unpack(f"dict-freedict-eng-{DICTIONARIES[lang]}", cache_folder())
        try:
            text = gzip.decompress(next(unpacked.rglob("*.dict.dz")).read_bytes()).decode("utf-8", "replace")
        finally:
            shutil.rmtree(unpacked, ignore_errors=True)
        pairs: dict[str, str] = {}
        for word, line in _ENTRY.findall(text):
            first = re.split(r"[,;.]", _NOTE.sub(" ", line).strip())[0].strip()
            if first and not re.search(r"\s", first):
                pairs.setdefault(word, first)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{a}\t{b}\n" for a, b in pairs.items()), encoding="utf-8")
    return [tuple(line.split("\t")) for line in file.read_text(encoding="utf-8").splitlines()]


def _blocks(package: str) -> dict[tuple[str, str], str]:
    unpacked, found = _unpack(package, cache_folder()), {}
    try:
        for page in sorted(unpacked.rglob("text/**/*.html")):
            name = str(page).split("/text/", 1)[1]
            for _, key, inner in _BLOCK.findall(page.read_text(encoding="utf-8", errors="replace")):
                text = " ".join(html.unescape(_TAG.sub("", inner)).split())
                if len(text) >= 3:
                    found.setdefault((name, key), text)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    return found


def materials(lang: str, tests: list[str]) -> dict:
    """Everything the methods are given; nothing of it is in the held-out documents."""
    from tokenry.transplant.word_vectors import word_vectors

    texts, english = training_texts(lang), training_texts("en")
    held = "\n".join(tests)
    pairs = [pair for pair in parallel_lines(lang) if pair[1] not in held]
    return {
        "texts": texts,
        "both": texts + english,
        "parallel": pairs,
        "vectors": word_vectors(english),
        "new_vectors": word_vectors(texts),
        "dictionary": dictionary(lang),
    }


def runs(lang: str, given: dict, vocab: object) -> dict[str, dict]:
    """Method and options by the name in the table."""
    import numpy as np

    from tokenry.models.tiny import trained_tiny
    from tokenry.transplant.word_spaces import known_pairs
    from tokenry.transplant.word_vectors import WordVectors, orthogonal_map

    helper = trained_tiny(given["texts"], vocab, **HELPER).model.get_input_embeddings().weight.detach().numpy()
    words = {name: given[name] for name in ("vectors", "new_vectors")}
    turn = orthogonal_map(*known_pairs(words["vectors"], words["new_vectors"], given["dictionary"]))
    source = words["vectors"]
    turned = WordVectors(source.words, (source.matrix @ turn).astype(np.float32), source.counts)
    wechsel = {"method": "wechsel", **words, "dictionary": given["dictionary"]}
    parallel = {"method": "trans-tokenizer", "parallel": given["parallel"]}
    return {
        "random": {"method": "random"},
        "mean": {"method": "mean"},
        "pieces": {"method": "pieces"},
        "focus (text, counts)": {"method": "focus", "texts": given["texts"]},
        "focus (text, cbow)": {"method": "focus", "texts": given["texts"], "space": "cbow"},
        "focus (helper's rows)": {"method": "focus", "donor": helper},
        "clp (helper's rows)": {"method": "clp", "donor": helper},
        "clp, 10 neighbours": {"method": "clp", "donor": helper, "neighbours": 10},
        "tokalign": {"method": "tokalign", "texts": given["both"]},
        "wechsel": wechsel,
        "wechsel, shared kept": {**wechsel, "keep_shared": True},
        "ofa": {"method": "ofa", "vectors": turned, "new_vectors": words["new_vectors"]},
        "ofa, rank 96": {"method": "ofa", "vectors": turned, "new_vectors": words["new_vectors"], "rank": 96},
        "trans-tokenizer": parallel,
        "trans-tokenizer, shared kept": {**parallel, "keep_shared": True},
    }


def spaces(given: dict) -> dict[str, dict]:
    """FOCUS with other vectors."""
    made = {"random": {"method": "random"}, "pieces": {"method": "pieces"}}
    for space in ("counts", "cbow"):
        for width in (100, 300):
            made[f"{space} {width}"] = {"method": "focus", "texts": given["texts"], "space": space, "width": width}
    return made


def main() -> None:
    """Parse, run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lang", choices=sorted(DICTIONARIES), default="de")
    parser.add_argument("--bytes", type=int, default=60_000, help="of held-out text")
    parser.add_argument("--spaces", action="store_true", help="compare the vectors of FOCUS only")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    from tokenry.models.lm import LM
    from tokenry.tokenization.train import train
    from tokenry.transplant.scoring import measure
    from tokenry.transplant.surgery import move

    tests = heldout(chosen.lang, n_bytes=chosen.bytes)
    vocab = train(training_texts(chosen.lang), size=SIZE)
    lm = LM.open(base_model("en"))
    given = materials(chosen.lang, tests)
    before = measure(lm, tests, segment_bytes=512)
    rows = [{"method": "(own tokenizer)", "bits_per_byte": str(before.bits_per_byte())}]
    print(rows[0], flush=True)
    for name, options in (spaces(given) if chosen.spaces else runs(chosen.lang, given, vocab)).items():
        began = time.process_time()
        try:
            moved = move(lm, vocab, **options)
        except ImportError as error:
            print(f"{name}: left out, {error}", file=sys.stderr, flush=True)
            continue
        seconds = time.process_time() - began
        scores = measure(moved.lm, tests, segment_bytes=512)
        bits = scores.bits_per_byte()
        kept = ("anchors", "placed_rows", "fallback_rows", "neighbours_median", "unstable_rows", "dictionary_pairs",
                "dictionary_cosine", "word_pairs", "aligned_tokens", "loose_matches", "shared_made_anew")  # fmt: skip
        info = {key: moved.plan.info[key] for key in kept if key in moved.plan.info}
        rows.append({"method": name, "bits_per_byte": str(bits), "value": bits.value, "cpu_seconds": seconds, **info})
        print(json.dumps(rows[-1], ensure_ascii=False), flush=True)
    out = chosen.out or RESULTS / f"initialisers-{chosen.lang}{'-spaces' if chosen.spaces else ''}.json"
    result = {
        "command": " ".join(["python bench/initialisers.py", *sys.argv[1:]]),
        "heldout_documents": len(tests),
        "heldout_bytes": sum(len(text.encode()) for text in tests),
        "parallel_lines": len(given["parallel"]),
        "rows": rows,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
