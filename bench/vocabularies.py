"""Qtok's comparison of 13 tokenizers again, by bytes and Unicode properties, and the cost of languages on FLORES.

    python bench/vocabularies.py --qtok Qtok-0.11.0 --more llama-2=llama2.json --more gemma=gemma.json
    python bench/vocabularies.py --flores devtest --page out/compare

Tokenizer files come from ../shared/data/tokenizers and `--more NAME=PATH`; `--qtok` is the unpacked source of PyPI
`qtok`, whose data holds the decoded vocabularies the paper studied (as text; never evaluated here). Writes
bench/results/vocabularies.json: shares of every class beside the published ones, Latin and Cyrillic languages by Qtok's
own word lists, similarity and groups, seconds of the vocabulary lenses, and premiums on FLORES.
"""

import os

os.environ.update(RAYON_NUM_THREADS="1", OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")

import argparse
import json
import sys
import time
from pathlib import Path

from tokenry.core.alphabets import from_byte_level
from tokenry.core.runs import set_quiet
from tokenry.core.vocab import Vocab
from tokenry.tokenization.comparing import compare
from tokenry.tokenization.comparison_page import to_page
from tokenry.tokenization.composition import QTOK_NAMES, Composition, compose, composition, flanks
from tokenry.tokenization.entries import unreachable_entries
from tokenry.tokenization.families import grouped_by_similarity, jaccard_matrix
from tokenry.tokenization.language_use import dictionary_shares

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data" / "tokenizers"
OUT = ROOT / "bench" / "results" / "vocabularies.json"
FILES = {
    "gpt2": "openai/r50k_base.tiktoken.xz",
    "cl100k": "openai/cl100k_base.tiktoken.xz",
    "o200k": "openai/o200k_base.tiktoken.xz",
    "claude": "claude/tokenizer.json.xz",
    "mistral": "mistral/tokenizer.model.v1.xz",
    "tekken": "mistral/tekken_240911.json.xz",
    "qwen": "qwen2.5/tokenizer.json.xz",
    "deepseek-v3": "deepseek-v3/tokenizer.json.xz",
}
PUBLISHED = {
    "llama-2": {"spaced_alpha": 50.15, "inner_alpha": 38.66, "Latin word start": 45.62, "Latin inner": 34.28,
                "Cyrillic word start": 4.53, "Cyrillic inner": 4.38, "Han character": 2.19},
    "mistral": {"spaced_alpha": 48.20, "inner_alpha": 37.09},
    "pythia": {"spaced_alpha": 54.30, "inner_alpha": 33.83, "inner_other": 5.58, "unicode_flanks": 0.97},
    "llama-3": {"spaced_alpha": 43.23, "inner_alpha": 30.47, "spaced_other": 1.02, "inner_other": 18.04,
                "unicode_flanks": 1.06, "Latin word start": 36.50, "Latin inner": 23.48, "Cyrillic word start": 2.89,
                "Cyrillic inner": 2.05, "Han character": 1.80, "Han inner": 1.03},
    "qwen": {"spaced_alpha": 33.62, "inner_alpha": 36.21, "inner_other": 14.37, "unicode_flanks": 0.96,
             "Latin word start": 29.86, "Latin inner": 19.08, "Cyrillic word start": 1.46, "Cyrillic inner": 1.12,
             "Han character": 5.94, "Han inner": 10.80},
    "falcon": {"spaced_alpha": 61.26, "inner_alpha": 31.65, "unicode_flanks": 1.45, "Latin word start": 61.23,
               "Latin inner": 31.06},
    "command-r": {"spaced_alpha": 57.24, "inner_alpha": 36.14, "unicode_flanks": 1.76, "Latin word start": 44.80,
                  "Latin inner": 23.34, "Cyrillic word start": 6.54, "Cyrillic inner": 3.25, "Han character": 1.73,
                  "Han inner": 5.35},
    "gemma": {"spaced_alpha": 48.23, "inner_alpha": 40.18, "Latin word start": 41.66, "Latin inner": 30.48,
              "Cyrillic word start": 2.78, "Cyrillic inner": 2.26, "Han character": 3.84, "Han inner": 3.70},
    "union": {"spaced_alpha": 44.96, "inner_alpha": 38.55, "inner_other": 7.06, "unicode_flanks": 1.34},
}  # fmt: skip
"""Per cent of the vocabulary, from the paper's tables."""
_MARKUP = {"br", "h1", "h2", "h3", "h4", "h5", "h6", "b", "img", "li", "tr", "td", "p", "th", "u", "em"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qtok", type=Path, help="unpacked source of PyPI qtok")
    parser.add_argument(
        "--more", action="append", default=[], metavar="NAME=PATH", help="tokenizers beside those at hand"
    )
    parser.add_argument("--flores", type=Path, help="folder of FLORES devtest files")
    parser.add_argument("--page", type=Path, help="folder for the page of the FLORES comparison")
    chosen = parser.parse_args()
    set_quiet(True)
    result = json.loads(OUT.read_text("utf-8")) if OUT.is_file() else {}
    paths = {name: SHARED / path for name, path in FILES.items() if (SHARED / path).is_file()}
    paths |= {name: Path(path) for name, path in (given.split("=", 1) for given in chosen.more)}
    if chosen.qtok or chosen.more:
        result["files"] = of_files(paths)
    if chosen.qtok:
        result["published_vocabularies"] = of_published(chosen.qtok / "src" / "qtok" / "data")
    if chosen.flores:
        result["flores"] = on_flores(paths, chosen.flores, chosen.page)
    command = "python bench/vocabularies.py " + " ".join(shortened(argument) for argument in sys.argv[1:])
    result["commands"] = [*(c for c in result.get("commands", []) if c != command), command]
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1, ensure_ascii=False))


