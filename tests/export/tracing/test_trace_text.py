"""A trace tells what the model really computes, for every family."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from export.checkpoint import Checkpoint, find_checkpoint, load_classifier, load_tokenizer
from export.families import families
from export.reference import reference_from_model, reference_logits
from export.tracing import TextTrace, trace_text
from export.tracing.task import newest_checkpoint, task_of
from export.training.record import TrainingRecord, read_record, write_record
from runtime.decisions import probabilities
from runtime.errors import UserError
from runtime.files import canonical_json

TEXT = "The lake is wet again, they say"
LAYERS, HEADS, DIM, LENGTH = 3, 4, 32, 24
Family = Callable[[str], Checkpoint]


@pytest.mark.parametrize("name", sorted(families()))
def test_every_family(small_of: Family, name: str) -> None:
    checkpoint = small_of(name)
    found = trace_text(checkpoint, TEXT)
    ids = load_tokenizer(checkpoint).encode(TEXT).ids[:LENGTH]
    n = len(found.tokens)
    reference = reference_from_model(load_classifier(checkpoint))

    if n < LENGTH:
        assert [token.id for token in found.tokens] == ids
    logits = reference_logits(reference, [[token.id for token in found.tokens]])[0]
    np.testing.assert_array_equal(found.logits, logits)
    assert found.eager_difference <= 1e-5
    assert found.attention.shape == (LAYERS, HEADS, n, n)
    np.testing.assert_allclose(found.attention.sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(found.looked_at.sum(-1), 1, atol=1e-5)
    assert found.rollout.sum() == pytest.approx(1, abs=1e-5)
    assert (found.rollout >= 0).all()
    # The family's own head gives the logits from the vector that the trace shows.
    with torch.inference_mode():
        again = reference.family.head_of(reference.module.model, torch.tensor(found.pooled)[None])
    np.testing.assert_allclose(again[0].numpy(), found.logits, atol=1e-5)
    assert found.pooled_position == reference.family.pooled_position % n
    blocks = [s for s in found.stages if s.part == "block" and s.milliseconds is not None]
    assert [s.block for s in blocks] == [1, 2, 3]
    # XLNet computes with positions first.
    assert all(s.shape == ((n, 1, DIM) if name == "xlnet" else (1, n, DIM)) for s in blocks)
    assert all(s.milliseconds is not None and s.milliseconds > 0 for s in blocks)
    parts = [stage.part for stage in found.stages]
    assert parts == sorted(parts, key=["embeddings", "block", "head"].index)
    assert parts[0] == "embeddings"
    assert found.stages[-1].part == "head"
    assert found.stages[-1].shape == (1, len(found.labels))
    assert found.stages[-1].mean == pytest.approx(float(found.logits.mean()), abs=1e-5)
    assert found.family == reference.family.title


def test_attention_is_the_formula_s(rainy: TextTrace, checkpoint_folder: Path) -> None:
    """The first layer's, written out: softmax(q k' / sqrt(d))."""
    model = load_classifier(find_checkpoint(str(checkpoint_folder))).eval()
    ids = torch.tensor([[token.id for token in rainy.tokens]])
    with torch.inference_mode():
        x = model.distilbert.embeddings(ids)[0]
        layer = model.distilbert.transformer.layer[0].attention
        width = x.shape[1] // layer.n_heads
        q, k = (
            part(x).reshape(len(x), layer.n_heads, width).transpose(0, 1)
            for part in (layer.q_lin, layer.k_lin)
        )
        wanted = (q @ k.transpose(1, 2) / math.sqrt(width)).softmax(-1)
    np.testing.assert_allclose(rainy.attention[0], wanted.numpy(), atol=1e-6)


def test_stages_are_what_hidden_states_are(rainy: TextTrace, checkpoint_folder: Path) -> None:
    model = load_classifier(find_checkpoint(str(checkpoint_folder))).eval()
    ids = torch.tensor([[token.id for token in rainy.tokens]])
    with torch.inference_mode():
        hidden = model(ids, output_hidden_states=True).hidden_states
    blocks = [stage for stage in rainy.stages if stage.name.startswith("block")]
    for stage, state in zip(blocks, hidden[1:], strict=True):
        assert stage.shape == tuple(state.shape)
        assert stage.mean == pytest.approx(float(state.mean()), abs=1e-5)
        assert stage.std == pytest.approx(float(state.std(correction=0)), rel=1e-5)
        assert stage.norm == pytest.approx(float(state.norm(dim=-1).mean()), rel=1e-5)
    np.testing.assert_allclose(rainy.pooled, hidden[-1][0, 0].numpy(), atol=1e-5)


def test_the_answer(rainy: TextTrace) -> None:
    assert rainy.given == ("rainy",)
    wanted = probabilities(rainy.logits[None], rainy.task)[0]
    assert [label.probability for label in rainy.labels] == pytest.approx(list(wanted))
    assert sum(label.probability for label in rainy.labels) == pytest.approx(1)
    assert [label.logit for label in rainy.labels] == pytest.approx(rainy.logits.tolist())
    assert all(label.threshold is None for label in rainy.labels)


def test_tokens_and_words(rainy: TextTrace) -> None:
    assert rainy.normalised == "the lake is wet again, they say"
    assert rainy.words == ("the", "lake", "is", "wet", "again", ",", "they", "say")
    first, last = rainy.tokens[0], rainy.tokens[-1]
    assert (first.token, first.special, first.word, first.text) == ("[CLS]", True, None, "")
    assert last.special
    for token in rainy.tokens[1:-1]:
        assert rainy.text[token.start : token.end] == token.text
        assert token.word is not None
    assert rainy.left_out == 0


def test_json_holds_it_all(rainy: TextTrace) -> None:
    value = json.loads(canonical_json(rainy.to_json(attention=True)))
    assert value["schema_version"] == 1
    assert np.asarray(value["attention"]).shape == rainy.attention.shape
    assert [token["id"] for token in value["tokens"]] == [token.id for token in rainy.tokens]
    assert value["given"] == ["rainy"]
    assert "attention" not in rainy.to_json()
    assert np.asarray(value["rollout"], dtype=np.float32) == pytest.approx(rainy.rollout)


@pytest.mark.parametrize("name", ["distilbert", "roberta", "xlnet"])
@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "snow " * 2000,
        "🌧️ in 東京 👩‍👩‍👧",
        "half \ud83d a pair",
        "المطر يهطل \u202e על הבית",
        "nul\0 and\u2028lines\r\n",
    ],
)
def test_awkward_texts(small_of: Family, name: str, text: str) -> None:
    found = trace_text(small_of(name), text)
    assert 2 <= len(found.tokens) <= LENGTH
    assert np.isfinite(found.logits).all()
    np.testing.assert_allclose(found.attention.sum(-1), 1, atol=1e-5)
    assert sum(label.given for label in found.labels) == 1
    assert found.text == text.replace("\ud83d", "\ufffd")
    json.loads(canonical_json(found.to_json()))


def test_a_long_text_is_cut_and_it_is_said(small_of: Family) -> None:
    found = trace_text(small_of("distilbert"), "snow " * 2000)
    assert len(found.tokens) == LENGTH
    assert found.left_out >= 2000 + 2 - LENGTH
    assert found.tokens[-1].special
    shorter = trace_text(small_of("distilbert"), "snow " * 2000, max_length=8)
    assert len(shorter.tokens) == 8
    for length in (2, LENGTH + 1):
        with pytest.raises(UserError, match="does not suit"):
            trace_text(small_of("distilbert"), "snow", max_length=length)


def test_what_the_vocabulary_does_not_have(small_of: Family) -> None:
    found = trace_text(small_of("bert"), "snow 東")
    assert [token.text for token in found.tokens if token.unknown] == ["東"]


def test_no_trace_is_left_on_the_model(small_of: Family) -> None:
    first = trace_text(small_of("bert"), TEXT)
    second = trace_text(small_of("bert"), TEXT)
    np.testing.assert_array_equal(first.logits, second.logits)
    np.testing.assert_array_equal(first.attention, second.attention)


def multi_label(small_of: Family, folder: Path, run: TrainingRecord | None = None) -> Checkpoint:
    source = small_of("distilbert")
    folder.mkdir()
    for file in source.path.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_bytes())
    config["problem_type"] = "multi_label_classification"
    (folder / "config.json").write_text(json.dumps(config))
    if run is not None:
        write_record(run, folder)
    return find_checkpoint(str(folder))


def test_thresholds_follow_the_labels_names(
    small_of: Family, tmp_path: Path, checkpoint_folder: Path
) -> None:
    run = replace(
        read_record(checkpoint_folder),
        data={"labels": ["rainy", "<b>snowy</b>", "sunny"]},
        thresholds=(1e-6, 0.99, 0.3),
    )
    found = trace_text(multi_label(small_of, tmp_path / "tuned", run), TEXT)
    assert found.task.thresholds == (0.3, 1e-6, 0.99)
    assert found.task.activation == "sigmoid"
    wanted = {label.name for label in found.labels if label.probability >= (label.threshold or 0)}
    assert set(found.given) == wanted
    assert "rainy" in wanted
    assert "<b>snowy</b>" not in wanted


def test_without_tuned_thresholds_it_is_a_half(small_of: Family, tmp_path: Path) -> None:
    task = task_of(multi_label(small_of, tmp_path / "plain"))
    assert task.thresholds == (0.5, 0.5, 0.5)


def test_the_newest_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no model to trace"):
        newest_checkpoint(tmp_path)
    for age, name in enumerate(("build/checkpoints/a", "build/finetuned", "build/checkpoints/b")):
        (tmp_path / name).mkdir(parents=True)
        file = tmp_path / name / "training.json"
        file.write_text("{}")
        os.utime(file, (1000 - age, 1000 - age))
    (tmp_path / "build/checkpoints/unfinished").mkdir()
    assert newest_checkpoint(tmp_path) == tmp_path / "build/checkpoints/a"


def test_a_bare_encoder_is_refused(small_of: Family, tmp_path: Path) -> None:
    checkpoint = small_of("distilbert")
    load_classifier(checkpoint).distilbert.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="no classification head"):
        trace_text(find_checkpoint(str(tmp_path)), TEXT)
