"""README.md of a bundle: the card."""

from __future__ import annotations

from runtime.console import megabytes
from runtime.manifest import Manifest, TaskSpec, TokenizerSpec
from runtime.parity.document import scope
from runtime.parity.judge import ParityReport
from runtime.parity.table import cases_line, columns, rows, split_lines
from runtime.weights_table import weights_line


def card(manifest: Manifest, report: ParityReport, usages: list[str], training: str = "") -> str:
    """Markdown: what it is, how it was judged, how to load it on each platform.

    Args:
        manifest: with verdicts.
        report: the gate's.
        usages: a line of Markdown per way to load an artifact.
        training: Markdown: what the model was compared with when it was trained.
    """
    task, source, data = manifest.task, manifest.source, manifest.data
    tokenizer = manifest.tokenizer
    revision = f", revision `{source.revision}`" if source.revision else ""
    metrics = "\n".join(f"- {name}: {value:.4f}" for name, value in manifest.metrics.items())
    return f"""# {manifest.name}

{_what(manifest)}, {source.architecture}, \
{source.parameters:,} parameters, exported by mobile-export {manifest.tools["mobile-export"]}.

- Base model: `{source.model}`{revision}, weights SHA-256 `{source.sha256[:16]}…`
- Data: `{data.name}` ({", ".join(f"{n} {split}" for split, n in data.rows.items())} texts)
- {_answers(task)}
- Licence: the base model's and the data's; this card does not change them.

## Metrics of the reference

{metrics}
{f"{chr(10)}{training}{chr(10)}" if training else ""}
## Artifacts

{_table(("file", "format", "recipe", "size", "lengths", "needs at least"), _artifacts(manifest))}

{_weights(manifest)}

## Parity with PyTorch float32

{cases_line(report)}; the gate's limits and every figure are in `parity.json`. \
{_runtimes(report)}

{_table(columns(report), rows(report))}
{"".join(f"{chr(10)}{line}{chr(10)}" for line in (*split_lines(report), *scope(report)))}

## How to use it

Inputs, by name: `input_ids` and `attention_mask`, int32 [1, length]; output `{task.output}`, \
float32 [1, {_width(manifest)}]. Tokenize with {_files(tokenizer)}, at most \
{tokenizer.max_length} ids with special tokens, pad on the {tokenizer.pad_side} with id \
{tokenizer.pad_id} and mask 0; then {_activation(manifest)}.

- Python: `{"mobile-runtime embed" if task.gives_vectors else "mobile-export classify"} BUNDLE \
"text"`
{chr(10).join(f"- {usage}" for usage in usages)}
- Any device: replay `golden.json`; every case has the text, the ids, PyTorch's logits and each \
artifact's own.
"""


def _files(tokenizer: TokenizerSpec) -> str:
    if tokenizer.vocab is None:
        return f"`{tokenizer.file}` ({tokenizer.type})"
    return f"`{tokenizer.file}` (or `{tokenizer.vocab}` and the flags in `manifest.json`)"


def _what(manifest: Manifest) -> str:
    if manifest.task.gives_vectors:
        return f"Sentence vectors of {_width(manifest)} numbers"
    return f"{manifest.task.kind.replace('_', '-')} text classifier"


def _answers(task: TaskSpec) -> str:
    if task.gives_vectors:
        how = "the mean of all tokens" if task.pooling == "mean" else "the classifier's position"
        length = "made length 1" if task.activation == "l2" else "of any length"
        return f"Pooling: {how}, inside the artifact; vectors are {length}. Labels play no part."
    return f"Labels: {', '.join(f'`{label}`' for label in task.labels)}"


def _width(manifest: Manifest) -> int | str:
    """Numbers in the output, for a classifier its labels."""
    return len(manifest.task.labels) or manifest.artifacts[0].outputs[0].shape[-1]


def _table(header: tuple[str, ...], body: list[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _artifacts(manifest: Manifest) -> list[tuple[str, ...]]:
    return [
        (
            f"`{a.path}`",
            a.format,
            a.recipe,
            megabytes(a.bytes),
            ", ".join(map(str, a.lengths)) if a.lengths else "any",
            ", ".join(f"{name} {version}" for name, version in a.minimum_runtime.items()),
        )
        for a in manifest.artifacts
    ]


def _weights(manifest: Manifest) -> str:
    """How the weights are stored: `mobile-runtime inspect --weights` lists every one."""
    return "\n".join(f"- `{a.path}`: {weights_line(a)}" for a in manifest.artifacts)


def _runtimes(report: ParityReport) -> str:
    environments = [artifact.environment for artifact in report.artifacts]
    names = dict.fromkeys(f"{e['runtime']} {e['version']}" for e in environments)
    return f"Run by {' and '.join(names)}; no phone took part."


def _activation(manifest: Manifest) -> str:
    if manifest.task.gives_vectors:
        return "compare vectors by their cosine" + (
            ", which is their dot product" if manifest.task.activation == "l2" else ""
        )
    if manifest.task.thresholds is None:
        return "softmax over the logits; the largest one is the label"
    return "a sigmoid per logit; every label that reaches its threshold in `manifest.json` is given"
