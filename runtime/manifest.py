"""The bundle's manifest: its schema, read strictly.

The manifest is the only contract between what makes artifacts and what runs them. Everything that a
program needs in order to go from text to labels is in here or in a file named here.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import Any, Literal

from runtime import manifest_v1
from runtime.errors import BundleError
from runtime.files import canonical_json
from runtime.strict_json import read_dataclass

SCHEMA_VERSION = 2

TaskKind = Literal["single_label", "multi_label", "embedding"]
Activation = Literal["softmax", "sigmoid", "l2", "none"]
Pooling = Literal["mean", "cls"]
TokenizerType = Literal["WordPiece", "BPE", "Unigram"]
PadSide = Literal["left", "right"]
Verdict = Literal["pass", "fail", "unknown"]

_ACTIVATIONS: dict[TaskKind, tuple[Activation, ...]] = {
    "single_label": ("softmax",),
    "multi_label": ("sigmoid",),
    "embedding": ("l2", "none"),
}


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """What the output means: logits of labels, or a sentence vector.

    Attributes:
        kind: one label a text, any number, or none at all but a vector (``embedding``).
        activation: turns logits into probabilities (softmax or sigmoid). Of vectors it tells what
            the artifact has already done: ``l2`` if they have length 1, else ``none``.
        labels: names in the order of the logits' last axis; empty for vectors.
        thresholds: multi-label only: probability from which a label is given, one per label.
        pooling: vectors only: how the artifact itself makes one of all tokens' hidden states:
            their mean without padding, or the position that a classifier would read (``cls``).
    """

    kind: TaskKind
    activation: Activation
    labels: tuple[str, ...]
    thresholds: tuple[float, ...] | None = None
    pooling: Pooling | None = None

    @property
    def gives_vectors(self) -> bool:
        """Whether the output is a sentence vector and not logits."""
        return self.kind == "embedding"

    @property
    def output(self) -> str:
        """Name of the artifacts' output."""
        return "embedding" if self.gives_vectors else "logits"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A named tensor; `shape` has a number for a fixed axis and a name for a free one."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class TokenizerSpec:
    """How a text becomes ids.

    A reader without Hugging Face's packages looks at `type` first: only ``WordPiece`` can be
    rebuilt from `vocab` and the flags, and of any other type it should say so.

    Attributes:
        type: the model's class in `tokenizers`: ``WordPiece``, ``BPE`` (byte-level) or ``Unigram``.
        file: the `tokenizers` file, relative to the bundle; the truth for every type.
        vocab: one token a line, line number = id; None for every type but WordPiece.
        max_length: longest sequence in ids, special tokens included; longer texts are cut at the
            end of the text, and the special tokens stay.
        pad_id: id that fills a sequence up.
        pad_side: where it is filled up.
        pad_token, cls_token, sep_token, unk_token: as the vocabulary has them.
        mask_token: likewise; None where there is none.
        cls_position: where `cls_token` stands: ``first`` is CLS text SEP, ``last`` text SEP CLS.
        token_types: ``none`` if the model has no segments, ``in_graph`` if the artifacts make them
            themselves (one text is one segment). They are never an input.
        lowercase, strip_accents, clean_text, handle_chinese_chars: BertNormalizer's flags; None for
            every type but WordPiece.
        lone_surrogates: what stands in for half a surrogate pair, which UTF-8 cannot carry.
    """

    type: TokenizerType
    file: str
    vocab: str | None
    vocab_size: int
    max_length: int
    pad_id: int
    pad_side: PadSide
    pad_token: str
    cls_token: str
    sep_token: str
    unk_token: str
    mask_token: str | None
    cls_position: Literal["first", "last"]
    token_types: Literal["none", "in_graph"]
    lowercase: bool | None
    strip_accents: bool | None
    clean_text: bool | None
    handle_chinese_chars: bool | None
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
    """Where the weights came from: a name, a hub revision if any, SHA-256 of the safetensors.

    Attributes:
        architecture: the class in transformers.
        family: its ``model_type``, such as ``distilbert``.
    """

    model: str
    architecture: str
    family: str
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
    """Everything about a bundle.

    Attributes:
        schema_version: checked before anything else is read. Version 1 is read, too, as what it
            means in version 2; the number stays the file's.
    """

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
        """Plain JSON values (tuples become lists), in the schema of `schema_version`."""
        value: dict[str, Any] = dataclasses.asdict(self)
        return manifest_v1.downgraded(value) if self.schema_version == 1 else value

    @property
    def contract_sha256(self) -> str:
        """See the function of this name."""
        return contract_sha256(
            self.task,
            self.tokenizer,
            self.source,
            self.data,
            schema_version=self.schema_version,
        )

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
        if type(version) is not int or not 1 <= version <= SCHEMA_VERSION:
            raise BundleError(
                f"manifest.json has schema version {version!r}",
                why=f"this release reads the versions 1 to {SCHEMA_VERSION}",
                todo="use the release that wrote the bundle, or export it again",
            )
        if version == 1:
            value = manifest_v1.upgraded(value)
        manifest = read_dataclass(cls, value, "manifest")
        _check(manifest)
        return manifest


