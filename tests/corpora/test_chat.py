"""Asking a model: what an endpoint may do to us, what is paid, what is kept; and a model in a folder."""

import contextlib
import json
import socket
import sqlite3
import threading
import time
from email.utils import formatdate

import pytest
from chat_server import reply, serving

from tokenry.corpora.chat import AnswerCache, open_chat, said
from tokenry.corpora.chat_budget import BudgetError, EndpointError, Limits
from tokenry.corpora.chat_endpoint import retry_after

QUICK = {"first_wait": 0.01, "retries": 3, "timeout": 5.0}


def ask(url, questions, *, cache=None, max_tokens=8, key_variable=None, **limits):
    chat = open_chat(
        url,
        name="m",
        cache=cache,
        max_tokens=max_tokens,
        key_variable=key_variable,
        limits=Limits(**{**QUICK, **limits}),
    )
    return chat, chat.ask([[said(question)] for question in questions])


def echo(text, _):
    return reply(text.upper())


def test_answers_come_in_the_order_of_the_questions_and_equal_ones_are_asked_once():
    with serving(echo) as (url, asked):
        chat, found = ask(url, ["a", "b", "a", "c"])
        assert [one.text for one in found] == ["A", "B", "A", "C"]
        assert len(asked.bodies) == chat.usage.requests == 3
        assert asked.headers["path"] == "/v1/chat/completions"
        assert {"model": "m", "max_tokens": 8, "temperature": 0.0}.items() <= asked.bodies[0].items()
        assert "authorization" not in asked.headers
        assert (chat.usage.prompt_tokens, chat.usage.completion_tokens) == (21, 9)


def test_a_second_run_asks_nothing_and_another_model_asks_anew(tmp_path):
    cache = tmp_path / "answers.sqlite"
    with serving(echo) as (url, asked):
        ask(url, ["a", "b"], cache=cache)
        chat, found = ask(url, ["a", "b"], cache=cache)
        assert [one.text for one in found] == ["A", "B"]
        assert (len(asked.bodies), chat.usage.cached, chat.usage.requests) == (2, 2, 0)
        other = open_chat(url, name="other", cache=cache, max_tokens=8)
        other([[said("a")]])
        assert len(asked.bodies) == 3
    chat, found = ask(url, ["a", "b"], cache=cache)  # the server is gone, the answers are not
    assert [one.text for one in found] == ["A", "B"]


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        ((500, {}, b"oops"), "HTTP 500"),
        ((429, {}, b"{}"), "HTTP 429"),
        ((503, {"Retry-After": "0"}, b""), "HTTP 503"),
        (b"<html>not json", "an answer that is no JSON"),
        (reply("x")[:-20], "an answer that is no JSON"),
        (b"[" * 100_000, "an answer that is no JSON"),
        (b"\xff\xfe", "an answer that is no JSON"),
        (b'{"choices": []}', "JSON without an answer"),
        (b'{"error": {"code": 529, "message": "overloaded"}}', "HTTP 200 with an error: 529 overloaded"),
        (b'{"choices": [{"message": {"content": null}}]}', "JSON without an answer"),
        (("cut", b'{"choices"'), "an answer cut short"),
        ("hang up", "connection lost (RemoteDisconnected)"),
    ],
)
def test_what_may_pass_is_tried_again(first, reason):
    with serving(lambda text, number: first if number == 1 else reply("fine")) as (url, _):
        chat, (found,) = ask(url, ["q"])
    assert found.text == "fine"
    assert chat.usage.reasons == {reason: 1}
    assert (chat.usage.requests, chat.usage.retries, chat.usage.failed) == (2, 1, 0)


@pytest.mark.parametrize("slow", [("sleep", 2.0, reply("late")), ("drip", 2.0)])
def test_a_server_that_is_slow_or_drips_bytes_meets_the_deadline(slow):
    began = time.monotonic()
    with serving(lambda text, number: slow) as (url, _):
        chat, (found,) = ask(url, ["q"], timeout=0.2, retries=1)
        assert time.monotonic() - began < 1.8
    assert found.text is None
    assert found.error == "no answer in time"
    assert chat.usage.reasons == {"no answer in time": 2}
    assert chat.usage.estimated == 2  # they may be billed all the same


