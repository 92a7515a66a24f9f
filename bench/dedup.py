"""MinHash deduplication against datatrove: the same documents, 14 bands of 8 values over runs of 5 words, two workers.

    python -P bench/dedup.py --data ../shared/data --datatrove VENV/bin/python [--peer-documents 100000]

Documents of 600 to 1,000 characters are made of English sentences of `--data`; one in seven is a copy of an earlier one
in which some words were changed, so the similarity of each planted pair is known. Each tool reads the same eight
Parquet files in a process tree of its own, from start to the list of duplicates (datatrove: signatures, buckets,
clusters; its filter, which writes the documents again, is left out). CPU seconds are those of the whole tree as the
kernel counts them; memory is the most that all processes of the tree hold at once (resident, shared pages counted in
each), looked at every 0.2 s. datatrove cuts words with spaCy, as it does unless told otherwise; `datatrove-split` cuts
at white space, to show what that costs. Tools run in turn `--repeats` times, the least CPU counts. `--peer-documents`
gives the peer fewer documents than ours; the ratio is then taken at the peer's number, and ours is run on both.
Written to bench/results/dedup.json.
"""

import argparse
import itertools
import json
import lzma
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results" / "dedup.json"
FILES, WORKERS, BANDS, ROWS, WIDTH = 8, 2, 14, 8, 5
CHANGES = (0, 1, 2, 3, 4, 5, 7, 10)  # words changed in a copy
COPIES = 1 / 7
BINS = (0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.01)


def sentences(folder: Path) -> list[str]:
    """The different English sentences of 40 to 200 characters in the mixture, GSM8K, PubMedQA, LAMBADA and FLORES."""
    texts = []
    for name in (
        "mixture/en.jsonl.xz",
        "qa/gsm8k-train.jsonl.xz",
        "qa/gsm8k-test.jsonl.xz",
        "qa/lambada-test.jsonl.xz",
    ):
        with lzma.open(folder / name, "rt", encoding="utf-8") as lines:
            texts += [" ".join(v for v in json.loads(line).values() if isinstance(v, str)) for line in lines]
    with lzma.open(folder / "qa/pubmedqa-labelled.json.xz", "rt", encoding="utf-8") as file:
        texts += [" ".join(item["CONTEXTS"]) for item in json.load(file).values()]
    with tarfile.open(folder / "flores200/flores200-devtest.tar.xz") as archive:
        for member in archive:
            if "eng_Latn" in member.name and member.isfile():
                texts += archive.extractfile(member).read().decode().splitlines()
    found = {piece.strip() for text in texts for piece in re.split(r"(?<=[.!?])\s+", text.replace("\n", " "))}
    return sorted(piece for piece in found if 40 <= len(piece) <= 200)


