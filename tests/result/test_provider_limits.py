"""Real answers of providers: which of them speak of a quota, and which of too many requests."""

from __future__ import annotations

import pytest

from cvl_ci.engine.process import WorkerFailed
from cvl_ci.engine.sky_refusals import FailureKind, kind_of
from cvl_ci.result.matrix.failures import Failure, failure
from cvl_ci.result.provider_limits import is_quota, is_rate
from tests.result.benchmark.legs import leg, never_started

QUOTAS = {
    # "Error codes for the Amazon EC2 API", docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
    "aws vcpu": "An error occurred (VcpuLimitExceeded) when calling the RunInstances operation: You have requested "
    "more vCPU capacity than your current vCPU limit of 0 allows for the instance bucket that the specified instance "
    "type belongs to.",
    "aws instances": "InstanceLimitExceeded: Your quota allows for 0 more running instance(s).",
    "aws spot": "MaxSpotInstanceCountExceeded: Max spot instance count exceeded",
    "aws spot, words alone": "Max spot instance count exceeded",
    "aws volumes": "VolumeLimitExceeded: You have exceeded your maximum gp3 storage limit of 50 TiB in this region.",
    # SkyPilot 0.14.1, backends/cloud_vm_ray_backend.py, and GoogleCloudPlatform/ai-on-gke#849
    "gcp": "QUOTA_EXCEEDED: Quota 'NVIDIA_L4_GPUS' exceeded.  Limit: 1.0 in region us-central1.",
    "gcp everywhere": "Quota 'GPUS_ALL_REGIONS' exceeded. Limit: 0.0 globally.",
    # nforgeio/neonKUBE#1671, hashicorp/terraform#10056
    "azure cores": "(OperationNotAllowed) Operation could not be completed as it results in exceeding approved Total "
    "Regional Cores quota. Additional details - Location: centralus, Current Limit: 10, Current Usage: 8",
    "azure of old": 'Code="OperationNotAllowed" Message="Operation results in exceeding quota limits of Core."',
    "azure": "QuotaExceeded: The quota for this resource is used up.",
    "skypilot": "ResourcesUnavailableError: Found no quota for A100:8 in region us-east-1",
}
RATES = {
    # "Request throttling for the Amazon EC2 API"
    "aws": "An error occurred (RequestLimitExceeded) when calling the RunInstances operation (reached max retries: 4): "
    "Request limit exceeded.",
    "aws code": "RequestLimitExceeded",
    "aws others": "An error occurred (Throttling) when calling the GetRole operation (reached max retries: 4): "
    "Rate exceeded",
    # GoogleCloudPlatform/marketing-analytics-jumpstart#163, googleapis/repo-automation-bots#4469
    "gcp": "googleapi: Error 403: Quota exceeded for quota metric 'Queries' and limit 'Queries per minute' of service "
    "'compute.googleapis.com' for consumer 'project_number:1'., rateLimitExceeded",
    "gcp code": "rateLimitExceeded",
    "gcp reason": 'reason: "RATE_LIMIT_EXCEEDED" quota_limit: "ReadRequestsPerMinutePerProject"',
    "gcp words": "8 RESOURCE_EXHAUSTED: Quota exceeded for quota metric 'Read requests' and limit 'Read requests per "
    "minute per region' of service 'run.googleapis.com'",
    # "Troubleshooting API throttling errors", Azure Compute; MicrosoftDocs/azure-docs#105248
    "azure": "(OperationNotAllowed) The server rejected the request because too many requests have been received for "
    "this subscription.",
    "azure code": "TooManyRequests",
    "azure subscription": "SubscriptionRequestsThrottled: Number of requests for subscription 'x' and operation 'y' "
    "exceeded the backend storage limit. Please try again after '6' seconds.",
}
NEITHER = {
    "aws capacity": "InsufficientInstanceCapacity: We currently do not have sufficient p5.48xlarge capacity in the "
    "Availability Zone you requested (us-east-1a).",
    "gcp capacity": "ZONE_RESOURCE_POOL_EXHAUSTED: The zone 'projects/p/zones/us-central1-b' does not have enough "
    "resources available to fulfill the request.",
    "azure capacity": "AllocationFailed: Allocation failed. We do not have sufficient capacity.",
    "azure not allowed": "(OperationNotAllowed) The specified disk is attached to a running VM.",
}
KINDS = {
    **dict.fromkeys(QUOTAS.values(), Failure.QUOTA),
    **dict.fromkeys([*RATES.values(), *NEITHER.values()], Failure.CAPACITY),
}


@pytest.mark.parametrize("text", KINDS, ids=[*(f"quota {name}" for name in QUOTAS), *RATES, *NEITHER])
def test_a_quota_is_told_from_too_many_requests_and_from_a_lack_of_machines(text: str) -> None:
    assert is_quota(text) == (text in QUOTAS.values())
    assert is_rate(text) == (text in RATES.values())
    told = leg(**never_started(75, "No machine could be had.", attempts=[{"cloud": "x", "error": text}]))
    assert failure(told) is KINDS[text]


@pytest.mark.parametrize(
    "text", [*QUOTAS.values(), *RATES.values()], ids=[*(f"quota {name}" for name in QUOTAS), *RATES]
)
def test_a_launch_that_was_refused_so_has_the_same_kind(text: str) -> None:
    refused = WorkerFailed(error="CloudError", text=text)
    assert kind_of(refused) is (FailureKind.QUOTA if text in QUOTAS.values() else FailureKind.ENGINE)


def test_one_place_without_quota_makes_a_quota_of_it_whatever_other_places_said() -> None:
    tried = [{"cloud": "x", "error": text} for text in (RATES["gcp"], NEITHER["aws capacity"], QUOTAS["azure cores"])]
    assert failure(leg(**never_started(75, "No machine could be had.", attempts=tried))) is Failure.QUOTA
    assert failure(leg(**never_started(75, "No machine could be had.", attempts=tried[:2]))) is Failure.CAPACITY
