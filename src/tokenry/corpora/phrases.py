"""Read the short phrases that a chat model lists, strictly: a JSON list and nothing else, or why not.

Skills of a problem and reasons why a document is odd come this way.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Answer", "ask_phrases", "clean_phrases", "parse_phrases", "tidy"]

_LONGEST_ANSWER = 20_000  # characters of an answer that are looked at
_AT_ONCE = 64  # conversations between two steps of the progress


@dataclass(frozen=True)
class Answer:
    """What one question gave.

    Attributes:
        phrases: in order, lower case, each once.
        reason: why there are none, or why some were left out; "" when all is well.
    """

    phrases: tuple[str, ...]
    reason: str = ""


def parse_phrases(answer: object, *, most: int = 10, longest: int = 8, what: str = "phrases") -> Answer:
    """Read an answer that should be a JSON list of short phrases, and nothing else.

    A code fence around it is passed over, and so is an object whose one member is the list.

    Args:
        answer: of the model.
        most: an answer with more phrases is refused.
        longest: a phrase with more words is left out.
        what: they are called in the reason.
    """
    if not isinstance(answer, str) or not answer.strip():
        return Answer((), "empty answer")
    if len(answer) > _LONGEST_ANSWER:
        return Answer((), f"answer of {len(answer):,} characters")
    bare = re.sub(r"^```\w*\s*\n?|\n?\s*```$", "", answer.strip())
    try:
        found = json.loads(bare)
    except (ValueError, RecursionError):
        return Answer((), "not a JSON list")
    if isinstance(found, dict) and len(found) == 1:
        found = next(iter(found.values()))
    if not isinstance(found, list):
        return Answer((), "not a JSON list")
    if len(found) > most:
        return Answer((), f"more than {most} {what}")
    return clean_phrases(found, longest, what=what)


def clean_phrases(found: Sequence[object], longest: int, *, what: str = "phrases") -> Answer:
    """The phrases of a list, tidied, each once; those that are none or have more words than `longest` are left out."""
    phrases, left_out = {}, Counter()
    for one in found:
        phrase = tidy(one) if isinstance(one, str) else ""
        if not phrase:
            left_out["no phrase"] += 1
        elif len(phrase.split()) > longest or len(phrase) > 40 * longest:
            left_out[f"over {longest} words"] += 1
        else:
            phrases[phrase] = None
    if not phrases and not left_out:
        return Answer((), f"no {what}")
    reason = ", ".join(f"{n} {what}" for what, n in sorted(left_out.items()))
    return Answer(tuple(phrases), reason)


def tidy(phrase: str) -> str:
    """A phrase as it is counted: NFKC, lower case, single spaces, no marks around it."""
    import unicodedata

    return " ".join(unicodedata.normalize("NFKC", phrase).lower().split()).strip(" .,;:!?\"'`*-–—•")


def ask_phrases(
    chat: object,
    conversations: Sequence[Sequence[dict[str, str]]],
    *,
    most: int,
    longest: int,
    what: str = "phrases",
    label: str = "name phrases",
) -> list[Answer]:
    """Ask a chat model for phrases in each conversation; with a cache, nothing is asked for twice.

    Args:
        chat: a `corpora.chat.Chat`, or what `open_chat` opens: a folder, an address, a function.
        conversations: the questions.
        most, longest, what: see `parse_phrases`.
        label: what the progress calls the work.
    """
    from tokenry.core.progress import Progress
    from tokenry.corpora.chat import open_chat

    chat, answers = open_chat(chat), []
    with Progress(label, total=len(conversations)) as progress:
        for start in range(0, len(conversations), _AT_ONCE):
            part = conversations[start : start + _AT_ONCE]
            answers += chat.ask(part)
            progress.add(len(part))
    return [
        Answer((), f"no answer: {one.error}"[:200]) if one.text is None
        else parse_phrases(one.text, most=most, longest=longest, what=what)
        for one in answers
    ]  # fmt: skip
