"""A classifier that computes with the integers of its artifact to come, and can learn so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from export.families.plain.one_position import at_one_position
from export.reference import LogitsOnly
from export.training.quantized.grids import dense_of, rounded
from export.training.quantized.plan import Plan
from export.training.quantized.runtimes import Rounding

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_ROOT = "model."


class FakeQuantized(torch.nn.Module):
    """Rounds weights and the inputs of linear layers before each use; its parameters stay float.

    The forward is the one that is converted: of the last block only what the answer needs, since a
    range is taken over what is computed.

    Attributes:
        model: whose parameters are trained.
        rounds_inputs: False leaves activations float, as in a checkpoint that is run as it is.
    """

    def __init__(self, model: PreTrainedModel, plan: Plan) -> None:
        """Set up.

        Args:
            model: its parameters are trained; it is not changed otherwise.
            plan: for this model.
        """
        super().__init__()
        self.model = model
        self.rounds_inputs = True
        self._plan = plan
        self._counts: torch.Tensor | None = None
        short = at_one_position(LogitsOnly(model))
        # No child: it has the model's parameters, and would give each a second name.
        self._converted = (short.module,)
        self._constants = short.constants
        modules = dict(short.module.named_modules())
        # Beside keys that are transposed, rows are heads and not positions: padding has none.
        heads = tuple(f"{name.rsplit('.', 2)[0]}." for name in plan.transposed)
        for name, rounding in plan.inputs.items():
            hook = self._hook(rounding, by_position=not name.startswith(heads))
            modules[_ROOT + name].register_forward_pre_hook(hook)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: Any
    ) -> dict[str, torch.Tensor]:
        """``logits``, float32 [texts, labels], of ids and mask [texts, length].

        Whatever else a batch has, such as token types, is made from these two.
        """
        for constant in self._constants:  # which know nothing of a module's device
            constant.data = constant.data.to(input_ids.device)
        own = dict(self.model.named_parameters())
        weights = {
            _ROOT + name: self._as_stored(name, own[name], rounded) for name in self._plan.changed
        }
        self._counts = attention_mask.bool()
        (converted,) = self._converted
        try:
            logits = torch.func.functional_call(converted, weights, (input_ids, attention_mask))
        finally:
            self._counts = None
        return {"logits": logits}

    def train(self, mode: bool = True) -> FakeQuantized:
        """As every module's, but dropout stays off: the answers to come near were given without."""
        super().train(mode)
        self.model.eval()
        for converted in self._converted:
            converted.eval()
        return self

    @torch.no_grad()
    def settle(self) -> None:
        """Put the weights themselves on the grid, where rounding leaves them as they are."""
        own = dict(self.model.named_parameters())
        for name in self._plan.weights:
            stored = self._as_stored(name, own[name], dense_of)
            own[name].copy_(stored.T if name in self._plan.transposed else stored)

    def _as_stored(self, name: str, parameter: torch.Tensor, rounding: Any) -> torch.Tensor:
        """A weight rounded by its rule, if it has one, and as the artifact holds it."""
        weight = parameter.T.contiguous() if name in self._plan.transposed else parameter
        rule = self._plan.weights.get(name)
        stored: torch.Tensor = weight if rule is None else rounding(weight, rule, name)
        return stored

    def _hook(self, rounding: Rounding, *, by_position: bool) -> Any:
        def round_input(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> Any:
            if not self.rounds_inputs:
                return None
            return (rounding(inputs[0], self._counts if by_position else None), *inputs[1:])

        return round_input
