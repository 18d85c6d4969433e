"""The bundle's manifest: its schema, read strictly.

The manifest is the only contract between what makes artifacts and what runs them. Everything that a
program needs in order to go from text to labels is in here or in a file named here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import types
import typing
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from runtime.errors import BundleError
from runtime.files import canonical_json

SCHEMA_VERSION = 1

TaskKind = Literal["single_label", "multi_label"]
Activation = Literal["softmax", "sigmoid"]
Verdict = Literal["pass", "fail", "unknown"]


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """What the logits mean.

    Attributes:
        kind: one label a text, or any number.
        activation: turns logits into probabilities (softmax or sigmoid).
        labels: names in the order of the logits' last axis.
        thresholds: multi-label only: probability from which a label is given, one per label.
    """

    kind: TaskKind
    activation: Activation
    labels: tuple[str, ...]
    thresholds: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A named tensor; `shape` has a number for a fixed axis and a name for a free one."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class TokenizerSpec:
    """How a text becomes ids.

    Attributes:
        type: the model's class in `tokenizers`, such as ``WordPiece``.
        file: the `tokenizers` file, relative to the bundle.
        vocab: one token a line, line number = id; None where the type has no such file.
        max_length: longest sequence in ids, special tokens included; longer texts are cut.
        pad_id: id that fills a sequence up.
        pad_side: always ``right`` in schema 1.
        lowercase, strip_accents, clean_text, handle_chinese_chars: BertNormalizer's flags.
        lone_surrogates: what stands in for half a surrogate pair, which UTF-8 cannot carry.
    """

    type: str
    file: str
    vocab: str | None
    vocab_size: int
    max_length: int
    pad_id: int
    pad_side: Literal["right"]
    cls_token: str
    sep_token: str
    unk_token: str
    lowercase: bool
    strip_accents: bool
    clean_text: bool
    handle_chinese_chars: bool
    lone_surrogates: str = "\ufffd"


@dataclass(frozen=True, slots=True)
class FileSpec:
    """A file of the bundle: path relative to it, size in bytes, hex SHA-256."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class StoredWeight:
    """How one weight is stored.

    Attributes:
        name: as the artifact calls it.
        shape: as the arithmetic sees it.
        role: ``linear``, ``embedding``, ``other``, or ``rest`` for one entry that stands for all
            constants that are not listed by themselves.
        precision: ``float32``, ``float16``, ``int8``, ``int4``, ``uint4``, ``lut6`` …
        sparsity: share of elements that are zero and not stored, 0 to 1.
        bits: bits in the file per element, scales and tables included; None if not known.
        sha256: of the values that the arithmetic uses, by the rule of the format's session; None
            where it does not compare them.
    """

    name: str
    shape: tuple[int, ...]
    role: str
    precision: str
    sparsity: float
    bits: float | None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class WeightsSummary:
    """How many weights (elements) are stored at each precision, and what stayed in float.

    Attributes:
        elements: precision name (``float32``, ``int8``) → number of elements.
        float_weights: names of the weights in float above the size that a recipe must explain.
        stored: every weight of at least 256 elements, and the rest as one entry where the format's
            session compares that, too.
    """

    elements: dict[str, int]
    float_weights: tuple[str, ...]
    stored: tuple[StoredWeight, ...] = ()


