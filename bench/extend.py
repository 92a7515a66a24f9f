"""Ways to extend a production vocabulary, at equal size: continued BPE against merging two vocabularies (Cabrita).

    python bench/extend.py            # needs ../shared/data beside the project; some two minutes

Mistral's 32,000 entries (SentencePiece BPE) are extended by 3,000 for Spanish and for Turkish software documentation:
by continued BPE, and by the pieces of a second tokenizer of 8,000 entries or so trained on the same text, appended with
the ranks of their own tokenizer (Cabrita), before all old ones (Chinese-LLaMA's score 0) and after them. Counted are
tokens of documentation that was not learned from, of FLORES-200 devtest in the language, and of FLORES in English,
which should not suffer. Written to bench/results/extend.json.
"""

import io
import json
import lzma
import platform
import tarfile
from datetime import UTC, datetime
from pathlib import Path

from tokenry.core.vocab import Vocab
from tokenry.tokenization.append_pieces import ORDERS
from tokenry.tokenization.comparing_extensions import compare_extensions
from tokenry.tokenization.extend import extend, extend_by_pieces

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
RESULTS = Path(__file__).resolve().parent / "results" / "extend.json"
ADDED, HELD_OUT = 3000, 500
LANGUAGES = {"es": "spa_Latn", "tr": "tur_Latn"}


def paragraphs(label: str) -> list[str]:
    """The paragraphs of one label of the mixture."""
    with lzma.open(SHARED / "mixture" / f"{label}.jsonl.xz", "rt", encoding="utf-8") as file:
        return [json.loads(line)["text"] for line in file]


def flores(code: str) -> list[str]:
    """The sentences of one language of FLORES-200 devtest."""
    with lzma.open(SHARED / "flores200" / "flores200-devtest.tar.xz") as file:
        data = file.read()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        member = next(m for m in archive.getmembers() if code in m.name)
        return archive.extractfile(member).read().decode("utf-8").splitlines()


def main() -> None:
    old = Vocab.open(SHARED / "tokenizers" / "mistral" / "tokenizer.model.v1.xz")
    found = {}
    for label, code in LANGUAGES.items():
        text = paragraphs(label)
        learn, held = text[:-HELD_OUT], text[-HELD_OUT:]
        ways = {"continued": extend(old, learn, add=ADDED).vocab}
        ways |= {order: extend_by_pieces(old, learn, add=ADDED, method=order).vocab for order in ORDERS}
        texts = {"documentation": held, "flores": flores(code), "english": flores("eng_Latn")}
        report = compare_extensions(old, ways, texts)
        print(report.verdict)
        found[label] = {"learned_from": {"paragraphs": len(learn), "bytes": sum(len(t.encode()) for t in learn)},
                        "rows": report.tables["methods"].to_pylist()}  # fmt: skip
    result = {
        "what": f"Mistral's vocabulary extended by {ADDED:,} entries, per language and way; seed of the bootstrap 0",
        "command": "python bench/extend.py", "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": platform.machine(), "languages": found,
    }  # fmt: skip
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
