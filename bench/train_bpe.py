"""Byte-level BPE training on 100 MB of real multilingual text: our engine against other trainers, one thread each.

    OMP_NUM_THREADS=1 python bench/train_bpe.py --mb 100 --size 32000
    OMP_NUM_THREADS=1 python bench/train_bpe.py --mb 20 --size 32000 --trainers tokenry tokenizers gigatoken rustbpe \\
        bpeasy sentencepiece --peer-python PEERS/bin/python --out bench/results/train_bpe_peers.json

Each trainer runs in its own process, from the same file of JSON lines to a finished merge list; wall and CPU seconds
and peak memory are those of the whole process, imports and reading included. tokenry and tokenizers see the packages
that tokenry requires and no others, as after `pip install tokenry`: pyarrow imports pandas where it finds it, and numba
whatever calls itself its extension (awkward, which comes with gigatoken). The kernels are compiled before (once per
installation; the seconds are reported). Pages of program files in the peak are told apart (`files_mb`, at the end).
gigatoken, rustbpe and bpeasy are looked for in the interpreter of `--peer-python` (a virtual environment of their own).
SentencePiece learns another tokenizer (characters and metaspace, one million sentences at most), so only its cost is
comparable; bpeasy breaks ties in an order of its own and caps tokens at 128 bytes. Writes bench/results/train_bpe.json.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import distribution, files, requires, version
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


GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def _texts(file: str):
    with open(file, encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)["text"]


def train_gigatoken(file: str, size: int) -> list[list[str]]:
    import gigatoken

    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as plain:
        for text in _texts(file):
            plain.write(text + "<|endoftext|>")
        plain.flush()
        source = gigatoken.TextFileSource([plain.name], separator=b"<|endoftext|>")
        _, merges = gigatoken.train_bpe(source, size, ["<|endoftext|>"])
    return [[_spelled(left), _spelled(right)] for left, right in merges]


def train_rustbpe(file: str, size: int) -> list[list[str]]:
    import rustbpe

    tokenizer = rustbpe.Tokenizer()
    tokenizer.train_from_iterator(_texts(file), size - 1, pattern=GPT2)  # no special token takes an entry
    return [[_spelled(token)] for token, _ in sorted(tokenizer.get_mergeable_ranks(), key=lambda item: item[1])[256:]]


def train_bpeasy(file: str, size: int) -> list[list[str]]:
    import bpeasy

    ranks = bpeasy.train_bpe(_texts(file), GPT2, 128, size - 1)
    return [[_spelled(token)] for token, _ in sorted(ranks.items(), key=lambda item: item[1])[256:]]


def train_sentencepiece(file: str, size: int) -> list[list[str]]:
    import sentencepiece

    with tempfile.TemporaryDirectory() as folder:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(line for text in _texts(file) for line in text.splitlines() if line),
            model_prefix=f"{folder}/sp", vocab_size=size, model_type="bpe", num_threads=1, byte_fallback=True,
            character_coverage=0.9995, minloglevel=2, input_sentence_size=1_000_000,
        )  # fmt: skip
    return []


def _spelled(data: bytes) -> str:
    """Bytes in GPT-2's alphabet, without any library of ours: the peers' interpreter has none."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return "".join(chr(byte) if byte in plain else chr(256 + others.index(byte)) for byte in data)


TRAINERS = {"tokenry": train_tokenry, "tokenizers": train_tokenizers, "gigatoken": train_gigatoken,
            "rustbpe": train_rustbpe, "bpeasy": train_bpeasy, "sentencepiece": train_sentencepiece}  # fmt: skip
OWN = ("tokenry", "tokenizers")
PEERS = ("gigatoken", "rustbpe", "bpeasy")


def child(name: str, file: str, size: int, out: str) -> None:
    """Train once in this process and write the merges; its cost is measured from outside."""
    Path(out).write_text(json.dumps(TRAINERS[name](file, size)), encoding="utf-8")
    status = Path("/proc/self/status")
    if status.is_file():
        lines = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
        Path(f"{out}.files").write_text(lines["RssFile"].split()[0], encoding="utf-8")


def required(name: str) -> set[str]:
    """The distributions that one needs, without extras, itself left out."""
    from packaging.requirements import Requirement

    found, waiting = set(), [name]
    while waiting:
        for line in requires(waiting.pop()) or []:
            needed = Requirement(line)
            plain = needed.name.lower().replace("_", "-")
            if plain in found or not (needed.marker is None or needed.marker.evaluate({"extra": ""})):
                continue
            found.add(plain)
            waiting.append(plain)
    return found


def bare_site(folder: Path) -> Path:
    """A folder of links to what tokenry requires, to stand for the site-packages of a new installation."""
    folder.mkdir()
    for name in required("tokenry"):
        for top in {file.parts[0] for file in files(name) or [] if file.parts[0] not in ("..", "__pycache__")}:
            if not (folder / top).exists():
                (folder / top).symlink_to(Path(distribution(name).locate_file(top)).resolve())
    return folder