@dataclass(frozen=True, slots=True)
class ArtifactSpec:
    """One model: a file, or a folder where the format is one.

    Attributes:
        bytes: of the file, or of all files of the folder.
        sha256: of the file; of a folder, `runtime.files.sha256_of_listing`.
        format: name of the format, which is also the name of the session that runs it.
        recipe: name of the recipe that made it.
        precision: short name for tables, such as ``float32`` or ``int8``.
        inputs, outputs: by name; ``batch`` and ``length`` are free axes.
        lengths: the sequence lengths the file has, ascending; None where any length runs.
        minimum_runtime: runtime package → lowest version that runs the file correctly.
        gate: the verdict of the parity gate.
        files: the files of a folder, paths relative to the bundle; empty for a file.
    """

    path: str
    format: str
    recipe: str
    precision: str
    bytes: int
    sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    lengths: tuple[int, ...] | None
    minimum_runtime: dict[str, str]
    weights: WeightsSummary
    gate: Verdict
    files: tuple[FileSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """Where the weights came from: a name, a hub revision if any, SHA-256 of the safetensors."""

    model: str
    architecture: str
    revision: str | None
    sha256: str
    parameters: int


@dataclass(frozen=True, slots=True)
class DataSpec:
    """The labelled data: name, SHA-256 over its rows, rows per split, rows left out."""

    name: str
    sha256: str
    rows: dict[str, int]
    problems: dict[str, int]


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything about a bundle. `schema_version` is checked before anything else is read."""

    schema_version: int
    name: str
    task: TaskSpec
    tokenizer: TokenizerSpec
    artifacts: tuple[ArtifactSpec, ...]
    files: tuple[FileSpec, ...]
    source: SourceSpec
    data: DataSpec
    metrics: dict[str, float]
    tools: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values (tuples become lists)."""
        value: dict[str, Any] = dataclasses.asdict(self)
        return value

    @classmethod
    def from_json(cls, value: object) -> Manifest:
        """Read a parsed manifest.

        Raises:
            BundleError: another schema version, a missing, unknown or wrongly typed field, or
                fields that contradict each other.
        """
        if not isinstance(value, dict):
            raise BundleError("manifest.json is not a JSON object")
        version = value.get("schema_version")
        if version != SCHEMA_VERSION:
            raise BundleError(
                f"manifest.json has schema version {version!r}",
                why=f"this release reads version {SCHEMA_VERSION}",
                todo="use the release that wrote the bundle, or export it again",
            )
        manifest = _read(cls, value, "manifest")
        _check(manifest)
        return manifest


def contract_sha256(
    task: TaskSpec, tokenizer: TokenizerSpec, source: SourceSpec, data: DataSpec
) -> str:
    """Hex SHA-256 of what every artifact of a bundle shares, as canonical JSON.

    An artifact can carry this, which ties it to its bundle. It cannot carry the hash of the whole
    manifest, which holds the artifact's own.
    """
    value = {
        "schema_version": SCHEMA_VERSION,
        "task": dataclasses.asdict(task),
        "tokenizer": dataclasses.asdict(tokenizer),
        "source": dataclasses.asdict(source),
        "data": dataclasses.asdict(data),
    }
    text = canonical_json(value, indent=None)
    return hashlib.sha256(text.encode()).hexdigest()


T = TypeVar("T")


def _read(kind: type[T], value: object, where: str) -> T:
    """Build the dataclass `kind` from JSON, refusing whatever it does not declare."""
    if not isinstance(value, dict):
        raise BundleError(f"{where} is not a JSON object")
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(value) - set(fields))
    if unknown:
        raise BundleError(f"{where} has the unknown field {unknown[0]!r}")
    arguments = {}
    for name, field in fields.items():
        if name in value:
            arguments[name] = _convert(hints[name], value[name], f"{where}.{name}")
        elif field.default is dataclasses.MISSING:
            raise BundleError(f"{where} lacks the field {name!r}")
    return kind(**arguments)


def _convert(hint: Any, value: Any, where: str) -> Any:  # noqa: PLR0911 - one per kind of hint
    """Check one JSON value against a type hint and return it as Python's own type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value not in arguments:
            raise BundleError(f"{where} is {value!r}", why=f"it must be one of {list(arguments)}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise BundleError(f"{where} is not a list")
        return tuple(_convert(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise BundleError(f"{where} is not a JSON object")
        return {k: _convert(arguments[1], v, f"{where}.{k}") for k, v in value.items()}
    if origin in (typing.Union, types.UnionType):
        for option in arguments:
            try:
                return (
                    None if option is type(None) is type(value) else _convert(option, value, where)
                )
            except BundleError:
                continue
        raise BundleError(f"{where} has the wrong type")
    if dataclasses.is_dataclass(hint):
        return _read(typing.cast("type[Any]", hint), value, where)
    # bool is an int to Python, not to us; a whole number is a fine float.
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise BundleError(f"{where} has the wrong type", why=f"expected {hint.__name__}")
    return value


def _check(manifest: Manifest) -> None:
    """What the types cannot say."""
    task = manifest.task
    if len(task.labels) < 1 or len(set(task.labels)) != len(task.labels):
        raise BundleError("manifest.task.labels is empty or names a label twice")
    if {"single_label": "softmax", "multi_label": "sigmoid"}[task.kind] != task.activation:
        raise BundleError(f"manifest.task: {task.activation} does not belong to {task.kind}")
    if (task.thresholds is None) != (task.kind == "single_label"):
        raise BundleError("manifest.task.thresholds belong to a multi-label task, one per label")
    if task.thresholds is not None and (
        len(task.thresholds) != len(task.labels)
        or not all(0.0 <= threshold <= 1.0 for threshold in task.thresholds)
    ):
        raise BundleError("manifest.task.thresholds must be one probability per label")
    if manifest.tokenizer.max_length < 2:
        raise BundleError("manifest.tokenizer.max_length leaves no room for the special tokens")
    if not manifest.artifacts:
        raise BundleError("manifest.artifacts is empty")
    for artifact in manifest.artifacts:
        _check_artifact(artifact, manifest.tokenizer.max_length)
    entries: list[FileSpec | ArtifactSpec] = [*manifest.files, *manifest.artifacts]
    entries += [file for artifact in manifest.artifacts for file in artifact.files]
    paths = [entry.path for entry in entries]
    if len(set(paths)) != len(paths):
        raise BundleError("manifest.json names a file twice")


def _check_artifact(artifact: ArtifactSpec, max_length: int) -> None:
    lengths = artifact.lengths
    if lengths is not None and (not lengths or list(lengths) != sorted(set(lengths))):
        raise BundleError(f"{artifact.path}: lengths must be ascending and not empty")
    if lengths is not None and lengths[-1] < max_length:
        raise BundleError(f"{artifact.path}: no length holds tokenizer.max_length ids")
    if artifact.files and artifact.bytes != sum(file.bytes for file in artifact.files):
        raise BundleError(f"{artifact.path}: its files have other sizes than it")
    for file in artifact.files:
        if not file.path.startswith(f"{artifact.path}/"):
            raise BundleError(f"{artifact.path}: {file.path} is not inside it")
