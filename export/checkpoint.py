"""Find, check and load checkpoints of the known families: from a local folder or from the hub.

safetensors only: a pickle can run code. Remote code is never run.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.families import Family, families, family_of
from export.tokenizers import check_kind
from runtime.errors import MissingExtraError, UserError
from runtime.files import sha256_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel

_HUB_NAME = re.compile(r"^[\w.-]+(/[\w.-]+)?$")
# What any kind of tokenizer may be in, and what each was in before that.
_TOKENIZER_JSON = "tokenizer.json"
_OLDER_FILES = {
    "WordPiece": ("vocab.txt",),
    "BPE": ("vocab.json", "merges.txt"),
    "Unigram": ("spiece.model",),
}
_HUB_FILES = (
    "config.json",
    "*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint folder whose config and weight files were checked.

    Attributes:
        path: local folder.
        name: for people: folder name or hub name; never an absolute path.
        revision: commit on the hub, None for a local folder.
        family: what its architecture is one of.
        labels: the head's labels in the order of the logits; empty if there is no head.
        has_head: the weights hold a sequence classification head.
    """

    path: Path
    name: str
    revision: str | None
    config: dict[str, Any]
    family: Family
    labels: tuple[str, ...]
    has_head: bool

    @property
    def is_multi_label(self) -> bool:
        """The head was trained with a sigmoid per label."""
        return self.config.get("problem_type") == "multi_label_classification"

    @property
    def names_labels(self) -> bool:
        """The labels are names and not transformers' LABEL_0, LABEL_1 …."""
        return any(label != f"LABEL_{i}" for i, label in enumerate(self.labels))

    def weights_sha256(self) -> str:
        """SHA-256 of the weight files, in the order of their names."""
        files = sorted(self.path.glob("*.safetensors"))
        if len(files) == 1:
            return sha256_of(files[0])
        return hashlib.sha256("".join(map(sha256_of, files)).encode()).hexdigest()


def find_checkpoint(source: str, revision: str | None = None) -> Checkpoint:
    """Resolve MODEL=: an existing folder, else a name on the hub.

    Raises:
        UserError: neither, another architecture, no safetensors, or corrupt weights.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return read_checkpoint(path, name=path.resolve().name, revision=None)
    if path.exists():
        raise UserError(f"{source} is a file", todo="name the checkpoint's folder")
    if source.startswith((".", "/", "~")) or not _HUB_NAME.match(source):
        raise UserError(
            f"there is no folder {source}",
            todo="name a checkpoint's folder, or a hub model such as distilbert-base-uncased",
        )
    return _from_hub(source, revision)


@functools.cache  # one question to the hub per run
def _from_hub(name: str, revision: str | None) -> Checkpoint:
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=list(_HUB_FILES)))
    except Exception as error:  # a dozen unrelated classes, from DNS to authorisation
        raise UserError(
            f"{name} is no folder here and could not be fetched from the hub",
            why=f"{type(error).__name__}: {str(error).strip().splitlines()[0][:160]}",
            todo="check the name and the network, or download the model and name its folder",
        ) from error
    # The hub's cache names a snapshot's folder by its commit.
    return read_checkpoint(folder, name=name, revision=folder.name)


def read_checkpoint(path: Path, *, name: str, revision: str | None) -> Checkpoint:
    """Check a folder's config and weight files without building a model.

    Raises:
        UserError: no or bad config.json, another architecture, remote code, no safetensors, or a
            corrupt file.
    """
    config = _read_config(path)
    family = family_of(config, name)
    if "auto_map" in config:
        raise UserError(f"{name} asks to run its own Python code", why="remote code is never run")
    keys = _tensor_names(path, name)
    _check_family(family, keys, name)
    has_head = f"{family.last_layer}.weight" in keys
    return Checkpoint(
        path=path,
        name=name,
        revision=revision,
        config=config,
        family=family,
        labels=_labels(config, name) if has_head else (),
        has_head=has_head,
    )


def _check_family(family: Family, keys: set[str], name: str) -> None:
    """Whether the weights are the ones that config.json promises."""
    if _holds(family, keys):
        return
    others = [other.title for other in families().values() if _holds(other, keys)]
    raise UserError(
        f"{name} says it is {family.title} but its weights are not {family.title}'s",
        why=f"they look like {others[0]}'s" if len(others) == 1 else "",
        todo="copy config.json and the weights from the same checkpoint",
    )


def _holds(family: Family, keys: set[str]) -> bool:
    prefix = f"{family.root}."
    inner = {key.removeprefix(prefix) for key in keys if key.startswith(prefix)} | keys
    return any(family.bare.match(key) for key in inner)


def _read_config(path: Path) -> dict[str, Any]:
    file = path / "config.json"
    if not file.is_file():
        raise UserError(
            f"{path} is not a checkpoint", why="it has no config.json", todo="name its folder"
        )
    try:
        config = json.loads(file.read_bytes())
    except ValueError as error:
        raise UserError(f"{file} is not JSON", why=str(error)) from error
    if not isinstance(config, dict):
        raise UserError(f"{file} is not a JSON object")
    return config


def _labels(config: dict[str, Any], name: str) -> tuple[str, ...]:
    """id2label in the order of the ids; transformers' default is two nameless labels."""
    raw = config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    try:
        named = {int(key): str(label) for key, label in raw.items()}
    except (AttributeError, ValueError) as error:
        raise UserError(f"{name} has an id2label that is not id → label") from error
    if sorted(named) != list(range(len(named))) or len(set(named.values())) != len(named):
        raise UserError(f"{name} has an id2label with gaps or with a label twice")
    return tuple(named[i] for i in range(len(named)))


