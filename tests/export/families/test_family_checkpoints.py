"""Checkpoints of every family as transformers saves them: whole, bare, headless, disguised."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from export.checkpoint import find_checkpoint, load_classifier, load_tokenizer
from export.families import families
from export.tokenizer_training import train_tokenizer
from export.tokenizers import describe_tokenizer, write_tokenizer
from export.training.model import new_model
from runtime.errors import MissingExtraError, UserError

from support import TINY, weather_rows

FAMILIES = families()
LABELS = ("rainy", "snowy", "sunny")
TEXTS = [text for text, _ in weather_rows()][:200]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One small classifier per family, with its tokenizer."""
    found = {}
    for name, family in FAMILIES.items():
        torch.manual_seed(2)
        model, tokenizer = new_model(family, TINY, TEXTS, LABELS, max_length=32)
        found[name] = tmp_path_factory.mktemp("families") / name
        model.save_pretrained(found[name])
        write_tokenizer(tokenizer, describe_tokenizer(tokenizer, 32, family), found[name])
    return found


def _edit(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps(config | changes))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_whole_checkpoint(name: str, folders: dict[str, Path]) -> None:
    checkpoint = find_checkpoint(str(folders[name]))
    assert (checkpoint.family.name, checkpoint.labels) == (name, LABELS)
    model = load_classifier(checkpoint)
    assert type(model).__name__ == FAMILIES[name].classifier
    saved = transformers.AutoModelForSequenceClassification.from_pretrained(folders[name])
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in saved.state_dict().items())
    tokenizer = load_tokenizer(checkpoint)
    assert describe_tokenizer(tokenizer, 32, FAMILIES[name]).type in FAMILIES[name].tokenizers


