from __future__ import annotations

import numpy as np
import pytest
import torch

from export.data.task import Example
from export.tokenizer_training import train_wordpiece
from export.training.features import Features, PadToLongest
from export.training.predict import predict

ROWS = (Example("a b", (1,)), Example("a b c d " * 30, (0,)), Example("", (0, 1)))


def features(*, multi_label: bool) -> Features:
    tokenizer = train_wordpiece(["a b c d"] * 3, 60)
    return Features(
        ROWS[: 3 if multi_label else 2], tokenizer, max_length=16, labels=2, multi_label=multi_label
    )


def test_padding_to_the_right_and_to_the_left() -> None:
    rows = features(multi_label=False)
    assert rows.lengths == [4, 16]
    right = PadToLongest(0)([rows[0], rows[1]])
    assert right["input_ids"].shape == (2, 16)
    assert right["attention_mask"].sum(dim=1).tolist() == [4, 16]
    assert right["attention_mask"][0].tolist() == [1] * 4 + [0] * 12
    assert right["labels"].tolist() == [1, 0]
    left = PadToLongest(0, "left")([rows[0], rows[1]])
    assert left["attention_mask"][0].tolist() == [0] * 12 + [1] * 4
    assert left["input_ids"][0, 12:].equal(right["input_ids"][0, :4])


def test_targets_of_several_labels() -> None:
    rows = features(multi_label=True)
    assert [rows[i]["labels"] for i in range(3)] == [[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    assert rows[4] == {"input_ids": rows[1]["input_ids"], "labels": [-100.0, -100.0]}


def test_an_index_beyond_the_end_has_no_target() -> None:
    rows = features(multi_label=False)
    assert rows[3] == {"input_ids": rows[1]["input_ids"], "labels": -100}


def test_further_keys_and_inputs() -> None:
    rows = features(multi_label=False)
    collate = PadToLongest(0, extra=lambda ids, mask: {"token_type_ids": torch.zeros_like(ids)})
    batch = collate([rows[0] | {"teacher_logits": [0.5, 1.5]}])
    assert batch["teacher_logits"].tolist() == [[0.5, 1.5]]
    assert batch["token_type_ids"].shape == batch["input_ids"].shape


class Length(torch.nn.Module):
    """Logits that tell the text's length, so that the order can be seen."""

    def __init__(self) -> None:
        super().__init__()
        self.one = torch.nn.Parameter(torch.ones(2))

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        assert not self.training
        return {"logits": attention_mask.sum(dim=1, keepdim=True) * self.one}


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_predictions_come_in_order_and_shares_add_up(processes: int) -> None:
    rows = features(multi_label=True)
    module = Length().train()
    state = torch.get_rng_state()
    shares = [
        predict(module, rows, PadToLongest(0), batch_size=2, share=(rank, processes))
        for rank in range(processes)
    ]
    assert np.sum(shares, axis=0).tolist() == [[4, 4], [16, 16], [2, 2]]
    assert module.training
    assert torch.get_rng_state().equal(state)
