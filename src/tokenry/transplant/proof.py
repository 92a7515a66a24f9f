"""What an adaptation gained and lost: the scores of every model on the same documents, the verdict, and the Report.

Four models stand side by side: the original untouched, the model just after the move, the healed one, and the
original trained on the same text with the same compute (the control). All are compared in bits per byte on documents
none of them was trained on, and on general text they should not forget.
"""

from dataclasses import dataclass

import pyarrow as pa

from tokenry.core.intervals import Interval
from tokenry.core.report import Figure, Headline, Report
from tokenry.models.scoring import Scores

NAMES = {"before": "original", "moved": "after the move", "healed": "adapted", "control": "fine-tuned original"}
CLOSE = 0.01
"""Two models whose bits per byte differ by less than this share are called level."""
DEAR = 0.05
"""From this share on the loss on general text stands in the verdict itself."""
WORTH = 1.10
"""A gain in generation speed that is worth naming as a reason to switch."""


@dataclass(frozen=True)
class Evidence:
    """All that the report and the verdict rest on."""

    domain: dict[str, Scores]
    """"before", "moved", "healed" and, unless switched off, "control"."""
    general: dict[str, Scores]
    """the same names without "moved"; empty when no general text was given."""
    speed: dict[str, Interval]
    """"before", "moved", "after": bytes of greedy generation per second."""
    steps_ratio: float
    """bytes per forward pass of generation, after / before: what remains when machines differ."""
    context: dict[str, int]
    """"before", "moved", "after": bytes that fit the context window."""


def verdict(evidence: Evidence) -> tuple[str, str]:
    """Which model to take, and the sentences that say so.

    Returns:
        ("adapted" | "control" | "original", text). Level means within 1 %, or an interval that holds 0; a gain in speed
        or context counts from 10 % on, in speed only when the intervals are apart.
    """
    domain, speed = evidence.domain, evidence.speed
    faster = speed["after"].value / speed["before"].value
    reach = evidence.context["after"] / max(evidence.context["before"], 1)
    worth = reach >= WORTH or (faster >= WORTH and not speed["after"].overlaps(speed["before"]))
    gains = f"holds {reach:.2f}x the text in one context and generates {faster:.2f}x as fast{_price(evidence)}"
    healed, before = domain["healed"], domain["before"]
    rival = "control" if "control" in domain else "before"
    value = {name: f"{scores.bits_per_byte().value:.3f}" for name, scores in domain.items()}
    numbers = f"({value['healed']} against {value[rival]} bits per byte)"
    standing = relation(healed, domain[rival])
    if standing == "better" or (standing == "level" and worth):
        how = "better than" if standing == "better" else "as well as"
        fair = " at equal compute" if rival == "control" else ""
        return (
            "adapted",
            f"Take the adapted model: it predicts your text {how} the {NAMES[rival]}{fair} {numbers}. It {gains}.",
        )
    if rival == "control" and relation(domain["control"], before) == "better":
        how = "better than" if standing == "worse" else "as well as"
        tail = f"The adapted one {gains}: take it if that is worth more." if worth else "Nothing speaks for the move."
        return (
            "control",
            "Keep the old tokenizer and take the fine-tuned original: at equal compute it predicts your text "
            f"{how} the adapted model {_swapped(value)}. {tail}",
        )
    against = f"{value['healed']} against {value['before']} bits per byte"
    if worth and relation(healed, before) == "better":
        return (
            "adapted",
            f"Take the adapted model: it predicts your text better than the original ({against}). It {gains}.",
        )
    tail = f" It {gains}." if worth else ""
    return "original", f"Keep the old model: the adapted one predicts your text no better ({against}).{tail}"


def _price(evidence: Evidence) -> str:
    """What general text costs more, where it is enough to decide against the adapted model."""
    if not evidence.general:
        return ""
    before = evidence.general["before"]
    change = evidence.general["healed"].change_from(before)
    share = change.value / before.bits_per_byte().value
    return f", but general text costs it {share:.0%} more bits" if change.low > 0 and share > DEAR else ""


def _swapped(value: dict[str, str]) -> str:
    return f"({value['control']} against {value['healed']} bits per byte)"


def relation(first: Scores, second: Scores) -> str:
    """ "better", "level" or "worse": bits per byte of `first` against `second` on the same documents."""
    change = first.change_from(second)
    apart = change.high < 0 or change.low > 0
    if not apart or abs(change.value) <= CLOSE * second.bits_per_byte().value:
        return "level"
    return "better" if change.value < 0 else "worse"


def evidence_report(evidence: Evidence, *, title: str, curves: dict[str, list[dict]]) -> Report:
    """The Report of an adaptation, first screen first; `curves` are the healing curves by model name."""
    report = Report(kind="adapt", title=title)
    choice, report.verdict = verdict(evidence)
    report.facts["recommended"] = choice
    domain, general = evidence.domain, evidence.general
    _domain_facts(report, evidence)
    report.headline = _headlines(evidence)
    rows = {"model": [], "text": [], "bits per byte": [], "low": [], "high": [], "bytes per token": [], "units": []}
    for where, measured in (("your text, held out", domain), ("general text", general)):
        for name, m in measured.items():
            bits = m.bits_per_byte()
            values = (NAMES[name], where, bits.value, bits.low, bits.high, m.bytes_per_token().value, len(m.nats))
            for column, value in zip(rows, values, strict=True):
                rows[column].append(value)
    report.tables["models"] = pa.table(rows)
    report.tables["changes"] = _changes(evidence)
    report.figures += _figures(evidence, curves)
    report.warnings += _warnings(evidence)
    return report


