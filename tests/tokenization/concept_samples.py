"""A small WordPiece base made by hand, and term lists whose affixes are known."""

from functools import cache

from tokenry.core.hf_json import added_tokens, whole_spec
from tokenry.core.vocab import Vocab

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = ("the", "patient", "was", "given", "and", "with", "for", "has", "took", "pen", "card", "neph", "hep")
INSIDE = ("##in", "##ic", "##at", "##er", "##ion", "##al")
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
DRUGS = ("paracetamol", "amoxicillin", "ampicillin", "penicillin", "adalimumab", "infliximab", "rituximab",
         "trastuzumab", "atorvastatin", "simvastatin", "pravastatin")  # fmt: skip
DISEASES = ("hepatitis", "nephritis", "arthritis", "pancreatitis", "cardiomyopathy", "nephropathy", "neuropathy",
            "cardiac arrhythmia", "tachycardia", "bradycardia")  # fmt: skip


@cache
def base_vocab(*, cased: bool = False) -> Vocab:
    """BERT's kind: normaliser, punctuation apart, "##" inside words."""
    upper = LETTERS.upper() if cased else ""
    entries = [*SPECIALS, *".,'-()", *LETTERS, *upper, *"0123456789",
               *(f"##{c}" for c in LETTERS + upper + "0123456789"),
               *WORDS, *INSIDE]  # fmt: skip
    model = {"type": "WordPiece", "vocab": {entry: i for i, entry in enumerate(entries)}, "unk_token": "[UNK]",
             "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}  # fmt: skip
    normalizer = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
                  "lowercase": not cased}  # fmt: skip
    spec = whole_spec(model, added_tokens=added_tokens(dict(enumerate(SPECIALS))), normalizer=normalizer,
                      pre_tokenizer={"type": "BertPreTokenizer"},
                      decoder={"type": "WordPiece", "prefix": "##", "cleanup": False})  # fmt: skip
    roles = dict(zip(("pad", "unk", "cls", "sep", "mask"), SPECIALS, strict=True))
    return Vocab.from_spec(spec, {f"{role}_token": token for role, token in roles.items()}, "small-bert")
