"""Ask an instruction model many questions: a model in a folder or an endpoint by its address, answers kept on disk.

`open_chat` gives a function from conversations to answers. Every answer is stored as it comes, under a hash of the
model and of all that was said, so a run that was cut off, or the same run a second time, asks only what it has not
asked before.
"""

import contextlib
import hashlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tokenry.core.hashing import fingerprint

__all__ = ["Answer", "AnswerCache", "Chat", "Conversation", "Usage", "open_chat", "said"]

Conversation = Sequence[Mapping[str, str]]
"""Messages in order, each with "role" (system, user, assistant) and "content"."""
ROLES = ("system", "user", "assistant", "developer", "tool")
_FORMAT = 1


@dataclass(frozen=True)
class Answer:
    """What came back for one conversation.

    Attributes:
        text: of the answer, None when there is none.
        error: then why.
    """

    text: str | None
    error: str = ""


@dataclass
class Usage:
    """What asking has cost so far.

    Attributes:
        asked, cached, failed: conversations, those answered from disk, those without an answer.
        requests, retries: sent to an endpoint, and those of them that were second tries.
        prompt_tokens, completion_tokens: as the endpoint bills them (or as a local model counts them).
        estimated: requests whose bill did not come or made no sense; their tokens are estimated.
        overbilled: requests billed for more than could have been used.
        money: by the prices given.
        reasons: why answers or tries failed, with counts.
    """

    asked: int = 0
    cached: int = 0
    failed: int = 0
    requests: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated: int = 0
    overbilled: int = 0
    money: float = 0.0
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens

    def because(self, reason: str) -> None:
        """Count a reason; of very many different ones the rest are counted together."""
        reason = reason if reason in self.reasons or len(self.reasons) < 50 else "other"
        self.reasons[reason] = self.reasons.get(reason, 0) + 1


