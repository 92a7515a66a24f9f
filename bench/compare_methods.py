"""Every method on one real pair, ranked after equal training, with step 0 beside it: English to German and English.

    python bench/compare_methods.py                    # 21 methods, 3 orders of the text, about 30 CPU minutes
    python bench/compare_methods.py --resume           # goes on where an interrupted run stopped
    python bench/compare_methods.py --so-far           # the report of the trials done so far

The model is bench/base_lm.py's (English documentation and code). It moves to a tokenizer of 4,096 entries learned from
German and English documentation, and every method trains on the same batches of German documentation and English
fiction (which the model never saw). Scored, each on documents nothing was trained on: German documentation, English
fiction; and, never trained on here, English documentation, code and Greek documentation. Intervals over documents and
over orders of the text; differences to `pieces` are paired.

What the methods get: the training part of the text; a donor (a smaller model trained here with the new tokenizer);
word vectors of English and German counted on text, turned onto each other by FreeDict's dictionary; parallel
paragraphs of LibreOffice's help; the sentence encoder MiniLM where it lies in the cache; a hypernetwork trained here
for 300 steps. Nothing of it holds a document that is scored. All material lies in ~/.cache/tokenry-bench/compare.
Options are the methods' defaults; nothing was chosen on this text.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import argparse
import json
import platform
import shutil
from datetime import UTC, datetime
from pathlib import Path

from base_lm import SIZE, base_model, heldout, training_texts
from corpus import cache_folder
from initialisers import HELPER, dictionary, parallel_lines

RESULTS = Path(__file__).resolve().parent / "results" / "compare_methods.json"
GERMAN, GENERAL, SEED = 600, 12_000, 0
"""German documents; bytes of each text that is only scored; seed of the split."""
HYPERNET = {"steps": 300, "rate": 5e-4, "warmup": 30, "batch": 8, "negatives": 512}


def place() -> Path:
    """Where material and state lie."""
    return Path(os.environ.get("TOKENRY_COMPARE", cache_folder() / "compare"))


def _jsonl(name: str, found: list[str]) -> Path:
    file = place() / f"{name}.jsonl"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in found), "utf-8")
    return file


def sources() -> tuple[dict[str, Path], dict[str, Path]]:
    """Domains that are trained on and scored, and those that are scored only."""
    from tokenry.core.tables import texts
    from tokenry.data import demo_text

    german = heldout("de", n_bytes=1 << 30) + training_texts("de")[:GERMAN]
    domains = {
        "de docs": _jsonl("de-docs", german),
        "en fiction": _jsonl("en-fiction", list(texts(demo_text("fiction")))),
    }
    general = {
        "en docs": _jsonl("en-docs", heldout("en", n_bytes=GENERAL)),
        "code": _jsonl("code", heldout("code", n_bytes=GENERAL)),
        "el docs": _jsonl("el-docs", heldout("el", n_bytes=GENERAL)),
    }
    return domains, general


def training_parts(domains: dict[str, Path]) -> dict[str, list[str]]:
    """The texts of each domain that `compare_methods` trains on: the same split."""
    from tokenry.transplant.documents import part_texts, split

    found = {}
    for name, source in domains.items():
        folder = _folder(name)
        if not folder.is_dir():
            split(source, folder, seed=SEED, caps={}, reading={})
        found[name] = part_texts(folder, "compose") + part_texts(folder, "heal")
    return found


def tokenizer(parts: dict[str, list[str]]) -> Path:
    """A tokenizer of German and English."""
    from tokenry.tokenization.train import train

    folder = place() / "tokenizer"
    if not folder.is_dir():
        train(parts["de docs"] + training_texts("en")[:300], size=SIZE).to_hf(folder)
    return folder


def donor(parts: dict[str, list[str]]) -> Path:
    """A smaller model trained on the same text with the new tokenizer: its rows serve the methods that need a donor."""
    from tokenry.core.vocab import Vocab
    from tokenry.models.tiny import trained_tiny

    folder = place() / "donor"
    if not folder.is_dir():
        found = parts["de docs"] + training_texts("en")[:300]
        trained_tiny(found, Vocab.open(tokenizer(parts)), **HELPER).save(folder)
    return folder


def hypernet(parts: dict[str, list[str]]) -> Path:
    """A hypernetwork of a short training on the same text; it never sees the new tokenizer."""
    from tokenry.transplant.hypernet_training import TrainingConfig
    from tokenry.transplant.hypernet_verb import train_hypernet_folder
    from tokenry.transplant.tokenizer_sampling import SamplerConfig

    folder = place() / "hypernet"
    if not folder.is_dir():
        data = _jsonl("hypernet", parts["de docs"] + training_texts("en")[:300])
        train_hypernet_folder(
            str(base_model("en")), [data], folder, shape={"layers": 1, "residual": True}, reading={},
            sampling=SamplerConfig(size=SIZE, pool=256), training=TrainingConfig(identity_steps=0, **HYPERNET),
            resume=(place() / ".hypernet.unfinished").exists(),
        )  # fmt: skip
    return folder


def vectors(parts: dict[str, list[str]]) -> tuple[Path, Path]:
    """Word vectors of both languages in one space: counted as `transplant word-vectors` does, English turned."""
    import numpy as np

    from tokenry.transplant.word_spaces import known_pairs
    from tokenry.transplant.word_vectors import open_vectors, orthogonal_map, write_vectors

    english, german, turned = (place() / f"{name}.vec" for name in ("en", "de", "en-turned"))
    if not turned.is_file():
        write_vectors(training_texts("en"), english)
        write_vectors(parts["de docs"], german)
        source, target = open_vectors(english), open_vectors(german)
        matrix = source.matrix @ orthogonal_map(*known_pairs(source, target, dictionary("de")))
        lines = [f"{word} {' '.join(f'{v:.5f}' for v in row)}" for word, row in zip(source.words, matrix, strict=True)]
        turned.write_text(f"{len(lines)} {np.shape(matrix)[1]}\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return turned, german


def materials(parts: dict[str, list[str]], scored: list[str]) -> object:
    """What the methods are given, as files; nothing of it is in `scored`."""
    from tokenry.transplant.materials import Materials

    dictionary("de")
    parallel, held = place() / "parallel.tsv", "\n".join(scored)
    if not parallel.is_file():
        pairs = [pair for pair in parallel_lines("de") if pair[0] not in held and pair[1] not in held]
        parallel.write_text("".join(f"{a}\t{b}\n" for a, b in pairs), encoding="utf-8")
    minilm, words = cache_folder() / "minilm", vectors(parts)
    return Materials(
        vectors=str(words[0]),
        new_vectors=str(words[1]),
        dictionary=str(cache_folder() / "parallel" / "dictionary-en-de.tsv"),
        parallel=str(parallel),
        encoder=str(minilm) if (minilm / "config.json").is_file() else None,
        hypernet=str(hypernet(parts)),
    )


def so_far(out: Path, config: object) -> object | None:
    """The report of the trials that an unfinished run holds."""
    from tokenry.transplant.compare_report import compare_report
    from tokenry.transplant.comparing_methods import TRAINED, UNTOUCHED, Trial

    records = list((out.parent / f".{out.name}.unfinished").glob("*.json"))
    done = next((d for d in (json.loads(r.read_text()).get("done") for r in records) if d), {})
    skipped, trials = {}, []
    for stage, found in done.items():
        if stage.startswith("trial") and "skipped" in found:
            skipped[stage.split(" ")[1]] = found["skipped"]
        elif stage.startswith("trial"):
            trials.append(Trial.from_record(found))
    own = next((trial for trial in trials if trial.method == TRAINED), None)
    if not trials or own is None:
        return None
    seeds = {trial.seed for trial in trials if trial.method == TRAINED}
    original = Trial(UNTOUCHED, 0, own.before, own.before, [], 0.0, 0.0, own.scripts_before, own.scripts_before)
    whole = [original, *(trial for trial in trials if trial.seed in seeds)]
    return compare_report(whole, skipped, config=config, name="en", target="tokenizer")


def main() -> None:
    """Make the material, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", default="all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--scored-bytes", type=int, default=26_000, help="of each domain")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--so-far", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    import torch

    from tokenry.transplant.comparing_methods import CompareConfig, Texts, compare_methods
    from tokenry.transplant.documents import part_texts
    from tokenry.transplant.healing import HealConfig

    torch.set_num_threads(1)
    heal = HealConfig(steps=chosen.steps, batch=8, length=128, seed=SEED, evaluations=3)
    names = None if chosen.methods == "all" else tuple(chosen.methods.split(","))
    config = CompareConfig(
        names, heal, chosen.seeds, heldout_bytes=chosen.scored_bytes, probe_bytes=min(12_000, chosen.scored_bytes)
    )
    out = place() / f"report-{chosen.methods[:20]}-{chosen.steps}-{chosen.seeds}"
    if chosen.so_far:
        report = so_far(out, config)
    else:
        domains, general = sources()
        parts = training_parts(domains)
        held = [t for name in domains for p in ("heldout", "probe") for t in part_texts(_folder(name), p)]
        donor_folder = donor(parts)
        given = materials(parts, held)
        shutil.rmtree(out, ignore_errors=True)
        report = compare_methods(
            str(base_model("en")), Texts(domains, general), donor=str(donor_folder), materials=given, config=config,
            out=out, resume=chosen.resume, command=f"python bench/compare_methods.py --steps {chosen.steps}",
        )  # fmt: skip
    _write(report, chosen)


def _folder(name: str) -> Path:
    return place() / "parts" / name.replace(" ", "-")


def _write(report: object, chosen: argparse.Namespace) -> None:
    import torch

    if report is None:
        raise SystemExit("no order of the text is finished yet")
    print(report)
    given = f"--seeds {chosen.seeds} --steps {chosen.steps} --scored-bytes {chosen.scored_bytes}"
    result = {
        "command": f"python bench/compare_methods.py {given}",
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"processor": platform.processor() or platform.machine(), "threads": 1, "torch": torch.__version__},
        "finished": not chosen.so_far,
        **json.loads(report.to_json()),
    }
    chosen.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
