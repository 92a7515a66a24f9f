"""Small tokenizers that hold every string of 1 to 3 digits, as GPT-4's does, made without training."""

from tokenry.core.alphabets import BYTE_TO_CHAR
from tokenry.core.hf_json import added_tokens, bpe_model, whole_spec
from tokenry.core.patterns import byte_level, split_pretokenizer
from tokenry.core.vocab import Vocab

CL100K_NUMBERS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def numbers_byte_level(*, k: int = 3, pattern: str = CL100K_NUMBERS) -> Vocab:
    """Byte-level BPE: all bytes, then all strings of 2 to k digits; numbers in groups from the left."""
    symbols = sorted(BYTE_TO_CHAR)
    merges, entries = [], ["<s>", "</s>", *symbols]
    for size in range(2, k + 1):
        merges += [[f"{n:0{size}d}"[:-1], f"{n:0{size}d}"[-1]] for n in range(10**size)]
        entries += [f"{n:0{size}d}" for n in range(10**size)]
    spec = whole_spec(
        bpe_model({entry: i for i, entry in enumerate(entries)}, merges, ignore_merges=True),
        added_tokens=added_tokens({0: "<s>", 1: "</s>"}),
        pre_tokenizer=split_pretokenizer((pattern,)),
        decoder=byte_level(use_regex=False),
    )
    return Vocab.from_spec(spec, {"bos_token": "<s>", "eos_token": "</s>"}, "numbers")


def numbers_metaspace() -> Vocab:
    """Unigram behind a Metaspace pre-tokeniser, as T5's: all strings of 1 to 3 digits, letters, signs."""
    digits = [f"{n:0{size}d}" for size in (1, 2, 3) for n in range(10**size)]
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    pieces = [["<unk>", 0.0], ["\u2581", -2.0], *[[p, -3.0] for p in [*letters, *"=+.,()'"]]]
    pieces += [[p, -4.0 - 0.001 * len(p)] for p in digits]
    meta = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}
    model = {"type": "Unigram", "unk_id": 0, "vocab": pieces, "byte_fallback": False}
    spec = whole_spec(model, added_tokens=added_tokens({0: "<unk>"}), pre_tokenizer=meta, decoder=meta)
    return Vocab.from_spec(spec, {"unk_token": "<unk>"}, "numbers-metaspace")