class AnswerCache:
    """Answers on disk, in one SQLite file that several processes may use at a time.

    Args:
        path: of the file; it is made when it is not there.

    Raises:
        ValueError: the file is something else, or damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        if not self.path.parent.is_dir():
            raise FileNotFoundError(f"no folder {self.path.parent} for the cache {self.path.name}. Make it first.")
        with self._sentence():
            self._base = sqlite3.connect(self.path, timeout=60, check_same_thread=False, isolation_level=None)
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, text TEXT NOT NULL)")

    def __len__(self) -> int:
        with self._lock, self._sentence():
            return self._base.execute("SELECT count(*) FROM answers").fetchone()[0]

    def get(self, key: str) -> str | None:
        """The answer under a key, None when there is none."""
        with self._lock, self._sentence():
            found = self._base.execute("SELECT text FROM answers WHERE key = ?", (key,)).fetchone()
        return found and found[0]

    def put(self, key: str, text: str) -> None:
        """Store an answer for good."""
        text = text.encode("utf-8", "replace").decode()  # half a surrogate pair cannot be stored
        with self._lock, self._sentence():
            self._base.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, text))

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    @contextlib.contextmanager
    def _sentence(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise ValueError(
                f"{self.path} cannot be used as a cache of answers ({error}). Give another file, or remove this one "
                "(its answers are then asked for again)."
            ) from error


class Chat:
    """A function from conversations to answers, with a memory and a bill.

    Args:
        answers: conversations -> (place, Answer) as they come, in any order.
        name: what reports call the model.
        revision: changes whenever the same question might get another answer; part of the key of every stored answer.
        usage: filled by `answers` as it goes.
        cache: where answers are kept; None keeps none.

    Attributes:
        usage: what it has cost so far.
    """

    def __init__(
        self,
        answers: Callable[[list[Conversation]], Iterator[tuple[int, Answer]]],
        *,
        name: str,
        revision: str,
        usage: Usage | None = None,
        cache: AnswerCache | None = None,
    ) -> None:
        self.name, self.revision, self.cache = name, revision, cache
        self.usage = usage or Usage()
        self._answers = answers

    def __call__(self, conversations: Iterable[Conversation]) -> list[str]:
        """The answers, in order.

        Raises:
            ValueError: some conversation got no answer (those of the others are kept on disk).
            chat_budget.EndpointError: the budget is spent, or the endpoint cannot be used.
        """
        found = self.ask(conversations)
        if missing := [one.error for one in found if one.text is None]:
            raise ValueError(
                f"{self.name}: {len(missing)} of {len(found)} questions got no answer; the first: {missing[0]}. "
                "Ask again (with a cache only those are asked), or take what there is: Chat.ask."
            )
        return [one.text or "" for one in found]

    def ask(self, conversations: Iterable[Conversation]) -> list[Answer]:
        """What came back for each conversation, in order; one without an answer says why.

        Conversations that are equal are asked once.

        Raises:
            ValueError: a conversation is none. chat_budget.EndpointError: see `__call__`.
        """
        asked = [checked(one) for one in conversations]
        keys = [self.key(one) for one in asked]
        found: dict[str, Answer] = {}
        places: dict[str, int] = {}
        for place, key in enumerate(keys):
            if key in places:
                continue
            places[key] = place
            if self.cache is not None and (text := self.cache.get(key)) is not None:
                found[key] = Answer(text)
        self.usage.asked += len(places)
        self.usage.cached += len(found)
        waiting = [key for key in places if key not in found]
        if waiting:
            for number, answer in self._answers([asked[places[key]] for key in waiting]):
                found[waiting[number]] = answer
                if answer.text is None:
                    self.usage.failed += 1
                elif self.cache is not None:
                    self.cache.put(waiting[number], answer.text)
        return [found[key] for key in keys]

    def key(self, conversation: Conversation) -> str:
        """The name of a conversation with this model: 32 hexadecimal digits."""
        spoken = [[message["role"], message["content"]] for message in conversation]
        record = json.dumps([_FORMAT, self.revision, spoken])
        return hashlib.blake2b(record.encode(), digest_size=16).hexdigest()


def checked(conversation: Conversation) -> list[dict[str, str]]:
    """The conversation as plain messages.

    Raises:
        ValueError: it is not a list of messages with a role and a text.
    """
    if isinstance(conversation, (str, Mapping)) or not conversation:
        raise ValueError(f"{str(conversation)[:60]!r} is no conversation; need a list of messages: [said(text)].")
    for message in conversation:
        role, content = (message.get(name) if isinstance(message, Mapping) else None for name in ("role", "content"))
        if role not in ROLES or not isinstance(content, str):
            raise ValueError(
                f"{str(message)[:60]!r} is no message; need a dict with a role ({', '.join(ROLES)}) and a content."
            )
    return [{"role": message["role"], "content": message["content"]} for message in conversation]


def said(content: str, role: str = "user") -> dict[str, str]:
    """One message."""
    return {"role": role, "content": content}


def open_chat(
    model: object,
    *,
    max_tokens: int = 256,
    cache: str | Path | AnswerCache | None = None,
    name: str | None = None,
    temperature: float = 0.0,
    limits: "object | None" = None,
    key_variable: str | None = None,
    device: str | None = None,
) -> Chat:
    """Open an instruction model.

    Args:
        model: a folder (or hub name, pair or LM) of a causal model with a chat template, which runs here, greedily, in
            batches; the address of an OpenAI-compatible endpoint (`http://localhost:8000/v1`); or any function from
            conversations to texts. A Chat is passed through.
        max_tokens: of an answer.
        cache: file in which answers are kept.
        name: of the model at the endpoint, as its server calls it.
        temperature: for an endpoint; a model in a folder answers greedily.
        limits: for an endpoint, `chat_budget.Limits`: time, tries, how many at a time, budget.
        key_variable: environment variable that holds the endpoint's key. None looks at TOKENRY_API_KEY.
        device: where a model in a folder runs.

    Raises:
        ValueError: an address without a model name, a model without a chat template, a named variable that is not set.
    """
    if isinstance(model, Chat):
        return model
    if max_tokens < 1:
        raise ValueError(f"max_tokens={max_tokens}; need at least 1. 256 is usual.")
    if isinstance(cache, (str, Path)):
        cache = AnswerCache(cache)
    if isinstance(model, str) and model.startswith(("http://", "https://")):
        from tokenry.corpora.chat_budget import Limits
        from tokenry.corpora.chat_endpoint import Endpoint

        endpoint = Endpoint(
            model, model=name or "", max_tokens=max_tokens, temperature=temperature, limits=limits or Limits(),
            key_variable=key_variable,
        )  # fmt: skip
        return Chat(
            endpoint.answers, name=endpoint.model, revision=endpoint.revision, usage=endpoint.usage, cache=cache
        )
    if temperature:
        raise ValueError(f"temperature={temperature} for a model that runs here; it answers greedily. Leave it out.")
    if callable(model) and not isinstance(model, type):
        if cache is not None and not name:
            raise ValueError("a function with a cache but without a name; need a name that tells its answers apart.")
        called = name or getattr(model, "__name__", "function")
        return Chat(_one_by_one(model), name=called, revision=f"function {called}", cache=cache)
    from tokenry.corpora.chat_local import LocalChat

    local = LocalChat(model, max_tokens=max_tokens, device=device)
    revision = fingerprint(local.revision, max_tokens)
    return Chat(local.answers, name=name or local.name, revision=revision, usage=local.usage, cache=cache)


def _one_by_one(function: Callable) -> Callable[[list[Conversation]], Iterator[tuple[int, Answer]]]:
    """A function from conversations to texts, as what a Chat is made of."""

    def answers(conversations: list[Conversation]) -> Iterator[tuple[int, Answer]]:
        found = list(function(conversations))
        if len(found) != len(conversations):
            raise ValueError(f"the chat function gave {len(found)} answers to {len(conversations)} conversations.")
        for place, text in enumerate(found):
            yield place, Answer(text) if isinstance(text, str) else Answer(None, f"no text but {type(text).__name__}")

    return answers
