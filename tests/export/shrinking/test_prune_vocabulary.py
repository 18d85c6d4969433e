"""A pruned checkpoint of every family is the old one, bit for bit, on the texts it was made for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file

from export.awkward import AWKWARD_TEXTS
from export.checkpoint import find_checkpoint, load_classifier, load_tokenizer
from export.families import families
from export.reference import reference_from_model, reference_logits
from export.shrinking.settings import ShrinkSettings
from export.shrinking.shrink import shrink
from export.training.distill.teacher import load_masked_lm
from runtime.errors import UserError

from support import weather_rows

FAMILIES = families()
CORPUS = [text for text, _ in weather_rows()][:40]


def _pruned(source: Path, out: Path, corpus: list[str] | None = None, **limits: Any) -> Path:
    file = out.with_name("corpus.txt")
    file.write_text("".join(f"{text}\n" for text in corpus or CORPUS), encoding="utf-8")
    settings = ShrinkSettings(corpus=str(file), **limits)
    shrink(find_checkpoint(str(source)), settings, out, max_length=48)
    return out


def _logits(folder: Path, texts: list[str]) -> Any:
    checkpoint = find_checkpoint(str(folder))
    tokenizer = load_tokenizer(checkpoint)
    tokenizer.enable_truncation(max_length=48)
    reference = reference_from_model(load_classifier(checkpoint))
    return reference_logits(reference, [tokenizer.encode(text).ids for text in texts])


@pytest.mark.parametrize("name", FAMILIES)
def test_logits_of_the_corpus_are_equal_bit_for_bit(
    name: str, small_checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    source = small_checkpoints[name]
    out = _pruned(source, tmp_path / "pruned")
    assert np.array_equal(_logits(source, CORPUS), _logits(out, CORPUS))
    before, after = (find_checkpoint(str(folder)) for folder in (source, out))
    assert after.config["vocab_size"] < before.config["vocab_size"]
    assert after.labels == before.labels
    changed = {key for key in after.config if after.config[key] != before.config.get(key)}
    assert changed <= {"vocab_size"}  # special tokens come first, so their ids stay
    was, now = load_file(before.path / "model.safetensors"), load_file(out / "model.safetensors")
    assert was.keys() == now.keys()
    assert sum(was[key].shape != now[key].shape for key in was) == 1


@pytest.mark.parametrize("name", FAMILIES)
def test_every_file_of_the_tokenizer_says_the_same(
    name: str, small_checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    out = _pruned(small_checkpoints[name], tmp_path / "pruned")
    tokenizer = load_tokenizer(find_checkpoint(str(out)))
    by_id = sorted(tokenizer.get_vocab(with_added_tokens=True).items(), key=lambda item: item[1])
    assert [i for _, i in by_id] == list(range(len(by_id)))
    config = json.loads((out / "config.json").read_bytes())
    assert config["vocab_size"] == len(by_id)
    for token in json.loads((out / "tokenizer.json").read_bytes())["added_tokens"]:
        assert tokenizer.token_to_id(token["content"]) == token["id"]
    if (out / "vocab.txt").is_file():
        lines = (out / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
        assert lines == [token for token, _ in by_id]
    loaded = transformers.AutoTokenizer.from_pretrained(out)
    assert loaded.pad_token_id == config["pad_token_id"]
    for text in CORPUS:
        assert loaded(text)["input_ids"] == tokenizer.encode(text).ids


@pytest.mark.parametrize("name", ["distilbert", "roberta", "albert", "xlnet"])
def test_awkward_texts_stay_known(
    name: str, small_checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    source = small_checkpoints[name]
    out = _pruned(source, tmp_path / "pruned")
    old, new = (load_tokenizer(find_checkpoint(str(folder))) for folder in (source, out))
    unknown = FAMILIES[name].special.unk
    seen = 0
    for case, awkward in AWKWARD_TEXTS.items():
        text = awkward.encode("utf-8", "replace").decode()
        was, now = old.encode(text).tokens, new.encode(text).tokens
        assert now.count(unknown) <= was.count(unknown), case
        assert unknown in was or unknown not in now, case
        seen += was != now
    assert seen  # some of them are cut otherwise


@pytest.mark.parametrize("name", [n for n, family in FAMILIES.items() if family.masked_lm])
def test_a_head_that_guesses_words_is_pruned_with_them(
    name: str, small_checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    source = Path(shutil.copytree(small_checkpoints[name], tmp_path / "language"))
    config = load_classifier(find_checkpoint(str(source))).config
    torch.manual_seed(4)
    language = getattr(transformers, FAMILIES[name].masked_lm)(config)
    for parameter in language.parameters():  # biases are zeros otherwise
        torch.nn.init.normal_(parameter, std=0.1)
    language.save_pretrained(source)
    out = _pruned(source, tmp_path / "pruned")
    before, after = (find_checkpoint(str(folder)) for folder in (source, out))
    old, new = load_tokenizer(before), load_tokenizer(after)
    models = [load_masked_lm(c, needs_head=True).eval() for c in (before, after)]
    vocab = sorted(new.get_vocab(with_added_tokens=True).items(), key=lambda item: item[1])
    columns = [old.token_to_id(token) for token, _ in vocab]
    with torch.inference_mode():
        for text in CORPUS[:3]:
            was, now = (
                model(torch.tensor([tokenizer.encode(text).ids])).logits
                for model, tokenizer in zip(models, (old, new), strict=True)
            )
            torch.testing.assert_close(now, was[..., columns], rtol=1e-5, atol=1e-5)


def test_ids_in_the_config_follow_their_tokens(
    small_checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    """As in bert-base-uncased, where 99 unused tokens stand between [PAD] and [UNK]."""
    source = Path(shutil.copytree(small_checkpoints["bert"], tmp_path / "bert"))
    _move_special_tokens_to_the_end(source)
    out = _pruned(source, tmp_path / "pruned")
    tokenizer = load_tokenizer(find_checkpoint(str(out)))
    config = json.loads((out / "config.json").read_bytes())
    old = json.loads((source / "config.json").read_bytes())
    assert config["pad_token_id"] == tokenizer.token_to_id("[PAD]") < old["pad_token_id"]
    assert config["eos_token_id"] == tokenizer.token_to_id("[SEP]")
    assert np.array_equal(_logits(source, CORPUS), _logits(out, CORPUS))


def test_robertas_positions_may_not_move(
    small_checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    source = Path(shutil.copytree(small_checkpoints["roberta"], tmp_path / "roberta"))
    _move_special_tokens_to_the_end(source)
    with pytest.raises(UserError, match="counts positions from the padding's id"):
        _pruned(source, tmp_path / "pruned")
    assert not (tmp_path / "pruned").exists()


def _move_special_tokens_to_the_end(folder: Path) -> None:
    """The same model with its rows in another order."""
    value = json.loads((folder / "tokenizer.json").read_bytes())
    vocab = value["model"]["vocab"]
    special = [token["content"] for token in value["added_tokens"]]
    order = [t for t in sorted(vocab, key=vocab.get) if t not in special] + special
    number = {token: i for i, token in enumerate(order)}
    rows = torch.tensor([vocab[token] for token in order])
    value["model"]["vocab"] = number
    for token in value["added_tokens"]:
        token["id"] = number[token["content"]]
    for token in value["post_processor"]["special_tokens"].values():
        token["ids"] = [number[one] for one in token["tokens"]]
    (folder / "tokenizer.json").write_text(json.dumps(value), encoding="utf-8")
    if (folder / "vocab.txt").is_file():
        (folder / "vocab.txt").write_text("".join(f"{t}\n" for t in order), encoding="utf-8")
    config = json.loads((folder / "config.json").read_bytes())
    old = {i: token for token, i in vocab.items()}
    for key, i in config.items():
        if key.endswith("_token_id") and i is not None:
            config[key] = number[old[i]]
    (folder / "config.json").write_text(json.dumps(config))
    from safetensors.torch import save_file

    weights = load_file(folder / "model.safetensors")
    name = next(key for key in weights if "word_embeddings" in key)
    weights[name] = weights[name][rows]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_rows_without_a_token_go_too(small_checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """Embeddings are often padded to a multiple of 64."""
    source = tmp_path / "padded"
    model = load_classifier(find_checkpoint(str(small_checkpoints["bert"])))
    tokens = model.config.vocab_size
    model.resize_token_embeddings(tokens + 60)
    shutil.copytree(small_checkpoints["bert"], source)
    model.save_pretrained(source)
    out = _pruned(source, tmp_path / "pruned")
    record = json.loads((out / "shrinking.json").read_bytes())
    assert record["vocabulary"]["rows_before"] == tokens + 60
    assert record["vocabulary"]["tokens_before"] == tokens
    assert np.array_equal(_logits(source, CORPUS), _logits(out, CORPUS))


def test_sharded_half_precision_weights_keep_their_type(
    small_checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    source = Path(shutil.copytree(small_checkpoints["electra"], tmp_path / "half"))
    model = load_classifier(find_checkpoint(str(source))).half()
    (source / "model.safetensors").unlink()
    model.save_pretrained(source, max_shard_size="100KB")
    assert len(list(source.glob("*.safetensors"))) > 1
    out = _pruned(source, tmp_path / "pruned")
    weights = load_file(out / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    assert np.array_equal(_logits(source, CORPUS), _logits(out, CORPUS))


def test_the_same_inputs_give_the_same_bytes(
    small_checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    first = _pruned(small_checkpoints["roberta"], tmp_path / "a")
    second = _pruned(small_checkpoints["roberta"], tmp_path / "b", CORPUS[::-1])
    names = {file.name for file in first.iterdir()}
    assert names == {file.name for file in second.iterdir()}
    for name in names - {"shrinking.json"}:  # which names the order of the corpus in its key
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_limits_say_what_they_cost(small_checkpoints: dict[str, Path], tmp_path: Path) -> None:
    out = _pruned(small_checkpoints["bert"], tmp_path / "pruned", min_count=3)
    record = json.loads((out / "shrinking.json").read_bytes())
    assert record["vocabulary"]["dropped_used"] > 0
    assert record["verified"]["recut"] > 0
    assert record["verified"]["model_texts"] > 0
