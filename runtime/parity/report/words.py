"""What the reports say, in words that fit someone who has to decide about a release."""

from __future__ import annotations

import math
import shlex

from runtime.manifest import Verdict
from runtime.parity.gates import Check
from runtime.parity.judge import ArtifactReport, ParityReport
from runtime.parity.report.formats import meaning, percent, unit, written
from runtime.parity.report.markup import plain
from runtime.parity.statistics import texts_needed

BISECT = "run `mobile-runtime parity bisect` to find the first block and operation that diverge"

_INVARIANCE = (
    "the answer depends on what surrounds the text; look for a mask that is missing or too weak, "
    "or for state kept between runs"
)
_MORE_TEXTS = "judge with more texts (make export TEXTS=FILE adds unlabelled ones)"
_MORE = {"metric_drop_bound": "judge with more validation texts that have true labels"}
# What to do about a figure that misses its limit; what is not named here asks for bisection.
_NEXT = {
    "non_finite": f"look for overflow in half precision or for a mask of -inf; {BISECT}",
    "flip_rate": "keep more of the model in float, or choose a finer recipe",
    "flip_rate_bound": "keep more of the model in float, or choose a finer recipe",
    "large_margin_flips": f"sure answers must not change: suspect a fault, not rounding; {BISECT}",
    "boundary_flip_rate": "keep more of the model in float, or choose a finer recipe",
    "metric_drop": "keep more of the model in float, or choose a finer recipe",
    "metric_drop_bound": "keep more of the model in float, or choose a finer recipe",
    "ece_change": "choose a finer recipe, or calibrate thresholds again on the artifact's answers",
    "padding_rel": "the artifact reads padding: check its attention mask",
    "bucket_rel": "the artifact answers differently at another sequence length: check the graph of "
    "each length and its mask",
    "repeat_rel": "the same input gives another answer: look for randomness or for state",
    "cold_rel": "the first run differs from later ones: look for state or for warm-up",
    "threads_rel": "the answer depends on the number of threads: look for a race or an unsafe sum",
    "batch_rel": _INVARIANCE,
    "order_rel": _INVARIANCE,
    "graph_max_abs": f"the graph computes something else: {BISECT}",
    "probabilities_max_abs": "the classifier's own activation is wrong: softmax and sigmoid may be "
    "confused, or labels are in another order",
    "changed_weights": "the file does not hold the weights that were exported: export again, and "
    "find out who changed it",
}
# What a user of the model would notice comes first; the rest follows in the order of the gate.
_GRAVEST = (
    "non_finite",
    "changed_weights",
    "large_margin_flips",
    "flip_rate_bound",
    "metric_drop_bound",
    "boundary_flip_rate",
)


def verdict_word(verdict: Verdict) -> str:
    """One word for chips."""
    return {"pass": "Pass", "fail": "Fail", "unknown": "Unknown"}[verdict]


def headline(report: ParityReport) -> str:
    """The verdict in one sentence."""
    total = len(report.artifacts)
    count = sum(artifact.verdict == report.verdict for artifact in report.artifacts)
    if not total:
        return "Nothing was judged, so nothing is certified"
    if report.verdict == "unknown" and report.reference_doubts:
        return "Not certified: the reference itself is in doubt"
    if total == 1:
        subject = report.artifacts[0].path
    elif count == total:
        subject = f"{'both' if total == 2 else f'all {total}'} {_things(report)}"
    else:
        subject = f"{count} of {total} {_things(report)}"
    if report.verdict == "unknown":
        return f"Not certified: too little is known about {subject}"
    if report.verdict == "fail" and 1 < count == total:
        none = "Neither" if total == 2 else "None"
        return f"{none} of the {total} {_things(report)} agrees with PyTorch"
    if report.verdict == "pass":
        verb = "agrees" if count == 1 else "agree"
    else:
        verb = "does not agree" if count == 1 else "do not agree"
    # A file's name keeps its own first letter.
    return f"{subject if total == 1 else subject[0].upper() + subject[1:]} {verb} with PyTorch"


def _things(report: ParityReport) -> str:
    paths = {artifact.path for artifact in report.artifacts}
    machines = {artifact.evidence.machine for artifact in report.artifacts}
    if len(machines) == 1:
        return "artifacts"
    return "runs" if len(paths) > 1 else f"runs of {next(iter(paths))}"


def name_of(artifact: ArtifactReport, report: ParityReport) -> str:
    """The artifact, and the machine where the report knows several."""
    several = len({other.evidence.machine for other in report.artifacts}) > 1
    return f"{artifact.path} on {artifact.evidence.machine.name}" if several else artifact.path


def lead(report: ParityReport) -> str:
    """What stands under the headline: how many answers may differ, at worst."""
    natural = sum(report.cases.get(name, 0) for name in ("validation", "unlabelled"))
    judged = [artifact for artifact in report.artifacts if artifact.per_label]
    if not judged or not natural:
        return "No natural text was judged."
    worst = max(judged, key=lambda a: max(entry.bound for entry in a.per_label))
    entry = max(worst.per_label, key=lambda e: e.bound)
    where = f" about the label {entry.label}" if entry.label else ""
    which = "It" if len(report.artifacts) == 1 else f"The least certain, {name_of(worst, report)},"
    return (
        f"{which} gives another answer{where} on {entry.flips} of {entry.texts} natural texts; "
        f"with 95% confidence on at most {percent(entry.bound)} of all texts like these."
    )


