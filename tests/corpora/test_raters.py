"""Rating a corpus: columns, errors, resuming, budgets, the two verbs, and a real instruction model."""

import functools
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chat_server import reply, serving
from rating_worlds import SMALL, planted, planted_rubric, tiny_model
from typer.testing import CliRunner

from tokenry.cli import app
from tokenry.core.tables import texts, write
from tokenry.corpora.chat import open_chat
from tokenry.corpora.chat_budget import BudgetError, Limits
from tokenry.corpora.embedded import EmbeddedEngine
from tokenry.corpora.raters import ChatRater, Rated, Remembered, open_rater, rate, rate_batch, rater_columns
from tokenry.corpora.sidecars import columns_of, describe_sidecar, read_signals
from tokenry.data import demo_text

ONE = EmbeddedEngine(workers=1)
SMOLLM2 = Path(os.environ.get("TOKENRY_SMOLLM2", Path.home() / ".cache" / "tokenry-recipes" / "smollm2-135m"))


def documents(path, texts):
    write(pa.table({"id": [f"d{n}" for n in range(len(texts))], "text": texts, "source": ["s"] * len(texts)}), path)
    return path


def shown(conversation):
    """The document inside a question."""
    return conversation[-1]["content"].partition("BEGIN>>>\n")[2].partition("\n<<<END")[0]


def by_length(conversations):
    """A chat that rates by length, and talks too much about some."""
    return ["What a text!" if "chatty" in shown(one) else f"A\n{1 + len(shown(one)) % 5}\n3" for one in conversations]


class Counted:
    """A rater that counts what it is asked; every score is the length of the text, in the scale."""

    name, revision, rubric = "counted", "1", SMALL

    def __init__(self):
        self.asked = []

    def rate(self, texts):
        self.asked += texts
        made = Rated.none(len(texts), 2)
        made.scores_DC[:] = [[1 + len(text) % 5] * 2 for text in texts]
        return made


def test_ratings_stand_beside_the_documents_and_say_who_gave_them(tmp_path):
    docs = documents(tmp_path / "docs.jsonl", ["a", "bb", "chatty", "x" * 30_000])
    rater = ChatRater(open_chat(by_length), SMALL)
    made = rate(str(docs), tmp_path / "out", model=rater, engine=ONE)
    table = read_signals(tmp_path / "out").to_pydict()
    assert table["id"] == ["d0", "d1", "d2", "d3"]
    assert table["small.first"] == [2, 3, None, 1]
    assert table["small.second"] == [3, 3, None, 3]
    assert table["small.first.expected"] == [None] * 4  # a chat gives its answer alone
    assert table["small.domain"] == ["Law", "Law", None, "Law"]
    assert table["small.error"] == [None, None, "'What a text!' is no domain", None]
    assert table["small.truncated"] == [False, False, False, True]
    told = {
        key.decode(): value.decode() for key, value in columns_of([tmp_path / "out"])["small.first"].metadata.items()
    }
    assert told == {"version": "1", "rater": "by_length", "revision": rater.revision, "rubric": SMALL.hash}
    assert describe_sidecar(tmp_path / "out")["versions"]["small.first"] == "1"
    assert made.report.facts["without a rating"] == 1
    assert made.report.tables["errors"].to_pylist() == [{"reason": "'What a text!' is no domain", "documents": 1}]
    assert json.loads((tmp_path / "out" / "run.json").read_text())["arguments"]["rubric"] == SMALL.hash


def test_an_empty_batch_and_a_missing_text_have_the_same_columns():
    rater = Counted()
    schema = pa.schema([("id", pa.string()), ("text", pa.string()), ("source", pa.string())])
    none = pa.RecordBatch.from_pylist([], schema)
    one = pa.RecordBatch.from_pylist([{"id": "a", "text": None, "source": "s"}], schema)
    assert rate_batch(none, rater).schema == rate_batch(one, rater).schema
    assert [field.name for field in rate_batch(none, rater).schema] == ["id", *(f.name for f in rater_columns(rater))]
    assert rate_batch(one, rater).column("small.first").to_pylist() == [None]
    assert rate_batch(one, rater).column("small.error").to_pylist() == ["no text"]
    assert rater.asked == []


def test_ratings_kept_on_disk_are_not_made_again(tmp_path):
    from tokenry.corpora.chat import AnswerCache

    first = Counted()
    texts = [f"text {n}" * n for n in range(70)]
    made = Remembered(first, AnswerCache(tmp_path / "kept")).rate(texts[:50])
    again = Counted()
    found = Remembered(again, AnswerCache(tmp_path / "kept")).rate(texts)
    assert again.asked == texts[50:]
    np.testing.assert_array_equal(found.scores_DC[:50], made.scores_DC)
    assert np.isnan(found.expected_DC).all()


