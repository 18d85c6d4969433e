"""A classifier that computes with the integers of its artifact to come, and can learn so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from export.families.plain.one_position import at_one_position
from export.reference import LogitsOnly
from export.training.quantized.grids import dense_of, rounded
from export.training.quantized.plan import Plan

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_ROOT = "model."


class FakeQuantized(torch.nn.Module):
    """Rounds weights and the inputs of linear layers before each use; its parameters stay float.

    The forward is the one that is converted: of the last block only what the answer needs, since a
    range is taken over what is computed.

    Attributes:
        rounds_inputs: False leaves activations float, as in a checkpoint that is run as it is.
    """

    def __init__(self, model: PreTrainedModel, plan: Plan) -> None:
        """Set up.

        Args:
            model: its parameters are trained; it is not changed otherwise.
            plan: for this model.
        """
        super().__init__()
        self.inner = at_one_position(LogitsOnly(model))
        self.rounds_inputs = True
        self._plan = plan
        self._counts: torch.Tensor | None = None
        modules = dict(self.inner.named_modules())
        for name, rounding in plan.inputs.items():
            modules[_ROOT + name].register_forward_pre_hook(self._hook(rounding))

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: Any
    ) -> dict[str, torch.Tensor]:
        """``logits``, float32 [texts, labels], of ids and mask [texts, length].

        Whatever else a batch has, such as token types, is made from these two.
        """
        own = dict(self.inner.named_parameters())
        weights = {
            _ROOT + name: rounded(own[_ROOT + name], rule, name)
            for name, rule in self._plan.weights.items()
        }
        self._counts = attention_mask.bool()
        try:
            logits = torch.func.functional_call(self.inner, weights, (input_ids, attention_mask))
        finally:
            self._counts = None
        return {"logits": logits}

    def train(self, mode: bool = True) -> FakeQuantized:
        """As every module's, but dropout stays off: the answers to come near were given without."""
        super().train(mode)
        self.inner.eval()
        return self

    @torch.no_grad()
    def settle(self) -> None:
        """Put the weights themselves on the grid, where rounding leaves them as they are."""
        own = dict(self.inner.named_parameters())
        for name, rule in self._plan.weights.items():
            parameter = own[_ROOT + name]
            parameter.copy_(dense_of(parameter, rule, name))

    def _hook(self, rounding: Any) -> Any:
        def round_input(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> Any:
            if not self.rounds_inputs:
                return None
            return (rounding(inputs[0], self._counts), *inputs[1:])

        return round_input
