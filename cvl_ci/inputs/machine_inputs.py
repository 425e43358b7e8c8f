"""The inputs that describe the machines of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cvl_ci.inputs import accelerators, machine_sizes, parsers
from cvl_ci.inputs.option import RUN_VERBS, option
from cvl_ci.model.resource_request import Spot


@dataclass(frozen=True, kw_only=True)
class MachineInputs:
    """The machines. `gpu` holds the names as a person wrote them; planning makes them SkyPilot's."""

    gpu: Mapping[str, int] | None = option(
        accelerators.read,
        help="GPU and count. A comma list is an order of preference. Braces, or `any:` before the list, take the "
        "cheapest. `none` means no GPU.",
        metavar="GPU",
        example="{L4:1, A10G:1}",
        default="the example's own need",
        other_flags=("--gpus",),
    )
    spot: Spot | None = option(
        parsers.spot,
        help="`true`: spot machines only, which cost less and which the provider may take away. `fallback`: "
        "spot first, then on-demand.",
        metavar="true|false|fallback",
        example="fallback",
        default="false",
        is_value_optional=True,
        other_names=("use_spot",),
        verbs=(*RUN_VERBS, "matrix"),
    )
    recover: int | None = option(
        parsers.recoveries,
        help="How many times new machines may replace those that the provider took away. The job starts again, within "
        "the same time limit and max_cost.",
        metavar="N",
        example="3",
        default="3 for a task with job_recovery or retry, or for spot with `checkpoint_to`, else 0",
        verbs=(*RUN_VERBS, "matrix"),
    )
    num_nodes: int | None = option(
        machine_sizes.nodes,
        help="The number of machines that run the job together.",
        metavar="N",
        example="2",
        default="1",
    )
    image: str | None = option(
        parsers.image,
        help="Run everything inside this Docker image. Without it, the example uses the machine's own Docker.",
        metavar="IMAGE",
        example="pytorch/pytorch:2.4.0-cuda12.1-cudnn9-runtime",
    )
    cpus: float | None = option(
        machine_sizes.vcpus,
        help="The least number of vCPUs of a machine.",
        metavar="N",
        example="8",
        default="the example's own need",
    )
    memory: float | None = option(
        machine_sizes.memory,
        help="The least memory of a machine, in GiB.",
        metavar="GIB",
        example="32",
        default="the example's own need",
    )
    disk_size: int | None = option(
        machine_sizes.disk,
        help="The disk of a machine, in GB.",
        metavar="GB",
        example="200",
        default="100, or the example's own need and 60 more for the image",
    )
    instance_type: str | None = option(
        parsers.text,
        help="Exactly this type of machine. `cloud` must name one cloud.",
        metavar="TYPE",
        example="g6.xlarge",
    )
    cluster_name: str | None = option(
        parsers.text,
        help="A name for people, as SkyPilot takes it. The machine itself has the name of its lease.",
        metavar="NAME",
        example="my-training",
        default="the lease's name",
    )