def make(folder: Path, pool: list[str], n: int, seed: int) -> dict[str, object]:
    """Write the documents, and the planted pairs with their Jaccard similarity: (copy, original, similarity)."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(seed)
    words = sorted({word for piece in pool for word in piece.split()})
    texts, originals, pairs = [], [], []
    picks, at = rng.integers(len(pool), size=40 * n), 0
    is_copy = rng.random(n) < COPIES
    for number in range(n):
        if is_copy[number] and originals:
            original = originals[rng.integers(len(originals))]
            old = texts[original].split()
            new = old.copy()
            for place in rng.choice(len(old), CHANGES[rng.integers(len(CHANGES))], replace=False):
                new[place] = words[rng.integers(len(words))]
            runs = [{tuple(some[i : i + WIDTH]) for i in range(len(some) - WIDTH + 1)} for some in (old, new)]
            pairs.append((number, original, len(runs[0] & runs[1]) / len(runs[0] | runs[1])))
            texts.append(" ".join(new))
            continue
        length, pieces, wanted = 0, [], rng.integers(600, 900)
        while length < wanted:
            pieces.append(pool[picks[at % len(picks)]])
            length += len(pieces[-1]) + 1
            at += 1
        originals.append(number)
        texts.append(" ".join(pieces)[:1000])
    each = -(-n // FILES)
    (folder / "docs").mkdir(parents=True)
    for file in range(FILES):
        part = texts[file * each : (file + 1) * each]
        ids = [str(file * each + row) for row in range(len(part))]
        pq.write_table(pa.table({"id": ids, "text": part}), folder / "docs" / f"{file:05d}.parquet",
                       row_group_size=16_384, compression="zstd")  # fmt: skip
    truth = {"pairs": pairs, "n": n, "each": each, "bytes": sum(len(text.encode()) for text in texts)}
    (folder / "truth.json").write_text(json.dumps(truth))
    return truth


def ours(folder: Path) -> None:
    """What `tokenry corpus dedup` does."""
    from tokenry.corpora.dedup import Settings, dedup
    from tokenry.corpora.embedded import EmbeddedEngine

    settings = Settings("minhash", width=WIDTH, bands=BANDS, rows=ROWS)
    dedup(folder / "docs", folder / "out", settings=settings, engine=EmbeddedEngine(workers=WORKERS))


def our_clusters(folder: Path, n: int, each: int) -> list[int]:
    """Document -> the first of its cluster."""
    import pyarrow.parquet as pq

    name = "dedup.minhash.duplicate_of"
    made = []
    for part in sorted((folder / "out").glob("part-*.parquet")):
        for row in pq.read_table(part, columns=["id", name]).to_pylist():
            made.append(int(row["id"] if row[name] is None else row[name]))
    return made


def datatrove(folder: Path, *, split: bool) -> None:
    """The first three of datatrove's four stages."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import ParquetReader

    config = MinhashConfig(n_grams=WIDTH, num_buckets=BANDS, hashes_per_bucket=ROWS)
    sign = MinhashDedupSignature(str(folder / "out/signatures"), config=config)
    if split:
        sign.word_tokenizer = Split()
    stages = (
        ([ParquetReader(str(folder / "docs")), sign], FILES),
        ([MinhashDedupBuckets(str(folder / "out/signatures"), str(folder / "out/buckets"), config=config)], BANDS),
        ([MinhashDedupCluster(str(folder / "out/buckets"), str(folder / "out/removed"), config=config,
                              save_cluster_id=True)], 1),
    )  # fmt: skip
    for pipeline, tasks in stages:
        LocalPipelineExecutor(
            pipeline, tasks=tasks, workers=min(tasks, WORKERS), start_method="fork", skip_completed=False,
            logging_dir=str(folder / f"out/logs-{len(pipeline)}-{tasks}"),
        ).run()  # fmt: skip


class Split:
    """Words at white space."""

    def word_tokenize(self, text: str) -> list[str]:
        return text.split()


def datatrove_clusters(folder: Path, n: int, each: int) -> list[int]:
    """Document -> the first of its cluster."""
    import numpy as np

    made, firsts = list(range(n)), {}
    for file in sorted((folder / "out/removed").glob("*.clusters")):
        for document, cluster in np.fromfile(file, "<u4").reshape(-1, 2).tolist():
            number = int(file.stem) * each + document
            made[number] = firsts.setdefault(cluster, number)
    return made


ROLES = {
    "tokenry": (ours, our_clusters),
    "datatrove": (lambda folder: datatrove(folder, split=False), datatrove_clusters),
    "datatrove-split": (lambda folder: datatrove(folder, split=True), datatrove_clusters),
}


