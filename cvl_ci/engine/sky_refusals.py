"""Classify the failures of SkyPilot: every exception class of SkyPilot 0.14.1, and the words of the providers.

A class that SkyPilot adds fails tests/engine/test_refusals.py, so that a person decides. A failure without a rule
belongs to the engine: infrastructure never reddens a test of the user's code.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable, Sequence

from cvl_ci.engine.process import WorkerFailed
from cvl_ci.result import provider_limits

READING = "TaskUnreadable"
"""The worker's own name for any error of SkyPilot's loader about cvl-ci's task."""


class FailureKind(enum.Enum):
    """Kinds of failure. Between several places the first one decides: failures that may pass come first."""

    CAPACITY = "capacity"
    ENGINE = "engine"
    QUOTA = "quota"
    CREDENTIALS = "credentials"
    REQUEST = "request"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


CLASSES: dict[FailureKind, frozenset[str]] = {
    FailureKind.REQUEST: _words(
        """
        TaskUnreadable InvalidSkyPilotConfigError InvalidCloudConfigs KubernetesValidationError InvalidNamespaceError
        ProvisionUnsupportedError NotSupportedError ResourcesMismatchError InconsistentHighAvailabilityError
        StorageSpecError StorageSourceError StorageNameError StorageModeError StorageBucketGetError
        StorageExternalDeletionError NonExistentStorageAccountError VolumeNotFoundError VolumeTopologyConflictError
        InvalidWorkspaceNameError WorkspaceAmbiguousError UserRequestRejectedByPolicy PoolDoesNotExistError GitError
        ValidationError
        """
    ),
    FailureKind.CREDENTIALS: _words(
        """
        NoCloudAccessError InvalidCloudCredentials CloudUserIdentityError ClusterOwnerIdentityMismatchError
        ApiServerAuthenticationError PermissionDeniedError NoWorkspaceAccessError SeewebCredentialsFileNotFound
        SeewebApiKeyMissing SeewebAuthenticationError NoCredentialsError PartialCredentialsError
        DefaultCredentialsError RefreshError ClientAuthenticationError CredentialUnavailableError
        """
    ),
    FailureKind.CAPACITY: _words(
        """
        ResourcesUnavailableError ExecutionRetryableError ExecutionPausedError PrimeintellectResourcesUnavailableError
        """
    ),
    FailureKind.QUOTA: frozenset(),
    FailureKind.ENGINE: _words(
        """
        CloudError ClientError KubeAPIUnreachableError KubernetesError AWSAzFetchingError NetworkError
        ProvisionerError StopFailoverError ProvisionPrechecksError NoClusterLaunchedError FetchClusterInfoError
        StorageError StorageInitError StorageBucketCreateError StorageBucketDeleteError StorageUploadError
        ClusterNotUpError ClusterSetUpError ClusterDoesNotExist CachedClusterUnavailable ClusterStatusFetchingError
        InvalidClusterNameError PortDoesNotExistError VolumeNotReadyError
        SkyPilotExcludeArgsBaseException CommandFailureException CommandError
        SkyletInternalError SkyletMethodNotImplementedError SkyletUnavailableError
        ApiServerConnectionError APIVersionMismatchError APINotSupportedError ServerTemporarilyUnavailableError
        RequestCancelled RequestAlreadyExistsError RequestInterruptedError ExecutionPoolFullError
        ConcurrentWorkerExhaustedError RestfulPolicyError AuthDBTimeoutError JWTSecretUnavailableError
        UniqueConstraintViolationError LockTimeout _LaunchRequestParked ManagedJobReachedMaxRetriesError
        ManagedJobStatusError ManagedJobUserCancelledError ServeUserTerminatedError InvalidRecipeNameError
        RecipeAlreadyExistsError SeewebError VerdaException HyperbolicCatalogError HyperbolicError SCPClientError
        SCPOngoingRequestError SCPCreationFailError DigitalOceanError FluidstackAPIError LambdaCloudError MithrilError
        MithrilHttpError PaperspaceCloudError PrimeintellectAPIError VsphereError YottaAPIError
        """
    ),
}
_BY_CLASS = {name: kind for kind, names in CLASSES.items() for name in names}

