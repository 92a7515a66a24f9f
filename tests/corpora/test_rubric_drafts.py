"""The draft of a rubric can be read where its ends are told, and is refused with a sentence where they are not."""

import json
import os
from pathlib import Path

import pytest
from chat_server import reply, serving
from criteria_worlds import sees, world
from typer.testing import CliRunner

from tokenry.cli import app
from tokenry.corpora.chat import open_chat
from tokenry.corpora.criteria import Search
from tokenry.corpora.rubric_drafts import draft_rubric, write_rubric
from tokenry.corpora.rubrics import rubric

SMOLLM2 = Path(os.environ.get("TOKENRY_SMOLLM2", Path.home() / ".cache" / "tokenry-recipes" / "smollm2-135m"))


def model(conversations):
    """Names reasons, and tells the ends of a scale."""
    return ['["it is bad \\"here\\"", "it is good"]' if "rated by" in one[-1]["content"] else sees([one])[0]
            for one in conversations]  # fmt: skip


def test_a_draft_is_a_rubric_with_a_criterion_for_each_reason(tmp_path):
    reasons = ["mixed languages", "Überlänge", "漢字", "domain", "mixed-languages"]
    assert write_rubric(reasons, tmp_path / "mine.toml", chat=model) == 0
    found = rubric(tmp_path / "mine.toml")
    assert found.name == "mine"
    assert found.names == ("mixed_languages", "berl_nge", "reason_3", "domain_2", "mixed_languages_2", "overall")
    assert (found.criteria[0].low, found.criteria[0].high) == ('it is bad "here', "it is good")
    assert found.overall == "overall"
    with pytest.raises(FileExistsError, match="Give another --out"):
        write_rubric(reasons, tmp_path / "mine.toml")


@pytest.mark.parametrize("chat", [None, lambda asked: ['["only one"]'] * len(asked), lambda asked: ["no"] * len(asked)])
def test_ends_that_nobody_told_are_refused_until_they_are_written(tmp_path, chat):
    path = tmp_path / "mine.toml"
    assert write_rubric(["noise", "repetition"], path, chat=chat) == 2
    with pytest.raises(ValueError, match=r"is a draft: noise, repetition say 'FILL IN' .* strike the criterion"):
        rubric(path)
    path.write_text(path.read_text().replace("FILL IN", "something"))
    assert rubric(path).names == ("noise", "repetition", "overall")


def test_a_corpus_gives_a_draft_and_a_second_run_asks_nothing(tmp_path):
    path, _ = world(tmp_path)
    asked = []

    def counted(conversations):
        asked.extend(conversations)
        return model(conversations)

    made = {}
    for name in ("one", "two"):
        chat = open_chat(counted, cache=tmp_path / "answers.db", name="toy")
        search = Search(share=0.2, top=2)
        report = draft_rubric(path, tmp_path / f"{name}.toml", score="bits", chat=chat, search=search)
        made[name] = (tmp_path / f"{name}.toml").read_text().replace(f"[{name}", "[x").replace(f"{name}.", "x.")
        if name == "one":
            n_first = len(asked)
    assert (len(asked), made["one"]) == (n_first, made["two"])
    assert report.facts["criteria"] == 2
    assert report.facts["ends to fill in"] == 0
    for out in ("one.toml", "mine.json"):
        with pytest.raises((ValueError, FileExistsError), match="Give another --out"):
            draft_rubric(path, tmp_path / out, score="bits", chat=counted)
    assert len(asked) == n_first


def test_the_verb_asks_an_endpoint_within_its_budget_and_goes_on(tmp_path):
    path, _ = world(tmp_path, 120)
    out = tmp_path / "mine.toml"

    def answer(content, _):
        return reply(model([[{"role": "user", "content": content}]])[0])

    with serving(answer) as (url, asked):
        typed = ["corpus", "criteria", str(path), "--score", "bits", "--endpoint", url, "--model-name", "toy",
                 "--out", str(out), "--share", "0.2", "--top", "2", "--batch", "8", "--json"]  # fmt: skip
        stopped = CliRunner().invoke(app, [*typed, "--budget-requests", "12"])
        assert stopped.exit_code != 0
        assert "budget is spent" in str(stopped.exception)
        assert not out.exists()
        done = CliRunner().invoke(app, typed)
        assert done.exit_code == 0, done.output
        assert len({one["messages"][-1]["content"] for one in asked.bodies}) == len(asked.bodies)  # nothing twice
    facts = json.loads(done.stdout)["facts"]
    assert (facts["criteria"], facts["ends to fill in"], facts["at rest"]) == (2, 0, True)
    assert set(rubric(out).names) == {"empty_filler_phrases", "mixed_languages", "overall"}


def test_the_verb_needs_a_model(tmp_path):
    path, _ = world(tmp_path, 20)
    done = CliRunner().invoke(
        app, ["corpus", "criteria", str(path), "--score", "bits", "--out", str(tmp_path / "r.toml")]
    )
    assert "--model" in str(done.exception)


@pytest.mark.slow  # a real instruction model of 135 million parameters: 20 CPU seconds
@pytest.mark.skipif(not (SMOLLM2 / "config.json").is_file(), reason="needs SmolLM2-135M-Instruct, see bench/dataman.py")
def test_a_real_model_that_is_too_small_is_told_so_and_leaves_no_draft(tmp_path):
    path, _ = world(tmp_path, 60)
    chat = open_chat(str(SMOLLM2), max_tokens=48)
    with pytest.raises(ValueError, match=r"none of 4 answers named a reason: not a JSON list \(4\)"):
        draft_rubric(path, tmp_path / "r.toml", score="bits", chat=chat, search=Search(most=4, batch=4))
    assert not (tmp_path / "r.toml").exists()
