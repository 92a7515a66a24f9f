"""Short, distinct names for tokenizers, from their files."""

import os
import re
from collections.abc import Sequence
from pathlib import PurePath

from tokenry.core.vocab import Vocab

_SAYS_NOTHING = {"tokenizer", "model", "models", "vocab", "vocabulary", "encoder", "merges", "original", "snapshot", ""}
_SUFFIX = re.compile(r"\.(json|model|tiktoken|gguf|txt|bpe|xz|gz|v\d+)$")
_LONGEST = 24


def short_names(vocabs: Sequence[Vocab], sources: Sequence[object]) -> list[str]:
    """A name for each: of its file, folder or hub name, as short as keeps them apart; numbered where nothing does."""
    chains = [_chain(vocab, source) for vocab, source in zip(vocabs, sources, strict=True)]
    names = [chain[0] for chain in chains]
    for depth in range(1, max(map(len, chains), default=1)):
        twice = {name for name in names if names.count(name) > 1}
        names = [
            f"{chain[depth]}-{name}"[-_LONGEST:] if name in twice and depth < len(chain) else name
            for name, chain in zip(names, chains, strict=True)
        ]
    taken, numbered = set(), []
    for name in names:
        number, told = 1, name if names.count(name) == 1 else f"{name} (1)"
        while told in taken or (told != name and told in names):
            number += 1
            told = f"{name} ({number})"
        taken.add(told)
        numbered.append(told)
    return numbered


def _chain(vocab: Vocab, source: object) -> list[str]:
    """Parts of the name, the most telling first."""
    text = os.fspath(source) if isinstance(source, str | os.PathLike) else vocab.name
    parts = [part for part in PurePath(text).parts if part not in ("/", ".", "..")]
    bare = [_bare(part) for part in reversed(parts)]
    telling = [part for part in bare if part.casefold() not in _SAYS_NOTHING]
    return [part[:_LONGEST] for part in telling] or [vocab.name[:_LONGEST] or "tokenizer"]


def _bare(name: str) -> str:
    while (shorter := _SUFFIX.sub("", name)) != name:
        name = shorter
    return name.removesuffix("_base") or name
