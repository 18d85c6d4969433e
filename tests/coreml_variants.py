"""Packages of a small livelier model in every form beyond those of `coreml_packages`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from coreml_packages import LENGTH, quiet

from export.pooling import EmbeddingSettings, pooled
from runtime.coreml_reference.program import Array

from support import seeded_classifier

VOCABULARY = 96


def ids_and_mask(length: int = LENGTH, seed: int = 0) -> dict[str, Array]:
    """Random ids of which the last quarter is padding."""
    return text_and_padding(3 * length // 4, seed, length)


def text_and_padding(count: int, seed: int = 0, length: int = LENGTH) -> dict[str, Array]:
    """Random ids, so many of text and then padding."""
    ids = np.zeros((1, length), np.int32)
    ids[0, :count] = np.random.default_rng(seed).integers(1, VOCABULARY, count)
    mask = np.zeros((1, length), np.int32)
    mask[0, :count] = 1
    return {"input_ids": ids, "attention_mask": mask}


def torch_logits(inputs: Mapping[str, Array], dtype: torch.dtype = torch.float32) -> Array:
    """What the small model behind every package gives."""
    model = _model().to(dtype)
    ids, mask = (torch.from_numpy(inputs[k]) for k in ("input_ids", "attention_mask"))
    with torch.no_grad():
        added = (1.0 - mask[:, None, None, :].to(dtype)) * -1e4
        return model(input_ids=ids, attention_mask=added).logits.numpy()


def _model() -> Any:
    """A small model with weights large enough that a fault shows in its logits."""
    sizes = {"vocab_size": VOCABULARY, "dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 64}
    model = seeded_classifier(11, **sizes).eval()
    generator = torch.Generator().manual_seed(12)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if "norm" in name.lower():
                weight.add_(0.2 * noise)
            else:
                weight.copy_((0.1 if weight.dim() == 1 else 0.2) * noise)
    return model


class _Plain(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = _model()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        added = (1.0 - attention_mask[:, None, None, :].to(torch.float32)) * -1e4
        return self.model(input_ids=input_ids, attention_mask=added).logits


class _OneInput(torch.nn.Module):
    """The mask is where the id is not padding."""

    def __init__(self) -> None:
        super().__init__()
        self.model = _model()

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        added = (input_ids == 0)[:, None, None, :].to(torch.float32) * -1e4
        return self.model(input_ids=input_ids, attention_mask=added).logits


class _Sigmoid(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = _Plain()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.inner(input_ids, attention_mask))


class _Mean(torch.nn.Module):
    """Sentence vectors of length 1: the mean of what the small model makes of the text."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = _model().distilbert

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        added = (1.0 - attention_mask[:, None, None, :].to(torch.float32)) * -1e4
        hidden = self.encoder(input_ids=input_ids, attention_mask=added).last_hidden_state
        return pooled(hidden, attention_mask, EmbeddingSettings())


