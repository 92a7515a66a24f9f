"""Exit by confidence: both limits exact, and the cost counts what is run again."""

import pytest
import torch
from shorter_models import shorter

from tiny_causal_models import tiny
from tokenry.data import demo_model
from tokenry.decoding import generate as generate_by
from tokenry.decoding.confident_exit import ConfidentExit
from tokenry.decoding.sampling import Settings
from tokenry.decoding.speculate import generate
from tokenry.models.lm import LM
from tokenry.models.session import Session

PROMPT = [3, 14, 15, 9, 26, 5]


@pytest.mark.parametrize("kind", ["llama", "opt", "gemma3"])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_above_one_it_is_ordinary_generation(kind, temperature):
    settings = Settings(max_new_tokens=15, temperature=temperature, seed=2)
    new, stats, notes = ConfidentExit(2, threshold=1.1).run(tiny(kind), PROMPT, settings)
    assert new == generate(Session.open(tiny(kind)), PROMPT, settings=settings)[0]
    assert notes == {"layer passes a token": 3.0, "layers a token": 3.0, "left early": 0.0}
    assert stats.n_forwards == 15


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_at_zero_every_token_leaves_early(kind):
    """The prompt runs all layers and gives the first token; from there on it is the shorter model."""
    model, n_new = tiny(kind), 12
    new, _, notes = ConfidentExit(2, threshold=0.0).run(model, PROMPT, Settings(max_new_tokens=n_new))
    text, cut = [*PROMPT, new[0]], shorter(model, (0, 1))
    for _ in range(n_new - 1):
        text.append(int(cut(torch.tensor([text])).logits[0, -1].argmax()))
    assert new == text[len(PROMPT) :]
    assert notes == {"layer passes a token": 2.0, "layers a token": 2.0, "left early": 1.0}


@pytest.mark.parametrize("threshold", [0.3, 0.6])
@pytest.mark.parametrize("max_pending", [1, 2, 32])
def test_it_is_what_plain_forward_passes_give(threshold, max_pending):
    """Slowly: both models on the whole text at every token."""
    model, cut, n_new = tiny(), shorter(tiny(), (0, 1)), 20
    with torch.inference_mode():
        text, waiting = list(PROMPT), 0
        text.append(int(model(torch.tensor([text])).logits[0, -1].argmax()))
        passes = tokens = early = 0
        for _ in range(n_new - 1):
            waiting += 1
            if waiting <= max_pending:
                passes, tokens = passes + 2, tokens + 2
                logits = cut(torch.tensor([text])).logits[0, -1].double()
                if float(logits.softmax(-1).max()) >= threshold:
                    text.append(int(logits.argmax()))
                    early += 1
                    continue
            passes, tokens, waiting = passes + 3, tokens + 3 * waiting, 0
            text.append(int(model(torch.tensor([text])).logits[0, -1].argmax()))
    how = ConfidentExit(2, threshold=threshold, max_pending=max_pending)
    new, _, notes = how.run(model, PROMPT, Settings(max_new_tokens=n_new))
    assert new == text[len(PROMPT) :]
    assert notes["layer passes a token"] == passes / (n_new - 1)
    assert notes["left early"] == early / (n_new - 1)
    assert notes["layers a token"] == pytest.approx(tokens / (n_new - 1))


def test_text_ends_where_it_should():
    model = tiny("gpt2")
    prompt = [*range(2, 58), *range(2, 52), *PROMPT]
    new, stats, _ = ConfidentExit(1, threshold=0.2).run(model, prompt, Settings(max_new_tokens=500))
    assert (len(new), stats.ended_by) == (128 - len(prompt) + 1, "context")
    cut, stats, _ = ConfidentExit(1, threshold=0.2).run(model, prompt, Settings(max_new_tokens=500, ends=(new[9],)))
    assert (cut, stats.ended_by) == (new[: new.index(new[9]) + 1], "end")


def test_by_name():
    lm = LM.open(demo_model())
    found = generate_by(lm, "Once upon a time", strategy="confident-exit", threshold=1.5, max_new_tokens=10)
    assert found.text == lm.generate("Once upon a time", max_new_tokens=10)
    with pytest.raises(ValueError, match="threshold=-1"):
        ConfidentExit(threshold=-1)
