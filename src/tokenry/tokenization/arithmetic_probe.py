"""Let a causal language model answer sums, greedily, and keep every answer with its certainty.

Any model by path: prompts are continued as text, or as a chat through the model's own template. `digits` cuts the
numbers another way at inference (see `numerals.retrofit`), without a change of the model.

Paper: Tokenization counts: the impact of tokenization on arithmetic in frontier LLMs (arXiv 2402.14903).
"""

import csv
import io
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tokenry.core.report import Report
from tokenry.tokenization.arithmetic import (
    Problem,
    Setting,
    controlled_problems,
    length_pairs,
    length_triples,
    messages,
    parse_setting,
    problems,
    prompt,
    question,
    reply,
)
from tokenry.tokenization.arithmetic_report import arithmetic_report
from tokenry.tokenization.arithmetic_scores import score

if TYPE_CHECKING:
    from tokenry.core.vocab import Vocab

_BATCH_TOKENS = 8192
_MARGIN = 4
LONGEST_NUMBER, MOST_SHOTS = 100, 256
"""Of `from_words`: all pairs of lengths are asked, and every problem carries its examples."""


def ask(
    model: object,
    asked: Sequence[Problem],
    settings: Sequence[Setting],
    *,
    chat: bool = False,
    flip: bool = False,
    digits: str | None = None,
    seed: int = 0,
    device: str | None = None,
    dtype: str | None = None,
) -> list[dict]:
    """Ask every problem in every setting.

    Args:
        model: folder, hub name, pair or LM.
        asked: the problems.
        settings: how they are written.
        chat: through the chat template of the model's tokenizer, with "You are a helpful assistant."; else the worked
            examples are lines of text.
        flip: ask each problem a second time with its operands the other way round.
        digits: another cut of numbers at inference: "single", "l2r3", "r2l3".
        seed: of the worked examples.
        device, dtype: of the model.

    Returns:
        One row a response, with the columns of the published files and what the model was how sure of. Decoding is
        greedy and stops at the end token, a line break, or a few tokens past the length of the right reply.

    Raises:
        ValueError: no problem or setting; chat without a template; prompts beyond the model's context; a vocabulary
            whose digits cannot be cut so.
    """
    from tokenry.core.runs import Progress
    from tokenry.models.lm import LM
    from tokenry.tokenization.numerals import retrofit

    if not asked or not settings:
        raise ValueError(f"{len(asked)} problems in {len(settings)} settings; need at least one of each.")
    lm = LM.open(model, device=device, dtype=dtype)
    vocab = retrofit(lm.vocab, digits=digits).vocab if digits else lm.vocab
    if chat and not getattr(lm.tokenizer, "chat_template", None):
        raise ValueError(f"{lm.name}: its tokenizer has no chat template; ask by completion (leave --chat away).")
    rows = []
    with Progress("asking", len(asked) * len(settings) * (2 if flip else 1), "problems") as progress:
        for setting in settings:
            both = [(p, False) for p in asked] + ([(p.flipped(), True) for p in asked] if flip else [])
            rows += _ask_setting(lm, vocab, both, setting, chat=chat, seed=seed, progress=progress)
    name = Path(lm.name).name + (f" {digits}" if digits else "")
    return [{**row, "model": name, "digits": digits or "", "chat": chat, "shots_rng_key": seed} for row in rows]


