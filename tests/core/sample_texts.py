"""Texts in many scripts for the tokenizer tests."""

import json
import lzma
import tarfile
from pathlib import Path

SCRIPTS = Path(__file__).parents[1] / "data" / "scripts.txt"


def script_texts() -> list[str]:
    """Every line of tests/data/scripts.txt, the empty text, and runs of spaces of every length up to 40."""
    lines = SCRIPTS.read_text(encoding="utf-8").split("\n")[1:-1]
    texts = [json.loads(f'"{line}"') for line in lines]
    runs = [f"a{' ' * n}b{' ' * n}" for n in range(1, 40)]
    return ["", " ", "a", *texts, *runs, "\n".join(texts)]


def flores_texts(shared_data: Path, *, per_language: int = 3) -> list[str]:
    """The first sentences of each of the 204 language-scripts of FLORES-200."""
    texts = []
    with tarfile.open(shared_data / "flores200" / "flores200-devtest.tar.xz") as archive:
        for member in archive:
            if member.isfile() and ".devtest" in member.name:
                texts += archive.extractfile(member).read().decode("utf-8").split("\n")[:per_language]
    return texts


def udhr_texts(shared_data: Path, *, characters: int = 400) -> list[str]:
    """The beginning of each of the 528 Declarations of Human Rights."""
    with lzma.open(shared_data / "udhr" / "udhr.jsonl.xz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return ["\n".join(row["title_and_preamble"])[:characters] for row in rows]


def mixture_texts(shared_data: Path, *, characters: int = 2000) -> list[str]:
    """The beginning of each labelled file: 26 languages and 7 programming languages."""
    texts = []
    for path in sorted((shared_data / "mixture").glob("*.jsonl.xz")):
        with lzma.open(path, "rt", encoding="utf-8") as file:
            texts.append(json.loads(file.readline())["text"][:characters])
    return texts
