"""Both engines over the same step, with one worker and with two: equal parts, speed-up, what starting costs.

    python bench/engines.py --data ../shared/data/mixture [--documents 60000] [--engines embedded,daft,ray]

The step is `corpus score --signals gopher,repetition,rpv2` over eight Parquet files of made-up documents (runs of
`--join` paragraphs of the mixture, gone round until there are `--documents`). Starting is the time for eight files of
one document each: the start of the processes, of Daft, the connection to Ray; the Ray cluster itself, of two CPUs, is
started once by this script and its own start is told apart. Wall seconds are those of this process; the step's seconds
are wall without starting, and the speed-up is that of the step. CPU seconds are summed over the units as the workers
count them. Runs go round `--repeats` times, the least counts. The machine must have two idle cores: the load before
each run is written down. Needs daft and ray[client] for those engines (this Python). Written to
bench/results/engines.json.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from signals import documents  # the bench beside this one

RESULTS = Path(__file__).resolve().parent / "results" / "engines.json"
FILES = 8
SIGNALS = "gopher,repetition,rpv2"
CLUSTER = """
import ray, sys
found = ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
print(found.address_info["address"], flush=True)
sys.stdin.read()
ray.shutdown()
"""


def make(folder: Path, texts: list[str], n: int) -> None:
    """Eight Parquet files of `n` documents in all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    for file in range(FILES):
        numbers = range(file, n, FILES)
        rows = {"id": [str(one) for one in numbers], "text": [texts[one % len(texts)] for one in numbers]}
        pq.write_table(pa.table(rows), folder / f"{file}.parquet", row_group_size=4096, compression="zstd")


def run(docs: Path, out: Path, name: str, workers: int) -> dict[str, object]:
    """One run of the step."""
    from tokenry.corpora.engine import open_engine, read_mapped
    from tokenry.corpora.signals import families_of, score_corpus

    shutil.rmtree(out, ignore_errors=True)
    start = time.perf_counter()
    score_corpus(docs, families_of(SIGNALS), out, engine=open_engine(name, workers=workers))
    wall = time.perf_counter() - start
    digest = hashlib.blake2b(digest_size=8)
    for part in sorted(out.glob("part-*.parquet")):
        digest.update(part.read_bytes())
    cpu = sum(tally.cpu_seconds for tally in read_mapped(out).tallies)
    return {"wall": wall, "cpu": cpu, "digest": digest.hexdigest()}


def measure(folder: Path, names: list[str], repeats: int) -> dict[str, object]:
    """Every engine with one worker and two, over the small corpus and the large one, in turn."""
    runs: dict[tuple[str, int, str], list[dict]] = {}
    loads = []
    for _ in range(repeats):
        for name in names:
            for workers in (1, 2):
                for docs in ("small", "large"):
                    loads.append(round(os.getloadavg()[0], 1))
                    one = run(folder / docs, folder / "out", name, workers)
                    runs.setdefault((name, workers, docs), []).append(one)
                    print(name, workers, docs, one, "load", loads[-1], file=sys.stderr, flush=True)
    engines = {}
    for name in names:
        starts = [min(one["wall"] for one in runs[name, workers, "small"]) for workers in (1, 2)]
        walls = [min(one["wall"] for one in runs[name, workers, "large"]) for workers in (1, 2)]
        cpus = [min(one["cpu"] for one in runs[name, workers, "large"]) for workers in (1, 2)]
        steps = [wall - start for wall, start in zip(walls, starts, strict=True)]
        engines[name] = {
            "start_seconds": [round(one, 2) for one in starts],
            "wall_seconds": [round(one, 2) for one in walls],
            "step_seconds": [round(one, 2) for one in steps],
            "cpu_seconds": [round(one, 2) for one in cpus],
            "speed_up_of_the_step": round(steps[0] / steps[1], 2),
            "speed_up_of_the_wall": round(walls[0] / walls[1], 2),
        }
    digests = {one["digest"] for key, some in runs.items() if key[2] == "large" for one in some}
    return {"engines": engines, "equal_parts": len(digests) == 1, "loads_before": loads}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--documents", type=int, default=60_000)
    parser.add_argument("--join", type=int, default=20)
    parser.add_argument("--engines", default="embedded,daft,ray", help="those to measure, with commas")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    names, cluster, found = options.engines.split(","), None, {}
    os.environ |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "DO_NOT_TRACK": "1",
        "OMP_NUM_THREADS": "1",
        "NUMBA_NUM_THREADS": "1",
    }
    if "ray" in names:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": os.urandom(32).hex()}
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        start = time.perf_counter()
        command = [sys.executable, "-c", CLUSTER]
        cluster = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        os.environ["RAY_ADDRESS"] = cluster.stdout.readline().strip()
        found["ray_cluster_start_seconds"] = round(time.perf_counter() - start, 1)
    try:
        texts = documents(options.data, options.join, None)
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder) / "small", texts, FILES)
            make(Path(folder) / "large", texts, options.documents)
            run(Path(folder) / "small", Path(folder) / "out", "embedded", 1)  # kernels are compiled once, unmeasured
            found |= measure(Path(folder), names, options.repeats)
    finally:
        if cluster is not None:
            cluster.stdin.close()
            cluster.wait(60)
    size = sum(len(texts[one % len(texts)].encode()) for one in range(options.documents))
    found |= {"when": datetime.now(UTC).isoformat(timespec="seconds"), "documents": options.documents, "bytes": size,
              "signals": SIGNALS, "repeats": options.repeats, "workers": [1, 2]}  # fmt: skip
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
