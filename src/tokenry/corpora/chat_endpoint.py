"""Ask an OpenAI-compatible endpoint: time limits, tries with pauses, a few requests at a time, a budget that holds.

Plain `http.client` of the standard library: one short exchange per request, nothing to install, redirects are never
followed (so a key goes nowhere else), and the whole exchange has one deadline, which a server that sends a byte now
and then cannot stretch. A new connection for each request costs little beside what a model takes to answer.
"""

import contextlib
import http.client
import json
import os
import random
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from email.utils import parsedate_to_datetime
from urllib.parse import SplitResult, urlsplit

from tokenry.core.hashing import fingerprint
from tokenry.core.runs import log
from tokenry.corpora.chat import Answer, Conversation, Usage
from tokenry.corpora.chat_budget import EndpointError, Limits, Meter

__all__ = ["KEY_VARIABLE", "Endpoint", "retry_after"]

KEY_VARIABLE = "TOKENRY_API_KEY"
_AGAIN = {408, 409, 425, 429}
_STOP = {401, 402, 403, 404, 405}
_NO_CREDIT = ("insufficient_quota", "billing_hard_limit_reached")


class Endpoint:
    """An OpenAI-compatible `chat/completions` address.

    Args:
        url: of the API (".../v1") or of the very call (".../chat/completions").
        model: as the server calls it.
        max_tokens, temperature: sent along.
        limits: how it may be used.
        key_variable: environment variable with the key; None looks at `KEY_VARIABLE` and does without.
    """

    def __init__(
        self, url: str, *, model: str, max_tokens: int, temperature: float, limits: Limits, key_variable: str | None
    ) -> None:
        self.place = _address(url)
        if not model:
            raise ValueError(f"no model named for {url}; need the name its server knows it by (--model-name).")
        self.model, self.max_tokens, self.temperature, self.limits = model, max_tokens, temperature, limits
        self.revision = fingerprint("endpoint", self.place.geturl(), model, max_tokens, float(temperature))
        self.usage = Usage()
        self._key = _key(key_variable)
        if self._key and self.place.scheme == "http" and self.place.hostname not in ("localhost", "127.0.0.1", "::1"):
            log(f"the key goes to {self.place.hostname} unencrypted; use https unless that network is yours")
        self._meter = Meter(limits, self.usage)
        self._chance = random.Random(0)
        self._stop: EndpointError | None = None
        self._ended = threading.Event()
        self._sockets: set[socket.socket] = set()

    def answers(self, conversations: list[Conversation]) -> Iterator[tuple[int, Answer]]:
        """(place, Answer) as they come.

        Raises:
            EndpointError: after all answers that were under way have been given.
        """
        if self._stop is not None:
            raise self._stop
        waiting, queue = {}, iter(enumerate(conversations))
        pool = ThreadPoolExecutor(self.limits.workers, thread_name_prefix="endpoint")
        try:
            while True:
                while self._stop is None and len(waiting) < self.limits.workers:
                    place, conversation = next(queue, (None, None))
                    if place is None:
                        break
                    waiting[pool.submit(self._answer, conversation)] = place
                if not waiting:
                    break
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    place = waiting.pop(future)
                    try:
                        yield place, future.result()
                    except EndpointError as stop:
                        self._stop = self._stop or stop
        finally:
            if waiting:  # cut off from outside: do not wait for a server
                self._ended.set()
                for one in list(self._sockets):
                    _cut(one)
            pool.shutdown(wait=True, cancel_futures=True)
            self._ended.clear()
        if self._stop is not None:
            raise self._stop

    def _answer(self, conversation: Conversation) -> Answer:
        """One conversation, with as many tries as are allowed."""
        body = json.dumps({
            "model": self.model, "messages": list(conversation), "max_tokens": self.max_tokens,
            "temperature": self.temperature, "stream": False,
        }).encode()  # fmt: skip
        n_bytes = sum(len(message["content"].encode("utf-8", "replace")) for message in conversation)
        reason = ""
        for attempt in range(self.limits.retries + 1):
            if self._ended.is_set() or self._stop is not None:
                return Answer(None, "the run was stopped")
            held = self._meter.admit(n_bytes, self.max_tokens, again=attempt > 0)
            billed = None
            try:
                status, headers, content = self._exchange(body)
                text, pause, reason, billed = self._read(status, headers, content)
            except EndpointError:
                billed = (0, 0)
                raise
            except ssl.SSLCertVerificationError as error:
                billed = (0, 0)
                raise EndpointError(
                    f"{self.place.netloc} shows no certificate this machine trusts ({error.verify_message}). Add it to "
                    "the system, or name its file in SSL_CERT_FILE."
                ) from error
            except (OSError, http.client.HTTPException) as error:
                # What was lost on the way may be billed all the same, unless nobody was there.
                billed = (0, 0) if isinstance(error, ConnectionRefusedError) else None
                text, pause, reason = None, None, _why(error)
            finally:
                self._meter.settle(held, billed, n_bytes=n_bytes, max_tokens=self.max_tokens)
            if text is not None:
                self._meter.outcome(None)
                return Answer(text)
            self._meter.because(reason)
            if pause == 0:
                break
            if attempt < self.limits.retries:
                self._ended.wait(self._pause(attempt, pause))
        self._meter.outcome(f"{reason} (after {attempt + 1} tries)")
        return Answer(None, reason)

    def _pause(self, attempt: int, asked: float | None) -> float:
        if asked is not None and asked > self.limits.most_wait:
            raise EndpointError(
                f"{self.place.netloc} asks to wait {asked:.0f} s; the longest pause allowed is "
                f"{self.limits.most_wait:.0f} s. Run the same command again later: answers that came are kept."
            )
        grown = min(self.limits.most_wait, self.limits.first_wait * 2**attempt)
        return max(asked or 0.0, grown * (0.5 + 0.5 * self._chance.random()))

    def _exchange(self, body: bytes) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Send one request and read its answer within the deadline."""
        place, limits, secure = self.place, self.limits, self.place.scheme == "https"
        connection = http.client.HTTPConnection(
            place.hostname, place.port or (443 if secure else 80), timeout=limits.timeout
        )
        connection.default_port = 443 if secure else 80
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity",
                   "Connection": "close", "User-Agent": "tokenry"}  # fmt: skip
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        deadline = time.monotonic() + limits.timeout
        with contextlib.closing(connection):
            connection.connect()
            if secure:  # the handshake comes below, where the deadline sees it
                connection.sock = ssl.create_default_context().wrap_socket(
                    connection.sock, server_hostname=place.hostname, do_handshake_on_connect=False
                )
            line = connection.sock
            self._sockets.add(line)
            timer = threading.Timer(max(0.001, deadline - time.monotonic()), _cut, [line])
            timer.daemon = True
            timer.start()
            try:
                if secure:
                    line.do_handshake()
                path = place.path + (f"?{place.query}" if place.query else "")
                connection.request("POST", path, body=body, headers=headers)
                response = connection.getresponse()
                content = response.read(limits.answer_bytes + 1)
                if time.monotonic() >= deadline:
                    raise TimeoutError
                if response.length and len(content) <= limits.answer_bytes:
                    raise http.client.IncompleteRead(content, response.length)
                return response.status, response.headers, content
            except (OSError, http.client.HTTPException):
                if time.monotonic() >= deadline:
                    raise TimeoutError from None
                raise
            finally:
                timer.cancel()
                self._sockets.discard(line)

    def _read(
        self, status: int, headers: http.client.HTTPMessage, content: bytes
    ) -> tuple[str | None, float | None, str, tuple[int, int] | None]:
        """(text, pause, reason, bill) of a response: a text, or why not; a pause of 0 says not to try again."""
        if len(content) > self.limits.answer_bytes:
            return None, 0, f"an answer of more than {self.limits.answer_bytes:,} bytes", None
        record = _parsed(content)
        told = self._told(record, content)
        if status == 200:
            bill = _bill(record)
            text = _text_of(record)
            if text is not None:
                return text, None, "", bill
            if record is None:
                return None, None, "an answer that is no JSON", bill
            if not any(mark in told for mark in _NO_CREDIT):
                failed = isinstance(record, dict) and record.get("error")
                return None, None, f"HTTP 200 with an error: {told}" if failed else "JSON without an answer", bill
        if status in _STOP or 300 <= status < 400 or any(mark in told for mark in _NO_CREDIT):
            raise EndpointError(
                f"{self.place.netloc} refuses: HTTP {status} {told}. Look at the address, at the name of the model, "
                "and at the key in the environment variable (--key-variable)."
            )
        if status in _AGAIN or status >= 500:
            return None, retry_after(headers), f"HTTP {status}", (0, 0)
        return None, 0, f"HTTP {status} {told}".strip(), (0, 0)

    def _told(self, record: object, content: bytes) -> str:
        """What an error says, short, without the key."""
        error = record.get("error") if isinstance(record, dict) else None
        text = " ".join(str(error.get(name) or "") for name in ("code", "message")) if isinstance(error, dict) else ""
        text = text.strip() or str(error or content[:200].decode("utf-8", "replace"))
        return (text.replace(self._key, "***") if self._key else text)[:200]


def _address(url: str) -> SplitResult:
    place = urlsplit(url.strip())
    try:
        port = place.port
    except ValueError:
        port = -1
    if place.scheme not in ("http", "https") or not place.hostname or port == -1:
        raise ValueError(f"{url!r} is no address of an endpoint; need one such as http://localhost:8000/v1.")
    if place.username or place.password:
        raise ValueError("the address holds a password; need the key in an environment variable (--key-variable).")
    path = place.path.rstrip("/")
    return place._replace(path=path if path.endswith("/completions") else f"{path}/chat/completions", fragment="")


def _key(variable: str | None) -> str:
    key = os.environ.get(variable or KEY_VARIABLE, "").strip()
    if variable and not key:
        raise ValueError(f"the environment variable {variable} is not set; need the key of the endpoint in it.")
    if not (key.isascii() and key.isprintable()):
        raise ValueError(f"the key in {variable or KEY_VARIABLE} holds characters no header may have. Set it again.")
    return key


def _cut(line: socket.socket) -> None:
    with contextlib.suppress(OSError):
        socket.socket.shutdown(line, socket.SHUT_RDWR)  # not SSLSocket's: it breaks a read under way in another thread


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, http.client.IncompleteRead):
        return "an answer cut short"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens at the address"
    return f"connection lost ({type(error).__name__})"


def _parsed(content: bytes) -> object:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):  # also text that is no UTF-8, numbers of thousands of digits
        return None


def _text_of(record: object) -> str | None:
    try:
        text = record["choices"][0]["message"]["content"]
    except (TypeError, KeyError, IndexError):
        return None
    return text if isinstance(text, str) else None


def _bill(record: object) -> tuple[int, int] | None:
    """Prompt and answer tokens as billed; None when that makes no sense."""
    usage = record.get("usage") if isinstance(record, dict) else None
    numbers = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")] if isinstance(usage, dict) else []
    if len(numbers) != 2 or any(type(number) is not int or not 0 <= number < 1 << 40 for number in numbers):
        return None
    return numbers[0], numbers[1]


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds a server asks to wait, by number or date; None when it does not say."""
    told = (headers.get("Retry-After") or "").strip()
    if told.isascii() and told.isdigit():
        return max(0.001, float(told[:9]))
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        return max(0.001, parsedate_to_datetime(told).timestamp() - time.time())
    return None