def probe(
    model: object,
    *,
    formats: Sequence[str] = ("nosep", "comma_r2l", "comma_l2r"),
    lengths: tuple[int, int] = (7, 9),
    shots: Sequence[int] = (8,),
    n: int = 10,
    op: str = "add",
    controlled: bool = False,
    seed: int = 0,
    out: str | Path | None = None,
    **asking: object,
) -> Report:
    """Ask a model and report; with `out`, every response goes to `responses.csv` there, beside the report.

    Args:
        model: as for `ask`.
        formats: settings by name, see `arithmetic.parse_setting`.
        lengths: shortest and longest operands (with `controlled`: and answers), in digits.
        shots: numbers of worked examples, each tried with each format.
        n: problems for each pair of lengths (or triple).
        op: "add", "sub" or "mul".
        controlled: choose the answer's length too (additions only).
        seed: of problems and examples.
        asking: `chat`, `flip`, `digits`, `device`, `dtype` of `ask`.

    Raises:
        ValueError: as for `ask`, and for lengths or formats that do not exist.
    """
    if controlled and op != "add":
        raise ValueError(f"controlled lengths with op={op!r}; only additions are controlled. Leave one away.")
    low, high = lengths
    asked = (
        controlled_problems(length_triples(low, high), n, seed=seed)
        if controlled
        else problems(length_pairs(low, high), n, op=op, seed=seed)
    )
    settings = [parse_setting(name, shots=k) for name in formats for k in shots]
    rows = ask(model, asked, settings, seed=seed, **asking)
    report = arithmetic_report(score(rows), title=f"Arithmetic of {rows[0]['model']}", direction=_direction(asking))
    report.tables["cuts"] = _cuts(rows)
    report.facts |= {"seed": seed, "n_each": n, "lengths": f"{low}-{high}", "controlled": controlled, "op": op}
    if out is not None:
        _write(rows, Path(out), {"formats": list(formats), "lengths": list(lengths), "shots": list(shots), "n": n,
                                 "op": op, "controlled": controlled, **asking}, seed=seed, model=model)  # fmt: skip
    return report


def _direction(asking: dict) -> str | None:
    digits = str(asking.get("digits") or "")
    return digits.rstrip("0123456789") or None


def _ask_setting(
    lm: object, vocab: "Vocab", both: list[tuple[Problem, bool]], setting: Setting, *, chat: bool, seed: int, progress
) -> list[dict]:
    """Prompts of equal length go together, so that nothing is padded."""
    texts = [_text(lm, problem, setting, chat=chat, seed=seed) for problem, _ in both]
    # The template writes its own special tokens; plain text gets what the model expects in front.
    bos = [] if chat or lm.bos is None else [lm.bos]
    ids = [[*bos, *map(int, found)] for found in vocab.encode(texts)]
    room = max(len(found) for found in vocab.encode([reply(p, setting) for p, _ in both])) + _MARGIN
    longest = max(map(len, ids))
    if longest + room > lm.context:
        raise ValueError(
            f"{lm.name}: a prompt of {longest} tokens and a reply of {room} do not fit its context of {lm.context}. "
            "Ask with fewer --shots or shorter --lengths."
        )
    groups = defaultdict(list)
    for place, found in enumerate(ids):
        groups[len(found)].append(place)
    rows: list[dict] = [{}] * len(both)
    for length, places in groups.items():
        step = max(1, _BATCH_TOKENS // (length + room))
        for start in range(0, len(places), step):
            part = places[start : start + step]
            replies = _greedy(lm, vocab, [ids[i] for i in part], room)
            for i, tokens in zip(part, replies, strict=True):
                rows[i] = _row(both[i], setting, vocab, tokens, len(ids[i]))
            progress.add(len(part))
    return rows


def _text(lm: object, problem: Problem, setting: Setting, *, chat: bool, seed: int) -> str:
    if not chat:
        return prompt(problem, setting, seed=seed)
    turns = messages(problem, setting, seed=seed)
    return lm.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)


def _greedy(lm: object, vocab: "Vocab", prompts: list[list[int]], room: int) -> list[list[dict]]:
    """The likeliest continuation of each prompt: per token its id, log-probability and the entropy before it."""
    import torch

    stored = getattr(getattr(lm.model, "generation_config", None), "eos_token_id", None)
    ends = {*(stored if isinstance(stored, list) else [stored]), vocab.specials.get("eos")}
    found: list[list[dict]] = [[] for _ in prompts]
    open_ = [True] * len(prompts)
    was_training = lm.model.training
    lm.model.eval()
    with torch.inference_mode():
        step_BT = torch.tensor(prompts, device=lm.device)
        cache, name = None, _cache_name(lm.model)
        for _ in range(room):
            out = lm.model(input_ids=step_BT, use_cache=True, **({name: cache} if cache is not None else {}))
            cache = out[name]
            log_p_BV = out.logits[:, -1, : vocab.size].float().log_softmax(-1)
            best_B = log_p_BV.argmax(-1)
            nats_B = -(log_p_BV.exp() * log_p_BV.clamp(min=-1e4)).sum(-1)
            likely_B = log_p_BV.gather(1, best_B[:, None])[:, 0]
            for i, (token, log_p, nats) in enumerate(
                zip(best_B.tolist(), likely_B.tolist(), nats_B.tolist(), strict=True)
            ):
                if not open_[i]:
                    continue
                if token in ends or b"\n" in (vocab.tokens[token] or b""):
                    open_[i] = False
                else:
                    found[i].append({"id": token, "logprob": log_p, "entropy_bits": nats / 0.6931471805599453})
            if not any(open_):
                break
            step_BT = best_B[:, None]
    lm.model.train(was_training)
    return found