def shortened(argument: str) -> str:
    """An argument without the folders of this machine."""
    name, mark, path = argument.rpartition("=")
    return name + mark + (Path(path).name or path)


def of_files(paths: dict[str, Path]) -> dict:
    """Classes, scripts and seconds of real tokenizer files, and who is related."""
    found, sets = {}, {}
    for name, path in paths.items():
        start = time.process_time()
        vocab = Vocab.open(path)
        vocab.backend  # noqa: B018  (opening is timed apart)
        opened = time.process_time()
        made = composition(vocab)
        flanks(vocab.tokens)
        composed = time.process_time()
        unreachable = unreachable_entries(vocab)
        done = time.process_time()
        found[name] = beside(name, made) | {
            "size": vocab.size,
            "unreachable": len(unreachable),
            "seconds": {"opening": round(opened - start, 2), "composition": round(composed - opened, 2),
                        "reachability": round(done - composed, 2)},
        }  # fmt: skip
        sets[name] = frozenset(vocab.index)
    return {"tokenizers": found, **related(sets)}


def of_published(folder: Path) -> dict:
    """The 13 vocabularies as Qtok decoded them, judged by our definitions."""
    vocabularies = json.loads((folder / "model2vocab_tok.json").read_text("utf-8"))
    tokens = {name: [plain(text) for text in vocabulary] for name, vocabulary in vocabularies.items()}
    sets = {name: frozenset(data for data in own if data is not None) for name, own in tokens.items()}
    tokens["union"] = sorted(frozenset().union(*sets.values()))
    languages = {}
    for script in ("lat", "cyr"):
        known = json.loads((folder / f"tokens2natural_{script}.json").read_text("utf-8"))
        languages[script] = {
            name: {code: round(100 * share, 1) for code, share in list(dictionary_shares(own, known).items())[:6]}
            for name, own in vocabularies.items()
        }
    judged = {name: beside(name, compose(own)) | {"size": len(own)} for name, own in tokens.items()}
    return {"tokenizers": judged, "languages_by_dictionary": languages, **related(sets)}


def plain(text: str) -> bytes | None:
    """Bytes of an entry as Qtok stores it: "<0y...>" holds glyphs of broken bytes; control forms have none."""
    if text.startswith("<0y") and text.endswith(">"):
        return from_byte_level(text[3:-1])
    framed = len(text) > 1 and (text[0] + text[-1] in ("<>", "[]"))
    if framed and text[1:-1].lower().replace("/", "") not in _MARKUP:
        return None
    return text.encode("utf-8")


def beside(name: str, made: Composition) -> dict:
    """Shares in per cent by Qtok's names, scripts by place, and the largest distance from what was published."""
    size = len(made.class_V)
    shares: dict[str, float] = {}
    for own, n in made.class_counts().items():
        shares[QTOK_NAMES[own]] = shares.get(QTOK_NAMES[own], 0) + 100 * n / size
    places = {f"{script} {place}": 100 * n / size for (script, place), n in made.places().items() if n >= size / 200}
    ours = {key: round(value, 2) for key, value in (shares | places).items()}
    published = PUBLISHED.get(name, {})
    apart = {key: round(ours.get(key, 0.0) - value, 2) for key, value in published.items()}
    return {"shares": ours, "published": published, "ours_less_published": apart}


def related(sets: dict[str, frozenset[bytes]]) -> dict:
    names, own = list(sets), list(sets.values())
    similarity = jaccard_matrix(own)
    return {
        "union": len(frozenset().union(*own)),
        "core": len(frozenset.intersection(*own)),
        "groups": [[names[i] for i in members] for members in grouped_by_similarity(similarity)],
        "similarity": {name: [round(value, 3) for value in row] for name, row in zip(names, similarity, strict=True)},
    }


def on_flores(paths: dict[str, Path], folder: Path, page: Path | None) -> dict:
    """Tokens and premiums with intervals on all languages of the folder."""
    start = time.process_time()
    report = compare(list(paths.values()), folder, names=list(paths))
    if page:
        report.save(page)
        (page / "index.html").write_bytes(to_page(report).encode("utf-8", "replace"))
    facts = report.facts
    rows = report.tables["premiums"].to_pylist()
    found = {}
    for name in paths:
        own = sorted((row for row in rows if row["tokenizer"] == name), key=lambda row: -row["premium"])
        shown = own[:3] + [
            row for row in own if row["language"] in ("deu_Latn", "tur_Latn", "por_Latn", "hin_Deva", "shn_Mymr")
        ]
        rate = facts[f"bytes_per_token.{name}"]
        found[name] = {
            "bytes_per_token": [round(v, 4) for v in (rate.value, rate.low, rate.high)],
            "median_premium": round(facts[f"parity.median.{name}"], 3),
            "premiums": {
                row["language"]: [row["tokens"], *(round(row[key], 3) for key in ("premium", "low", "high"))]
                for row in shown
            },
        }
    return {
        "languages": len({row["language"] for row in rows}),
        "lines": rows[0]["lines"],
        "megabytes": round(facts["n_bytes"] / 1e6, 1),
        "seconds_cpu": round(time.process_time() - start, 1),
        "tokenizers": found,
    }


if __name__ == "__main__":
    main()