def test_when_the_budget_is_spent_the_run_stops_whole_and_goes_on(tmp_path):
    docs = documents(tmp_path / "docs.jsonl", [f"text number {n}" for n in range(10)])
    run = functools.partial(rate, str(docs), tmp_path / "out", scheme="quality", engine=ONE, name="m",
                            cache=str(tmp_path / "answers"))  # fmt: skip
    with serving(lambda text, number: reply("4")) as (url, asked):
        with pytest.raises(BudgetError, match="6 of 6 requests"):
            run(model=url, limits=Limits(requests=6))
        assert not (tmp_path / "out").exists()
        made = run(model=url, limits=Limits(requests=6))
        assert len(asked.bodies) == 10
    assert made.report.facts["requests"] == 4
    assert made.report.facts["answers from the cache"] == 6
    assert read_signals(tmp_path / "out").column("quality.overall").to_pylist() == [4] * 10


def test_a_rater_that_knows_where_it_failed_fails_no_one_else(tmp_path):
    def behave(text, _):
        return (400, {}, b'{"error": {"message": "too long"}}') if "bad" in text.partition("BEGIN")[2] else reply("3")

    docs = documents(tmp_path / "docs.jsonl", ["good", "bad", "fine"])
    with serving(behave) as (url, _):
        rate(str(docs), tmp_path / "out", model=url, scheme="quality", engine=ONE, name="m")
    table = read_signals(tmp_path / "out").to_pydict()
    assert table["quality.overall"] == [3, None, 3]
    assert table["quality.error"] == [None, "HTTP 400 too long", None]


def test_wrong_records_are_told(tmp_path):
    (tmp_path / "rater.json").write_text("{}")
    with pytest.raises(ValueError, match="no record of a rater"):
        open_rater(tmp_path)
    (tmp_path / "rater.json").write_text('{"format": 1, "rubric": {"name": "x"}, "kind": "linear"}')
    with pytest.raises(ValueError, match="no record of a rater"):
        open_rater(tmp_path)


def run(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments), "--quiet"], catch_exceptions=True)


def test_the_verb_rates_by_an_endpoint(tmp_path):
    docs = documents(tmp_path / "docs.jsonl", [f"text {n}" for n in range(5)])
    with serving(lambda text, n: reply("garbage" if "text 3" in text else "2")) as (url, _):
        made = run("corpus", "rate", docs, "--endpoint", url, "--model-name", "m", "--rubric", "quality", "--out",
                   tmp_path / "ratings", "--budget-requests", "200", "--json")  # fmt: skip
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout)["facts"]["requests"] == 5
    assert read_signals(tmp_path / "ratings").column("quality.overall").to_pylist() == [2, 2, 2, None, 2]
    assert (tmp_path / "ratings.report").is_dir()


@pytest.mark.slow  # five verbs in a row, the first use of compiled kernels among them
def test_the_verbs_rate_by_an_endpoint_train_a_rater_from_it_and_select_by_that(tmp_path):
    texts, ratings = planted(120)
    docs = documents(tmp_path / "docs.jsonl", texts)
    truth = {text: str(one.scores[-1]) for text, one in zip(texts, ratings, strict=True)}
    with serving(lambda text, n: reply(truth[shown([{"content": text}])])) as (url, _):
        made = run("corpus", "rate", docs, "--endpoint", url, "--model-name", "m", "--rubric", "quality", "--out",
                   tmp_path / "ratings", "--budget-requests", "200", "--json")  # fmt: skip
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout)["facts"]["requests"] == 120
    made = run("corpus", "train-rater", docs, "--ratings", tmp_path / "ratings", "--rubric", "quality", "--linear",
               "--out", tmp_path / "rater", "--test", "0.2", "--json")  # fmt: skip
    assert made.exit_code == 0, made.output
    made = run("corpus", "rate", docs, "--model", tmp_path / "rater", "--out", tmp_path / "again")
    assert made.exit_code == 0, made.output
    made = run("corpus", "select", docs, "--signals", tmp_path / "again", "--score", "quality.overall.expected",
               "--budget", "20", "--out", tmp_path / "kept")  # fmt: skip
    assert made.exit_code == 0, made.output
    kept = pq.read_table(tmp_path / "kept" / "part-000000.parquet")
    assert kept.num_rows == 20
    found = read_signals(tmp_path / "again").to_pydict()
    best = sorted(found["quality.overall.expected"], reverse=True)[19]
    scores = dict(zip(found["id"], found["quality.overall.expected"], strict=True))
    assert all(scores[name] >= best for name in kept.column("id").to_pylist())


