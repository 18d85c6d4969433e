"""Every fault of the catalogue in every artifact of a bundle: the gate must fail on each.

A gate that no fault can fail is decoration. Faults are planted by editing the file; a table says
which figures must catch the ones that matter most, so that none is caught by luck.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from fault_support import one_artifact

from runtime.bundle import GOLDEN, PARITY
from runtime.golden import read_golden
from runtime.parity.document import read_gates
from runtime.parity.selftest import Outcome, SelfTest, selftest

FORMATS = ("onnx", "tflite", "mlpackage")
ARTIFACTS = [f"{name}.{end}" for end in FORMATS for name in ("model", "model_int8")]

TENSOR = {"max_rel", "cosine", "sqnr_db"}
DECISION = {"flip_rate_bound", "metric_drop_bound"}
# Caught in every artifact, float or not, by at least these.
ALWAYS = {
    "nan_bias": {"non_finite", "large_margin_flips", *TENSOR},
    "zeroed_layer": {"max_rel", "sqnr_db"},
    "constant_output": TENSOR | DECISION,
    "permuted_labels": TENSOR | DECISION,
    "flipped_logits": TENSOR | DECISION,
    "biased_label": {"flip_rate_bound", *TENSOR},
    "offset_logits": TENSOR,
    "flipped_sign": TENSOR,
    "shifted_embedding": TENSOR | DECISION,
    "shifted_positions": TENSOR,
    "swapped_layers": TENSOR,
    "miswired_layers": TENSOR,
    "swapped_query_key": TENSOR,
    "shifted_channels": {"max_rel", "sqnr_db"},
    "relu_activation": {"sqnr_db"},
    "softmax_output": TENSOR,
    "sigmoid_output": TENSOR,
}
# Padding is added by the caller in ONNX, and is always there in the other formats.
MASKED = {"onnx": {"padding_rel"}, "tflite": {"sqnr_db"}, "mlpackage": {"graph_max_abs"}}
# Small faults: float artifacts show them end to end, all in the graph or the weights.
SMALL = {
    "nan_weight": {"non_finite"},
    "dropped_frequent_row": {"max_rel", "sqnr_db"},
    "wrong_bias": {"max_rel", "sqnr_db"},
    "wrong_attention_scale": {"max_rel", "sqnr_db"},
    "wrong_weight_scale": {"max_rel", "sqnr_db"},
}
SMALLER = {"tanh_gelu": {"sqnr_db"}, "wrong_epsilon": {"sqnr_db"}}
GRAPH_PART = ("tanh_gelu", "wrong_epsilon", "wrong_attention_scale", "weak_mask", "wrong_bias")
WEIGHTS_PART = ("dropped_rare_row", "flipped_small_sign", "wrong_weight_scale", "swapped_layers")

# What only an ONNX graph can be: its batch is free, and it has a random operation.
ONNX_ONLY = {"batch_mean", "random_noise"}


@pytest.fixture(scope="module")
def tested(bundle_folder: Path) -> dict[str, SelfTest]:
    """Artifact → its self-test, on few texts."""
    golden, gates = read_golden(bundle_folder / GOLDEN), read_gates(bundle_folder / PARITY)
    return {name: selftest(one_artifact(bundle_folder, name), golden, gates) for name in ARTIFACTS}


def _in_artifact(tested: dict[str, SelfTest], name: str) -> dict[str, Outcome]:
    return {o.fault: o for o in tested[name].outcomes if o.artifact == name}


@pytest.mark.parametrize("name", ARTIFACTS)
def test_the_sound_artifact_passes(name: str, tested: dict[str, SelfTest]) -> None:
    (control,) = tested[name].controls
    assert control.trouble == ""


@pytest.mark.parametrize("name", ARTIFACTS)
def test_no_fault_slips_through(name: str, tested: dict[str, SelfTest]) -> None:
    outcomes = _in_artifact(tested, name)
    assert [o for o in outcomes.values() if o.status in ("missed", "error")] == []
    assert sum(o.status in ("caught", "refused") for o in outcomes.values()) >= 20


@pytest.mark.parametrize("name", ARTIFACTS)
def test_the_right_figures_catch_each(name: str, tested: dict[str, SelfTest]) -> None:
    outcomes = _in_artifact(tested, name)
    ending, is_float = name.partition(".")[2], "int8" not in name
    table = dict(ALWAYS) | dict.fromkeys(("dropped_mask", "weak_mask"), MASKED[ending])
    if is_float:
        table |= SMALL
    if is_float and ending != "mlpackage":
        table |= SMALLER
    parts = {fault: {"graph_max_abs"} for fault in GRAPH_PART}
    parts |= {fault: {"changed_weights"} for fault in WEIGHTS_PART}
    if ending == "mlpackage":
        table |= parts
    else:
        table |= {fault: by | table.get(fault, set()) for fault, by in parts.items()}
    wrong = {
        fault: outcomes[fault]
        for fault, figures in table.items()
        if not figures <= set(outcomes[fault].by)
    }
    assert wrong == {}


@pytest.mark.parametrize("name", ARTIFACTS)
def test_what_cannot_be_planted_says_why(name: str, tested: dict[str, SelfTest]) -> None:
    nowhere = {"reversed_classes", "wrong_block_scale"}
    if "int8" not in name:
        nowhere.add("wrong_zero_point")
    if not name.endswith("onnx"):
        nowhere |= ONNX_ONLY
    outcomes = _in_artifact(tested, name).values()
    assert {o.fault for o in outcomes if o.status == "not applicable"} == nowhere
    assert all(o.note for o in outcomes if o.status == "not applicable")


def test_noise_shows_in_a_repeated_run(tested: dict[str, SelfTest]) -> None:
    for name in ("model.onnx", "model_int8.onnx"):
        assert "repeat_rel" in _in_artifact(tested, name)["random_noise"].by


@pytest.mark.parametrize("name", ["model.tflite", "model_int8.tflite"])
def test_nothing_hides_below_the_precision(name: str, tested: dict[str, SelfTest]) -> None:
    """Weights and graph are judged without int8's rounding."""
    assert [o for o in _in_artifact(tested, name).values() if o.status == "below"] == []


def test_a_drifting_tokenizer_fails(tested: dict[str, SelfTest]) -> None:
    """Beside the model: ids that are no longer the golden ones."""
    for result in tested.values():
        beside = {o.fault: o for o in result.outcomes if o.artifact == "tokenizer.json"}
        assert {o.status for o in beside.values()} == {"caught"}
        assert set(beside) == {"other_case", "swapped_words"}
        assert all("wrong_ids" in o.by for o in beside.values())


def test_labels_in_another_order_fail(tested: dict[str, SelfTest]) -> None:
    for result in tested.values():
        (outcome,) = [o for o in result.outcomes if o.artifact == "labels.txt"]
        assert (outcome.status, outcome.by) == ("caught", ("contradictions",))
