"""Strategies: one call to continue prompts with any of them, from Python or `tokenry generate`, with what it cost."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from tokenry.decoding.sampling import Settings
from tokenry.decoding.speculate import Drafter, Sizing, Statistics
from tokenry.decoding.speculate import generate as run_loop
from tokenry.models.generation import end_ids, prompt_ids
from tokenry.models.lm import LM
from tokenry.models.session import Session

Prompt = str | Sequence[int]


@dataclass(frozen=True)
class Continuation:
    """What a strategy wrote.

    Attributes:
        prompt_ids, ids: of the prompt, and the new ones.
        text: prompt and continuation as the tokenizer writes them.
        stats: what it cost.
        notes: figures of this strategy alone, name -> number.
    """

    prompt_ids: list[int]
    ids: list[int]
    text: str
    stats: Statistics
    notes: dict[str, float] = field(default_factory=dict)


class Strategy(Protocol):
    """A way to decode. It may keep what it learns from one prompt to the next.

    One that decodes prompts together has a method `many(lm, prompts, settings) -> list[Continuation]` as well.
    """

    def __call__(self, lm: LM, prompt: Prompt, settings: Settings) -> Continuation:
        """Continue one prompt."""


@dataclass
class Drafted:
    """The strategy of a drafter: open a session, run the loop.

    Attributes:
        drafter: what guesses; None is plain decoding.
        name: for reports.
        sizing: as for `speculate.generate`.
        rule: as for `speculate.generate`.
    """

    drafter: Drafter | None = None
    name: str = "plain"
    sizing: Sizing | int = 64
    rule: str | Callable | None = None

    def __call__(self, lm: LM, prompt: Prompt, settings: Settings) -> Continuation:
        """Continue one prompt. A drafter with a method `prepare(lm)` is told of the model first."""
        if hasattr(self.drafter, "prepare"):
            self.drafter.prepare(lm)
        session = Session.open(lm)
        ids = ids_of(lm, prompt)
        new, stats = run_loop(session, ids, self.drafter, settings=settings, rule=self.rule, sizing=self.sizing)
        notes = {**(getattr(self.drafter, "notes", None) or {}), **(getattr(self.sizing, "notes", None) or {})}
        return Continuation(ids, new, text_of(lm, [*ids, *new]), stats, notes)


def plain() -> Drafted:
    """One token a forward pass."""
    return Drafted()


def make(strategy: "str | Strategy", **options: object) -> Strategy:
    """A strategy from its name in STRATEGIES (or `pkg.module:function`) and its options; a made one comes back as is.

    Raises:
        ValueError: no such strategy, or an option it does not take.
    """
    if isinstance(strategy, str):
        return maker(strategy, options)(**options)
    if options:
        raise ValueError(
            f"options {', '.join(options)} beside a strategy that is made already; give them to its maker."
        )
    return strategy


def maker(strategy: str, options: Iterable[str] = ()) -> Callable[..., Strategy]:
    """The function behind a name in STRATEGIES (or `pkg.module:function`), once it is known to take these options.

    Raises:
        ValueError: no such strategy, or an option it does not take.
    """
    import inspect

    from tokenry.core.choosing import resolve, suggest
    from tokenry.decoding import STRATEGIES

    found = resolve(strategy, STRATEGIES, kind="decoding strategy")
    known = inspect.signature(found).parameters
    odd = [name for name in options if name not in known]
    if odd and not any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        raise ValueError(
            f"strategy {strategy} takes no option {odd[0]!r}.{suggest(odd[0], known)} It takes: "
            f"{', '.join(known) or 'none'}."
        )
    return found


def settings_for(lm: LM, settings: Settings) -> Settings:
    """The settings with what the model itself says: its end tokens and its count of tokens, where they are not set."""
    n_tokens = lm.vocab.size if settings.n_tokens is None else settings.n_tokens
    return replace(settings, ends=settings.ends or end_ids(lm), n_tokens=n_tokens)


def stop_at(lm: LM, texts: Sequence[str]) -> Callable[[Sequence[int]], bool] | None:
    """`Settings.stop` that ends a continuation with the token that completes one of these texts; None without texts.

    Raises:
        ValueError: an empty text, which would end everything at once.
    """
    if not all(texts):
        raise ValueError("an empty text to stop at; every continuation holds it. Name the text that ends one.")
    if not texts:
        return None
    # A token spells at least a byte (special tokens aside), so this many hold the longest text and what led up to it.
    n_last = max(len(text.encode()) for text in texts) + 8
    return lambda new: any(text in text_of(lm, new[-n_last:]) for text in texts)


def generate(
    lm: LM,
    prompts: Prompt | Iterable[Prompt],
    *,
    strategy: str | Strategy = "plain",
    settings: Settings | None = None,
    **asked: object,
) -> Continuation | list[Continuation]:
    """Continue one prompt, or several.

    Args:
        lm: the model.
        prompts: a text or ids; or a list of such.
        strategy: a name in STRATEGIES, or a Strategy.
        settings: what is asked; or give its fields by keyword: max_new_tokens=32, temperature=0.8.
        asked: fields of `Settings`; others are options of the strategy.

    Returns:
        A Continuation for one prompt, a list for several.
    """
    fields = set(Settings.__dataclass_fields__)
    settings = replace(settings or Settings(), **{key: value for key, value in asked.items() if key in fields})
    settings = settings_for(lm, settings)
    run = make(strategy, **{key: value for key, value in asked.items() if key not in fields})
    if isinstance(prompts, str) or _is_ids(prompts):
        return run(lm, prompts, settings)
    return list(continued(run, lm, prompts, settings=settings))


def continued(run: Strategy, lm: LM, prompts: Iterable[Prompt], *, settings: Settings) -> Iterator[Continuation]:
    """Continuations in order: together where the strategy can, else each as soon as it is asked for."""
    if hasattr(run, "many"):
        yield from run.many(lm, list(prompts), settings)
    else:
        yield from (run(lm, prompt, settings) for prompt in prompts)


def ids_of(lm: LM, prompt: Prompt) -> list[int]:
    """Ids of a prompt: a text as the model expects it, ids as they are."""
    return prompt_ids(lm, prompt).tolist() if isinstance(prompt, str) else [int(token) for token in prompt]


def text_of(lm: LM, ids: Sequence[int]) -> str:
    """The text of ids, special tokens left out."""
    return lm.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)


def _is_ids(prompts: object) -> bool:
    if isinstance(prompts, Sequence):
        return not prompts or all(isinstance(token, int) for token in prompts)
    return getattr(prompts, "ndim", 0) == 1
