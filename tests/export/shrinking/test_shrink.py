"""The step as a whole: it verifies itself, publishes at once, and says plainly what is wrong."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from export.checkpoint import find_checkpoint
from export.data import DataSettings, load_dataset
from export.shrinking import shrink as step
from export.shrinking import verify
from export.shrinking.record import read_shrink_record
from export.shrinking.settings import ShrinkSettings
from export.shrinking.shrink import shrink
from export.training.record import read_record
from export.training.thresholds import recorded_thresholds
from runtime.errors import UserError

from support import ROOT, weather_rows

CORPUS = [text for text, _ in weather_rows()][:40]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    file = tmp_path / "corpus.txt"
    file.write_text("".join(f"{text}\n" for text in CORPUS))
    return file


def _off_by_one(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    name = next(key for key in weights if "word_embeddings" in key)
    weights[name] = weights[name].roll(1, dims=0)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _one_row(folder: Path) -> None:
    """The row of a character that no text of the corpus has: no logit would tell."""
    weights = load_file(folder / "model.safetensors")
    name = next(key for key in weights if "word_embeddings" in key)
    row = json.loads((folder / "tokenizer.json").read_bytes())["model"]["vocab"]["q"]
    assert not any("q" in text for text in CORPUS)
    weights[name][row] += 1e-6
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _other_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["bert.pooler.dense.bias"][0] += 1e-6
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _swapped_pieces(folder: Path) -> None:
    """Two pieces that the corpus uses change places in tokenizer.json and vocab.txt alike."""
    value = json.loads((folder / "tokenizer.json").read_bytes())
    vocab = value["model"]["vocab"]
    first, second = "is", "the"
    vocab[first], vocab[second] = vocab[second], vocab[first]
    (folder / "tokenizer.json").write_text(json.dumps(value))
    order = sorted(vocab, key=vocab.__getitem__)
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in order))


def _lost_piece(folder: Path) -> None:
    """A piece that the corpus uses is called something else."""
    for name in ("tokenizer.json", "vocab.txt"):
        text = (folder / name).read_text(encoding="utf-8")
        changed = (
            text.replace('"is":', '"isx":')
            if name.endswith("json")
            else text.replace("\nis\n", "\nisx\n")
        )
        assert changed != text
        (folder / name).write_text(changed, encoding="utf-8")


FAULTS = [_off_by_one, _one_row, _other_weight, _swapped_pieces, _lost_piece]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_caught_before_it_is_written(
    fault: Any,
    small_checkpoints: dict[str, Path],
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = step.prune_vocabulary

    def faulty(checkpoint: Any, texts: Any, settings: Any, folder: Path) -> Any:
        made = real(checkpoint, texts, settings, folder)
        fault(folder)
        return made

    monkeypatch.setattr(step, "prune_vocabulary", faulty)
    with pytest.raises(UserError, match="is not what it should be, and was not written"):
        shrink(
            find_checkpoint(str(small_checkpoints["bert"])),
            ShrinkSettings(corpus=str(corpus)),
            tmp_path / "out",
            max_length=48,
        )
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.txt"]


def test_the_logits_alone_catch_a_wrong_row(
    small_checkpoints: dict[str, Path],
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the comparison of weights switched off, so that the model's own answer decides."""
    real = step.prune_vocabulary

    def faulty(checkpoint: Any, texts: Any, settings: Any, folder: Path) -> Any:
        made = real(checkpoint, texts, settings, folder)
        _off_by_one(folder)
        return made

    monkeypatch.setattr(step, "prune_vocabulary", faulty)
    monkeypatch.setattr(verify, "_same_weights", lambda *given: 0)
    with pytest.raises(UserError, match=r"the logits of .* are not the same"):
        shrink(
            find_checkpoint(str(small_checkpoints["bert"])),
            ShrinkSettings(corpus=str(corpus)),
            tmp_path / "out",
            max_length=48,
        )


def test_the_effect_is_measured_and_the_records_are_true(
    checkpoint_folder: Path, weather_file: Path, tmp_path: Path
) -> None:
    dataset = load_dataset(DataSettings(source=str(weather_file)))
    record = shrink(
        find_checkpoint(str(checkpoint_folder)),
        ShrinkSettings(corpus="data", vocab_size=90),
        tmp_path / "out",
        dataset=dataset,
        max_length=64,
    )
    assert record == read_shrink_record(tmp_path / "out")
    assert record.vocabulary is not None
    assert record.vocabulary.tokens_after <= 90
    trained, old = read_record(tmp_path / "out"), read_record(checkpoint_folder)
    for effect in record.effect:
        assert effect.texts == effect.of == len(dataset.splits[effect.split])
        assert 0 < effect.recut <= effect.texts
        assert 0 < effect.stand_ins < effect.pieces
        assert effect.unknown_after <= effect.unknown_before
        assert effect.before == pytest.approx(getattr(old, effect.split)["accuracy"])
        assert effect.after == pytest.approx(getattr(trained, effect.split)["accuracy"])
    assert trained.extra["shrinking"]["key"] == record.key
    assert trained.epochs == old.epochs
    assert trained.transformer is None


