from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification

from export.families import families
from export.settings import ModelSize
from export.training.distill.layers import check_layers, spread_layers
from export.training.distill.student import distilbert_from_bert, shallow_copy
from runtime.errors import UserError

SIZES = ModelSize(vocab_size=120, dim=32, layers=4, heads=4, hidden_dim=64, dropout=0.1)


def bert(kind: type[Any], *, layers: int = 4, **more: Any) -> Any:
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=120, hidden_size=32, num_hidden_layers=layers, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=48, **more,
    )  # fmt: skip
    model = kind(config)
    with torch.no_grad():  # biases and norms of a new model are 0 and 1: a mix-up would not show
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def batch() -> dict[str, torch.Tensor]:
    ids = torch.randint(5, 120, (3, 17), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 9:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def test_twelve_layers_give_distilberts_six() -> None:
    assert spread_layers(12) == (0, 2, 4, 7, 9, 11)
    assert spread_layers(12, 12) == tuple(range(12))
    assert spread_layers(4) == (0, 3)
    assert spread_layers(1) == (0,)
    for teacher in range(1, 30):
        for student in range(2, teacher + 1):
            chosen = spread_layers(teacher, student)
            assert len(chosen) == student
            assert chosen[0] == 0
            assert chosen[-1] == teacher - 1
            assert check_layers(chosen, teacher) == chosen
    with pytest.raises(UserError, match="cannot be taken"):
        spread_layers(4, 5)


def test_layers_of_ones_own_are_checked() -> None:
    for wrong in ((), (2, 1), (1, 1)):
        with pytest.raises(UserError, match="not in ascending order"):
            check_layers(wrong, 4)
    with pytest.raises(UserError, match="no layer 4"):
        check_layers((0, 4), 4)
    with pytest.raises(UserError, match="no layer -1"):
        check_layers((-1, 2), 4)


def test_all_layers_of_a_bert_compute_what_the_bert_computes() -> None:
    """Every hidden state and the masked-language logits agree, so no weight has the wrong name."""
    teacher = bert(BertForMaskedLM)
    student = distilbert_from_bert(teacher, range(4)).eval()
    assert type(student).__name__ == "DistilBertForMaskedLM"
    with torch.no_grad():
        theirs = teacher(**batch(), output_hidden_states=True)
        ours = student(**batch(), output_hidden_states=True)
    seen = batch()["attention_mask"].bool()
    assert len(theirs.hidden_states) == len(ours.hidden_states) == 5
    for expected, found in zip(theirs.hidden_states, ours.hidden_states, strict=True):
        torch.testing.assert_close(found[seen], expected[seen], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(ours.logits[seen], theirs.logits[seen], atol=1e-5, rtol=1e-5)


def test_chosen_layers_are_the_teachers() -> None:
    teacher = bert(BertForMaskedLM)
    student = distilbert_from_bert(teacher, (1, 3))
    assert student.config.n_layers == 2
    theirs, ours = teacher.state_dict(), student.state_dict()
    for new, old in enumerate((1, 3)):
        name = f"bert.encoder.layer.{old}.attention.self.value.weight"
        mine = f"distilbert.transformer.layer.{new}.attention.v_lin.weight"
        assert torch.equal(theirs[name], ours[mine])
    # Removed: pooler and token types. No storage is shared with the teacher.
    assert not [key for key in ours if "token_type" in key or "pooler" in key]
    before = teacher.bert.embeddings.word_embeddings.weight.clone()
    with torch.no_grad():
        student.distilbert.embeddings.word_embeddings.weight.add_(1.0)
    assert torch.equal(teacher.bert.embeddings.word_embeddings.weight, before)
    assert student.vocab_projector.weight is student.distilbert.embeddings.word_embeddings.weight


def test_a_classifier_gives_a_classifier_with_a_new_head() -> None:
    teacher = bert(
        BertForSequenceClassification, id2label={0: "no", 1: "yes"}, label2id={"no": 0, "yes": 1}
    )
    student = distilbert_from_bert(teacher, (0, 1, 2, 3)).eval()
    assert type(student).__name__ == "DistilBertForSequenceClassification"
    assert student.config.id2label == {0: "no", 1: "yes"}
    with torch.no_grad():
        expected = teacher.bert(**batch()).last_hidden_state
        found = student.distilbert(**batch()).last_hidden_state
    torch.testing.assert_close(found[0], expected[0], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", sorted(set(families()) - {"albert"}))
@pytest.mark.parametrize("head", ["classifier", "masked_lm"])
def test_a_shallow_copy_of_all_layers_is_the_teacher(name: str, head: str) -> None:
    family = families()[name]
    if not getattr(family, head):
        pytest.skip(f"{name} has no {head}")
    teacher = small(name, head)
    student = shallow_copy(teacher, range(4)).eval()
    arguments = family.inputs(teacher, batch()["input_ids"], torch.ones(3, 17))
    with torch.no_grad():
        expected, found = teacher(**arguments).logits, student(**arguments).logits
    assert torch.equal(expected, found)
    shallow = shallow_copy(teacher, (0, 3)).eval()
    assert shallow.config.num_hidden_layers == 2
    assert shallow.num_parameters() < student.num_parameters()
    with torch.no_grad():
        assert torch.isfinite(shallow(**arguments).logits).all()


def small(name: str, head: str) -> Any:
    torch.manual_seed(0)
    family = families()[name]
    config = getattr(transformers, family.config_class)(
        vocab_size=120, pad_token_id=1 if name == "roberta" else 0, **family.sizes(SIZES)
    )
    return getattr(transformers, getattr(family, head))(config).eval()


def test_what_cannot_be_taken_is_refused() -> None:
    with pytest.raises(UserError, match="share one layer's weights"):
        shallow_copy(small("albert", "classifier"), (0, 1))
    with pytest.raises(UserError, match="a DistilBERT cannot be taken from a roberta"):
        distilbert_from_bert(small("roberta", "masked_lm"), (0, 1))