class _ChannelNorm(torch.nn.Module):
    """LayerNorm over the channels of (B, C, 1, S)."""

    def __init__(self, norm: torch.nn.LayerNorm) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(norm.weight.detach().view(1, -1, 1, 1).clone())
        self.bias = torch.nn.Parameter(norm.bias.detach().view(1, -1, 1, 1).clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        centred = x - x.mean(1, keepdim=True)
        variance = (centred * centred).mean(1, keepdim=True)
        return centred * torch.rsqrt(variance + 1e-7) * self.weight + self.bias


def _pointwise(linear: torch.nn.Linear) -> torch.nn.Conv2d:
    conv = torch.nn.Conv2d(linear.in_features, linear.out_features, 1)
    conv.weight.data = linear.weight.detach()[:, :, None, None].clone()
    conv.bias.data = linear.bias.detach().clone()
    return conv


class _Channels(torch.nn.Module):
    """The small model in the layout (B, C, 1, S): convolutions, einsum, attention head by head."""

    def __init__(self) -> None:
        super().__init__()
        model = _model()
        embeddings, block = model.distilbert.embeddings, model.distilbert.transformer.layer[0]
        self.words, self.places = embeddings.word_embeddings, embeddings.position_embeddings
        self.norm = _ChannelNorm(embeddings.LayerNorm)
        attention, ffn = block.attention, block.ffn
        self.size = attention.q_lin.out_features // 2
        linears = (attention.q_lin, attention.k_lin, attention.v_lin, attention.out_lin)
        self.q, self.k, self.v, self.o = (_pointwise(linear) for linear in linears)
        self.first = _ChannelNorm(block.sa_layer_norm)
        self.second = _ChannelNorm(block.output_layer_norm)
        self.up, self.down = _pointwise(ffn.lin1), _pointwise(ffn.lin2)
        self.pre, self.out = _pointwise(model.pre_classifier), _pointwise(model.classifier)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        x = self.words(input_ids) + self.places.weight[None, :LENGTH]
        x = self.norm(x.transpose(1, 2).unsqueeze(2))
        mask = ((1.0 - attention_mask.to(torch.float32)) * -1e4)[:, :, None, None]
        queries, values = self.q(x).split(self.size, 1), self.v(x).split(self.size, 1)
        heads = []
        for q, k, v in zip(
            queries, self.k(x).transpose(1, 3).split(self.size, 3), values, strict=True
        ):
            scores = torch.einsum("bchq,bkhc->bkhq", q, k) * self.size**-0.5 + mask
            heads.append(torch.einsum("bkhq,bchk->bchq", scores.softmax(1), v))
        x = self.first(self.o(torch.cat(heads, 1)) + x)
        x = self.second(self.down(torch.nn.functional.gelu(self.up(x))) + x)
        return self.out(torch.relu(self.pre(x[:, :, :, :1]))).squeeze(-1).squeeze(-1)


def _fused(module: Any, query: Any, key: Any, value: Any, mask: Any, **_: Any) -> Any:
    # The fused operation appears only where no scale is given.
    found = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return found.transpose(1, 2).contiguous(), None


class _Fused(torch.nn.Module):
    def __init__(self) -> None:
        from transformers import AttentionInterface

        super().__init__()
        AttentionInterface.register("fused_for_tests", _fused)
        self.inner = _Plain()
        self.inner.model.config._attn_implementation = "fused_for_tests"

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.inner(input_ids, attention_mask)


def _convert(module: torch.nn.Module, target: str, inputs: int = 2, **values: Any) -> Any:
    ids = torch.zeros(1, LENGTH, dtype=torch.int32)
    with quiet():
        import coremltools as ct

        with torch.no_grad():
            traced = torch.jit.trace(module.eval(), (ids, torch.ones_like(ids))[:inputs])
        names = ("input_ids", "attention_mask")[:inputs]
        settings = {"outputs": [ct.TensorType("logits")], "skip_model_load": True} | values
        shape = settings.pop("shape", (1, LENGTH))
        labels = settings.pop("labels", None)
        return ct.convert(
            traced,
            inputs=[ct.TensorType(name, shape, np.int32) for name in names],
            convert_to="mlprogram",
            minimum_deployment_target=getattr(ct.target, target),
            classifier_config=ct.ClassifierConfig(labels) if labels else None,
            **settings,
        )


def _one_input() -> Any:
    import coremltools as ct

    shape = ct.EnumeratedShapes(shapes=[[1, 8], [1, LENGTH]], default=[1, LENGTH])
    return _convert(_OneInput(), "iOS16", 1, shape=shape)


def _quantized_activations() -> Any:
    """w8a8, with made-up ranges in place of calibration by Apple's runtime."""
    from coremltools.optimize.coreml import OptimizationConfig
    from coremltools.optimize.coreml import _post_training_quantization as quantization
    from coremltools.optimize.coreml.experimental import (
        OpActivationLinearQuantizerConfig,
        linear_quantize_activations,
    )
    from coremltools.optimize.coreml.experimental import (
        _post_training_quantization as calibration,
    )

    ranges = {"rmin": -8.0, "rmax": 8.0}

    class _Everything(dict[str, Any]):
        def __missing__(self, _: str) -> dict[str, float]:
            return dict(ranges)

        def __contains__(self, _: object) -> bool:
            return True

    def stand_in(*_: Any, **__: Any) -> Any:
        return _Everything()

    config = OptimizationConfig(
        op_type_configs={"linear": OpActivationLinearQuantizerConfig(mode="linear_symmetric")}
    )
    before = calibration._get_activation_calibration_stats
    calibration._get_activation_calibration_stats = stand_in
    quantization._get_activation_calibration_stats = stand_in
    try:
        with quiet():
            model = linear_quantize_activations(made("plain-ios17"), config, [ids_and_mask()])
    finally:
        calibration._get_activation_calibration_stats = before
        del quantization._get_activation_calibration_stats
    return _int8(model)


def _int8(model: Any) -> Any:
    import coremltools.optimize.coreml as cto

    settings = cto.OpLinearQuantizerConfig(
        mode="linear_symmetric", dtype="int8", weight_threshold=0
    )
    return cto.linear_quantize_weights(model, cto.OptimizationConfig(settings))


def _palettes(model: Any) -> Any:
    import coremltools.optimize.coreml as cto

    settings = cto.OpPalettizerConfig(mode="kmeans", nbits=4, weight_threshold=0)
    return cto.palettize_weights(model, cto.OptimizationConfig(settings))


MORE_VARIANTS: dict[str, Callable[[], Any]] = {
    "plain-ios17": lambda: _convert(_Plain(), "iOS17"),
    "plain-ios16-fp32": lambda: _convert(_Plain(), "iOS16", compute_precision=_float32_precision()),
    "palette-kmeans-ios16": lambda: _palettes(made("plain-ios16")),
    "plain-ios16": lambda: _convert(_Plain(), "iOS16"),
    "one-input": _one_input,
    "channels-ios16": lambda: _convert(_Channels(), "iOS16"),
    "channels-ios18-fp32": lambda: _convert(
        _Channels(), "iOS18", compute_precision=_float32_precision()
    ),
    "fused-ios18": lambda: _convert(_Fused(), "iOS18"),
    "mean-ios16": lambda: _convert(_Mean(), "iOS16"),
    "classifier-sigmoid": lambda: _convert(_Sigmoid(), "iOS16", labels=["a", "b", "c"]),
    "w8a8-ios17": _quantized_activations,
}


def _float32_precision() -> Any:
    import coremltools as ct

    return ct.precision.FLOAT32


def save_more(name: str, folder: Path) -> Path:
    """Make and save one of MORE_VARIANTS."""
    path = folder / f"{name}.mlpackage"
    model = made(name)
    with quiet():
        model.save(str(path))
    return path


@functools.cache
def made(name: str) -> Any:
    """One of MORE_VARIANTS, made once."""
    with quiet():
        return MORE_VARIANTS[name]()
