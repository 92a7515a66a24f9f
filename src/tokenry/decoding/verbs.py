"""What `tokenry generate` does: open a model, continue every prompt by a strategy, and report texts and costs."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from tokenry.core.intervals import ratio_interval
from tokenry.core.report import Report
from tokenry.decoding.sampling import Settings
from tokenry.decoding.strategies import Continuation, continued, make, settings_for, stop_at
from tokenry.models.lm import LM


def generate_report(
    model: object,
    prompts: Sequence[str],
    *,
    strategy: object = "plain",
    options: Iterable[str] = (),
    settings: Settings | None = None,
    stop: Sequence[str] = (),
    device: str | None = None,
    dtype: str | None = None,
    on_text: Callable[[Continuation], None] | None = None,
) -> Report:
    """Continue prompts and report what it cost.

    Args:
        model: what `LM.open` takes.
        prompts: texts, at least one; an empty one starts from the model's start token.
        strategy: a name in STRATEGIES, `pkg.module:function`, or a Strategy.
        options: of the strategy, as "name=value".
        settings: length, temperature and so on.
        stop: texts that end a continuation, kept at its end.
        device, dtype: as for `LM.open`.
        on_text: called with each continuation as soon as it is there.

    Returns:
        Report of kind "generate": facts strategy, n_prompts, n_tokens, n_forwards, tokens_per_step and
        accepted_per_step (Intervals over prompts), tokens_per_second; a table "continuations".
    """
    import pyarrow as pa

    if not prompts:
        raise ValueError("no prompt to continue; need at least one. Give --prompt TEXT or --prompts FILE.")
    run = make(strategy, **dict(parsed_option(option) for option in options))
    lm = getattr(run, "open", LM.open)(model, device=device, dtype=dtype)  # a strategy may open its own kind
    settings = settings_for(lm, settings or Settings())
    settings = replace(settings, stop=stop_at(lm, stop) or settings.stop)
    rows, found = [], []
    for prompt, one in zip(prompts, continued(run, lm, prompts, settings=settings), strict=True):
        found.append(one.stats)
        rows.append({
            "prompt": prompt, "text": one.text, "tokens": one.stats.n_new, "forwards": one.stats.n_forwards,
            "tokens per step": one.stats.tokens_per_step, "seconds": one.stats.seconds, "ended by": one.stats.ended_by,
            **one.notes,
        })  # fmt: skip
        if on_text is not None:
            on_text(one)
    name = strategy if isinstance(strategy, str) else getattr(strategy, "name", type(strategy).__name__)
    report = Report(kind="generate", title=f"{lm.name} continues {len(rows)} prompt(s) by {name}")
    report.facts |= {
        "strategy": name,
        "n_prompts": len(rows),
        "temperature": settings.temperature,
        "seed": settings.seed,
    }
    report.facts |= _costs(found)
    columns = dict.fromkeys(key for row in rows for key in row)
    report.tables["continuations"] = pa.table({key: [row.get(key) for row in rows] for key in columns})
    return report


def parsed_option(option: str) -> tuple[str, object]:
    """Name and value of "name=value": whole numbers, numbers, true and false are read as such.

    Raises:
        ValueError: no "=" in it.
    """
    name, mark, text = option.partition("=")
    if not mark or not name.strip():
        raise ValueError(f"option {option!r} of the strategy; need name=value, as in --with n_guesses=8.")
    name = name.strip().replace("-", "_")
    if text in ("true", "false"):
        return name, text == "true"
    for kind in (int, float):
        try:
            return name, kind(text)
        except ValueError:
            continue
    return name, text


def _costs(found: list) -> dict[str, object]:
    """Facts over the statistics of all prompts; prompts that needed no step tell nothing about steps."""
    stepped = [stats for stats in found if stats.n_steps]
    facts: dict[str, object] = {
        "n_tokens": sum(stats.n_new for stats in found),
        "n_forwards": sum(stats.n_forwards for stats in found),
    }
    if stepped:
        steps = [stats.n_steps for stats in stepped]
        facts["tokens_per_step"] = ratio_interval([s.n_new - 1 for s in stepped], steps, unit="tokens/forward")
        facts["accepted_per_step"] = ratio_interval([s.n_accepted for s in stepped], steps, unit="guesses/forward")
    seconds = sum(stats.seconds for stats in found)
    facts["tokens_per_second"] = facts["n_tokens"] / seconds if seconds else 0.0
    facts["draft_share"] = sum(stats.draft_seconds for stats in found) / seconds if seconds else 0.0
    return facts