def _cache_name(model: object) -> str:
    """What this model calls its cache: newer transformers rename `past_key_values` to `cache`, model by model."""
    import inspect

    return "cache" if "cache" in inspect.signature(inspect.unwrap(model.forward)).parameters else "past_key_values"


def _row(
    one: tuple[Problem, bool], setting: Setting, vocab: "Vocab", tokens: list[dict], n_prompt: int
) -> dict[str, object]:
    problem, flipped = one
    ids = [token["id"] for token in tokens]
    kept = [
        {"token": (vocab.tokens[token["id"]] or b"").decode("utf-8", "replace"), "logprob": round(token["logprob"], 6),
         "entropy_bits": round(token["entropy_bits"], 6)}
        for token in tokens
    ]  # fmt: skip
    text = question(problem, setting)
    return {
        "problem_index": problem.index,
        "flip_problem": flipped,
        "num1": problem.a,
        "num2": problem.b,
        "op": problem.op,
        "problem_msg": text,
        "problem_cut": "|".join(
            (vocab.tokens[int(i)] or b"").decode("utf-8", "replace") for i in vocab.encode([text])[0]
        ),
        "response": vocab.decode_bytes(ids).decode("utf-8", "replace"),
        "logprobs_json": json.dumps(kept, ensure_ascii=False),
        "prompt_tokens": n_prompt,
        "completion_tokens": len(ids),
        "problem_number_format": setting.question,
        "repeat_problem_number_format": setting.repeat or "",
        "answer_number_format": setting.answer,
        "num_spaces": setting.spaces,
        "num_trailing_spaces": setting.spaces,
        "num_shots": setting.shots,
    }


def _cuts(rows: list[dict]) -> object:
    """How the first problem of each setting is cut into tokens: whether digits, signs and spaces stand apart."""
    import pyarrow as pa

    shown: dict[tuple, dict] = {}
    for row in rows:
        key = (row["problem_number_format"], row["num_spaces"])
        shown.setdefault(key, {"format": f"{key[0]}{f'+{key[1]}' if key[1] else ''}", "example": row["problem_cut"]})
    return pa.Table.from_pylist(list(shown.values()))


def _write(rows: list[dict], out: Path, arguments: dict, *, seed: int, model: object) -> None:
    from tokenry.core.runs import atomic_write, write_run

    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    out.mkdir(parents=True, exist_ok=True)
    atomic_write(out / "responses.csv", buffer.getvalue())
    write_run(out, verb="model arithmetic", arguments=arguments, seed=seed, inputs=[model])


def from_words(
    model: str | None, *, rescored: Path | None, formats: str, lengths: str, shots: str, **options: object
) -> Report:
    """`probe` with lists and ranges as they are typed, or `rescore` of stored responses.

    Raises:
        ValueError: neither or both of a model and stored responses; a range or list that is none.
    """
    from tokenry.tokenization.arithmetic_report import rescore

    if (model is None) == (rescored is None):
        raise ValueError("give either MODEL, to ask it, or --rescore with stored responses.")
    if rescored is not None:
        return rescore(rescored)
    low, _, high = lengths.partition("-")
    numbers = [part.strip() for part in shots.split(",") if part.strip()]
    if not low.isdigit() or not (high or low).isdigit() or not numbers or not all(map(str.isdigit, numbers)):
        raise ValueError(f"lengths {lengths!r} and shots {shots!r}; need digits like 7-9 and numbers like 1,2,4,8.")
    if int(low) > int(high or low):
        raise ValueError(f"lengths {lengths!r} go down; need the shorter one first, as in 7-9.")
    if int(high or low) > LONGEST_NUMBER or max(map(int, numbers)) > MOST_SHOTS:
        raise ValueError(
            f"lengths {lengths!r} and shots {shots!r}; need at most {LONGEST_NUMBER} digits and {MOST_SHOTS} worked "
            "examples. Ask for less."
        )
    names = [part for part in formats.split(",") if part.strip()]
    return probe(model, formats=names, lengths=(int(low), int(high or low)), shots=[int(k) for k in numbers], **options)
