"""A checkpoint with fewer layers is the model that one would build by hand."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch

from export.checkpoint import find_checkpoint, load_classifier, load_tokenizer
from export.families import families
from export.reference import reference_from_model, reference_logits
from export.shrinking import shrink as step
from export.shrinking.settings import ShrinkSettings
from export.shrinking.shrink import shrink
from runtime.errors import UserError

from support import weather_rows

FAMILIES = families()
TEXTS = [text for text, _ in weather_rows()][:8]
# Where transformers keeps the layers of a classifier.
STACKS = {
    "bert": "bert.encoder.layer",
    "distilbert": "distilbert.transformer.layer",
    "electra": "electra.encoder.layer",
    "mobilebert": "mobilebert.encoder.layer",
    "roberta": "roberta.encoder.layer",
    "xlnet": "transformer.layer",
}


@pytest.fixture(scope="module")
def deep(
    small_checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Four layers each, no two alike."""
    found = {}
    for name, source in small_checkpoints.items():
        folder = Path(shutil.copytree(source, tmp_path_factory.mktemp("deep") / name))
        config = copy.deepcopy(load_classifier(find_checkpoint(str(source))).config)
        config.num_hidden_layers = 4
        torch.manual_seed(6)
        import transformers

        model = getattr(transformers, FAMILIES[name].classifier)(config)
        model.save_pretrained(folder)
        found[name] = folder
    return found


def _logits(model: torch.nn.Module, folder: Path) -> torch.Tensor:
    tokenizer = load_tokenizer(find_checkpoint(str(folder)))
    ids = [tokenizer.encode(text).ids for text in TEXTS]
    return torch.from_numpy(reference_logits(reference_from_model(model), ids))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize(("option", "layers"), [("drop", (1, 2)), ("keep", (0, 3))])
def test_it_is_the_model_built_by_hand(
    name: str, option: str, layers: tuple[int, ...], deep: dict[str, Path], tmp_path: Path
) -> None:
    settings = (
        ShrinkSettings(drop_layers=layers)
        if option == "drop"
        else ShrinkSettings(keep_layers=layers)
    )
    record = shrink(find_checkpoint(str(deep[name])), settings, tmp_path / "out", max_length=32)
    assert (record.layers, record.layers_before) == ((0, 3), 4)
    by_hand = load_classifier(find_checkpoint(str(deep[name])))
    owner, _, last = STACKS[name].rpartition(".")
    stack = getattr(by_hand.get_submodule(owner), last)
    setattr(by_hand.get_submodule(owner), last, torch.nn.ModuleList([stack[0], stack[3]]))
    by_hand.config.num_hidden_layers = 2
    made = load_classifier(find_checkpoint(str(tmp_path / "out")))
    assert made.config.num_hidden_layers == 2
    assert torch.equal(_logits(made, deep[name]), _logits(by_hand, deep[name]))
    config = json.loads((tmp_path / "out" / "config.json").read_bytes())
    assert sorted(k for k in config if "layers" in k or k == "n_layer") == sorted(
        k
        for k in json.loads((deep[name] / "config.json").read_bytes())
        if "layers" in k or k == "n_layer"
    )


def test_alberts_layer_is_run_less_often(deep: dict[str, Path], tmp_path: Path) -> None:
    """Its weights are one layer's, so the file stays as large as it was."""
    record = shrink(
        find_checkpoint(str(deep["albert"])),
        ShrinkSettings(drop_layers=(0, 1)),
        tmp_path / "out",
        max_length=32,
    )
    assert record.parameters_after == record.parameters_before
    made = load_classifier(find_checkpoint(str(tmp_path / "out")))
    by_hand = load_classifier(find_checkpoint(str(deep["albert"])))
    before = _logits(by_hand, deep["albert"])
    by_hand.config.num_hidden_layers = by_hand.albert.encoder.config.num_hidden_layers = 2
    after = _logits(made, deep["albert"])
    assert torch.equal(after, _logits(by_hand, deep["albert"]))
    assert not torch.equal(after, before)


def test_alberts_groups_of_layers_are_refused(deep: dict[str, Path], tmp_path: Path) -> None:
    source = Path(shutil.copytree(deep["albert"], tmp_path / "grouped"))
    config = json.loads((source / "config.json").read_bytes())
    (source / "config.json").write_text(json.dumps(config | {"num_hidden_groups": 2}))
    with pytest.raises(UserError, match="no layer of grouped can be left out"):
        shrink(
            find_checkpoint(str(source)),
            ShrinkSettings(drop_layers=(0,)),
            tmp_path / "out",
            max_length=32,
        )


def test_layers_and_pieces_in_one_go(deep: dict[str, Path], tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("".join(f"{text}\n" for text in TEXTS))
    both = ShrinkSettings(corpus=str(corpus), keep_layers=(1, 3))
    record = shrink(find_checkpoint(str(deep["bert"])), both, tmp_path / "both", max_length=32)
    assert record.name.startswith("bert, layers 1,3, ")
    assert record.verified is not None
    first = ShrinkSettings(keep_layers=(1, 3))
    shrink(find_checkpoint(str(deep["bert"])), first, tmp_path / "bert", max_length=32)
    second = ShrinkSettings(corpus=str(corpus))
    shrink(find_checkpoint(str(tmp_path / "bert")), second, tmp_path / "two", max_length=32)
    for name in ("model.safetensors", "tokenizer.json", "vocab.txt"):
        assert (tmp_path / "both" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (ShrinkSettings(drop_layers=(0, 1, 2, 3)), "no layer of distilbert would be left"),
        (ShrinkSettings(drop_layers=(4,)), "distilbert has no layer 4.*numbered 0 to 3"),
        (ShrinkSettings(keep_layers=(-1,)), "has no layer -1"),
        (ShrinkSettings(keep_layers=(2, 0)), "not in ascending order"),
        (ShrinkSettings(drop_layers=(1, 1)), "not in ascending order"),
    ],
)
def test_choices_that_are_refused(
    settings: ShrinkSettings, message: str, deep: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        shrink(find_checkpoint(str(deep["distilbert"])), settings, tmp_path / "out", max_length=32)
    assert caught.value.todo
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("fault", ["swapped", "changed", "left over"])
def test_a_planted_fault_is_caught_before_it_is_written(
    fault: str, deep: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file, save_file

    real = step.keep_layers

    def faulty(checkpoint: object, layers: object, folder: Path) -> object:
        made = real(checkpoint, layers, folder)  # type: ignore[arg-type]
        weights = load_file(folder / "model.safetensors")
        first, second = (f"bert.encoder.layer.{i}.output.dense.weight" for i in (0, 1))
        if fault == "swapped":
            weights[first], weights[second] = weights[second], weights[first]
        elif fault == "changed":
            weights["bert.embeddings.LayerNorm.weight"][3] += 1e-6
        else:
            weights["bert.encoder.layer.2.output.dense.weight"] = weights[first].clone()
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return made

    monkeypatch.setattr(step, "keep_layers", faulty)
    with pytest.raises(UserError, match="is not what it should be, and was not written"):
        shrink(
            find_checkpoint(str(deep["bert"])),
            ShrinkSettings(keep_layers=(0, 2)),
            tmp_path / "out",
            max_length=32,
        )
    assert not list(tmp_path.iterdir())
