"""Hold the clouds and GPUs of a matrix to the names that there are, all at once."""

from __future__ import annotations

from cvl_ci.errors import InputProblem
from cvl_ci.inputs import accelerators, locations
from cvl_ci.inputs.matrix_inputs import MatrixInputs
from cvl_ci.inputs.parsers import Wrong
from cvl_ci.ports import Prices


def wrong_axes(axes: MatrixInputs, prices: Prices) -> list[InputProblem]:
    """Return the clouds and GPUs that no leg could have."""
    mistakes = []
    for cloud in axes.clouds:
        try:
            for place in locations.read(cloud):
                locations.check_regions(place, prices.regions)
        except Wrong as wrong:
            value = cloud if wrong.display is None else wrong.display
            mistakes.append(InputProblem(field="--clouds", value=value, problem=wrong.problem, near=wrong.near))
    for gpu in axes.gpus:
        try:
            accelerators.canonical(accelerators.read(gpu), prices.accelerators())
        except Wrong as wrong:
            value = gpu if wrong.display is None else wrong.display
            mistakes.append(InputProblem(field="--gpus", value=value, problem=wrong.problem, near=wrong.near))
    return mistakes