def reasons(artifact: ArtifactReport, report: ParityReport) -> list[str]:
    """Why an artifact did not pass; empty where it did."""
    lines = layer_faults(artifact, report)
    lines += [complaint(check) for check in missed(artifact)]
    lines += [f"Unknown: {doubt}." for doubt in artifact.doubts]
    if artifact.verdict != "pass":
        lines += [f"Agreeing would mean nothing: {doubt}." for doubt in report.reference_doubts]
    return lines


def missed(artifact: ArtifactReport) -> list[Check]:
    """Checks that did not pass, the gravest first."""
    return sorted((check for check in artifact.checks if not check.passed), key=_weight)


def _weight(check: Check) -> tuple[bool, int]:
    """Proved before unknown, then what matters most to a user of the model."""
    place = _GRAVEST.index(check.figure) if check.figure in _GRAVEST else len(_GRAVEST)
    return check.verdict == "unknown", place


def layer_faults(artifact: ArtifactReport, report: ParityReport) -> list[str]:
    """Faults outside the model: files, text → ids and logits → labels."""
    lines = [f"Files contradict each other: {line}." for line in report.contradictions]
    names = tuple(dict.fromkeys((*report.wrong_ids, *artifact.evidence.wrong_ids)))
    if names:
        lines.append(f"Other ids than the golden ones for {_texts(names)}.")
    if wrong := artifact.evidence.wrong_labels:
        lines.append(f"Labels that do not follow from the logits for {_texts(wrong)}.")
    return lines


def _texts(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return f"{len(names)} text{'s' if len(names) > 1 else ''}: {shown}"


def complaint(check: Check) -> str:
    """A check that did not pass: value, limit, and what the figure is."""
    what = f"{check.figure} ({meaning(check.figure)})"
    if math.isnan(check.value):
        return f"{what} is not a number."
    own = f" {unit(check.figure)}".rstrip()
    value, limit = written(check.figure, check.value), written(check.figure, check.limit)
    sign = "above" if check.bound == "max" else "below"
    line = f"{what} is {value}{own}, {sign} the limit {limit}"
    if check.verdict == "unknown":
        return f"{line}, but the sample is too small to tell: {check.note}."
    return f"{line}."


def advice(check: Check) -> str:
    """What to do about a check that did not pass."""
    if check.verdict == "unknown":
        return _MORE.get(check.figure, _MORE_TEXTS)
    return _NEXT.get(check.figure, BISECT)


def bound_words(artifact: ArtifactReport) -> str:
    """What the flip bound says and how many texts it needs."""
    if not artifact.per_label:
        return "No natural text was judged, so nothing is known about flips."
    entry = max(artifact.per_label, key=lambda e: e.bound)
    label = f" on the label {entry.label}" if entry.label else ""
    line = (
        f"{entry.flips} of {entry.texts} natural texts get another answer{label}. With 95% "
        f"confidence that holds for at most {percent(entry.bound)} of all texts like these"
    )
    check = next((c for c in artifact.checks if c.figure == "flip_rate_bound"), None)
    if check is None:
        return f"{line}."
    if not 0.0 < check.limit < 1.0:
        return f"{line}; the limit is {percent(check.limit)}."
    needed = texts_needed(entry.flips, entry.texts, check.limit)
    if needed is None:
        return (
            f"{line}; the limit is {percent(check.limit)}, and at this rate no number of texts "
            "would meet it."
        )
    enough = "would be enough" if needed > entry.texts else "are enough"
    return (
        f"{line}; the limit is {percent(check.limit)}, for which {needed:,} texts {enough} at this "
        "rate."
    )


def commands(report: ParityReport) -> list[str]:
    """How to get the same report again, and how to look further."""
    runs = [artifact.evidence.machine for artifact in report.artifacts]
    base = "mobile-runtime parity"
    paths = list(dict.fromkeys(artifact.path for artifact in report.artifacts))
    only = f" --artifact {shlex.quote(plain(paths[0]))}" if len(paths) == 1 else ""
    lines = []
    if any(not machine.emulator and not machine.processor for machine in runs):
        lines.append(f"{base} BUNDLE{only} --html report.html --junit report.xml")
    emulated = [machine for machine in runs if machine.emulator]
    for architecture in dict.fromkeys(machine.architecture for machine in emulated):
        cpus = ",".join(
            dict.fromkeys(m.processor for m in emulated if m.architecture == architecture)
        )
        which = f" --cpu {shlex.quote(plain(cpus))}" if cpus else ""
        arch = shlex.quote(plain(architecture))
        lines.append(f"{base} emulate BUNDLE --arch {arch}{which}")
    if any(machine.processor and not machine.emulator for machine in runs):
        lines.append(f"{base} replay BUNDLE/golden.json RESULTS.json")
    failed = dict.fromkeys(a.path for a in report.artifacts if a.verdict == "fail")
    lines += [f"{base} bisect BUNDLE --artifact {shlex.quote(plain(path))}" for path in failed]
    return lines
