"""A float package → a package whose weights, and activations where asked, follow a recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from export.recipes import Recipe
from export.targets.base import Job
from export.targets.coreml._calibrate import activation_scales
from export.targets.coreml._plan import check_recipe
from export.targets.coreml._quiet import contained
from export.targets.coreml._save import save_package
from runtime.console import progress_bar
from runtime.coreml_reference.package import read_package
from runtime.errors import UserError

_FIRST_IOS = 16
_FIRST_SPECIFICATION = 7


def compress(float_package: Path, job: Job, destination: Path) -> None:
    """Apply `job.recipe`; the same package and job give the same bytes.

    Every float constant of 256 elements and more is decided on by `_plan.decide`.

    Args:
        float_package: what the conversion half saved for the same options.
        job: recipe, metadata, and texts to calibrate with where activations are quantized.
        destination: the .mlpackage folder to write.

    Raises:
        UserError: Core ML, or the package's deployment target, cannot express the recipe; or the
            recipe cannot be applied to one of the weights.
    """
    recipe = job.recipe
    version = read_package(float_package).specification_version
    check_recipe(recipe, version - _FIRST_SPECIFICATION + _FIRST_IOS)
    scales = {}
    if recipe.activations == "int8":
        with progress_bar("calibrating") as progress:
            scales = activation_scales(float_package, job, progress)
    with progress_bar("compressing") as progress, contained():
        try:
            compressed = _apply(float_package, recipe, scales, version, progress)
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"coremltools could not apply the recipe {recipe.name}",
                why=" ".join(str(error).split()) or repr(error),
                todo="use the version of coremltools that the extra names",
            ) from error
        save_package(compressed, destination, job)


def _apply(
    float_package: Path,
    recipe: Recipe,
    scales: dict[str, float],
    version: int,
    progress: Callable[[int, int], None],
) -> Any:
    """``coremltools.models.MLModel`` of the same program but for what the recipe changes.

    coremltools.optimize would run every optimisation of the converter again, on a program that has
    them behind it; one of them fails on float16 programs of the ANE layout.
    """
    from coremltools import PassPipeline
    from coremltools.converters.mil.converter import mil_convert
    from coremltools.models import MLModel
    from coremltools.models.utils import _apply_graph_pass

    from export.targets.coreml._graph_pass import CompressWeights, QuantizeActivations

    passes = [CompressWeights(recipe, progress)]
    if scales:
        passes.append(QuantizeActivations(scales))
    model = MLModel(str(float_package), skip_model_load=True)
    program = _apply_graph_pass(model, passes, version, True, return_pymil_prog=True)
    return mil_convert(
        program,
        convert_from="milinternal",
        convert_to="mlprogram",
        specification_version=version,
        compute_units=model.compute_unit,
        model_description=model.get_spec().description,
        pass_pipeline=PassPipeline.EMPTY,
        skip_model_load=True,
    )