def test_retry_after_is_obeyed_as_seconds_and_read_as_a_date():
    began, busy = time.monotonic(), (429, {"Retry-After": "1"}, b"")
    with serving(lambda text, number: busy if number == 1 else reply("x")) as (url, _):
        assert ask(url, ["q"])[1][0].text == "x"
    assert time.monotonic() - began >= 1
    for told, seconds in ((formatdate(time.time() + 30, usegmt=True), 30), (formatdate(0, usegmt=True), 0), ("7", 7)):
        assert retry_after({"Retry-After": told}) == pytest.approx(seconds, abs=1.5)
    for told in ("", "soon", "-3", "١", "Mon, 99 Foo 2020"):
        assert retry_after({"Retry-After": told}) is None


def test_a_server_that_asks_for_an_hour_stops_the_run():
    with (
        serving(lambda text, number: (429, {"Retry-After": "3600"}, b"")) as (url, asked),
        pytest.raises(EndpointError, match="asks to wait 3600 s"),
    ):
        ask(url, ["q", "r"], workers=1)
    assert len(asked.bodies) == 1


@pytest.mark.parametrize(
    "answer",
    [
        (401, {}, b'{"error": {"message": "bad key"}}'),
        (404, {}, b"no such model"),
        (302, {"Location": "http://127.0.0.1:1/"}, b""),
        (429, {}, b'{"error": {"code": "insufficient_quota"}}'),
        (200, {}, b'{"error": {"code": "insufficient_quota"}}'),
    ],
)
def test_what_will_not_pass_stops_the_run_at_once(answer):
    with serving(lambda text, number: answer) as (url, asked):
        chat = open_chat(url, name="m", limits=Limits(**QUICK, workers=1))
        for _ in range(2):  # it stays stopped
            with pytest.raises(EndpointError, match="refuses"):
                chat.ask([[said("q")], [said("r")]])
    assert len(asked.bodies) == 1


def test_a_question_the_server_cannot_take_fails_alone():
    def behave(text, _):
        return (400, {}, b'{"error": {"message": "too long"}}') if text == "bad" else reply(text)

    with serving(behave) as (url, asked):
        chat, found = ask(url, ["a", "bad", "b"])
        with pytest.raises(ValueError, match=r"1 of 2 questions got no answer.*too long"):
            chat([[said("a")], [said("bad")]])
    assert [one.text for one in found] == ["a", None, "b"]
    assert found[1].error == "HTTP 400 too long"
    assert asked.tries["bad"] == 2  # once a call: never again within one


def test_an_endless_answer_is_given_up():
    with serving(lambda text, number: reply("x" * 50_000)) as (url, _):
        _, (found,) = ask(url, ["q"], answer_bytes=10_000)
    assert (found.text, found.error) == (None, "an answer of more than 10,000 bytes")


def test_an_endpoint_that_never_answers_is_left_after_a_few_questions():
    with serving(lambda text, number: (500, {}, b"")) as (url, asked), pytest.raises(EndpointError, match="in a row"):
        ask(url, [str(n) for n in range(50)], retries=0, failures=5, workers=1)
    assert len(asked.bodies) == 5
    with pytest.raises(EndpointError, match="nobody listens"):
        ask("http://127.0.0.1:9/v1", ["q"], retries=1, failures=1)


def test_as_many_requests_as_workers_run_at_a_time_and_no_more():
    three = threading.Barrier(3)

    def together(text, number):
        three.wait(30)  # answers only when three are being asked
        return reply(text)

    with serving(together) as (url, asked):
        _, found = ask(url, [str(n) for n in range(12)], workers=3)
    assert [one.text for one in found] == [str(n) for n in range(12)]
    assert asked.most == 3


