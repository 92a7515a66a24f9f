"""Verifiers: do two continuations of one text mean the same, though they differ in a token?

A verifier is a function (list of `Fork`) -> list of labels: 0 neutral, 1 divergent, -1 cannot tell. Automatic ones for
domains that can be checked stand here beside the paper's, an instruction model that is asked.

Paper: R2R (arXiv 2505.21600), section 3 (the verifier) and its prompt.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tokenry.models.lm import LM

NEUTRAL, DIVERGENT, UNCLEAR = 0, 1, -1
VERIFIER_TOKENS = 16


@dataclass(frozen=True)
class Fork:
    """A text that went on in two ways from one token, both continued by the large model.

    Attributes:
        before: the text up to the sentence of the token, prompt included.
        prefix: the sentence up to the token.
        small_token, large_token: the two tokens as text.
        small_rest, large_rest: what the large model wrote after each.
        is_cut: a continuation ended by its bound of tokens, not by itself.
    """

    before: str
    prefix: str
    small_token: str
    large_token: str
    small_rest: str
    large_rest: str
    is_cut: bool = False

    @property
    def small(self) -> str:
        """The sentence with the small model's token."""
        return self.prefix + self.small_token + self.small_rest

    @property
    def large(self) -> str:
        """The sentence with the large model's token."""
        return self.prefix + self.large_token + self.large_rest


Verifier = Callable[[Sequence[Fork]], Sequence[int]]


def same_text(forks: Sequence[Fork]) -> list[int]:
    """Divergent unless the sentences are equal but for case and spacing: the strictest."""
    return [int(_folded(fork.small) != _folded(fork.large)) for fork in forks]


def same_numbers(forks: Sequence[Fork]) -> list[int]:
    """Divergent unless both sentences hold the same numbers in the same order: for calculations in free wording."""
    return [int(_numbers(fork.small) != _numbers(fork.large)) for fork in forks]


def same_answer(forks: Sequence[Fork]) -> list[int]:
    """Divergent unless the last number (or \\boxed{...}) is the same; label with `sentences=0`, so that both end."""
    return [int(_answer(fork.small) != _answer(fork.large)) for fork in forks]


VERIFIERS = {
    "same-text": "tokenry.decoding.verifiers:same_text",
    "same-numbers": "tokenry.decoding.verifiers:same_numbers",
    "same-answer": "tokenry.decoding.verifiers:same_answer",
}
"""Automatic verifiers by name."""

PROMPT = """Two sentences continue one text. They differ first at the marked token: <<token>>.
Text before: ...{before}
Sentence 1: {small}
Sentence 2: {large}
Does the difference change the meaning, the reasoning, the logic, the conclusion, or add information? Answer 1 if it \
does. Answer 0 if the wording differs and nothing else. Answer with one digit.
Answer:"""


@dataclass
class AskedModel:
    """The paper's verifier: an instruction model reads both sentences and answers 0 or 1.

    Attributes:
        lm: the model; its chat template is used where it has one.
        prompt: with {before}, {small} and {large}.
        n_before: characters of the text before that are shown.
    """

    lm: LM
    prompt: str = PROMPT
    n_before: int = 2000

    def __call__(self, forks: Sequence[Fork]) -> list[int]:
        """Labels; -1 where the answer holds neither digit."""
        from tokenry.decoding.strategies import generate

        found = []
        for fork in forks:
            done = generate(self.lm, self.ids(fork), max_new_tokens=VERIFIER_TOKENS)
            found.append(answered(self.lm.tokenizer.decode(done.ids, skip_special_tokens=True)))
        return found

    def ids(self, fork: Fork) -> list[int]:
        """Ids of the question."""
        marked = {
            "small": f"{fork.prefix}<<{fork.small_token}>>{fork.small_rest}",
            "large": f"{fork.prefix}<<{fork.large_token}>>{fork.large_rest}",
        }
        question = self.prompt.format(before=fork.before[-self.n_before :], **marked)
        if getattr(self.lm.tokenizer, "chat_template", None):
            turns = [{"role": "user", "content": question}]
            question = self.lm.tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
            return self.lm.vocab.encode([question])[0].tolist()
        return self.lm.encode([question])[0].tolist()


def answered(text: str) -> int:
    """The first 0 or 1 that stands alone in an answer; -1 without one."""
    found = re.search(r"(?<![\d.])[01](?!\d|\.\d)", text)
    return int(found[0]) if found else UNCLEAR


def open_verifier(source: "str | Verifier | None", *, model: object = None, device: str | None = None) -> Verifier:
    """A verifier by name or `pkg.module:function`, or one that asks `model`.

    Raises:
        ValueError: none named, or both.
    """
    if (source is None) == (model is None):
        raise ValueError(
            f"verifier {source!r} and model {model!r}; need one of them: --verifier {' | '.join(VERIFIERS)} | "
            "pkg.module:function, or --verifier-model FOLDER."
        )
    if model is not None:
        return AskedModel(LM.open(model, device=device))
    from tokenry.core.choosing import resolve

    return resolve(source, VERIFIERS, kind="verifier")


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()


def _numbers(text: str) -> list[str]:
    return [_plain(each) for each in re.findall(r"\d[\d,]*(?:\.\d+)?", text)]


def _answer(text: str) -> str:
    boxed = re.findall(r"\\boxed\{([^{}]*)\}", text)
    return _folded(boxed[-1]) if boxed else next(iter(_numbers(text)[::-1]), "")


def _plain(number: str) -> str:
    """1,000.50 and 1000.5 are one number."""
    digits = number.replace(",", "")
    return digits.rstrip("0").rstrip(".") if "." in digits else digits.lstrip("0") or "0"