def measured(name: str, file: Path, size: int, out: Path, python: str = sys.executable) -> dict[str, float]:
    """Run one trainer in a process of its own."""
    site, bare = out.parent / "site", name in OWN
    if bare and not site.exists():
        bare_site(site)
    command = [
        python if name in PEERS else sys.executable,
        *(["-S"] if bare else []),
        __file__,
        "--child",
        name,
        "--file",
        str(file),
        "--size",
        str(size),
        "--out",
        str(out),
    ]
    start = time.perf_counter()
    path = {"PYTHONPATH": os.pathsep.join([str(site), str(HERE.parent / "src")])} if bare else {}
    process = subprocess.Popen(command, env={**os.environ, **ONE_THREAD, **path})
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{name} ended with status {status}")
    return {"wall_seconds": round(time.perf_counter() - start, 2),
            "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
            "peak_mb": round(usage.ru_maxrss / 1024, 1), "files_mb": _files_mb(out)}  # fmt: skip


def _files_mb(out: Path) -> float | None:
    """Pages of program files that the process held at its end: the system may drop them at any time."""
    told = Path(f"{out}.files")
    return round(int(told.read_text(encoding="utf-8")) / 1024, 1) if told.is_file() else None


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


def compare(files: list[Path], size: int, repeats: int, trainers: list[str], python: str) -> dict:
    """The trainers on the same documents; the best of `repeats` runs each, taken in turns."""
    with tempfile.TemporaryDirectory() as folder:
        tiny, documents = Path(folder) / "tiny.jsonl", Path(folder) / "documents.jsonl"
        tiny.write_text('{"text": "one two two"}\n', encoding="utf-8")
        warm = measured("tokenry", tiny, 257, Path(folder) / "warm.json")["wall_seconds"]
        corpus = write_documents(files, documents)
        runs: dict[str, list[dict]] = {name: [] for name in trainers}
        for _ in range(repeats):
            for name in trainers:
                runs[name].append(measured(name, documents, size, Path(folder) / f"{name}.json", python))
                print(name, runs[name][-1], file=sys.stderr)
        merges = {name: json.loads((Path(folder) / f"{name}.json").read_text(encoding="utf-8")) for name in trainers}
    best = {name: min(found, key=lambda run: run["wall_seconds"]) for name, found in runs.items()}
    ours = best["tokenry"]
    against = {
        name: {
            "ratio_wall": round(theirs["wall_seconds"] / ours["wall_seconds"], 2),
            "ratio_cpu": round(theirs["cpu_seconds"] / ours["cpu_seconds"], 2),
            "ratio_peak_memory": round(ours["peak_mb"] / theirs["peak_mb"], 3),
            "ratio_peak_without_files": _own_ratio(ours, theirs),
            **agreement(merges["tokenry"], merges[name]),
        }
        for name, theirs in best.items()
        if name != "tokenry"
    }
    return {
        "corpus": corpus | {"files": len(files)},
        "size": size,
        "merges": len(merges["tokenry"]),
        "merges_identical": merges["tokenry"] == merges.get("tokenizers"),
        "best": best,
        "runs": runs,
        **{key: value for key, value in against.get("tokenizers", {}).items() if key.startswith("ratio")},
        "against": against,
        "first_run_on_nothing_seconds": warm,
    }


def _own_ratio(ours: dict, theirs: dict) -> float | None:
    if not (ours.get("files_mb") and theirs.get("files_mb")):
        return None
    return round((ours["peak_mb"] - ours["files_mb"]) / (theirs["peak_mb"] - theirs["files_mb"]), 3)


def agreement(ours: list[list[str]], theirs: list[list[str]]) -> dict[str, object]:
    """How far two merge lists agree: as pairs, or as the tokens they make where only those are told."""
    if not theirs:
        return {"merges_identical": None}
    if len(theirs[0]) == 1:
        ours = [[left + right] for left, right in ours]
    first = next((k for k, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
    made, other = ({"".join(row) for row in rows} for rows in (ours, theirs))
    return {"merges_identical": ours == theirs, "first_difference": None if ours == theirs else first,
            "tokens_in_common_share": round(len(made & other) / max(len(made), 1), 4)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=float, default=100, help="million bytes of text, from bench/corpus.py")
    parser.add_argument("--data", nargs="*", type=Path, help="your own text files instead")
    parser.add_argument("--size", type=int, default=32_000, help="entries of the vocabulary")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--trainers", nargs="*", choices=TRAINERS, default=["tokenry", "tokenizers"])
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that has gigatoken, rustbpe, bpeasy")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "train_bpe.json")
    parser.add_argument("--child", choices=TRAINERS, help=argparse.SUPPRESS)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child, args.file, args.size, str(args.out))
        return
    from corpus import corpus

    found = compare(args.data or corpus(args.mb), args.size, args.repeats, args.trainers, args.peer_python)
    versions = {name: version(name) for name in ("tokenry", "tokenizers", "numba", "numpy", "regex", "pyarrow")}
    found |= {
        "command": "OMP_NUM_THREADS=1 python bench/train_bpe.py "
        + " ".join("PEERS/bin/python" if word == args.peer_python else word for word in sys.argv[1:]),
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