@pytest.mark.slow  # saves, trains, reopens and compares a model
def test_the_verbs_train_and_use_a_causal_rater(tmp_path):
    scheme = planted_rubric()
    texts, ratings = planted(16)
    columns = {f"planted.{name}": [one.scores[at] for one in ratings] for at, name in enumerate(scheme.names)}
    columns["planted.domain"] = [scheme.domains[one.domain] for one in ratings]
    write(pa.table({"id": [str(n) for n in range(16)], "text": texts, "source": ["s"] * 16, **columns}),
          tmp_path / "rated.parquet")  # fmt: skip
    tiny_model(positions=600, spread=0.05).save(tmp_path / "base")
    lines = [
        "[planted]",
        'overall = "overall"',
        "[planted.domains]",
        *(f'{k} = "{v}"' for k, v in scheme.domains.items()),
    ]
    for one in scheme.criteria:
        lines += ["[[planted.criteria]]", f'name = "{one.name}"', f'low = "{one.low}"', f'high = "{one.high}"']
    (tmp_path / "mine.toml").write_text("\n".join(lines))
    options = ["--rubric", tmp_path / "mine.toml", "--base", tmp_path / "base", "--epochs", 1, "--rate", 1e-3]
    made = run(
        "corpus", "train-rater", tmp_path / "rated.parquet", *options, "--out", tmp_path / "rater", "--test", 0.2
    )
    assert made.exit_code == 0, made.output
    assert "bag of words" in made.stdout
    made = run("corpus", "rate", tmp_path / "rated.parquet", "--model", tmp_path / "rater", "--out", tmp_path / "out")
    assert made.exit_code == 0, made.output
    found = read_signals(tmp_path / "out")
    assert found.num_rows == 16
    assert set(found.column("planted.domain").to_pylist()) <= set(scheme.domains.values())
    assert found.column("planted.overall.expected").null_count == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rate", "D", "--out", "O"], "one of the two"),
        (["rate", "D", "--out", "O", "--model", "m", "--endpoint", "http://x"], "one of the two"),
        (["rate", "D", "--out", "O", "--endpoint", "localhost"], "is no address"),
        (["rate", "D", "--out", "O", "--endpoint", "http://x/v1", "--workers", "2"], "one process"),
        (["rate", "D", "--out", "O", "--endpoint", "http://x/v1"], "--model-name"),
        (["train-rater", "D", "--out", "O"], "--linear for a linear rater"),
    ],
)
def test_contradictions_are_told(tmp_path, arguments, message):
    docs = documents(tmp_path / "docs.jsonl", ["a"])
    places = {"D": str(docs), "O": str(tmp_path / "out")}
    made = run("corpus", *(places.get(one, one) for one in arguments))
    assert made.exit_code != 0
    assert message in str(made.exception)


@pytest.mark.slow  # loads and runs a real model of 135 million parameters: about half a minute
def test_a_small_real_instruction_model_tells_prose_from_advertising_by_its_expected_score_alone(tmp_path):
    if not (SMOLLM2 / "config.json").is_file():
        pytest.skip("needs SmolLM2-135M-Instruct: python recipes/adapt_smollm2.py makes it, or name it TOKENRY_SMOLLM2")
    words = " ".join(texts(demo_text("fiction"), limit=60)).split()
    pages = [" ".join(words[start : start + 80]) for start in range(0, 800, 100)]
    advertising = " ".join((["Click", "here", "buy", "now", "best", "price", "!!!"] * 12)[:80])
    docs = documents(tmp_path / "docs.jsonl", [*pages, advertising])
    made = rate(str(docs), tmp_path / "out", model=SMOLLM2, scheme="quality", engine=ONE)
    assert made.report.facts["without a rating"] == 0  # under the grammar every answer can be read
    table = read_signals(tmp_path / "out")
    *plain, worst = table.column("quality.overall.expected").to_pylist()
    # bench/dataman.py: a page wins in at least 93 of 100 cases; fewer than 6 of 8 would then come once in 60.
    assert sum(one > worst for one in plain) >= 6
    # The limit of so small a model, as the documentation states it: its likeliest score is always the lowest.
    assert set(table.column("quality.overall").to_pylist()) == {1}