@pytest.mark.parametrize("name", FAMILIES)
def test_a_bare_encoder_has_no_prefix_and_no_head(
    name: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    whole = load_classifier(find_checkpoint(str(folders[name])))
    whole.base_model.save_pretrained(tmp_path)
    checkpoint = find_checkpoint(str(tmp_path))
    assert (checkpoint.has_head, checkpoint.labels) == (False, ())
    with pytest.raises(UserError, match="has no classification head"):
        load_classifier(checkpoint)
    model = load_classifier(checkpoint, labels=("a", "b"))
    assert model.config.num_labels == 2
    for key, value in whole.base_model.state_dict().items():
        assert torch.equal(value, model.base_model.state_dict()[key]), key


@pytest.mark.parametrize("name", [n for n, family in FAMILIES.items() if family.masked_lm])
def test_a_language_model_lacks_pooler_and_head(
    name: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    family = FAMILIES[name]
    config = load_classifier(find_checkpoint(str(folders[name]))).config
    torch.manual_seed(3)
    language = getattr(transformers, family.masked_lm)(config)
    language.save_pretrained(tmp_path)
    checkpoint = find_checkpoint(str(tmp_path))
    assert not checkpoint.has_head
    model = load_classifier(checkpoint, labels=("a", "b"), multi_label=True)
    own = model.base_model.state_dict()
    shared = {k: v for k, v in language.base_model.state_dict().items() if "pooler" not in k}
    assert all(torch.equal(v, own[k]) for k, v in shared.items())


@pytest.mark.parametrize("name", ["bert", "albert", "mobilebert", "distilbert"])
def test_a_kept_head_must_be_whole(name: str, folders: dict[str, Path], tmp_path: Path) -> None:
    """A new head may start at random; one that was trained may not be partly so."""
    from safetensors.torch import load_file, save_file

    copied = Path(shutil.copytree(folders[name], tmp_path / "m"))
    weights = load_file(copied / "model.safetensors")
    kept = {k: v for k, v in weights.items() if "pooler" not in k and "pre_classifier" not in k}
    assert len(kept) < len(weights)
    save_file(kept, copied / "model.safetensors", metadata={"format": "pt"})
    checkpoint = find_checkpoint(str(copied))
    with pytest.raises(UserError, match="lacks 2 of the model's weights"):
        load_classifier(checkpoint)
    assert load_classifier(checkpoint, labels=("a", "b")).config.num_labels == 2


@pytest.mark.parametrize("name", FAMILIES)
def test_a_missing_encoder_weight_is_never_filled_in(
    name: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    copied = Path(shutil.copytree(folders[name], tmp_path / "m"))
    weights = load_file(copied / "model.safetensors")
    victim = max(k for k in weights if k.startswith(FAMILIES[name].root) and "layer" in k)
    del weights[victim]
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    for labels in (None, ("a", "b")):
        with pytest.raises(UserError, match="lacks 1 of the model's weights") as caught:
            load_classifier(find_checkpoint(str(copied)), labels=labels)
        assert victim in caught.value.why


@pytest.mark.parametrize(
    ("own", "claimed"),
    [
        ("roberta", "distilbert"),
        ("bert", "distilbert"),
        ("distilbert", "bert"),
        ("albert", "bert"),
        ("mobilebert", "bert"),
        ("bert", "mobilebert"),
        ("xlnet", "roberta"),
    ],
)
def test_weights_under_another_familys_name_are_refused_by_name(
    own: str, claimed: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    copied = Path(shutil.copytree(folders[own], tmp_path / "m"))
    _edit(copied, model_type=claimed)
    with pytest.raises(UserError) as caught:
        find_checkpoint(str(copied))
    assert f"says it is {FAMILIES[claimed].title}" in caught.value.what
    assert FAMILIES[own].title in caught.value.why


def test_a_disguise_that_the_names_of_weights_do_not_show(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    """A bare RoBERTa has BERT's names of weights, but not BERT's shapes of tables."""
    whole = load_classifier(find_checkpoint(str(folders["roberta"])))
    whole.base_model.save_pretrained(tmp_path)
    bert = json.loads((folders["bert"] / "config.json").read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(bert))
    with pytest.raises(UserError):
        load_classifier(find_checkpoint(str(tmp_path)), labels=("a", "b"))


@pytest.mark.parametrize(("model", "tokenizer"), [("bert", "roberta"), ("xlnet", "bert")])
def test_another_familys_tokenizer_is_refused_by_name(
    model: str, tokenizer: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    copied = Path(shutil.copytree(folders[model], tmp_path / "m"))
    shutil.copy(folders[tokenizer] / "tokenizer.json", copied)
    kind = FAMILIES[tokenizer].tokenizers[0]
    with pytest.raises(UserError, match=f"m: the tokenizer is {kind}") as caught:
        load_tokenizer(find_checkpoint(str(copied)))
    assert FAMILIES[model].title in caught.value.why


def test_older_files_of_byte_level_bpe(folders: dict[str, Path], tmp_path: Path) -> None:
    copied = Path(shutil.copytree(folders["roberta"], tmp_path / "m"))
    before = load_tokenizer(find_checkpoint(str(copied)))
    before.model.save(str(copied))
    (copied / "tokenizer.json").unlink()
    assert (copied / "merges.txt").is_file()
    after = load_tokenizer(find_checkpoint(str(copied)))
    for text in (*TEXTS[:20], "", "Caf\u00e9 \U0001f600"):
        assert after.encode(text).ids == before.encode(text).ids
    (copied / "merges.txt").unlink()
    with pytest.raises(UserError, match="has no tokenizer") as caught:
        load_tokenizer(find_checkpoint(str(copied)))
    assert "vocab.json with merges.txt" in caught.value.why


def _sentencepiece_model(name: str, folder: Path) -> None:
    import sentencepiece

    special = FAMILIES[name].special
    ids = {token: special.order.index(token) for token in (special.unk, special.pad)}
    others = [t for t in special.order if t not in ids]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS),
        model_prefix=str(folder / "spiece"),
        vocab_size=60,
        hard_vocab_limit=False,
        unk_id=ids[special.unk],
        unk_piece=special.unk,
        pad_id=-1,
        bos_id=-1,
        eos_id=-1,
        control_symbols=[*others, special.pad] if name == "xlnet" else others,
        minloglevel=2,
    )


def test_a_sentencepiece_model_alone(folders: dict[str, Path], tmp_path: Path) -> None:
    copied = Path(shutil.copytree(folders["xlnet"], tmp_path / "m"))
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (copied / file).unlink()
    _sentencepiece_model("xlnet", copied)
    _edit(copied, vocab_size=100)
    tokenizer = load_tokenizer(find_checkpoint(str(copied)))
    tokens = tokenizer.encode("the sky is wet").tokens
    assert tokens[-2:] == ["<sep>", "<cls>"]
    assert "".join(tokens[:-2]).replace("\u2581", " ").strip() == "the sky is wet"


def test_a_sentencepiece_model_without_its_package(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = Path(shutil.copytree(folders["albert"], tmp_path / "m"))
    (copied / "tokenizer.json").unlink()
    (copied / "spiece.model").write_bytes(b"never read")
    real = importlib.util.find_spec
    monkeypatch.setattr(
        "export.checkpoint.find_spec", lambda name: None if name == "sentencepiece" else real(name)
    )
    with pytest.raises(MissingExtraError, match="needs the package sentencepiece"):
        load_tokenizer(find_checkpoint(str(copied)))


def test_a_tokenizer_trained_for_another_size_of_model(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    copied = Path(shutil.copytree(folders["roberta"], tmp_path / "m"))
    larger = train_tokenizer(FAMILIES["roberta"], TEXTS, 400)
    larger.save(str(copied / "tokenizer.json"))
    with pytest.raises(UserError, match="the model knows 300 ids"):
        load_tokenizer(find_checkpoint(str(copied)))