def test_the_budget_of_requests_counts_tries_and_the_run_goes_on_from_there(tmp_path):
    cache = tmp_path / "answers.sqlite"
    questions = [str(n) for n in range(6)]
    with serving(echo) as (url, asked):
        with pytest.raises(BudgetError, match="4 of 4 requests"):
            ask(url, questions, cache=cache, requests=4)
        assert len(asked.bodies) == len(AnswerCache(cache)) == 4
        chat, found = ask(url, questions, cache=cache, requests=2)
        assert [one.text for one in found] == questions
        assert (len(asked.bodies), chat.usage.cached) == (6, 4)


@pytest.mark.parametrize("workers", [1, 4])
def test_a_budget_of_tokens_or_money_is_not_passed(workers, tmp_path):
    questions = [f"{n:03d}" for n in range(40)]
    with serving(lambda text, number: reply(text, prompt=40, answer=8)) as (url, asked):
        cache = AnswerCache(tmp_path / "tokens.sqlite")
        with pytest.raises(BudgetError, match=r"480 of 1,000 tokens are used, and the next request may take up to 523"):
            ask(url, questions, cache=cache, tokens=1000, workers=workers)
        # 48 tokens are billed for each; 3 bytes + 512 for a server's template + 8 of the answer are reserved. After
        # nine requests 432 are used and a tenth fits (955); after ten 480, and 1,003 would be too much.
        assert len(asked.bodies) == len(cache) == 10
        asked.bodies.clear()
        with pytest.raises(BudgetError, match=r"0\.0\d+ of 0\.001"):
            # 8 answer tokens at 10 a million are 0.00008; twelve of them are 0.00096.
            ask(url, questions, money=0.001, prices=(0.0, 10.0), workers=workers)
        assert len(asked.bodies) == 12


def test_a_server_that_bills_too_much_is_counted_and_stopped_by_the_budget(monkeypatch):
    told = []
    monkeypatch.setattr("tokenry.corpora.chat_budget.log", told.append)
    with serving(lambda text, number: reply(text, prompt=900_000, answer=5)) as (url, asked):
        chat = open_chat(url, name="m", max_tokens=8, limits=Limits(**QUICK, tokens=1_000_000, workers=1))
        with pytest.raises(BudgetError, match="1,800,010 of 1,000,000"):
            chat.ask([[said(str(n))] for n in range(9)])
    assert (len(asked.bodies), chat.usage.overbilled, chat.usage.prompt_tokens) == (2, 2, 1_800_000)
    assert len(told) == 1
    assert "bills 900,000 + 5 tokens" in told[0]


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": -5, "completion_tokens": 1}, [1],
                                   {"prompt_tokens": True, "completion_tokens": 10**400}])  # fmt: skip
def test_a_bill_that_makes_no_sense_is_estimated(usage):
    with serving(lambda text, number: reply(text, usage=usage)) as (url, _):
        chat, _ = ask(url, ["x" * 300])
    assert (chat.usage.estimated, chat.usage.prompt_tokens, chat.usage.completion_tokens) == (1, 101, 8)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_server_that_bills_a_token_for_every_byte_does_not_pass_the_budget(workers):
    with serving(lambda text, number: reply(text, prompt=2000, answer=8)) as (url, _):
        chat = open_chat(url, name="m", max_tokens=8, limits=Limits(**QUICK, tokens=9000, workers=workers))
        with pytest.raises(BudgetError):
            chat.ask([[said(str(n) + "x" * 1999)] for n in range(9)])
    assert 6000 < chat.usage.tokens <= 9000
    assert chat.usage.overbilled == 0


