"""Small vocabularies trained within a second, and texts for them."""

import io
import json
import lzma
import tarfile
from functools import cache
from pathlib import Path

from tokenry.core.vocab import Vocab
from tokenry.data import demo_text
from tokenry.tokenization.train import train

SCRIPTS = Path(__file__).parents[1] / "data" / "scripts.txt"


@cache
def fiction(n: int = 400) -> list[str]:
    """The first paragraphs of the packaged fiction."""
    with lzma.open(demo_text("fiction"), "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line, _ in zip(lines, range(n), strict=False)]


@cache
def script_lines() -> list[str]:
    """Texts in many scripts."""
    lines = SCRIPTS.read_text(encoding="utf-8").split("\n")
    return [json.loads(f'"{line}"') for line in lines[1:-1]]


@cache
def small(style: str = "byte-level", size: int = 700, pattern: str | None = None) -> Vocab:
    """BPE trained on the fiction."""
    return train(fiction(), size=size, style=style, pattern=pattern)


def mixture(shared_data: Path, label: str, n: int | None = None) -> list[str]:
    """Paragraphs of one label of the real mixture."""
    with lzma.open(shared_data / "mixture" / f"{label}.jsonl.xz", "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line, _ in zip(lines, range(n or 10**9), strict=False)]


@cache
def flores(shared_data: Path, code: str) -> list[str]:
    """The sentences of one language of FLORES-200, e.g. "spa_Latn"."""
    with lzma.open(shared_data / "flores200" / "flores200-devtest.tar.xz") as file:
        data = file.read()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        member = next(m for m in archive.getmembers() if code in m.name)
        return archive.extractfile(member).read().decode("utf-8").splitlines()