# The providers' own error codes, and SkyPilot's sentences where it drops the code.
_WORDS: tuple[tuple[FailureKind, Callable[[str], object]], ...] = (
    (
        FailureKind.CAPACITY,
        re.compile(
            r"Insufficient(Instance|Host|Reserved\w*)?Capacity|InsufficientCapacity|insufficient-capacity|"
            r"ZONE_RESOURCE_POOL_EXHAUSTED|RESOURCE_POOL_EXHAUSTED|SpotMaxPriceTooLow|SkuNotAvailable|AllocationFailed|"
            r"OverconstrainedA\w+|out of capacity|not enough capacity|^Unsupported:|VolumeTypeNotAvailableInZone"
        ).search,
    ),
    (FailureKind.ENGINE, provider_limits.is_rate),
    (FailureKind.ENGINE, re.compile(r"ServiceUnavailable").search),
    (FailureKind.QUOTA, provider_limits.is_quota),
    (
        FailureKind.CREDENTIALS,
        re.compile(
            r"UnauthorizedOperation|AuthFailure|InvalidClientTokenId|UnrecognizedClient|SignatureDoesNotMatch|"
            r"AccessDenied|AuthorizationFailed|ExpiredToken|RequestExpired|OptInRequired|PendingVerification|"
            r"Unable to locate credentials|[Ii]nvalid cloud credentials|check your AWS credentials|"
            r"DescribeAvailabilityZones|PERMISSION_DENIED|which (is|are) not enabled|do(es)? not have access|"
            r"InvalidAuthenticationToken"
        ).search,
    ),
    (
        FailureKind.REQUEST,
        re.compile(
            r"InvalidAMIID|InvalidParameter|InvalidBlockDevice|InvalidInstanceType|InvalidVolume|InvalidSubnet|"
            r"UnsupportedOperation|invalid cloud config|does not contain any instances satisfying|"
            r"No launchable resource found|ImageNotFound|PlatformImageNotFound|badRequest"
        ).search,
    ),
)
_RAISED_OF_A_REQUEST = {"ValueError", "NotImplementedError"}
"""Plain exceptions that SkyPilot raises about its arguments, as long as it has not yet asked a provider."""


def kind_of(failure: WorkerFailed, *, refusals: Sequence[str] = (), was_requested: bool = True) -> FailureKind:
    """Return what caused the failure.

    `refusals`: the providers' answers. `asked`: whether any request reached a provider.
    """
    own = _of_classes((failure.error, *failure.bases))
    if own is FailureKind.CAPACITY:
        return _of_places(failure, refusals)
    if own is FailureKind.REQUEST and failure.error.startswith("Storage"):
        # A bucket that a person named may exist and refuse our credentials.
        return FailureKind.CREDENTIALS if kind_of_text(failure.text) is FailureKind.CREDENTIALS else own
    if own is FailureKind.ENGINE or own is None:
        words = kind_of_text(" ".join((failure.text, *failure.causes)))
        if words is not None:
            return words
        own = _first_of([_of_prefix(text) for text in (*failure.causes, *failure.history)]) or own
    if own is None and failure.error in _RAISED_OF_A_REQUEST and not was_requested:
        return FailureKind.REQUEST
    return own or FailureKind.ENGINE


def _of_classes(names: Iterable[str]) -> FailureKind | None:
    return next((_BY_CLASS[name] for name in names if name in _BY_CLASS), None)


def _of_places(failure: WorkerFailed, refusals: Sequence[str]) -> FailureKind:
    """Return the kind that decides between several refusals. A request is wrong only if no place lacked a machine."""
    reasons = [_of_reason(text) for text in failure.history]
    known_kinds = [kind for kind in reasons if kind is not None]
    # SkyPilot's history drops the provider's answer. So a history without reasons counts only if no answer arrived.
    kinds = [*known_kinds, *(_of_reason(text) or FailureKind.CAPACITY for text in refusals)]
    if not refusals:
        kinds = [kind or FailureKind.CAPACITY for kind in reasons]
    return _first_of(kinds) or kind_of_text(failure.text) or FailureKind.CAPACITY


def _of_reason(text: str) -> FailureKind | None:
    return kind_of_text(text) or _of_prefix(text)


def _of_prefix(text: str) -> FailureKind | None:
    """Return the kind of the class that a worker's text begins with; none for the engine's and SkyPilot's own."""
    kind = _BY_CLASS.get(text.partition(":")[0])
    return None if kind in (FailureKind.ENGINE, FailureKind.CAPACITY) else kind


def kind_of_text(text: str) -> FailureKind | None:
    """Return the kind of a provider's own words; None where they are of no known kind."""
    return next((kind for kind, is_said in _WORDS if is_said(text)), None)


def _first_of(kinds: Sequence[FailureKind | None]) -> FailureKind | None:
    return next((kind for kind in FailureKind if kind in kinds), None)