def _tensor_names(path: Path, name: str) -> set[str]:
    """Names in the safetensors files; reading the headers also proves that none is truncated."""
    from safetensors import SafetensorError, safe_open

    files = sorted(path.glob("*.safetensors"))
    if not files:
        pickles = sorted(file.name for file in path.glob("*.bin"))
        raise UserError(
            f"{name} has no .safetensors file",
            why=f"{pickles[0]} is a pickle, which can run code" if pickles else "",
            todo="save it again with transformers' save_pretrained, which writes safetensors",
        )
    keys: set[str] = set()
    for file in files:
        try:
            with safe_open(file, framework="numpy") as tensors:
                keys.update(tensors.keys())
        except (SafetensorError, OSError) as error:
            raise UserError(
                f"{file.name} of {name} is corrupt",
                why=str(error),
                todo="copy or download the checkpoint again",
            ) from error
    return keys


def load_classifier(
    checkpoint: Checkpoint, *, labels: tuple[str, ...] | None = None, multi_label: bool = False
) -> PreTrainedModel:
    """Build the classifier in float32 on the CPU.

    Args:
        checkpoint: what `find_checkpoint` returned.
        labels: None keeps the checkpoint's head, which must be there. Otherwise a new, randomly
            initialised head for these labels is put on the encoder.
        multi_label: with `labels`: the new head's problem type.

    Raises:
        UserError: no head to keep, or encoder weights are missing or of the wrong shape.
    """
    import transformers

    family = checkpoint.family
    if labels is None and not checkpoint.has_head:
        raise UserError(
            f"{checkpoint.name} has no classification head",
            todo=f"fine-tune it first: make finetune MODEL={checkpoint.name} DATA=…",
        )
    config = getattr(transformers, family.config_class).from_dict(dict(checkpoint.config))
    if labels is not None:
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: i for i, label in enumerate(labels)}
        config.problem_type = _problem_type(multi_label=multi_label)
    config.architectures = [family.classifier]
    _settle(config)
    model, holes = load_weights(
        checkpoint, family.classifier, config, ignore_mismatched_sizes=labels is not None
    )
    if labels is not None:
        holes = {key for key in holes if not family.head.match(key)}
    if holes:
        raise UserError(
            f"{checkpoint.name} lacks {len(holes)} of the model's weights",
            why=f"such as {min(holes)}; the result would be partly random",
        )
    return model