def test_a_handshake_that_never_ends_meets_the_deadline():
    """Half a TLS record, a byte now and then: no single read is ever slow."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip():
            line, _ = server.accept()
            with contextlib.suppress(OSError), line:
                line.sendall(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc")
                for _ in range(60):
                    line.sendall(b"\x00")
                    time.sleep(0.05)

        threading.Thread(target=drip, daemon=True).start()
        began = time.monotonic()
        _, (found,) = ask(f"https://127.0.0.1:{server.getsockname()[1]}/v1", ["q"], timeout=0.3, retries=0)
        assert time.monotonic() - began < 1.5
    assert found.error == "no answer in time"


def test_the_key_comes_from_the_environment_and_is_never_told(monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-secret")
    refusal = (401, {}, b'{"error": {"message": "wrong key sk-secret"}}')
    with serving(lambda text, n: refusal) as (url, asked), pytest.raises(EndpointError, match=r"wrong key \*\*\*"):
        ask(url, ["q"], key_variable="MY_KEY")
    assert asked.headers["authorization"] == "Bearer sk-secret"
    with pytest.raises(ValueError, match="UNSET_KEY is not set"):
        ask(url, ["q"], key_variable="UNSET_KEY")
    monkeypatch.setenv("MY_KEY", "sk-\nsecret")
    with pytest.raises(ValueError, match="no header may have") as told:
        ask(url, ["q"], key_variable="MY_KEY")
    assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://", "no address"),
        ("http://a:b@host/v1", "holds a password"),
        ("http://host:99999/v1", "no address"),
    ],
)
def test_a_wrong_address_is_refused(address, message):
    with pytest.raises(ValueError, match=message):
        open_chat(address, name="m")


def test_a_missing_model_name_wrong_limits_and_wrong_messages_are_refused():
    with pytest.raises(ValueError, match="--model-name"):
        open_chat("http://host/v1")
    with pytest.raises(ValueError, match="without prices"):
        Limits(money=3.0)
    with pytest.raises(ValueError, match="workers=0"):
        Limits(workers=0)
    chat = open_chat(lambda conversations: ["x"] * len(conversations))
    for wrong in ("text", {"role": "user"}, [], [{"role": "king", "content": "x"}], [{"role": "user", "content": 3}]):
        with pytest.raises(ValueError, match=r"is no (conversation|message)"):
            chat.ask([wrong])


def test_an_interrupted_caller_does_not_wait_for_a_server():
    with serving(lambda text, number: reply(text) if text == "0" else ("sleep", 3.0, reply(text))) as (url, _):
        chat = open_chat(url, name="m", limits=Limits(**QUICK, workers=2))
        began, answers = time.monotonic(), chat._answers([[said(str(n))] for n in range(4)])
        next(answers)
        answers.close()
        assert time.monotonic() - began < 1.5


def test_a_damaged_cache_is_named(tmp_path):
    path = tmp_path / "answers.sqlite"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(ValueError, match=r"answers\.sqlite cannot be used as a cache"):
        AnswerCache(path)
    with pytest.raises(FileNotFoundError, match="no folder"):
        AnswerCache(tmp_path / "nowhere" / "answers.sqlite")


def test_the_cache_holds_any_text_and_serves_two_at_a_time(tmp_path):
    path = tmp_path / "answers.sqlite"
    one, two = AnswerCache(path), AnswerCache(path)
    one.put("a", "half a pair \ud800, a null \0, 漢字")
    assert two.get("a") == "half a pair ?, a null \0, 漢字"
    two.put("a", "again")
    assert one.get("a") == "again"
    assert one.get("b") is None
    assert sqlite3.connect(path).execute("SELECT count(*) FROM answers").fetchone() == (1,)


def test_a_function_is_a_chat_too(tmp_path):
    calls = []

    def shout(conversations):
        calls.append(len(conversations))
        return [conversation[-1]["content"].upper() for conversation in conversations]

    chat = open_chat(shout, name="shout", cache=tmp_path / "a.sqlite")
    assert chat([[said("a")], [said("b")]]) == ["A", "B"]
    assert chat([[said("b")]]) == ["B"]
    assert calls == [2]
    assert open_chat(chat) is chat
    with pytest.raises(ValueError, match="without a name"):
        open_chat(shout, cache=tmp_path / "a.sqlite")
    with pytest.raises(ValueError, match="gave 1 answers to 2"):
        open_chat(lambda conversations: ["x"])([[said("a")], [said("b")]])


def test_keys_do_not_depend_on_the_process():
    chat = open_chat(lambda conversations: [], name="fixed")
    assert chat.key([said("Grüße"), said("x", "assistant")]) == KEY
    assert json.loads(json.dumps(said("x"))) == {"role": "user", "content": "x"}


KEY = "30d071ff42dbf4014b8c7176760b8f4b"