def contract_sha256(
    task: TaskSpec,
    tokenizer: TokenizerSpec,
    source: SourceSpec,
    data: DataSpec,
    *,
    schema_version: int = SCHEMA_VERSION,
) -> str:
    """Hex SHA-256 of what every artifact of a bundle shares, as canonical JSON.

    An artifact can carry this, which ties it to its bundle. It cannot carry the hash of the whole
    manifest, which holds the artifact's own.

    Args:
        task: the manifest's, as the other parts are.
        tokenizer: likewise.
        source: likewise.
        data: likewise.
        schema_version: the manifest's: an artifact of an older bundle carries what that schema had.
    """
    value: dict[str, Any] = {
        "schema_version": schema_version,
        # Contracts of classifiers are as they were before there were vectors.
        "task": {k: v for k, v in dataclasses.asdict(task).items() if k != "pooling" or v},
        "tokenizer": dataclasses.asdict(tokenizer),
        "source": dataclasses.asdict(source),
        "data": dataclasses.asdict(data),
    }
    if schema_version == 1:
        value = manifest_v1.downgraded(value)
    text = canonical_json(value, indent=None)
    return hashlib.sha256(text.encode()).hexdigest()


def _check(manifest: Manifest) -> None:
    """What the types cannot say."""
    task = manifest.task
    if (len(task.labels) < 1) != task.gives_vectors or len(set(task.labels)) != len(task.labels):
        raise BundleError("manifest.task.labels is empty or names a label twice")
    if task.activation not in _ACTIVATIONS[task.kind]:
        raise BundleError(f"manifest.task: {task.activation} does not belong to {task.kind}")
    if (task.pooling is not None) != task.gives_vectors:
        raise BundleError("manifest.task.pooling belongs to vectors, and vectors have one")
    if (task.thresholds is not None) != (task.kind == "multi_label"):
        raise BundleError("manifest.task.thresholds belong to a multi-label task, one per label")
    if task.thresholds is not None and (
        len(task.thresholds) != len(task.labels)
        or not all(0.0 <= threshold <= 1.0 for threshold in task.thresholds)
    ):
        raise BundleError("manifest.task.thresholds must be one probability per label")
    _check_tokenizer(manifest.tokenizer)
    if not manifest.artifacts:
        raise BundleError("manifest.artifacts is empty")
    for artifact in manifest.artifacts:
        _check_artifact(artifact, manifest.tokenizer.max_length)
    entries: list[FileSpec | ArtifactSpec] = [*manifest.files, *manifest.artifacts]
    entries += [file for artifact in manifest.artifacts for file in artifact.files]
    paths = [entry.path for entry in entries]
    if len(set(paths)) != len(paths):
        raise BundleError("manifest.json names a file twice")


def _check_tokenizer(tokenizer: TokenizerSpec) -> None:
    if tokenizer.max_length < 2:
        raise BundleError("manifest.tokenizer.max_length leaves no room for the special tokens")
    if not 0 <= tokenizer.pad_id < tokenizer.vocab_size:
        raise BundleError("manifest.tokenizer.pad_id is not in the vocabulary")
    of_wordpiece = (
        tokenizer.vocab,
        tokenizer.lowercase,
        tokenizer.strip_accents,
        tokenizer.clean_text,
        tokenizer.handle_chinese_chars,
    )
    if any((value is None) == (tokenizer.type == "WordPiece") for value in of_wordpiece):
        raise BundleError(
            f"manifest.tokenizer: vocab and BertNormalizer's flags contradict {tokenizer.type}",
            why="WordPiece has all of them, another type has none",
        )


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