def load_weights(
    checkpoint: Checkpoint, architecture: str, config: Any, *, ignore_mismatched_sizes: bool = False
) -> tuple[PreTrainedModel, set[str]]:
    """Build a model in float32 on the CPU: safetensors only, no remote code.

    Args:
        checkpoint: whose weights.
        architecture: a class of transformers.
        config: what to build.
        ignore_mismatched_sizes: weights of another shape are made anew, too.

    Returns:
        The model, and the names of the weights that are new because the checkpoint lacks them.

    Raises:
        UserError: transformers cannot load them.
    """
    import transformers

    try:
        model, info = getattr(transformers, architecture).from_pretrained(
            checkpoint.path,
            config=config,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            dtype="float32",
            ignore_mismatched_sizes=ignore_mismatched_sizes,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"{checkpoint.name} cannot be loaded",
            why=str(error).strip().splitlines()[0],
            todo="copy or download the checkpoint again",
        ) from error
    # Tensors of a mapped file start anywhere, torch's own at a multiple of 64 bytes, and the last
    # bit of a product depends on that: equal weights in another file gave other logits.
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()
    holes = {str(key) for key in info["missing_keys"]}
    return model, holes | {str(item[0]) for item in info["mismatched_keys"]}


def _settle(config: Any) -> None:
    """Settings that no classifier of one text has a use for, and that no device could follow."""
    if hasattr(config, "use_mems_eval"):
        config.use_mems_eval = config.use_mems_train = False


def _problem_type(*, multi_label: bool) -> str:
    return "multi_label_classification" if multi_label else "single_label_classification"


def load_tokenizer(checkpoint: Checkpoint) -> Tokenizer:
    """The checkpoint's tokenizer: tokenizer.json, or built from the files that came before it.

    Raises:
        UserError: no such file is there, one is corrupt, it is of another kind than the family's,
            or it has more tokens than the model.
        MissingExtraError: spiece.model is all there is, and sentencepiece is not installed.
    """
    tokenizer = _read_tokenizer(checkpoint)
    try:
        check_kind(json.loads(tokenizer.to_str()), checkpoint.family)
    except UserError as error:
        raise UserError(
            f"{checkpoint.name}: {error.what}", why=error.why, todo=error.todo
        ) from error
    tokens = tokenizer.get_vocab_size(with_added_tokens=True)
    known = _vocab_size(checkpoint)
    if tokens > known:
        raise UserError(
            f"the tokenizer of {checkpoint.name} has {tokens} tokens",
            why=f"the model knows {known} ids",
            todo="use the tokenizer that the model was trained with",
        )
    return tokenizer


def _vocab_size(checkpoint: Checkpoint) -> int:
    """From config.json, or the family's default where it is left out."""
    import transformers

    kind = getattr(transformers, checkpoint.family.config_class)
    return int(kind.from_dict(dict(checkpoint.config)).vocab_size)


def _read_tokenizer(checkpoint: Checkpoint) -> Tokenizer:
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece

    path, kinds = checkpoint.path, checkpoint.family.tokenizers
    try:
        if (path / _TOKENIZER_JSON).is_file():
            tokenizer: Tokenizer = Tokenizer.from_file(str(path / _TOKENIZER_JSON))
            # transformers rebuilds WordPiece by tokenizer_config.json (do_lower_case …); that is
            # what the model was trained with.
            if not isinstance(tokenizer.model, WordPiece) or kinds != ("WordPiece",):
                return tokenizer
        else:
            _check_older_files(checkpoint)
        return _transformers_tokenizer(checkpoint)
    except UserError:
        raise
    except Exception as error:  # transformers and tokenizers raise whatever comes
        raise UserError(
            f"the tokenizer of {checkpoint.name} cannot be loaded", why=str(error)[:200]
        ) from error


def _check_older_files(checkpoint: Checkpoint) -> None:
    """Whether transformers can build the tokenizer from files that are no tokenizer.json."""
    sets = [_OLDER_FILES[kind] for kind in checkpoint.family.tokenizers]
    here = [names for names in sets if all((checkpoint.path / name).is_file() for name in names)]
    if not here:
        known = " nor ".join([_TOKENIZER_JSON, *(" with ".join(names) for names in sets)])
        raise UserError(
            f"{checkpoint.name} has no tokenizer",
            why=f"neither {known} is in its folder",
            todo="copy the tokenizer's files beside the weights",
        )
    if here[0] == _OLDER_FILES["Unigram"] and find_spec("sentencepiece") is None:
        raise MissingExtraError(
            "sentencepiece", extra="export", purpose=f"{here[0][0]} of {checkpoint.name}"
        )


def _transformers_tokenizer(checkpoint: Checkpoint) -> Tokenizer:
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(
        checkpoint.path, trust_remote_code=False, local_files_only=True
    )
    tokenizer: Tokenizer = loaded.backend_tokenizer
    return tokenizer
