"""Teach the English base model Portuguese (or Turkish): extended vocabularies beside the old tokens at equal cost.

    python bench/languages.py                          # Portuguese, 3 orders of the text, about 40 CPU minutes
    python bench/languages.py --lang tr --seeds 1

The base is bench/base_lm.py's (English documentation and code). Text: the same kind of documentation in the language,
split by document; 10 % English is replayed in every arm. Scored on held-out documents of the language and of English.
Runs what `tokenry transplant language` runs. Written to bench/results/languages.json.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import argparse
import json
import platform
import shutil
from datetime import UTC, datetime
from pathlib import Path

from base_lm import base_model, cache_folder, training_texts

from tokenry.core.report import Report

RESULTS = Path(__file__).resolve().parent / "results" / "languages.json"


def run(lang: str, *, seeds: int, steps: int, add: int) -> Report:
    """One adaptation with all arms."""
    from tokenry.transplant.healing import HealConfig
    from tokenry.transplant.languages import LanguageConfig, adapt_language

    heal = HealConfig(steps=steps, batch=16, length=128, rate=1e-3)
    config = LanguageConfig(add=add, methods=("pieces", "random", "mean"), heal=heal, seeds=seeds)
    out = cache_folder() / "languages" / lang
    shutil.rmtree(out, ignore_errors=True)
    return adapt_language(
        base_model("en"), training_texts(lang), out, general=training_texts("en"), config=config, resume=_begun(out)
    )


def _begun(out: Path) -> bool:
    return (out.parent / f".{out.name}.unfinished").exists()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lang", default="pt")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--add", type=int, default=2000)
    chosen = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    report = run(chosen.lang, seeds=chosen.seeds, steps=chosen.steps, add=chosen.add)
    print(report)
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    given = " ".join(f"--{name} {getattr(chosen, name)}" for name in ("lang", "seeds", "steps", "add"))
    machine = {"processor": platform.processor() or platform.machine(), "threads": 1, "torch": torch.__version__}
    results[chosen.lang] = {
        "command": f"python bench/languages.py {given}",
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine,
        **json.loads(report.to_json()),
    }
    RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
