"""Special tokens: which ids they keep, and which role (bos, eos, unk, ...) each plays."""

import numpy as np

from tokenry.core.hf_json import ROLES, Entries, added_token, model_pieces, model_type, parts, unknown_id

# Last resort, only among tokens already marked special, in order of preference.
_NAMES = {
    "bos": ("<s>", "<bos>", "[BOS]", "<|begin_of_text|>", "<|startoftext|>", "<｜begin▁of▁sentence｜>", "<BOS_TOKEN>"),
    "eos": (
        "</s>",
        "<eos>",
        "[EOS]",
        "<|end_of_text|>",
        "<|endoftext|>",
        "<｜end▁of▁sentence｜>",
        "<EOT>",
        "<EOS_TOKEN>",
    ),
    "unk": ("<unk>", "[UNK]", "<UNK>", "<|unk|>"),
    "sep": ("[SEP]",),
    "pad": ("<pad>", "[PAD]", "<PAD>", "<|pad|>", "<｜▁pad▁｜>", "<|finetune_right_pad_id|>"),
    "cls": ("[CLS]",),
    "mask": ("<mask>", "[MASK]", "<MASK>", "<|mask|>"),
}


def settle_added_tokens(spec: dict, config: dict) -> dict:
    """A spec in which every added token keeps the id it declares, and the config's special tokens are added tokens.

    The library numbers added tokens after `len(vocab)`, so a declared id behind a hole would move: such tokens are
    entered into the model's vocabulary too, which pins them. Tokens that only `tokenizer_config.json` marks are added
    because transformers adds them when it opens the folder.

    Raises:
        ValueError: when two tokens claim one id.
    """
    by_id = {token["id"]: dict(token) for token in spec.get("added_tokens") or []}
    known = {piece: i for i, piece in model_pieces(spec)}
    for i, token in (config.get("added_tokens_decoder") or {}).items():
        by_id[int(i)] = added_token(int(i), token["content"]) | token | {"id": int(i)}
    by_content = {token["content"]: token for token in by_id.values()}
    for role in ROLES:
        content = _content(config.get(f"{role}_token"))
        if content in by_content:
            by_content[content]["special"] = True
        elif content in known:
            by_id[known[content]] = added_token(known[content], content)
    added = [by_id[i] for i in sorted(by_id)]
    model = _pin(spec["model"], known, added)
    return {**spec, "model": model, "added_tokens": added, "truncation": None, "padding": None}


def _pin(model: dict, known: dict[str, int], added: list[dict]) -> dict:
    """Enter added tokens whose declared id differs from the one the library would give."""
    taken, following = {i: piece for piece, i in known.items()}, len(known)
    loose = False
    for token in added:
        i, content = token["id"], token["content"]
        if content in known:
            if known[content] != i:
                raise ValueError(f"added token {content!r} declares id {i}, the vocabulary gives it {known[content]}.")
            continue
        if i in taken:
            raise ValueError(f"added token {content!r} claims id {i}, which belongs to {taken[i]!r}.")
        loose |= i != following
        following += 1
    if not loose:
        return model
    fresh = {token["content"]: token["id"] for token in added if token["content"] not in known}
    if isinstance(model["vocab"], list):
        raise ValueError(f"added tokens {list(fresh)[:3]} of a Unigram model must follow its {len(known)} pieces.")
    return {**model, "vocab": {**model["vocab"], **fresh}}


def special_roles(spec: dict, config: dict, laid: Entries) -> dict[str, int]:
    """Role -> id: from the config, else the config's ids, the model, the post-processor, and last the usual names."""
    literals, special = laid.literals, laid.special
    ids = {literal: i for i, literal in reversed(list(enumerate(literals))) if literal is not None}
    specials = {literals[i]: int(i) for i in np.flatnonzero(special)}
    before, after = _template_tokens(spec)
    is_bert = "[CLS]" in specials or model_type(spec) == "WordPiece"
    found: dict[str, int] = {}
    for role in ROLES:
        key = f"{role}_token"
        if key in config:
            content = _content(config[key])
            if content in ids:
                found[role] = ids[content]
            continue
        number = config.get(f"{key}_id")
        number = number[0] if isinstance(number, list) and number else number
        if isinstance(number, int) and 0 <= number < len(literals):
            found[role] = number
            continue
        template = {"bos": before, "eos": after} if not is_bert else {"cls": before, "sep": after}
        guesses = [template.get(role), *_NAMES[role]]
        unk = unknown_id(spec)
        if role == "unk" and unk is not None:
            found[role] = unk
        elif guess := next((name for name in guesses if name in specials), None):
            found[role] = specials[guess]
    return found


def _content(token: object) -> str | None:
    if isinstance(token, dict):
        return token.get("content")
    return token if isinstance(token, str) else None


def _template_tokens(spec: dict) -> tuple[str | None, str | None]:
    """The special tokens a single text is wrapped in: the first before it and the first after it."""
    before = after = None
    for leaf in parts(spec.get("post_processor")):
        if leaf["type"] in ("BertProcessing", "RobertaProcessing"):
            return leaf["cls"][0], leaf["sep"][0]
        if leaf["type"] != "TemplateProcessing":
            continue
        names = [next(iter(item.items())) for item in leaf["single"]]
        at = next((i for i, (kind, _) in enumerate(names) if kind == "Sequence"), len(names))
        before = names[0][1]["id"] if at > 0 else None
        after = names[at + 1][1]["id"] if len(names) > at + 1 else None
    return before, after


def named_tokens(config: dict, spec: dict) -> dict[str, str]:
    """Tokens that a tokenizer_config.json names beside the usual roles, such as `image_token`.

    Args:
        config: its content.
        spec: of a tokenizer; only names of its added tokens are given.
    """
    added = {token["content"] for token in spec["added_tokens"]}
    found = {key: value for key, value in config.items() if key.endswith("_token")}
    for key in ("extra_special_tokens", "model_specific_special_tokens"):
        found |= config[key] if isinstance(config.get(key), dict) else {}  # transformers 4 and 5
    texts = {name: _content(value) for name, value in found.items()}
    usual = {f"{role}_token" for role in ROLES}
    return {name: text for name, text in texts.items() if text in added and name not in usual}
