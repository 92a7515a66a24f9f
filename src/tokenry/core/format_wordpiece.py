"""WordPiece vocabularies (BERT's `vocab.txt`, GGUF) as specs.

Paper: BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding (arXiv 1810.04805).
"""

from tokenry.core.hf_json import added_tokens, template, whole_spec

_CONTROL = {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"}


def spec_from_wordpiece(data: bytes, where: str, config: dict | None = None) -> tuple[dict, dict]:
    """A `vocab.txt`, one entry a line, as (spec, config).

    Lower-casing is not in the file: `do_lower_case` of the config decides; without it, a vocabulary in which no word
    has a capital letter is taken for a lower-casing one.

    Raises:
        ValueError: not text, two equal lines, or no unknown token.
    """
    config = dict(config or {})
    try:
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        raise ValueError(f"{where} is not UTF-8 text; a WordPiece vocabulary has one entry a line.") from None
    entries = [line.rstrip("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]
    return wordpiece_spec(entries, where, config)


def wordpiece_spec(entries: list[str], where: str, config: dict) -> tuple[dict, dict]:
    """The spec of WordPiece entries by id ("dog", "##s", "[CLS]").

    Args:
        config: may name special tokens, `do_lower_case`, `strip_accents` and `tokenize_chinese_chars`.

    Raises:
        ValueError: two equal entries, or no unknown token.
    """
    vocab = {entry: i for i, entry in enumerate(entries)}
    if len(vocab) != len(entries):
        twice = next(entry for i, entry in enumerate(entries) if vocab[entry] != i)
        raise ValueError(f"{where} holds {twice!r} twice; need one line for each entry of a WordPiece vocabulary.")
    given = {role: config.get(f"{role}_token", name) for role, name in _CONTROL.items()}
    roles = {role: token.get("content") if isinstance(token, dict) else token for role, token in given.items()}
    roles = {role: token for role, token in roles.items() if token in vocab}
    if "unk" not in roles:
        raise ValueError(f"{where} has no unknown token ([UNK]); is it a WordPiece vocabulary?")
    lower = config.get("do_lower_case")
    if lower is None:
        marked = set(roles.values())
        lower = not any(entry != entry.lower() for entry in entries if entry not in marked and entry[:1] != "[")
    cls, sep = roles.get("cls"), roles.get("sep")
    ends = [(token, vocab[token]) if token else None for token in (cls, sep)]
    spec = whole_spec(
        {
            "type": "WordPiece",
            "unk_token": roles["unk"],
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocab,
        },
        added_tokens=added_tokens({vocab[token]: token for token in roles.values()}),
        normalizer={
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": config.get("tokenize_chinese_chars", True),
            "strip_accents": config.get("strip_accents"),
            "lowercase": bool(lower),
        },
        pre_tokenizer={"type": "BertPreTokenizer"},
        post_processor=template(*ends) if any(ends) else None,
        decoder={"type": "WordPiece", "prefix": "##", "cleanup": True},
    )
    return spec, {**{f"{role}_token": token for role, token in roles.items()}, **config}
