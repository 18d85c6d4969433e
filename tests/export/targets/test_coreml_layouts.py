"""The modules that are converted, in PyTorch: both layouts compute what the reference does."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from coreml_support import coreml_job, lively_classifier, padded_batch, torch_logits

from export.reference import LogitsOnly
from export.targets.coreml._module import module_for
from export.targets.coreml._options import options_of
from runtime.errors import UserError

CASES = [
    ("default", "iOS16", "fixed", 32),
    ("default", "iOS18", "fixed", 32),
    ("default", "iOS16", "range", 7),
    ("default", "iOS18", "enumerated", 16),
    ("ane", "iOS16", "fixed", 32),
    ("ane", "iOS18", "enumerated", 16),
]


def made(model: Any, layout: str, target: str, shapes: str, **options: str) -> Any:
    job = coreml_job(model, layout=layout, deployment_target=target, shapes=shapes, **options)
    return module_for(job.source.reference, options_of(job), job.source.task.activation)


@pytest.mark.parametrize(("layout", "target", "shapes", "length"), CASES)
@pytest.mark.parametrize("labels", [1, 3, 77])
def test_equal_to_the_reference(
    layout: str, target: str, shapes: str, length: int, labels: int
) -> None:
    """The bounds are the issue's: 1e-12 in float64, 1e-4 in float32."""
    model = lively_classifier(num_labels=labels, n_layers=3)
    ids, mask = padded_batch(length, rows=6)
    single = made(model, layout, target, shapes)
    difference = torch_logits(single, ids, mask) - torch_logits(LogitsOnly(model), ids, mask)
    assert abs(difference).max() <= 2e-5
    double = copy.deepcopy(model).double()
    # torch's own fused attention reads a float32 mask wrongly where the rest is float64.
    double.config._attn_implementation = "eager"
    exact = torch_logits(LogitsOnly(double), ids, mask)
    # The reference of a job is float32, so the module is made of it and then widened.
    widened = made(model, layout, target, shapes).double()
    assert exact.std() > 0.05
    assert abs(torch_logits(widened, ids, mask) - exact).max() <= 1e-12


@pytest.mark.parametrize("layout", ["default", "ane"])
def test_the_comparison_can_fail(layout: str) -> None:
    """A wrong epsilon in a single norm is beyond the bound."""
    model = lively_classifier()
    ids, mask = padded_batch(32)
    module = made(model, layout, "iOS16", "fixed")
    block = module.model.distilbert.transformer.layer[1]
    # The default layout's norms are the reference's own, so take another.
    block.sa_layer_norm = copy.deepcopy(block.sa_layer_norm)
    block.sa_layer_norm.eps = 1e-3
    difference = torch_logits(module, ids, mask) - torch_logits(LogitsOnly(model), ids, mask)
    assert abs(difference).max() > 1e-5


def test_the_reference_is_shared_and_left_as_it_is() -> None:
    model = lively_classifier()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    places = [type(module) for module in model.modules()]
    module = made(model, "ane", "iOS16", "fixed")
    assert [type(module) for module in model.modules()] == places
    weight = model.distilbert.transformer.layer[0].ffn.lin1.weight
    shared = module.model.distilbert.transformer.layer[0].ffn.lin1.weight
    assert shared.data_ptr() == weight.data_ptr()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_attention_registry_of_transformers_is_left_alone() -> None:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    before = dict(ALL_ATTENTION_FUNCTIONS)
    made(lively_classifier(), "default", "iOS18", "fixed")
    assert dict(ALL_ATTENTION_FUNCTIONS) == before


@pytest.mark.parametrize("layout", ["default", "ane"])
@pytest.mark.parametrize("kind", ["single_label", "multi_label"])
def test_a_classifier_gives_probabilities_and_logits(layout: str, kind: str) -> None:
    model = lively_classifier()
    job = coreml_job(model, kind=kind, layout=layout, outputs="classifier")
    reference: Any = job.source.reference.module
    module = module_for(job.source.reference, options_of(job), job.source.task.activation)
    ids, mask = padded_batch(32)
    with torch.no_grad():
        probabilities, logits = module(torch.tensor(ids), torch.tensor(mask))
    wanted = torch.tensor(torch_logits(reference, ids, mask))
    torch.testing.assert_close(logits, wanted, atol=2e-5, rtol=0)
    activated = wanted.softmax(-1) if kind == "single_label" else wanted.sigmoid()
    torch.testing.assert_close(probabilities, activated, atol=2e-5, rtol=0)


def test_a_family_that_nobody_wrote_out_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from export.families import anatomy

    monkeypatch.delitem(anatomy.ANATOMIES, "distilbert")
    with pytest.raises(UserError, match="not made of DistilBERT models") as caught:
        made(lively_classifier(), "default", "iOS16", "fixed")
    assert "made of ALBERT, BERT, ELECTRA, MobileBERT, RoBERTa, XLNet" in caught.value.why
