"""Small vocabularies and models of several families, made from text; nothing is downloaded."""

import copy
import functools
import json

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tokenry.core.vocab import Vocab

ENGLISH = [
    "the cat sat on the mat and the dog ran after the cat",
    "there is another house near the water where the children play",
    "she sells sea shells by the sea shore, and the shells she sells are sea shells",
    "once upon a time there was a little girl who lived in a small house",
    "numbers like 10, 137 and 20481 are cut into digits or groups of digits",
] * 4
GERMAN = [
    "die Katze saß auf der Matte und der Hund lief der Katze nach",
    "das Haus steht in der Nähe des Wassers, wo die Kinder spielen",
    "Übung macht den Meister, größere Häuser brauchen größere Türen",
    "es war einmal ein kleines Mädchen, das in einem kleinen Haus wohnte",
] * 4


@functools.cache
def byte_level(language: str = "english", size: int = 340, specials: tuple[str, ...] = ("<|end|>",)) -> Vocab:
    """A byte-level BPE vocabulary; the first special is eos, the second bos, the third pad."""
    texts = {"english": ENGLISH, "german": GERMAN, "both": ENGLISH + GERMAN}[language]
    return byte_level_of(texts, size, specials, f"{language}-{size}")


def byte_level_of(texts: list[str], size: int, specials: tuple[str, ...] = ("<|end|>",), name: str = "made") -> Vocab:
    """The same, learned from given texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(specials),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    roles = dict(zip(("eos_token", "bos_token", "pad_token"), specials, strict=False))
    return Vocab.from_spec(spec_of(tokenizer), roles, name)


def spec_of(tokenizer: Tokenizer) -> dict:
    return json.loads(tokenizer.to_str())


def permuted(vocab: Vocab, order: np.ndarray) -> Vocab:
    """The same tokenizer with new id i standing for old id order[i]."""
    new_of = np.argsort(order).tolist()
    spec = copy.deepcopy(vocab.spec)
    spec["model"]["vocab"] = {piece: new_of[i] for piece, i in spec["model"]["vocab"].items()}
    for token in spec["added_tokens"]:
        token["id"] = new_of[token["id"]]
    spec["added_tokens"].sort(key=lambda token: token["id"])
    return Vocab.from_spec(spec, vocab.config, f"{vocab.name}-permuted")


def rows_for(vocab: Vocab, width: int = 8, seed: int = 0, extra: int = 0) -> np.ndarray:
    """Random rows, one for each id and `extra` padding rows."""
    return np.random.default_rng(seed).standard_normal((vocab.size + extra, width)).astype(np.float32)
