"""What else names tokens: ids in the two configurations of a model, and the chat template."""

from dataclasses import dataclass, field, replace

import numpy as np

from tokenry.core.special_tokens import named_tokens
from tokenry.core.vocab import Vocab
from tokenry.transplant.planning import Plan

_ROLE_KEYS = {f"{role}_token_id": role for role in ("bos", "eos", "pad", "unk", "sep", "cls", "mask")}
_ONE_ID = {"decoder_start_token_id": "bos", "forced_bos_token_id": "bos", "forced_eos_token_id": "eos"}
_MEDIA = tuple(
    f"{what}_token_{kind}"
    for what in (
        *("image", "video", "audio", "boi", "eoi", "boa", "eoa", "im_start", "im_end", "low_res_image_start"),
        *(f"{media}_{end}" for media in ("image", "video", "audio", "vision", "frame") for end in ("start", "end")),
    )
    for kind in ("id", "index")
)
"""Tokens whose place pictures or sound take: without them a model is deaf or blind."""
_MEDIA_LISTS = ("visual_indicator_token_ids",)
_ID_LISTS = ("suppress_tokens", "begin_suppress_tokens")
# A role that the old file does not name is written only for these.
_ALWAYS = ("bos_token_id", "eos_token_id", "pad_token_id")
_MOST_SUPPRESSED = 4096


@dataclass(frozen=True)
class Updates:
    """New values of a configuration's keys, and what could not be carried over."""

    values: dict[str, object] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    """sentences."""


def moved_ids(config: dict, plan: Plan, *, old: Vocab, to: Vocab, n_rows: int, generation: bool) -> Updates:
    """New values for the keys of a configuration that hold token ids.

    A role takes the id of that role in the new vocabulary; a list of stop ids keeps its other members under their new
    ids. Ids without a token, padding rows among them, are never to be generated (`suppress_tokens`).

    Args:
        config: config.json or generation_config.json as a dict.
        n_rows: rows of the new embedding.
        generation: whether it is the generation configuration.
    """
    values, lost = {}, []
    for key, role in {**_ROLE_KEYS, **_ONE_ID, **dict.fromkeys((*_MEDIA, *_MEDIA_LISTS), "")}.items():
        value = config.get(key)
        own = [to.specials[role]] if role in to.specials and key in _ROLE_KEYS else []
        if value is None:
            if own and key in _ALWAYS:
                values[key] = own[0]
            continue
        old_ids = value if isinstance(value, list) else [value]
        carried = [_becomes(plan, old, to, old_id) for old_id in old_ids]
        found = list(dict.fromkeys(i for i in ([*carried, *own] if isinstance(value, list) else [*own, *carried])))
        found = [i for i in found if i is not None]
        if not found or (isinstance(value, list) and None in carried):
            gone = [old_id for old_id, new_id in zip(old_ids, carried, strict=True) if new_id is None]
            lost.append(f"{key}: {', '.join(map(str, gone))} of the old vocabulary has no token in the new one")
        several = isinstance(value, list) or (generation and role == "eos" and len(found) > 1)
        values[key] = (found if several else found[0]) if found else None
    for key in _ID_LISTS if generation else ():
        ids = config.get(key) or []
        kept = {new_id for old_id in ids if (new_id := _becomes(plan, old, to, old_id)) is not None}
        if key == "suppress_tokens":
            tokenless = np.concatenate([plan.unfilled, np.arange(to.size, n_rows)]).tolist()
            if len(tokenless) > _MOST_SUPPRESSED:
                lost.append(f"{len(tokenless)} ids without a token are too many to list under suppress_tokens")
            else:
                kept.update(tokenless)
        if kept or ids:
            values[key] = sorted(kept) or None
    return Updates(values, lost)


def missing_ids(config: dict, plan: Plan, *, old: Vocab, to: Vocab) -> list[str]:
    """Names of the keys whose token a model cannot do without, and which the new vocabulary does not have."""
    keys = (*_MEDIA, *(("decoder_start_token_id",) if config.get("is_encoder_decoder") else ()))
    named = {key: config[key] for key in keys if isinstance(config.get(key), int)}
    named |= {f"{key}[{n}]": i for key in _MEDIA_LISTS for n, i in enumerate(config.get(key) or [])}
    return [f"{key} {i}" for key, i in named.items() if _becomes(plan, old, to, i) is None]


def _becomes(plan: Plan, old: Vocab, to: Vocab, old_id: int | None) -> int | None:
    """The new id of an old one: by role where it has one, else the row that copies it."""
    if old_id is None or not 0 <= old_id < plan.n_old:
        return None
    found = plan.becomes(old_id)
    roles = [role for role, i in old.specials.items() if i == old_id and to.specials.get(role) in found]
    same_text = [i for i in found if to.literal(i) == old.literal(old_id)]
    by_role = [to.specials[role] for role in roles]
    return next(iter([*by_role, *same_text, *found]), None)


def with_conventions(to: Vocab, old: Vocab, template: object) -> Vocab:
    """The new vocabulary with the old model's chat template and named tokens, where it has none of its own.

    A named token (`image_token`, which the processor of a model with pictures asks its tokenizer for) is kept where
    the new vocabulary has a special token of the same text.
    """
    carried = {**named_tokens(old.config, to.spec), **named_tokens(to.config, to.spec)}
    changes = {"extra_special_tokens": carried} if carried else {}
    if template and not to.config.get("chat_template"):
        changes["chat_template"] = template
    return replace(to, config={**to.config, **changes}) if changes else to


def unknown_in_template(template: object, old: Vocab, new: Vocab) -> list[str]:
    """Special tokens of the old vocabulary which a chat template writes and the new one would cut to pieces."""
    texts = template if isinstance(template, str) else " ".join(map(str, _templates(template)))
    ours = {new.literal(i) for i in new.special_ids} | {token["content"] for token in new.spec["added_tokens"]}
    theirs = {old.literal(i) for i in old.special_ids} - {""}
    return sorted(literal for literal in theirs - ours if literal in texts)


def _templates(template: object) -> list:
    if isinstance(template, dict):
        return list(template.values())
    return [part.get("template", "") if isinstance(part, dict) else part for part in template or []]
