"""What RedPajama-V1 asks of a file of source code: line lengths, letters and digits, letters per token, its name.

Paper: RedPajama: an Open Dataset for Training Large Language Models (arXiv 2411.12372).
"""

from collections.abc import Mapping
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa

from tokenry.corpora.characters import ALNUM, ALPHA
from tokenry.corpora.families import BOOL, FLOAT, STRING, WHOLE, Family, Material
from tokenry.corpora.prepared import Prepared, share

__all__ = ["CODE", "EXTENSIONS"]

EXTENSIONS = frozenset(
    [
        ".asm",
        ".bat",
        ".cmd",
        ".c",
        ".h",
        ".cs",
        ".cpp",
        ".hpp",
        ".c++",
        ".h++",
        ".cc",
        ".hh",
        ".C",
        ".H",
        ".cmake",
        ".css",
        ".dockerfile",
        ".f90",
        ".f",
        ".f03",
        ".f08",
        ".f77",
        ".f95",
        ".for",
        ".fpp",
        ".go",
        ".hs",
        ".html",
        ".java",
        ".js",
        ".jl",
        ".lua",
        ".md",
        ".markdown",
        ".php",
        ".php3",
        ".php4",
        ".php5",
        ".phps",
        ".phpt",
        ".pl",
        ".pm",
        ".pod",
        ".perl",
        ".ps1",
        ".psd1",
        ".psm1",
        ".py",
        ".rb",
        ".rs",
        ".sql",
        ".scala",
        ".sh",
        ".bash",
        ".command",
        ".zsh",
        ".ts",
        ".tsx",
        ".tex",
        ".vb",
        "Dockerfile",
        "Makefile",
        ".xml",
        ".rst",
        ".m",
        ".smali",
    ]
)
"""Endings (and whole names) of the files that RedPajama-V1 keeps."""


def extension_of(name: str | None) -> str | None:
    """The ending of a file's name, the name itself where it has none (`Makefile`); None without a name."""
    if not name:
        return None
    last = PurePosixPath(name.replace("\\", "/")).name
    return PurePosixPath(last).suffix or last


def _code(prepared: Prepared, batch: pa.RecordBatch, material: Material) -> Mapping[str, object]:
    lines, whole = prepared.universal_lines, prepared.whole
    lengths = lines.lengths
    longest = np.zeros(len(prepared), np.int64)
    filled = lines.counts > 0
    if len(lengths):
        longest[filled] = np.maximum.reduceat(lengths, lines.offsets[:-1][filled])
    tokens = prepared.tokens.counts
    if material.tokenizer is not None:
        encoded = material.tokenizer.encode_batch(prepared.strings, add_special_tokens=False)
        tokens = np.array([len(one.ids) for one in encoded], np.int64)
    named = material.settings.path in batch.schema.names
    names = batch.column(material.settings.path).to_pylist() if named else [None] * len(prepared)
    endings = [extension_of(name if isinstance(name, str) else None) for name in names]
    return {
        "code.max_line_length": longest,
        "code.mean_line_length": share(lines.sums(lengths), lines.counts),
        "code.alphanumeric_share": share(prepared.counted(whole, ALNUM), prepared.lengths),
        "code.letters_per_token": share(prepared.counted(whole, ALPHA), tokens),
        "code.extension": pa.array(endings, STRING),
        "code.known_extension": pa.array([None if one is None else one in EXTENSIONS for one in endings], BOOL),
    }


CODE = Family(
    "code",
    1,
    {
        "code.max_line_length": WHOLE, "code.mean_line_length": FLOAT, "code.alphanumeric_share": FLOAT,
        "code.letters_per_token": FLOAT, "code.extension": STRING, "code.known_extension": BOOL,
    },
    _code,
    "line lengths, letters and digits, letters per token, extension (RedPajama-V1's rules for code)",
)  # fmt: skip
