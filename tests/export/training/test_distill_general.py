from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.numpy import load_file

from export.checkpoint import find_checkpoint, load_classifier
from export.data.task import TextDataset
from export.families import families
from export.settings import FineTuneSettings, Hyperparameters, ModelSize, RunOptions
from export.tokenizers import describe_tokenizer, write_tokenizer
from export.training.distill.general import METRIC, Taught, distill_general
from export.training.distill.language import LanguageLoss, count_tokens
from export.training.distill.settings import SAME_FAMILY, DistillSettings, GeneralWeights
from export.training.distill.texts import general_texts
from export.training.features import IGNORED
from export.training.model import new_model
from export.training.record import read_record
from runtime.errors import UserError

from support import weather_rows

SIZE = ModelSize(vocab_size=300, dim=32, layers=4, heads=4, hidden_dim=64, dropout=0.0)
TEXTS = [text for text, _ in weather_rows()]
LEARNED, HELD_OUT = TEXTS[:160], TEXTS[160:240]
QUICK = FineTuneSettings(
    small=SIZE,
    max_length=24,
    hyperparameters=Hyperparameters(
        epochs=3, batch_size=16, learning_rate=3e-3, weight_decay=0.0, warmup_share=0.05
    ),
)


def save_language_model(folder: Path, name: str, *, size: ModelSize = SIZE) -> Path:
    """A masked language model with seeded weights and a tokenizer of the weather's words."""
    family = families()[name]
    torch.manual_seed(0)
    classifier, tokenizer = new_model(family, size, TEXTS, ("a", "b"), max_length=32)
    config = classifier.config
    config.architectures = [family.masked_lm]
    folder.mkdir()
    getattr(transformers, family.masked_lm)(config).save_pretrained(folder)
    write_tokenizer(tokenizer, describe_tokenizer(tokenizer, 32, family), folder)
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT that has learned something about the weather, by hidden words alone."""
    folder = tmp_path_factory.mktemp("teachers")
    new = save_language_model(folder / "new", "bert")
    learn = replace(QUICK, hyperparameters=QUICK.effective.override(epochs=5, learning_rate=6e-3))
    settings = lesson(
        new, student=SAME_FAMILY, layers=(0, 1, 2, 3), weights=GeneralWeights(0, 1, 0),
        training=learn,
    )  # fmt: skip
    distill_general(TEXTS[240:740], HELD_OUT, settings, folder / "bert")
    return folder / "bert"


def lesson(teacher: Path, **values: Any) -> DistillSettings:
    usual: dict[str, Any] = {"kind": "general", "training": QUICK}
    return DistillSettings(teacher=str(teacher), **(usual | values))


def taught(settings: DistillSettings, destination: Path) -> Taught:
    result = distill_general(LEARNED, HELD_OUT, settings, destination)
    assert result is not None
    return result


@pytest.mark.parametrize(
    "weights", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (5, 2, 1)], ids=["soft", "masked", "cosine", "all"]
)
def test_every_term_falls_alone_and_together(
    weights: tuple[float, float, float], bert: Path, tmp_path: Path
) -> None:
    """On texts that were not learned from, with the same words hidden before and after."""
    result = taught(lesson(bert, weights=GeneralWeights(*weights)), tmp_path / "s")
    names = [n for n, w in zip(("soft", "masked", "cosine"), weights, strict=True) if w]
    assert sorted(result.after.terms) == sorted(names)
    for name in names:
        assert result.after.terms[name] < 0.97 * result.before.terms[name], name
    assert result.after.loss < result.before.loss
    first, *_, last = result.record.epochs
    assert sorted(first.terms) == sorted(names)
    assert all(last.terms[name] < first.terms[name] for name in names)


def test_the_student_is_a_distilbert_that_fine_tuning_can_start_from(
    bert: Path, tmp_path: Path
) -> None:
    result = taught(lesson(bert), tmp_path / "s")
    config = json.loads((tmp_path / "s" / "config.json").read_bytes())
    assert config["architectures"] == ["DistilBertForMaskedLM"]
    assert config["n_layers"] == 2
    checkpoint = find_checkpoint(str(tmp_path / "s"))
    assert not checkpoint.has_head
    classifier = load_classifier(checkpoint, labels=("a", "b", "c"))
    weights = load_file(tmp_path / "s" / "model.safetensors")
    name = "distilbert.transformer.layer.1.ffn.lin2.weight"
    assert (classifier.state_dict()[name].numpy() == weights[name]).all()
    record = read_record(tmp_path / "s")
    told = record.extra["distillation"]
    assert told["layers"] == [0, 3]
    assert told["weights"] == {"soft": 5.0, "masked": 2.0, "cosine": 1.0}
    assert record.validation[METRIC] == result.after.masked_accuracy
    assert told["sizes"]["student"]["parameters"] < told["sizes"]["teacher"]["parameters"]


def test_the_best_epoch_is_what_was_written(bert: Path, tmp_path: Path) -> None:
    result = taught(lesson(bert), tmp_path / "s")
    best = result.record.epochs[result.record.best_epoch - 1]
    assert best.metric == pytest.approx(result.after.masked_accuracy)
    assert best.validation_loss == pytest.approx(result.after.loss, rel=1e-5)
    assert best.metric == max(epoch.metric for epoch in result.record.epochs)


@pytest.mark.parametrize("name", ["distilbert", "roberta", "mobilebert"])
def test_other_families_teach_a_shallower_copy(name: str, tmp_path: Path) -> None:
    teacher = save_language_model(tmp_path / "teacher", name)
    result = taught(lesson(teacher), tmp_path / "s")
    assert result.record.family == name
    assert result.after.loss < result.before.loss
    assert result.sizes["student"]["parameters"] < result.sizes["teacher"]["parameters"]


def test_albert_teaches_a_student_of_ones_own(tmp_path: Path) -> None:
    teacher = save_language_model(tmp_path / "teacher", "albert")
    with pytest.raises(UserError, match="share one layer's weights"):
        taught(lesson(teacher), tmp_path / "s")
    small = replace(QUICK, small=replace(SIZE, layers=1))
    result = taught(lesson(teacher, student="small:albert", training=small), tmp_path / "s")
    assert result.after.loss < result.before.loss


def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the masks of the epochs after it are those that they would have been."""
    settings = lesson(bert, training=replace(QUICK, run=RunOptions(save_every=4)))
    taught(settings, tmp_path / "whole")
    usual, calls = LanguageLoss.__call__, 0

    def stop_in_the_fifteenth(self: LanguageLoss, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 15:
            raise KeyboardInterrupt
        return usual(self, *arguments)

    monkeypatch.setattr(LanguageLoss, "__call__", stop_in_the_fifteenth)
    with pytest.raises(KeyboardInterrupt):
        taught(settings, tmp_path / "cut")
    assert not (tmp_path / "cut").exists()
    taught(settings, tmp_path / "cut")
    assert read_record(tmp_path / "cut").resumed_from_steps == (12,)
    whole, again = (load_file(tmp_path / n / "model.safetensors") for n in ("whole", "cut"))
    assert all((whole[name] == again[name]).all() for name in whole)


def masked_batch() -> dict[str, torch.Tensor]:
    chance = torch.Generator().manual_seed(3)
    ids = torch.randint(5, 60, (6, 9), generator=chance)
    mask = torch.ones_like(ids)
    mask[2, 5:] = mask[4, 7:] = 0
    hidden = (torch.rand(6, 9, generator=chance) < 0.3) & mask.bool()
    labels = torch.where(hidden, ids, torch.full_like(ids, IGNORED))
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def models(*, dim: int = 16) -> tuple[Any, Any]:
    torch.manual_seed(1)
    config = transformers.DistilBertConfig(
        vocab_size=60, dim=dim, n_layers=1, n_heads=2, hidden_dim=32, max_position_embeddings=16,
        dropout=0.0, attention_dropout=0.0, initializer_range=0.3,
    )  # fmt: skip
    pair = [transformers.DistilBertForMaskedLM(config).eval() for _ in range(2)]
    return pair[0], pair[1]


@pytest.mark.parametrize("positions", ["all", "masked"])
def test_the_loss_by_hand(positions: Any) -> None:
    student, teacher = models()
    weights = GeneralWeights(0.7, 0.2, 3.0)
    settings = DistillSettings("t", kind="general", weights=weights, soft_positions=positions)
    batch = masked_batch()
    result = LanguageLoss(settings, teacher)(student, dict(batch), count_tokens(batch))
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    ours = student(**inputs, output_hidden_states=True)
    theirs = teacher(**inputs, output_hidden_states=True)
    labels, real = batch["labels"], batch["attention_mask"].bool()
    hidden = labels != IGNORED
    at = hidden if positions == "masked" else real
    s, t = (torch.log_softmax(out.logits[at] / 2.0, dim=-1) for out in (ours, theirs))
    soft = 4.0 * (t.exp() * (t - s)).sum(dim=-1).mean()
    words = torch.log_softmax(ours.logits[hidden], dim=-1)
    masked = -words.gather(1, labels[hidden][:, None]).mean()
    a, b = (out.hidden_states[-1][real] for out in (ours, theirs))
    cosine = 1 - ((a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))).mean()
    for name, expected in (("soft", soft), ("masked", masked), ("cosine", cosine)):
        torch.testing.assert_close(result.terms[name], expected.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(result.loss, 0.7 * soft + 0.2 * masked + 3.0 * cosine)


def test_passes_of_a_step_add_up() -> None:
    student, teacher = models()
    loss = LanguageLoss(DistillSettings("t", kind="general"), teacher)
    batch = masked_batch()
    items = count_tokens(batch)
    whole = loss(student, dict(batch), items).loss
    parts = [
        loss(student, {name: value[a:b] for name, value in batch.items()}, items).loss
        for a, b in ((0, 1), (1, 4), (4, 6))
    ]
    torch.testing.assert_close(torch.stack(parts).sum(), whole)


def test_a_batch_without_hidden_words_is_no_nan() -> None:
    student, teacher = models()
    batch = masked_batch()
    batch["labels"].fill_(IGNORED)
    settings = DistillSettings("t", kind="general", weights=GeneralWeights(0.0, 1.0, 0.0))
    result = LanguageLoss(settings, teacher)(student, dict(batch), count_tokens(batch))
    result.loss.backward()
    assert result.loss.item() == 0.0


def test_what_cannot_be_done_is_refused(
    bert: Path, checkpoint_folder: Path, tmp_path: Path
) -> None:
    def refuse(match: str, settings: DistillSettings) -> None:
        with pytest.raises(UserError, match=match):
            taught(settings, tmp_path / "s")
        assert not (tmp_path / "s").exists()

    refuse("has no masked-language head", lesson(checkpoint_folder))
    narrow = replace(QUICK, small=replace(SIZE, dim=16))
    refuse("no angle between them", lesson(bert, student="small", training=narrow))
    refuse("beyond the teacher", lesson(bert, training=replace(QUICK, max_length=33)))
    refuse("the first token that differs", lesson(bert, student=str(checkpoint_folder)))
    with pytest.raises(UserError, match="a number from 0 up"):
        GeneralWeights(soft=-1.0)
    with pytest.raises(UserError, match="all weights of the loss are 0"):
        GeneralWeights(0, 0, 0)


def test_hidden_states_alone_need_no_head(checkpoint_folder: Path, tmp_path: Path) -> None:
    settings = lesson(checkpoint_folder, weights=GeneralWeights(0, 0, 1), student=SAME_FAMILY)
    result = taught(settings, tmp_path / "s")
    assert result.teacher_accuracy is None
    assert result.after.terms["cosine"] < result.before.terms["cosine"]
    losses = [epoch.validation_loss for epoch in result.record.epochs]
    assert losses[result.record.best_epoch - 1] == min(losses)


@pytest.mark.parametrize("name", ["electra", "xlnet"])
def test_families_that_do_not_mask_are_refused(name: str, tmp_path: Path) -> None:
    family = families()[name]
    model, tokenizer = new_model(family, SIZE, TEXTS, ("a", "b"), max_length=32)
    (tmp_path / "t").mkdir()
    model.save_pretrained(tmp_path / "t")
    write_tokenizer(tokenizer, describe_tokenizer(tokenizer, 32, family), tmp_path / "t")
    with pytest.raises(UserError, match="was not trained by masking"):
        taught(lesson(tmp_path / "t"), tmp_path / "s")


def test_texts_are_learned_or_judged_by_but_never_both(weather: TextDataset) -> None:
    judges = {row.text for name in ("validation", "test") for row in weather.splits[name]}
    learned, held_out = general_texts(weather, [*judges, "a text of one's own"])
    assert set(held_out) == {row.text for row in weather.splits["validation"]}
    assert not judges & set(learned)
    assert "a text of one's own" in learned
    learned, held_out = general_texts(None, TEXTS)
    assert len(held_out) == len(TEXTS) // 20
    assert set(learned) | set(held_out) == set(TEXTS)
    assert not set(learned) & set(held_out)
    with pytest.raises(UserError, match="too few"):
        general_texts(None, TEXTS[:10])
