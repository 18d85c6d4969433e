"""What can go wrong in Core ML with just one family is caught, or refused by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coreml_support import (
    LENGTHS,
    coreml_job,
    family_batch,
    family_classifier,
    family_module,
    package_logits,
    unpadded_logits,
)

from export.artifacts import effective_reference
from export.families import anatomy
from export.recipes import recipes
from export.targets import coreml
from export.targets.coreml import _default, _embeddings, _module, _program, _xlnet
from runtime.errors import UserError

GRAPH_GATE = 1e-4


def token_type_taken_away(patch: pytest.MonkeyPatch) -> None:
    """Subtracted where it should be added."""

    def placed(self: Any, words: torch.Tensor) -> torch.Tensor:
        return words - self.token_type_embeddings.weight + self.position_embeddings.weight

    patch.setattr(_embeddings.AbsoluteEmbeddings, "placed", placed)


def positions_from_the_end(patch: pytest.MonkeyPatch) -> None:
    """The last rows of the table, where a short text has the first."""

    def placed(self: Any, words: torch.Tensor) -> torch.Tensor:
        positions = self.position_embeddings.weight[24 - words.shape[1] :]
        return words + self.token_type_embeddings.weight + positions

    patch.setattr(_embeddings.AbsoluteEmbeddings, "placed", placed)


def another_gelu(patch: pytest.MonkeyPatch) -> None:
    """The exact one where ALBERT has the approximation by tanh."""
    original = anatomy.ANATOMIES["albert"]

    def blocks(model: Any) -> list[anatomy.Block]:
        gelu = torch.nn.functional.gelu
        return [dataclasses.replace(b, activation=gelu) for b in original.blocks(model)]

    changed = dataclasses.replace(original, blocks=blocks)
    patch.setitem(anatomy.ANATOMIES, "albert", changed)  # type: ignore[misc]


def second_position_read(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_module, "read_position", lambda _: slice(1, 2))


def no_mask(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_default, "padding_scores", lambda mask, dtype: mask[:, None, None].to(dtype))


def shift_off_by_one(patch: pytest.MonkeyPatch) -> None:
    def shifted(scores: torch.Tensor) -> torch.Tensor:
        batch, heads, length, _ = scores.shape
        turned = scores.reshape(batch, heads, 2 * length, length)[:, :, 1:]
        return turned.reshape(batch, heads, length, 2 * length - 1)[..., 1 : length + 1]

    patch.setattr(_xlnet, "_shifted", shifted)


def one_segment(patch: pytest.MonkeyPatch) -> None:
    def segments(self: Any, query: torch.Tensor, embedded: torch.Tensor) -> torch.Tensor:
        encoder = self.model.transformer
        both = torch.matmul(query, embedded)
        return (both[..., 1:] + both[..., :1]) * encoder.cls_query_sign * encoder.cls_key

    patch.setattr(_xlnet.XLNetProgram, "_segments", segments)


def norm_without_shift(patch: pytest.MonkeyPatch) -> None:
    from transformers.models.mobilebert.modeling_mobilebert import NoNorm

    patch.setattr(NoNorm, "forward", lambda self, x: x * self.weight - self.bias)


FAULTS: list[tuple[str, Callable[[pytest.MonkeyPatch], None], dict[str, str]]] = [
    ("albert", another_gelu, {}),
    ("bert", token_type_taken_away, {}),
    ("distilbert", no_mask, {}),
    ("electra", second_position_read, {}),
    ("roberta", second_position_read, {"layout": "ane"}),
    ("mobilebert", norm_without_shift, {}),
    ("roberta", positions_from_the_end, {"shapes": "range"}),
    ("xlnet", shift_off_by_one, {}),
    ("xlnet", one_segment, {}),
]


@pytest.mark.parametrize(
    ("name", "fault", "options"), FAULTS, ids=lambda value: getattr(value, "__name__", None)
)
def test_a_wrong_graph_is_caught(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    fault: Callable[[pytest.MonkeyPatch], None],
    options: dict[str, str],
) -> None:
    model = family_classifier(name, **({"hidden_act": "gelu_new"} if name == "albert" else {}))
    job = coreml_job(model, lengths=(16, 24), **options)
    package = tmp_path / "model.mlpackage"
    with monkeypatch.context() as patch:
        fault(patch)
        coreml.make(job, package)
    module = effective_reference(job.source.reference, coreml.effective(package, job)).module
    ids, mask = family_batch(job, 23 if "shapes" in options else 24)
    difference = package_logits(package, ids, mask) - unpadded_logits(module, ids, mask)
    assert np.abs(difference).max() > GRAPH_GATE


@pytest.mark.parametrize(
    ("name", "table"), [("roberta", "position_embeddings"), ("bert", "token_type_embeddings")]
)
def test_rows_off_by_one_are_no_rounding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, table: str
) -> None:
    model = family_classifier(name, type_vocab_size=2)
    package, job = tmp_path / "model.mlpackage", coreml_job(model)
    taken = getattr(model.base_model.embeddings, table)

    def rows(original: Any, first: int, count: int) -> Any:
        return _program.rows_of(original, first + (original is wrong), count)

    with monkeypatch.context() as patch:
        copied = _module.copy_sharing_parameters(model)
        wrong = getattr(copied.base_model.embeddings, table)
        patch.setattr(_module, "copy_sharing_parameters", lambda _: copied)
        patch.setattr(_embeddings, "rows_of", rows)
        coreml.make(job, package)
    assert taken.weight.data_ptr() == wrong.weight.data_ptr()
    with pytest.raises(UserError, match=f"stored weight model_{name}_embeddings_{table}_weight"):
        coreml.effective(package, job)


def test_a_dropped_constant_is_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package, job = tmp_path / "model.mlpackage", coreml_job(family_classifier("bert"))
    with monkeypatch.context() as patch:
        placed = lambda self, words: words + self.position_embeddings.weight  # noqa: E731
        patch.setattr(_embeddings.AbsoluteEmbeddings, "placed", placed)
        coreml.make(job, package)
    with pytest.raises(UserError, match=r"lacks bert\.embeddings\.token_type_embeddings"):
        coreml.effective(package, job)


def test_what_leaves_float16_is_refused(tmp_path: Path) -> None:
    """As MobileBERT's pre-trained layers do: no norm of theirs divides by anything."""
    model = family_classifier("mobilebert")
    with torch.no_grad():
        for layer in model.mobilebert.encoder.layer:
            layer.output.bottleneck.LayerNorm.weight.mul_(3e3)
            for narrow in (layer.bottleneck.input, layer.bottleneck.attention):
                narrow.LayerNorm.weight.mul_(1e-3)
    package, job = tmp_path / "model.mlpackage", coreml_job(model)
    with pytest.raises(UserError, match="this MobileBERT does not fit into float16") as caught:
        coreml.make(job, package)
    assert "RECIPE=float32" in caught.value.todo
    # The same in float32, with int8 weights where one likes.
    wide = coreml_job(model, compute_precision="float32")
    wide = dataclasses.replace(wide, recipe=recipes("coreml")["int8"], scratch=tmp_path)
    coreml.make(wide, package)
    ids, mask = family_batch(wide, LENGTHS[-1])
    module = effective_reference(wide.source.reference, coreml.effective(package, wide)).module
    wanted = unpadded_logits(module, ids, mask)
    found = package_logits(package, ids, mask, "f16")
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()


@pytest.mark.parametrize(
    ("name", "settings", "options", "message"),
    [
        ("xlnet", {}, {"layout": "ane"}, "no layout ane for XLNet"),
        ("mobilebert", {}, {"layout": "ane"}, "no layout ane for MobileBERT"),
        ("xlnet", {"attn_type": "uni"}, {}, "attn_type 'bi' alone, not 'uni'"),
        ("xlnet", {"summary_type": "mean"}, {}, "summary_type 'last' alone, not 'mean'"),
        ("bert", {"is_decoder": True}, {}, "a BERT decoder"),
    ],
)
def test_what_cannot_be_is_refused(
    name: str, settings: dict[str, Any], options: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        family_module(family_classifier(name, **settings), **options)
    assert caught.value.todo