def tree(root: int) -> list[int]:
    """The process and all that come from it."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parents[int(entry)] = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found, fresh = [root], [root]
    while fresh:
        fresh = [pid for pid, parent in parents.items() if parent in fresh]
        found += fresh
    return found


def resident(pids: list[int]) -> int:
    """Bytes that these processes hold."""
    total = 0
    for pid in pids:
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:
            continue
    return total


def timed(command: list[str]) -> dict[str, float]:
    """Run a command and its children: wall and CPU seconds, and the most memory the tree held."""
    most, ended = [0], threading.Event()
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def watch() -> None:
        while not ended.wait(0.2):
            most[0] = max(most[0], resident(tree(process.pid)))

    said: list[str] = []
    threads = [threading.Thread(target=watch), threading.Thread(target=lambda: said.append(process.stderr.read()))]
    for thread in threads:
        thread.start()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    ended.set()
    for thread in threads:
        thread.join()
    if status:
        raise RuntimeError(f"{' '.join(command)} failed:\n{''.join(said)[-3000:]}")
    cpu = usage.ru_utime + usage.ru_stime
    return {"cpu_seconds": round(cpu, 1), "wall_seconds": round(wall, 1), "peak_mb": round(most[0] / 1e6)}


def judged(firsts: list[int], truth: dict[str, object]) -> dict[str, object]:
    """What was found: documents dropped, clusters, planted pairs by similarity, and documents dropped for no reason."""
    n, family = truth["n"], list(range(truth["n"]))
    for copy, original, _ in truth["pairs"]:
        family[copy] = original
    dropped = [number for number in range(n) if firsts[number] != number]
    recall = []
    for low, high in itertools.pairwise(BINS):
        caught = [firsts[c] == firsts[o] for c, o, s in truth["pairs"] if low <= s < high]
        theory = [1 - (1 - s**ROWS) ** BANDS for _, _, s in truth["pairs"] if low <= s < high]
        if caught:
            recall.append({"from": low, "pairs": len(caught), "caught": round(sum(caught) / len(caught), 4),
                           "theory": round(sum(theory) / len(theory), 4)})  # fmt: skip
    return {
        "dropped": len(dropped),
        "clusters": len({firsts[number] for number in dropped}),
        "strangers": sum(family[number] != family[firsts[number]] for number in dropped),
        "planted_pairs_caught": sum(firsts[c] == firsts[o] for c, o, _ in truth["pairs"]),
        "recall": recall,
    }


def measure(names: list[str], pythons: dict[str, str], folder: Path, truth: dict, repeats: int) -> dict[str, object]:
    """Each tool in turn over one corpus."""
    made: dict[str, dict] = {name: {"runs": []} for name in names}
    for _ in range(repeats):
        for name in names:
            shutil.rmtree(folder / "out", ignore_errors=True)
            shutil.rmtree(folder / "out.index", ignore_errors=True)
            command = [pythons[name], "-P", __file__, "--role", name, "--folder", str(folder)]
            made[name]["runs"].append(timed(command))
            print(name, truth["n"], made[name]["runs"][-1], file=sys.stderr, flush=True)
            if "found" not in made[name]:
                made[name]["found"] = judged(ROLES[name][1](folder, truth["n"], truth["each"]), truth)
    for one in made.values():
        one["cpu_seconds"] = min(run["cpu_seconds"] for run in one["runs"])
        one["wall_seconds"] = min(run["wall_seconds"] for run in one["runs"])
        one["peak_mb"] = max(run["peak_mb"] for run in one["runs"])
    ratios = {name: {kind: round(made[name][kind] / made["tokenry"][kind], 1)
                     for kind in ("cpu_seconds", "wall_seconds", "peak_mb")} for name in names[1:]}  # fmt: skip
    return {"documents": truth["n"], "bytes": truth["bytes"], "planted_pairs": len(truth["pairs"]), "tools": made,
            "datatrove_over_tokenry": ratios}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="../shared/data")
    parser.add_argument("--datatrove", help="Python of an environment with datatrove and spacy")
    parser.add_argument("--documents", type=int, default=1_000_000, help="for ours")
    parser.add_argument("--peer-documents", type=int, help="for datatrove; as many as ours by default")
    parser.add_argument("--peers", default="datatrove", help="datatrove, datatrove-split, with commas")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="where the documents are made; a temporary folder by default")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--role", choices=ROLES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        ROLES[options.role][0](options.folder)
        return
    peers = options.peers.split(",") if options.datatrove else []
    pythons = dict.fromkeys(peers, options.datatrove) | {"tokenry": sys.executable}
    sizes = {options.peer_documents or options.documents: ["tokenry", *peers]}
    sizes.setdefault(options.documents, ["tokenry"])
    found = {"when": datetime.now(UTC).isoformat(timespec="seconds"), "seed": options.seed, "repeats": options.repeats,
             "workers": WORKERS, "bands": BANDS, "rows": ROWS, "words_in_a_run": WIDTH, "sizes": []}  # fmt: skip
    pool = sentences(options.data)
    found["sentences"] = len(pool)
    for size, names in sorted(sizes.items()):
        with tempfile.TemporaryDirectory(dir=options.work) as folder:
            truth = make(Path(folder), pool, size, options.seed)
            found["sizes"].append(measure(names, pythons, Path(folder), truth, options.repeats))
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
