from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
)

from export.checkpoint import find_checkpoint, load_classifier, load_tokenizer
from export.families import families
from runtime.errors import UserError


@pytest.fixture
def copied(checkpoint_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint_folder, tmp_path / "model"))


def _config(folder: Path, change: Any) -> None:
    value = json.loads((folder / "config.json").read_bytes())
    change(value)
    (folder / "config.json").write_text(json.dumps(value))


def test_a_good_checkpoint(copied: Path) -> None:
    checkpoint = find_checkpoint(str(copied))
    assert checkpoint.labels == ("rainy", "snowy", "sunny")
    assert checkpoint.names_labels
    assert not checkpoint.is_multi_label
    assert checkpoint.name == "model"
    model = load_classifier(checkpoint)
    assert model.config.num_labels == 3
    assert load_tokenizer(checkpoint).get_vocab_size() <= model.config.vocab_size


def test_another_architecture_is_refused_by_name(tmp_path: Path) -> None:
    config = GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=50)
    GPT2ForSequenceClassification(config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="is a gpt2 checkpoint") as caught:
        find_checkpoint(str(tmp_path))
    assert all(family.title in caught.value.why for family in families().values())


def test_another_architecture_with_a_false_name(tmp_path: Path) -> None:
    config = BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=50)
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    _config(tmp_path, lambda c: c.update(model_type="distilbert"))
    with pytest.raises(UserError, match="its weights are not DistilBERT's"):
        find_checkpoint(str(tmp_path))


@pytest.mark.parametrize("keep", [0, 4, 200, 5000, -1])
def test_truncated_weights(copied: Path, keep: int) -> None:
    file = copied / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"model\.safetensors of model is corrupt"):
        find_checkpoint(str(copied))


def test_a_pickle_is_refused_and_never_read(copied: Path) -> None:
    (copied / "model.safetensors").unlink()

    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (copied / "exploded",))

    torch.save({"x": Bomb()}, copied / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"pytorch_model\.bin is a pickle"):
        find_checkpoint(str(copied))
    assert not (copied / "exploded").exists()


def test_missing_layers_are_not_filled_at_random(copied: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(copied / "model.safetensors")
    save_file(
        {k: v for k, v in weights.items() if "layer.1.ffn.lin2" not in k},
        copied / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(UserError, match="lacks 2 of the model's weights"):
        load_classifier(find_checkpoint(str(copied)))


def test_a_shape_that_is_not_the_configs(copied: Path) -> None:
    _config(copied, lambda c: c.update(hidden_dim=77))
    checkpoint = find_checkpoint(str(copied))
    with pytest.raises(UserError):
        load_classifier(checkpoint)
    with pytest.raises(UserError):
        load_classifier(checkpoint, labels=("a", "b"))


def test_an_encoder_alone_and_a_checkpoint_in_parts(copied: Path, tmp_path: Path) -> None:
    """What AutoModel saves has no prefix; what is large is saved in several files."""
    from transformers import DistilBertModel

    whole = load_classifier(find_checkpoint(str(copied)))
    alone, parts = tmp_path / "alone", tmp_path / "parts"
    DistilBertModel.from_pretrained(copied).save_pretrained(alone)
    assert not find_checkpoint(str(alone)).has_head
    encoder = load_classifier(find_checkpoint(str(alone)), labels=("a", "b"))
    same = "distilbert.transformer.layer.1.ffn.lin2.weight"
    assert torch.equal(encoder.state_dict()[same], whole.state_dict()[same])
    whole.save_pretrained(parts, max_shard_size="100KB")
    assert len(list(parts.glob("*.safetensors"))) > 1
    checkpoint = find_checkpoint(str(parts))
    assert checkpoint.labels == ("rainy", "snowy", "sunny")
    again = load_classifier(checkpoint)
    assert all(torch.equal(v, whole.state_dict()[k]) for k, v in again.state_dict().items())


def test_a_new_head_on_the_same_encoder(copied: Path) -> None:
    old = load_classifier(find_checkpoint(str(copied)))
    new = load_classifier(find_checkpoint(str(copied)), labels=("x", "y"), multi_label=True)
    assert new.config.id2label == {0: "x", 1: "y"}
    assert new.config.problem_type == "multi_label_classification"
    same = "distilbert.transformer.layer.0.ffn.lin1.weight"
    assert torch.equal(old.state_dict()[same], new.state_dict()[same])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(auto_map={"AutoModel": "evil.Model"}), "remote code is never run"),
        (lambda c: c.pop("model_type"), "nameless checkpoint"),
        (lambda c: c.update(id2label={"0": "a", "2": "b"}), "gaps"),
        (lambda c: c.update(id2label={"0": "a", "1": "a"}), "a label twice"),
        (lambda c: c.update(id2label={"x": "a"}), "not id → label"),
    ],
)
def test_configs_that_are_refused(copied: Path, change: Any, message: str) -> None:
    _config(copied, change)
    with pytest.raises(UserError, match=message):
        find_checkpoint(str(copied))


def test_config_that_is_no_json(copied: Path) -> None:
    (copied / "config.json").write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        find_checkpoint(str(copied))
    (copied / "config.json").unlink()
    with pytest.raises(UserError, match=r"it has no config\.json"):
        find_checkpoint(str(copied))


@pytest.mark.parametrize("name", ["./nowhere", "/no/such/folder", "a/b/c", "~/missing-folder"])
def test_a_missing_folder(name: str) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        find_checkpoint(name)


def test_a_file_is_no_checkpoint(copied: Path) -> None:
    with pytest.raises(UserError, match="is a file"):
        find_checkpoint(str(copied / "config.json"))


def test_the_hub_out_of_reach_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The real client against an address of this machine where nobody listens."""
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="could not be fetched from the hub") as caught:
        find_checkpoint("distilbert-base-uncased-that-is-not-cached")
    assert "\n" not in str(caught.value)


def test_no_tokenizer_and_a_corrupt_one(copied: Path) -> None:
    (copied / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match="cannot be loaded"):
        load_tokenizer(find_checkpoint(str(copied)))
    (copied / "tokenizer.json").unlink()
    assert load_tokenizer(find_checkpoint(str(copied))).token_to_id("[PAD]") == 0
    (copied / "vocab.txt").unlink()
    with pytest.raises(UserError, match="has no tokenizer"):
        load_tokenizer(find_checkpoint(str(copied)))


def test_a_tokenizer_larger_than_the_model(copied: Path) -> None:
    checkpoint = find_checkpoint(str(copied))
    checkpoint.config["vocab_size"] = 5
    with pytest.raises(UserError, match="the model knows 5 ids"):
        load_tokenizer(checkpoint)


def test_logits_do_not_depend_on_where_a_weight_lies_in_its_file(copied: Path) -> None:
    """MKL's last bit depends on a matrix's address, and a mapped file's tensors start anywhere."""
    from safetensors.torch import load_file, save_file

    first = load_classifier(find_checkpoint(str(copied)))
    weights = load_file(copied / "model.safetensors")
    for shift in (1, 3, 7):  # floats; names sort by size, so this one comes before most others
        weights["distilbert.embeddings.a_stranger"] = torch.zeros(shift)
        save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
        again = load_classifier(find_checkpoint(str(copied)))
        assert all(p.data_ptr() % 64 == 0 for p in again.parameters())
    ids = torch.arange(20)[None]
    with torch.inference_mode():
        assert torch.equal(first.eval()(ids).logits, again.eval()(ids).logits)
