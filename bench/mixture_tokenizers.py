"""What real tokenizers were trained on, as far as 33 small categories can tell.

    python bench/mixture_tokenizers.py                  # one line a tokenizer into results/mixture_tokenizers.jsonl
    python bench/mixture_experiment.py --page           # the page of both experiments

Tokenizers are those of ../shared/data/tokenizers; categories the 33 of ../shared/data/mixture (26 languages, 7
programming languages, at most 0.8 MB each, software documentation). Lines already in the file are not made again.
Tokenizers whose licence forbids carrying them are given by path, the first merge that is evidence behind a colon:

    python bench/mixture_tokenizers.py --more llama-3=llama3/tokenizer.model:100000 gemma=gemma/tokenizer.json
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import argparse
import json
import resource
import time
from pathlib import Path

from mixture_experiment import CACHE, DATA, read

from tokenry.core.progress import set_quiet
from tokenry.tokenization.mixture import infer_mixture

ROOT = Path(__file__).resolve().parents[1]
TOKENIZERS = ROOT.parent / "shared" / "data" / "tokenizers"
RESULTS = ROOT / "bench" / "results" / "mixture_tokenizers.jsonl"
REAL = {
    "gpt2": "gpt2",
    "cl100k": "openai/cl100k_base.tiktoken.xz",
    "claude": "claude",
    "mistral-v1": "mistral/tokenizer.model.v1.xz",
    "o200k": "openai/o200k_base.tiktoken.xz",
    "mistral-v3": "mistral/mistral_instruct_tokenizer_240323.model.v3.xz",
    "tekken": "mistral/tekken_240911.json.xz",
    "qwen2.5": "qwen2.5",
    "deepseek-v3": "deepseek-v3",
}
LANGUAGES = "ar ca cs de el en es fa fr hu id it ja ko nb nl pl pt ru sr sv ta tr uk vi zh".split()  # noqa: SIM905
CODE = [f"code_{name}" for name in ("c", "cpp", "go", "javascript", "python", "rust", "typescript")]


def audit(name: str, path: Path, first: int, chosen: argparse.Namespace) -> dict:
    """One tokenizer's shares, intervals and what did not fit."""
    start, cpu = time.perf_counter(), time.process_time()
    corpora = {file.name.split(".")[0]: str(file) for file in sorted(DATA.glob("*.jsonl.xz"))}
    report = infer_mixture(
        str(path), corpora, merges=first + chosen.merges, first_merge=first, bootstrap=chosen.bootstrap,
        calibrate=chosen.calibrate, refit=True, cache=CACHE, unit="pairs",
        groups={"code": CODE, "languages but English": [x for x in LANGUAGES if x != "en"], "English": ["en"]},
    )  # fmt: skip
    tables = {key: table.to_pylist() for key, table in report.tables.items()}
    return {
        "tokenizer": name,
        "merges": chosen.merges,
        "first_merge": first,
        "verdict": report.verdict,
        "facts": {key: value for key, value in report.facts.items() if isinstance(value, int | float | str)},
        "shares": tables["shares"],
        "groups": tables["groups"],
        "slack": tables["slack"],
        "worst_pairs": tables["worst_pairs"][:8],
        "worst_steps": tables["worst_steps"][:8],
        "missing_scripts": tables["missing_scripts"][:8],
        "refit": tables["refit"],
        "baselines": tables["baselines"],
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
    }


def _given(word: str) -> tuple[str, Path, int]:
    """Name, path and first merge of "name=path:first"."""
    name, _, rest = word.partition("=")
    path, _, first = rest.partition(":")
    return name, Path(path), int(first or 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(REAL), choices=list(REAL), help="tokenizers")
    parser.add_argument("--more", nargs="+", metavar="NAME=PATH[:FIRST]", help="these instead")
    parser.add_argument("--merges", type=int, default=5_000, help="first merges to use")
    parser.add_argument("--bootstrap", type=int, default=20)
    parser.add_argument("--calibrate", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    set_quiet(True)
    done = {(line["tokenizer"], line["merges"]) for line in read(chosen.results)}
    asked = [(name, TOKENIZERS / REAL[name], 0) for name in chosen.only]
    if chosen.more:
        asked = [_given(word) for word in chosen.more]
    for name, path, first in asked:
        if (name, chosen.merges) in done:
            continue
        line = audit(name, path, first, chosen)
        with chosen.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        print(name, line["cpu_seconds"], line["verdict"], flush=True)


if __name__ == "__main__":
    main()
