"""Fuzz the tokenizer loaders: whatever bytes a file holds, opening it gives a Vocab or a sentence.

    pip install atheris
    python bench/fuzz_formats.py --seconds 300     # coverage-guided; writes bench/results/fuzz_formats.json

One input is one file: its first byte picks the name it is given (tokenizer.json, x.tiktoken, tekken.json, x.model,
vocab.txt, x.gguf, the pair vocab.json + merges.txt, and JSON inside .xz), the rest is the content. The corpus starts
from small real files of each format. A finding is any exception but ValueError (exit code 2 at the door),
FileNotFoundError and ImportError, more than 10 seconds for one file, or more than 2 GB of memory.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results" / "fuzz_formats.json"
PARTS = ("format_gguf", "format_ranks", "format_sentencepiece", "format_wordpiece", "formats", "hf_json", "vocab")


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--seconds", type=int, default=60)
    options.add_argument("--corpus", type=Path, default=None, help="folder of inputs kept between runs")
    chosen = options.parse_args()
    import atheris

    sys.path.insert(0, str(ROOT / "tests" / "core"))
    with atheris.instrument_imports(include=[f"tokenry.core.{part}" for part in PARTS]):
        import hostile_files
    folder = Path(tempfile.mkdtemp())
    corpus = chosen.corpus or Path(tempfile.mkdtemp())
    corpus.mkdir(parents=True, exist_ok=True)
    for i, content in enumerate(hostile_files.contents()):
        (corpus / f"seed-{i}").write_bytes(bytes([i]) + content)
    outcomes: dict[str, int] = {}

    def one(data: bytes) -> None:
        name = hostile_files.NAMES[(data[0] if data else 0) % len(hostile_files.NAMES)]
        outcome = hostile_files.open_file(name, data[1:], folder)
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        if sum(outcomes.values()) % 500 == 0:
            _write(outcomes, chosen.seconds)

    limits = ["-timeout=10", "-rss_limit_mb=2048", "-max_len=70000", "-seed=1", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], str(corpus), f"-max_total_time={chosen.seconds}", *limits], one)
    atheris.Fuzz()


def _write(outcomes: dict[str, int], seconds: int) -> None:
    """Keep the tally. A finding ends the process, so what stands here was opened without one."""
    record = {
        "command": f"python bench/fuzz_formats.py --seconds {seconds}",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "atheris": version("atheris"),
        "files_opened": sum(outcomes.values()),
        "outcomes": outcomes,
        "findings": 0,
    }
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