def _domain_facts(report: Report, evidence: Evidence) -> None:
    domain, facts = evidence.domain, report.facts
    facts["bytes_per_token.before"] = domain["before"].bytes_per_token()
    facts["bytes_per_token.moved"] = domain["moved"].bytes_per_token()
    facts["bytes_per_token.after"] = domain["healed"].bytes_per_token()
    for name, measured in domain.items():
        facts[f"bits_per_byte.{name}"] = measured.bits_per_byte()
    for name, measured in evidence.general.items():
        facts[f"bits_per_byte.general.{name}"] = measured.bits_per_byte()
    for name in evidence.speed:
        facts[f"bytes_per_second.{name}"] = evidence.speed[name]
        facts[f"context_bytes.{name}"] = evidence.context[name]
    facts["generation_bytes_per_step_ratio"] = evidence.steps_ratio


def _headlines(evidence: Evidence) -> list[Headline]:
    domain, general = evidence.domain, evidence.general

    def bits(label: str, first: Scores, second: Scores) -> Headline:
        change = second.change_from(first)
        return Headline(label, first.bits_per_byte(), second.bits_per_byte(), "bits/byte", "lower", change)

    rows = [bits("Bits per byte on your text", domain["before"], domain["healed"])]
    if "control" in domain:
        rows.append(bits("On your text: fine-tuned original to adapted", domain["control"], domain["healed"]))
    if general:
        rows.append(bits("Bits per byte on general text", general["before"], general["healed"]))
    tokens = [domain[name].bytes_per_token() for name in ("before", "healed")]
    rows.append(Headline("Bytes per token on your text", *tokens, "bytes/token", "higher"))
    speeds = [evidence.speed[name] for name in ("before", "after")]
    rows.append(Headline("Generation speed", *speeds, speeds[0].unit, "higher"))
    contexts = [evidence.context[name] for name in ("before", "after")]
    rows.append(Headline("Text in one context", *contexts, "bytes", "higher"))
    return rows


def _changes(evidence: Evidence) -> pa.Table:
    pairs = [("healed", "before"), ("healed", "control"), ("control", "before"), ("healed", "moved")]
    rows = []
    for where, measured in (("your text, held out", evidence.domain), ("general text", evidence.general)):
        for first, second in pairs:
            if first in measured and second in measured:
                change = measured[first].change_from(measured[second])
                rows.append((where, NAMES[first], NAMES[second], change.value, change.low, change.high, change.n))
    names = ("text", "model", "against", "change in bits per byte", "low", "high", "units")
    return pa.table({name: [row[i] for row in rows] for i, name in enumerate(names)})


def _figures(evidence: Evidence, curves: dict[str, list[dict]]) -> list[Figure]:
    figures = []
    if any(curves.values()):
        for axis, label in (("flops", "training compute, FLOP"), ("bytes", "text read, bytes")):
            series = {NAMES[k]: [(c[axis], c["bits_per_byte"]) for c in curve] for k, curve in curves.items() if curve}
            title = f"On the way: bits per byte against {label.split(',')[0]}"
            figures.append(Figure("line", title, label, "bits per byte", series))
    dots = {
        where: [
            (NAMES[name], bits.value, bits.low, bits.high)
            for name, bits in ((n, m.bits_per_byte()) for n, m in measured.items())
        ]
        for where, measured in (("your text, held out", evidence.domain), ("general text", evidence.general))
        if measured
    }
    figures.append(Figure("interval", "Bits per byte of every model", "model", "bits per byte", dots, unit="bits/byte"))
    return figures


def _warnings(evidence: Evidence) -> list[str]:
    lines = []
    if evidence.general:
        forgot = evidence.general["healed"].change_from(evidence.general["before"])
        share = forgot.value / evidence.general["before"].bits_per_byte().value
        if forgot.low > 0 and share > CLOSE:
            lines.append(
                f"The adapted model forgot: general text costs {forgot.value:+.3f} bits per byte "
                f"[{forgot.low:+.3f}, {forgot.high:+.3f}] ({share:+.0%})."
            )
            if "control" in evidence.general:
                kept = evidence.general["control"].change_from(evidence.general["before"])
                lines[-1] += f" The fine-tuned original: {kept.value:+.3f}."
    worse = evidence.domain["healed"].change_from(evidence.domain["before"])
    if worse.low > 0:
        lines.append(
            f"The adapted model predicts your text worse than the original by {worse.value:.3f} bits per byte."
        )
    before, after = evidence.speed["before"], evidence.speed["after"]
    if after.value < before.value and not after.overlaps(before):
        lines.append(
            f"The adapted model generates fewer bytes per second ({after.value:.4g} against {before.value:.4g}); it "
            f"wrote {evidence.steps_ratio:.2f}x the bytes of the original in a step."
        )
    n = len(evidence.domain["healed"].nats)
    if n < 20:
        lines.append(f"Only {n} held-out units: the intervals are wide and rough.")
    return lines
