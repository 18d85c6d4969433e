"""Small, real Core ML packages made by coremltools, and ways to spoil a copy of one."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from export.quiet import silent as quiet

from support import seeded_classifier

LENGTH = 16
MODEL = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"


class MaskedLogits(torch.nn.Module):
    """int32 ids and mask → logits or probabilities; the 4-D mask is built here."""

    def __init__(self, *, softmax: bool) -> None:
        super().__init__()
        sizes = {"vocab_size": 96, "dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 64}
        self.model = seeded_classifier(11, **sizes).eval()
        self.softmax = softmax

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        mask = (1.0 - attention_mask[:, None, None, :].to(torch.float32)) * -1e4
        logits = self.model(input_ids=input_ids, attention_mask=mask).logits
        return torch.softmax(logits, -1) if self.softmax else logits


@functools.cache
def _traced(*, softmax: bool) -> Any:
    ids = torch.zeros(1, LENGTH, dtype=torch.int32)
    with torch.no_grad():
        return torch.jit.trace(MaskedLogits(softmax=softmax), (ids, torch.ones_like(ids)))


@functools.cache
def converted(
    target: str = "iOS16",
    precision: str = "FLOAT16",
    shape: str = "fixed",
    labels: tuple[Any, ...] = (),
) -> Any:
    """A coremltools MLModel. Do not change it: it is made once."""
    with quiet():
        import coremltools as ct

        shapes: dict[str, Callable[[], Any]] = {
            "fixed": lambda: (1, LENGTH),
            "enumerated": lambda: ct.EnumeratedShapes(
                shapes=[[1, 8], [1, LENGTH]], default=[1, LENGTH]
            ),
            "range": lambda: ct.Shape((1, ct.RangeDim(1, 32, default=LENGTH))),
        }
        model = ct.convert(
            _traced(softmax=bool(labels)),
            inputs=[
                ct.TensorType(name, shapes[shape](), np.int32)
                for name in ("input_ids", "attention_mask")
            ],
            outputs=[ct.TensorType("probabilities" if labels else "logits")],
            convert_to="mlprogram",
            minimum_deployment_target=getattr(ct.target, target),
            compute_precision=getattr(ct.precision, precision),
            classifier_config=ct.ClassifierConfig(list(labels)) if labels else None,
            skip_model_load=True,
        )
    model.author, model.license, model.version = "Ada", "Apache-2.0", "1.2.3"
    model.short_description = "Klassifiziert Texte für Tests"
    model.user_defined_metadata["com.example.hash"] = "c0ffee"
    model.input_description["input_ids"] = "ids, padded"
    return model


def _linear(model: Any, **values: Any) -> Any:
    import coremltools.optimize.coreml as cto

    joint = {"joint_compression": values.pop("joint")} if "joint" in values else {}
    settings = cto.OpLinearQuantizerConfig(weight_threshold=0, **values)
    return cto.linear_quantize_weights(model, cto.OptimizationConfig(settings), **joint)


def _palettes(model: Any, **values: Any) -> Any:
    import coremltools.optimize.coreml as cto

    joint = {"joint_compression": values.pop("joint")} if "joint" in values else {}
    settings = cto.OpPalettizerConfig(weight_threshold=0, **values)
    return cto.palettize_weights(model, cto.OptimizationConfig(settings), **joint)


def _pruned(model: Any) -> Any:
    import coremltools.optimize.coreml as cto

    settings = cto.OpMagnitudePrunerConfig(weight_threshold=0, target_sparsity=0.5)
    return cto.prune_weights(model, cto.OptimizationConfig(settings))


def _block(dtype: str) -> dict[str, Any]:
    return {"mode": "linear", "dtype": dtype, "granularity": "per_block", "block_size": 16}


_INT8 = {"mode": "linear_symmetric", "dtype": "int8"}
VARIANTS: dict[str, Callable[[], Any]] = {
    "ios15": lambda: converted("iOS15"),
    "ios16-fp16": lambda: converted("iOS16"),
    "ios16-fp32": lambda: converted("iOS16", "FLOAT32"),
    "ios17": lambda: converted("iOS17"),
    "ios18-enumerated": lambda: converted("iOS18", shape="enumerated"),
    "ios26": lambda: converted("iOS26"),
    "ios17-range": lambda: converted("iOS17", shape="range"),
    "classifier": lambda: converted("iOS16", labels=("good", "bad", "öde")),
    "classifier-numbers": lambda: converted("iOS16", labels=(5, 0, 9)),
    "ios16-int8": lambda: _linear(converted("iOS16"), **_INT8),
    "ios18-int8": lambda: _linear(converted("iOS18"), **_INT8),
    "ios18-int4": lambda: _linear(converted("iOS18"), **_block("int4")),
    "ios18-uint4": lambda: _linear(converted("iOS18"), **_block("uint4")),
    "ios16-palette6": lambda: _palettes(converted("iOS16"), mode="uniform", nbits=6),
    "ios18-palette6": lambda: _palettes(converted("iOS18"), mode="uniform", nbits=6),
    "ios18-palette4-groups": lambda: _palettes(
        converted("iOS18"),
        mode="uniform",
        nbits=4,
        granularity="per_grouped_channel",
        group_size=16,
    ),
    "ios18-palette3": lambda: _palettes(converted("iOS18"), mode="uniform", nbits=3),
    "ios18-palette2": lambda: _palettes(converted("iOS18"), mode="uniform", nbits=2),
    "ios18-palette1": lambda: _palettes(converted("iOS18"), mode="uniform", nbits=1),
    "ios16-sparse": lambda: _pruned(converted("iOS16")),
    "ios18-sparse": lambda: _pruned(converted("iOS18")),
    "ios18-sparse-int8": lambda: _linear(_pruned(converted("iOS18")), joint=True, **_INT8),
    "ios18-sparse-palette": lambda: _palettes(
        _pruned(converted("iOS18")), joint=True, mode="uniform", nbits=4
    ),
}


def save_variant(name: str, folder: Path) -> Path:
    """Convert, compress and save one of VARIANTS."""
    path = folder / f"{name}.mlpackage"
    with quiet():
        VARIANTS[name]().save(str(path))
    return path


def copied(package: Path, folder: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(package, folder / "copy.mlpackage"))


def spec_of(package: Path) -> Any:
    """The model as coremltools' own protobuf classes read it."""
    with quiet():
        from coremltools.proto import Model_pb2

    spec = Model_pb2.Model()
    spec.ParseFromString((package / MODEL).read_bytes())
    return spec


def block_of(spec: Any) -> Any:
    """The only block of the function main."""
    (block,) = spec.mlProgram.functions["main"].block_specializations.values()
    return block


def edited(package: Path, folder: Path, change: Callable[[Any], object]) -> Path:
    """A copy whose model was changed through coremltools' protobuf classes."""
    copy = copied(package, folder)
    spec = spec_of(copy)
    change(spec)
    (copy / MODEL).write_bytes(spec.SerializeToString())
    return copy
