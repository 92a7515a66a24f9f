"""An instruction model in a folder as a chat: its own template, greedy answers, batches of like length."""

import functools
import re
from collections.abc import Callable, Iterator

from tokenry.core.hashing import fingerprint
from tokenry.core.runs import describe_input
from tokenry.corpora.chat import Answer, Conversation, Usage

__all__ = ["LocalChat", "model_revision", "plain_encoder", "templated"]

BATCH_TOKENS = 8192
"""Positions of one padded batch, prompt and answer together."""


class LocalChat:
    """A causal model with a chat template, answering greedily.

    Args:
        source: hub name, folder, pair (model, tokenizer) or LM.
        max_tokens: of an answer.
        device: where it runs.
        batch_tokens: positions of one padded batch.

    Raises:
        ValueError: its tokenizer has no chat template.
    """

    def __init__(
        self, source: object, *, max_tokens: int, device: str | None = None, batch_tokens: int = BATCH_TOKENS
    ) -> None:
        from tokenry.models.lm import LM

        self.lm = LM.open(source, device=device)
        self.max_tokens, self.batch_tokens = max_tokens, batch_tokens
        self.name = self.lm.name
        self.usage = Usage()
        self.revision = model_revision(source, self.lm)
        templated(self.lm, [{"role": "user", "content": "?"}])

    def answers(self, conversations: list[Conversation]) -> Iterator[tuple[int, Answer]]:
        """(place, Answer) for each, in any order."""
        ids, room = [], self.lm.context - self.max_tokens
        for place, conversation in enumerate(conversations):
            ids.append(self._ids(conversation))
            if not 0 < len(ids[-1]) <= room:
                reason = f"{len(ids[-1])} tokens asked; the model has room for 1 to {room} before its answer"
                self.usage.because("too long" if ids[-1] else "nothing asked")
                yield place, Answer(None, reason)
        order = sorted((p for p in range(len(ids)) if 0 < len(ids[p]) <= room), key=lambda p: (-len(ids[p]), p))
        while order:
            size = max(1, self.batch_tokens // (len(ids[order[0]]) + self.max_tokens))
            batch, order = order[:size], order[size:]
            for place, text in zip(batch, self._continued([ids[place] for place in batch]), strict=True):
                yield place, Answer(text)

    def _ids(self, conversation: Conversation) -> list[int]:
        """The conversation as tokens; a special token that somebody wrote in a message is plain text."""
        spelt = templated(self.lm, conversation)
        contents = [message["content"] for message in conversation]
        if not any(special in content for special in self._specials for content in contents):
            return self.lm.tokenizer(spelt, add_special_tokens=False)["input_ids"]
        places = [f"\ue000{number}\ue001" for number in range(len(contents))]
        asked = [{**one, "content": place} for one, place in zip(conversation, places, strict=True)]
        parts = re.split("\ue000(\\d+)\ue001", templated(self.lm, asked))
        ids: list[int] = []
        for at, part in enumerate(parts):
            ids += (self._plain(contents[int(part)]) if at % 2
                    else self.lm.tokenizer(part, add_special_tokens=False)["input_ids"] if part else [])  # fmt: skip
        return ids

    @functools.cached_property
    def _specials(self) -> list[str]:
        return [text for number in self.lm.vocab.special_ids if (text := self.lm.vocab.literal(number))]

    @functools.cached_property
    def _plain(self) -> Callable[[str], list[int]]:
        return plain_encoder(self.lm)

    def _continued(self, prompts: list[list[int]]) -> list[str]:
        import torch
        from transformers import GenerationConfig

        from tokenry.models.opening import quiet_library

        lm, longest = self.lm, max(map(len, prompts))
        ends = _ends(lm)
        pad = lm.vocab.specials.get("pad", ends[0] if ends else 0)
        ids_BT = torch.tensor([[pad] * (longest - len(p)) + list(p) for p in prompts], device=lm.device)
        mask_BT = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=lm.device)
        config = GenerationConfig(do_sample=False, max_new_tokens=self.max_tokens, eos_token_id=ends or None,
                                  pad_token_id=pad)  # fmt: skip
        with torch.inference_mode(), quiet_library():
            full_BT = lm.model.generate(input_ids=ids_BT, attention_mask=mask_BT, generation_config=config)
        self.usage.prompt_tokens += sum(map(len, prompts))
        texts = []
        for row in full_BT[:, longest:].tolist():
            stop = next((place for place, token in enumerate(row) if token in ends), len(row))
            self.usage.completion_tokens += stop
            texts.append(lm.tokenizer.decode(row[:stop], skip_special_tokens=True, clean_up_tokenization_spaces=False))
        return texts


def plain_encoder(lm: object) -> Callable[[str], list[int]]:
    """Text -> ids none of which is special, whatever is written in it; the model's own tokenizer stays as it is."""
    own = lm.vocab.plain_backend
    return lambda text: own.encode(text, add_special_tokens=False).ids


def templated(lm: object, conversation: Conversation) -> str:
    """The conversation as the model's template spells it, up to where the answer begins.

    Raises:
        ValueError: there is no template, or it refuses these messages.
    """
    if not getattr(lm.tokenizer, "chat_template", None):
        raise ValueError(
            f"{lm.name}: its tokenizer has no chat template, so it is no instruction model. Give one that has (its "
            "tokenizer_config.json or chat_template.jinja holds it)."
        )
    try:
        return lm.tokenizer.apply_chat_template(list(conversation), add_generation_prompt=True, tokenize=False)
    except Exception as error:  # a template is code of the model's makers: it may raise whatever it likes
        raise ValueError(
            f"{lm.name}: its chat template refuses these messages ({error}). Many take no system message: put all in "
            "the first message of the user."
        ) from error


def model_revision(source: object, lm: object) -> str:
    """A fingerprint of the model: of its files where it has any, else of its weights."""
    files = [entry for entry in describe_input(source) if "blake2b" in entry]
    if files:
        return fingerprint(sorted(entry["blake2b"] for entry in files))
    weights = [[name, float(tensor.detach().double().sum()), float(tensor.detach().double().abs().sum())]
               for name, tensor in lm.model.named_parameters()]  # fmt: skip
    return fingerprint(lm.name, weights)


def _ends(lm: object) -> list[int]:
    """Ids that end an answer: what the model's makers say, the tokenizer's end, and the usual ends of a turn."""
    told = getattr(getattr(lm.model, "generation_config", None), "eos_token_id", None)
    found = [] if told is None else [told] if isinstance(told, int) else list(told)
    found += [lm.vocab.specials[role] for role in ("eos",) if lm.vocab.specials.get(role) is not None]
    turns = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>")
    found += [number for number in lm.vocab.special_ids if lm.vocab.literal(number) in turns]
    return sorted(set(found))
