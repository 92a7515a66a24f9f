"""Byte-level BPE training on 100 MB of real multilingual text: our engine against HF `tokenizers`, one thread each.

    OMP_NUM_THREADS=1 python bench/train_bpe.py --mb 100 --size 32000

Each trainer runs in its own process, from the same file of JSON lines to a finished merge list; wall and CPU seconds
and peak memory are those of the whole process, imports and reading included. The kernels are compiled before (once per
installation; the seconds are reported). Writes bench/results/train_bpe.json.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
ONE_THREAD = {"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1",
              "ARROW_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}  # fmt: skip


def train_tokenry(file: str, size: int) -> list[list[str]]:
    from tokenry.tokenization.train import train

    vocab = train(file, size=size, pattern="gpt2", specials=["<|endoftext|>"], min_count=2)
    return vocab.spec["model"]["merges"]


def train_tokenizers(file: str, size: int) -> list[list[str]]:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )

    def texts():
        with open(file, encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)["text"]

    tokenizer.train_from_iterator(texts(), trainer)
    return json.loads(tokenizer.to_str())["model"]["merges"]


TRAINERS = {"tokenry": train_tokenry, "tokenizers": train_tokenizers}


def child(name: str, file: str, size: int, out: str) -> None:
    """Train once in this process and write the merges; its cost is measured from outside."""
    Path(out).write_text(json.dumps(TRAINERS[name](file, size)), encoding="utf-8")


def measured(name: str, file: Path, size: int, out: Path) -> dict[str, float]:
    """Run one trainer in a process of its own."""
    command = [sys.executable, __file__, "--child", name, "--file", str(file), "--size", str(size), "--out", str(out)]
    start = time.perf_counter()
    process = subprocess.Popen(command, env={**os.environ, **ONE_THREAD})
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{name} ended with status {status}")
    return {"wall_seconds": round(time.perf_counter() - start, 2),
            "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
            "peak_mb": round(usage.ru_maxrss / 1024, 1)}  # fmt: skip


def write_documents(files: list[Path], out: Path) -> dict[str, int]:
    """All texts as one file of JSON lines, in documents as tokenry reads them."""
    from tokenry.core.tables import texts

    counts = {"documents": 0, "bytes": 0}
    with open(out, "w", encoding="utf-8") as sink:
        for text in texts([str(file) for file in files]):
            sink.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
            counts["documents"] += 1
            counts["bytes"] += len(text.encode())
    return counts


def compare(files: list[Path], size: int, repeats: int) -> dict:
    """Both trainers on the same documents; the best of `repeats` runs each, taken in turns."""
    with tempfile.TemporaryDirectory() as folder:
        tiny, documents = Path(folder) / "tiny.jsonl", Path(folder) / "documents.jsonl"
        tiny.write_text('{"text": "one two two"}\n', encoding="utf-8")
        warm = measured("tokenry", tiny, 257, Path(folder) / "warm.json")["wall_seconds"]
        corpus = write_documents(files, documents)
        runs: dict[str, list[dict]] = {name: [] for name in TRAINERS}
        for _ in range(repeats):
            for name in TRAINERS:
                runs[name].append(measured(name, documents, size, Path(folder) / f"{name}.json"))
                print(name, runs[name][-1], file=sys.stderr)
        merges = {name: json.loads((Path(folder) / f"{name}.json").read_text(encoding="utf-8")) for name in TRAINERS}
    best = {name: min(found, key=lambda run: run["wall_seconds"]) for name, found in runs.items()}
    ours, theirs = best["tokenry"], best["tokenizers"]
    return {
        "corpus": corpus | {"files": len(files)},
        "size": size,
        "merges": len(merges["tokenry"]),
        "merges_identical": merges["tokenry"] == merges["tokenizers"],
        "best": best,
        "runs": runs,
        "ratio_wall": round(theirs["wall_seconds"] / ours["wall_seconds"], 2),
        "ratio_cpu": round(theirs["cpu_seconds"] / ours["cpu_seconds"], 2),
        "ratio_peak_memory": round(ours["peak_mb"] / theirs["peak_mb"], 3),
        "first_run_on_nothing_seconds": warm,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=float, default=100, help="million bytes of text, from bench/corpus.py")
    parser.add_argument("--data", nargs="*", type=Path, help="your own text files instead")
    parser.add_argument("--size", type=int, default=32_000, help="entries of the vocabulary")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "train_bpe.json")
    parser.add_argument("--child", choices=TRAINERS, help=argparse.SUPPRESS)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child, args.file, args.size, str(args.out))
        return
    from corpus import corpus

    found = compare(args.data or corpus(args.mb), args.size, args.repeats)
    versions = {name: version(name) for name in ("tokenry", "tokenizers", "numba", "numpy", "regex", "pyarrow")}
    found |= {
        "command": "OMP_NUM_THREADS=1 python bench/train_bpe.py " + " ".join(sys.argv[1:]),
        "machine": {"cpu": _cpu(), "cores": os.cpu_count(), "python": platform.python_version()},
        "versions": versions,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: found[key] for key in found if key != "runs"}, indent=1))


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


if __name__ == "__main__":
    main()
