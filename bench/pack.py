"""`tokenry corpus pack` against the least that could be done: `tokenizers.encode_batch` of everything and one array.

    python bench/pack.py                      # text of ../shared/data, GPT-2's vocabulary, one process each

Both sides read the same JSON-lines file and end with ids on disk. The plain side holds all texts and ids in memory and
writes neither an index nor ids and sources of documents. Runs alternate; CPU seconds of the process, start of Python
and opening the vocabulary left out.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAYON_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from tokenry.core.runs import set_quiet
from tokenry.core.tables import read, write
from tokenry.core.vocab import Vocab
from tokenry.corpora.embedded import EmbeddedEngine
from tokenry.corpora.packing import Packing, pack_corpus, unpack

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
RESULTS = ROOT / "bench" / "results" / "pack.json"
NAMES = ("en", "de", "fr", "ru", "zh", "code_python", "code_c")


def plain(source: Path, out: Path, vocab: Vocab) -> np.ndarray:
    """Everything at once."""
    texts = [json.loads(line)["text"] for line in source.open(encoding="utf-8")]
    eos = vocab.specials["eos"]
    encoded = vocab.backend.encode_batch(texts, add_special_tokens=False)
    ids = np.concatenate([np.array([*one.ids, eos], np.uint16) for one in encoded])
    np.save(out, ids)
    return ids


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokenizer", default=str(SHARED / "tokenizers" / "gpt2"))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    set_quiet(True)
    vocab, engine = Vocab.open(arguments.tokenizer), EmbeddedEngine(workers=1)
    ways = {"plain encode_batch": None, "pack, in order": Packing(shuffled=False), "pack, shuffled": Packing()}
    seconds = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as held:
        folder = Path(held)
        write(read([SHARED / "mixture" / f"{name}.jsonl.xz" for name in NAMES]), folder / "docs.jsonl")
        for run in range(arguments.runs):
            for name, packing in ways.items():
                start = time.process_time()
                if packing is None:
                    ids = plain(folder / "docs.jsonl", folder / f"{run}.npy", vocab)
                else:
                    out = folder / f"{run}-{name}"
                    pack_corpus(folder / "docs.jsonl", out, tokenizer=vocab, packing=packing, engine=engine)
                seconds[name].append(time.process_time() - start)
        ours = np.concatenate([[*one, vocab.specials["eos"]] for _, one in unpack(folder / "0-pack, in order")])
        size = (folder / "docs.jsonl").stat().st_size
    assert (ours == ids).all()
    result = {
        "command": "python bench/pack.py",
        "megabytes": round(size / 1e6, 2),
        "tokens": len(ids),
        "vocabulary": f"{vocab.name}, {vocab.size:,} ids",
        "tokens_per_cpu_second": {name: [round(len(ids) / one) for one in each] for name, each in seconds.items()},
        "same_ids_as_plain": True,
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