def test_figures_of_the_larger_model_are_not_carried_over(
    checkpoint_folder: Path, corpus: Path, tmp_path: Path
) -> None:
    shrink(
        find_checkpoint(str(checkpoint_folder)),
        ShrinkSettings(corpus=str(corpus)),
        tmp_path / "out",
        max_length=64,
    )
    record = read_record(tmp_path / "out")
    assert (record.validation, record.test, record.evaluation) == ({}, {}, {})
    assert record.baselines == ()


def test_a_record_of_the_first_version_becomes_one_of_this(
    checkpoint_folder: Path, corpus: Path, tmp_path: Path
) -> None:
    source = Path(shutil.copytree(checkpoint_folder, tmp_path / "model"))
    old = {"schema_version": 1, "model": "full", "revision": None, "best_epoch": 1, "epochs": []}
    old |= {"bag_of_words": {"test": 0.9}, "data": {"name": "weather"}, "settings": {"seed": 13}}
    old |= {"validation": {"accuracy": 1.0}, "test": {"accuracy": 1.0}, "versions": {}}
    (source / "training.json").write_text(json.dumps(old))
    shrink(
        find_checkpoint(str(source)),
        ShrinkSettings(corpus=str(corpus)),
        tmp_path / "out",
        max_length=64,
    )
    assert read_record(tmp_path / "out").test == {}


def test_thresholds_stay(checkpoint_folder: Path, corpus: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(checkpoint_folder, tmp_path / "model"))
    values = json.loads((source / "training.json").read_bytes())
    values["thresholds"] = [0.3, 0.4, 0.6]
    (source / "training.json").write_text(json.dumps(values))
    shrink(
        find_checkpoint(str(source)),
        ShrinkSettings(corpus=str(corpus)),
        tmp_path / "out",
        max_length=64,
    )
    assert recorded_thresholds(tmp_path / "out") == recorded_thresholds(source) != {}


def test_what_is_not_ours_is_not_replaced(
    small_checkpoints: dict[str, Path], corpus: Path, tmp_path: Path
) -> None:
    source = find_checkpoint(str(small_checkpoints["bert"]))
    settings, out = ShrinkSettings(corpus=str(corpus)), tmp_path / "out"
    out.mkdir()
    (out / "diary.txt").write_text("mine")
    with pytest.raises(UserError, match="exists and holds something else"):
        shrink(source, settings, out, max_length=48)
    assert (out / "diary.txt").read_text() == "mine"
    (out / "diary.txt").unlink()
    shrink(source, settings, out, max_length=48)
    again = shrink(source, settings, out, max_length=48)  # our own may be
    assert read_shrink_record(out) == again
    with pytest.raises(UserError, match="is the checkpoint itself"):
        shrink(find_checkpoint(str(out)), settings, out, max_length=48)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        (b"", "there is no text in"),
        (b" \n\n", "there is no text in"),
        (b"good\n\xff\xfe\n", "line 2, is not UTF-8"),
    ],
)
def test_a_corpus_that_is_none(
    content: bytes | None, message: str, small_checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    file = tmp_path / "corpus.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=message):
        shrink(
            find_checkpoint(str(small_checkpoints["bert"])),
            ShrinkSettings(corpus=str(file)),
            tmp_path / "out",
            max_length=48,
        )
    assert not (tmp_path / "out").exists()


def test_a_vocabulary_of_which_all_is_needed(
    small_checkpoints: dict[str, Path], corpus: Path, tmp_path: Path
) -> None:
    settings = ShrinkSettings(corpus=str(corpus))
    out = tmp_path / "once"
    shrink(find_checkpoint(str(small_checkpoints["bert"])), settings, out, max_length=48)
    with pytest.raises(UserError, match=r"all \d+ tokens of once are needed"):
        shrink(find_checkpoint(str(out)), settings, tmp_path / "twice", max_length=48)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "nothing to shrink"),
        ({"min_count": 2}, "need a corpus"),
        ({"vocab_size": 9}, "need a corpus"),
        ({"corpus": "x", "min_count": 0}, "at least 1"),
        ({"keep_layers": (0,), "drop_layers": (1,)}, "exclude each other"),
    ],
)
def test_settings_that_contradict_themselves(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ShrinkSettings(**values)


@pytest.mark.parametrize("content", ["{", "[]", '{"schema_version": 9}', '{"schema_version": 1}'])
def test_a_broken_record_is_one_sentence(content: str, tmp_path: Path) -> None:
    (tmp_path / "shrinking.json").write_text(content)
    with pytest.raises(UserError):
        read_shrink_record(tmp_path)


def test_a_kill_half_way_leaves_nothing(
    small_checkpoints: dict[str, Path], corpus: Path, tmp_path: Path
) -> None:
    """Killed where all files but the record are written; the next run cleans up after it."""
    script = f"""
import os, signal
from pathlib import Path
from export.checkpoint import find_checkpoint
from export.shrinking import shrink as step
from export.shrinking.settings import ShrinkSettings
step.write_shrink_record = lambda *given: os.kill(os.getpid(), signal.SIGKILL)
step.shrink(find_checkpoint({str(small_checkpoints["bert"])!r}),
            ShrinkSettings(corpus={str(corpus)!r}), Path({str(tmp_path / "out")!r}), max_length=48)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    assert len(list(tmp_path.glob(".out.staging-*"))) == 1
    shrink(
        find_checkpoint(str(small_checkpoints["bert"])),
        ShrinkSettings(corpus=str(corpus)),
        tmp_path / "out",
        max_length=48,
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus.txt", "out"]
