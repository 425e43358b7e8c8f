"""Put the typed inputs of the verbs of many runs, and of drills, into the groups that declare them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from cvl_ci.inputs.drill_inputs import DrillInputs
from cvl_ci.inputs.machine_inputs import MachineInputs
from cvl_ci.inputs.matrix_inputs import HistoryInputs, MatrixInputs, ReportInputs
from cvl_ci.inputs.run_inputs import LimitInputs, TrialInputs, WorkInputs

Group = TypeVar("Group")


@dataclass(frozen=True, kw_only=True)
class MatrixVerbInputs:
    """The inputs of `matrix`, `report` or `history`: their own groups, and the groups of a run that they share."""

    matrix: MatrixInputs = field(default_factory=MatrixInputs)
    history: HistoryInputs = field(default_factory=HistoryInputs)
    report: ReportInputs = field(default_factory=ReportInputs)
    work: WorkInputs = field(default_factory=WorkInputs)
    machine: MachineInputs = field(default_factory=MachineInputs)
    limits: LimitInputs = field(default_factory=LimitInputs)
    trials: TrialInputs = field(default_factory=TrialInputs)


def of_matrix_verb(values: Mapping[str, Any]) -> MatrixVerbInputs:
    """Return the groups of a matrix verb. `values`: typed inputs by name; an absent one has its default."""
    return MatrixVerbInputs(
        matrix=_filled(MatrixInputs, values),
        history=_filled(HistoryInputs, values),
        report=_filled(ReportInputs, values),
        work=_filled(WorkInputs, values),
        machine=_filled(MachineInputs, values),
        limits=_filled(LimitInputs, values),
        trials=_filled(TrialInputs, values),
    )


def of_drill(values: Mapping[str, Any]) -> DrillInputs:
    """Return the group of a drill."""
    return _filled(DrillInputs, values)


def _filled(group: type[Group], values: Mapping[str, Any]) -> Group:
    names = {declared.name for declared in fields(group)}  # type: ignore[arg-type]  # every group is a dataclass
    return group(**{name: value for name, value in values.items() if name in names})
