"""How providers refuse a request: the account's quota, or too many requests in a short time. Pure.

Both answers use the words "quota" and "limit". A quota needs a person; too many requests need another try. So the
words for too many requests are looked for first.

- AWS: "Error codes for the Amazon EC2 API" (RequestLimitExceeded, Throttling; VcpuLimitExceeded, InstanceLimitExceeded,
  MaxSpotInstanceCountExceeded).
- Google: a quota is QUOTA_EXCEEDED (SkyPilot's cloud_vm_ray_backend.py reads it); the rate of the API is
  `rateLimitExceeded` or RATE_LIMIT_EXCEEDED, with "Quota exceeded for quota metric … per minute".
- Azure: QuotaExceeded, and OperationNotAllowed with "exceeding approved … quota"; the rate is TooManyRequests,
  SubscriptionRequestsThrottled, or OperationNotAllowed with "too many requests"
  ("Troubleshooting API throttling errors", Azure Compute).
"""

from __future__ import annotations

import re

_RATE = re.compile(
    r"Request ?LimitExceeded|Request limit exceeded|rate[_ ]?limit|throttl|too ?many ?requests|rate exceeded|"
    r"(?:requests|queries|operations|calls) per (?:second|minute|100 seconds|day)|PerMinutePer|backend storage limit",
    re.IGNORECASE,
)
_QUOTA = re.compile(
    r"quota|(?:v?cpu|instance|address|volume|service)\w* ?limit|max[\w ]*count ?exceeded", re.IGNORECASE
)


def is_rate(text: str) -> bool:
    """Return whether a provider says that it gets too many requests."""
    return _RATE.search(text) is not None


def is_quota(text: str) -> bool:
    """Return whether a provider says that the account may not have more machines. `text`: one answer."""
    return _QUOTA.search(text) is not None and not is_rate(text)
