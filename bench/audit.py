"""Time a whole audit of a 200,019-entry tokenizer (o200k) on 100 MB of real text in some 60 languages, on one core.

    python bench/audit.py --mb 100

    python bench/audit.py --unreachable TOKENIZER...  # entries no text can produce: seconds with and without our engine

Prints seconds and peak memory, checks the counts against the library on a tenth of the documents in the same run, and
writes bench/results/audit.json. Needs ../shared/data/tokenizers (or --tokenizer) and apt-get (bench/corpus.py). With
--unreachable it writes bench/results/unreachable.json: CPU seconds of `unreachable_entries` on an open vocabulary, the
best of 3, as it is and with every entry settled by the library; the verdicts must be the same.
"""

import os

# One core: the library would use all of them.
os.environ.update(RAYON_NUM_THREADS="1", OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")

import argparse
import json
import platform
import resource
import sys
import time
from pathlib import Path

from corpus import corpus

ROOT = Path(__file__).resolve().parents[1]
O200K = ROOT.parent / "shared" / "data" / "tokenizers" / "openai" / "o200k_base.tiktoken.xz"


def unreachable(tokenizers: list[str]) -> None:
    """Time the search for unreachable entries, and compare its verdicts with those of the library alone."""
    import numpy as np

    from tokenry.core.vocab import Vocab
    from tokenry.tokenization import entries

    rows, own = [], entries._produced
    for name in tokenizers:
        vocab = Vocab.open(name)
        found = entries.unreachable_entries(vocab)
        seconds = []
        for _ in range(3):
            start = time.process_time()
            entries.unreachable_entries(vocab)
            seconds.append(time.process_time() - start)
        entries._produced = lambda vocab, texts, at_once: np.zeros(vocab.size, bool)
        start = time.process_time()
        by_library = entries.unreachable_entries(vocab)
        alone = time.process_time() - start
        entries._produced = own
        rows.append({"tokenizer": "/".join(Path(name).parts[-4:]), "entries": vocab.size, "family": vocab.family,
                     "unreachable": len(found), "cpu_seconds": round(min(seconds), 2),
                     "cpu_seconds_by_library": round(alone, 2), "same_verdicts": found == by_library})  # fmt: skip
        print(json.dumps(rows[-1]))
    result = {
        "command": "python bench/audit.py --unreachable TOKENIZER...",
        "rows": rows,
        "load_at_end": os.getloadavg()[0],
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
    }
    (ROOT / "bench" / "results" / "unreachable.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=float, default=100, help="million bytes of text")
    parser.add_argument("--tokenizer", default=str(O200K), help="what Vocab.open takes")
    parser.add_argument("--unreachable", nargs="+", help="time the search for unreachable entries of these instead")
    chosen = parser.parse_args()
    if chosen.unreachable:
        unreachable(chosen.unreachable)
        return

    from tokenry.core.runs import set_quiet
    from tokenry.core.tables import stream
    from tokenry.core.vocab import Vocab
    from tokenry.tokenization.audit import audit

    set_quiet(True)
    files = corpus(chosen.mb)
    start, start_cpu = time.perf_counter(), time.process_time()
    vocab = Vocab.open(chosen.tokenizer)
    opened = time.perf_counter() - start
    report = audit(vocab, files)
    wall, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3

    texts = [text for batch in stream(files) for text in batch.column("text").to_pylist()][::10]
    start_cpu = time.process_time()
    n_library = sum(len(ids) for ids in vocab.encode(texts))
    library = time.process_time() - start_cpu
    n_ours = audit(vocab, texts, lenses=["compression"]).facts["n_tokens"]
    if n_ours != n_library:
        sys.exit(f"counts differ: ours {n_ours}, library {n_library}")

    facts = report.facts
    result = {
        "command": "python bench/audit.py " + " ".join(sys.argv[1:]),
        "tokenizer": f"{vocab.name}, {vocab.size} entries",
        "megabytes": round(facts["n_bytes"] / 1e6, 1),
        "documents": facts["n_documents"],
        "tokens": facts["n_tokens"],
        "seconds_wall": round(wall, 1),
        "seconds_cpu": round(cpu, 1),
        "seconds_opening": round(opened, 1),
        "megabytes_per_cpu_second": round(facts["n_bytes"] / 1e6 / cpu, 2),
        "library_encode_only_megabytes_per_cpu_second": round(sum(len(t.encode()) for t in texts) / 1e6 / library, 2),
        "peak_megabytes": round(peak),
        "facts_checked_against_library": n_library,
        "load_at_end": os.getloadavg()[0],
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
    }
    out = ROOT / "bench" / "results" / "audit.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
