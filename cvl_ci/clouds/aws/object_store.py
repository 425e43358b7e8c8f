"""One S3 bucket, as the ObjectStore port: conditional writes, parts, and the store's own checksums.

S3 checks the SHA-256 of each part that it takes and returns it (S3 User Guide, "Checking object integrity"). A store
that returns none has checked nothing, and the caller must read the object back.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, BinaryIO

from cvl_ci.errors import CredentialsError, EngineError, StorageError
from cvl_ci.ports.models import StoredObject, StoredPart, UnfinishedUpload

PIECE = 1 << 20
MOST_SMALL = 64 << 20
"""The longest object that is read whole."""
ANSWER_SECONDS = 900.0
"""CompleteMultipartUpload may take several minutes, in which S3 sends blanks (Amazon S3 API Reference)."""
SMALL_SECONDS = 60.0
"""For the whole body of such an object, however steadily it drips."""
SLOW_SECONDS, LEAST_SPEED = 60.0, 10_000
"""A long object that brought fewer bytes a second in this time has no answer."""
DELETED_AT_ONCE = 1000
"""S3 API reference, DeleteObjects."""
UNFINISHED_DAYS = 7
"""A large upload over a slow line takes days, and a later one continues it."""
_RULE = "cvl-ci-unfinished-uploads"
_ABSENT = {"404", "NoSuchKey", "NotFound"}
_TAKEN = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
_DENIED = {"AccessDenied", "403", "Forbidden"}
_UNKNOWN_KEYS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}


class S3Bucket:
    """`client`: a boto3 S3 client. Threads share it."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client, self._bucket = client, bucket

    def head(self, key: str) -> StoredObject | None:
        answer = self._ask("head_object", absent=_ABSENT, Key=key)
        if answer is None:
            return None
        return StoredObject(
            key=key, size=int(answer["ContentLength"]), version=str(answer["ETag"]), labels=dict(answer["Metadata"])
        )

    def get(self, key: str) -> tuple[bytes, str] | None:
        answer = self._ask("get_object", absent=_ABSENT, Key=key)
        if answer is None:
            return None
        with closing(answer["Body"]) as body:
            content = b"".join(self._pieces(body, key, most=MOST_SMALL, seconds=SMALL_SECONDS))
        return content, str(answer["ETag"])

    @contextmanager
    def stream(self, key: str) -> Iterator[Iterator[bytes]]:
        answer = self._ask("get_object", Key=key)
        body = answer["Body"]
        try:
            yield self._pieces(body, key)
        finally:
            body.close()

    def put(self, key: str, body: bytes, *, labels: Mapping[str, str], replaces: str | None) -> bool:
        condition = {} if replaces is None else {"IfMatch": replaces} if replaces else {"IfNoneMatch": "*"}
        checksum = base64.b64encode(hashlib.sha256(body).digest()).decode()
        answer = self._ask(
            "put_object",
            absent=_TAKEN | (_ABSENT if replaces else set()),
            Key=key,
            Body=body,
            Metadata=dict(labels),
            ChecksumSHA256=checksum,
            **condition,
        )
        return answer is not None

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        for answer in self._pages("list_objects_v2", Prefix=prefix):
            for entry in answer.get("Contents", []):
                size, version = int(entry["Size"]), str(entry["ETag"])
                yield StoredObject(key=str(entry["Key"]), size=size, version=version, labels={})

    def delete(self, keys: Collection[str]) -> None:
        names = sorted(keys)
        for start in range(0, len(names), DELETED_AT_ONCE):
            batch = [{"Key": key} for key in names[start : start + DELETED_AT_ONCE]]
            answer = self._ask("delete_objects", Delete={"Objects": batch, "Quiet": True})
            errors = answer.get("Errors") or []
            if errors:
                raise self._error(f"{errors[0].get('Key')}: {errors[0].get('Message')}", "delete_objects")

    def uploads(self, prefix: str) -> Iterator[UnfinishedUpload]:
        for answer in self._pages("list_multipart_uploads", Prefix=prefix):
            for entry in answer.get("Uploads", []):
                yield UnfinishedUpload(
                    key=str(entry["Key"]), id=str(entry["UploadId"]), checksum=str(entry.get("ChecksumAlgorithm") or "")
                )

    def parts(self, upload: UnfinishedUpload) -> list[StoredPart]:
        parts: list[StoredPart] = []
        for answer in self._pages("list_parts", absent={"NoSuchUpload", "404"}, **_named(upload)):
            parts += [_part(int(one["PartNumber"]), int(one["Size"]), one) for one in answer.get("Parts", [])]
        return parts

    def begin(self, key: str, *, labels: Mapping[str, str]) -> UnfinishedUpload:
        answer = self._ask("create_multipart_upload", Key=key, Metadata=dict(labels), ChecksumAlgorithm="SHA256")
        return UnfinishedUpload(key=key, id=str(answer["UploadId"]))

    def send(self, upload: UnfinishedUpload, number: int, body: BinaryIO, *, sha256: str, size: int) -> StoredPart:
        answer = self._ask("upload_part", **_named(upload), PartNumber=number, Body=body, ChecksumSHA256=sha256)
        return _part(number, size, answer)

    def complete(self, upload: UnfinishedUpload, parts: Collection[StoredPart]) -> bool:
        entries = [
            {"PartNumber": one.number, "ETag": one.version, **({"ChecksumSHA256": one.sha256} if one.sha256 else {})}
            for one in sorted(parts, key=lambda part: part.number)
        ]
        absent = _TAKEN | {"NoSuchUpload", "404"}
        request = {"MultipartUpload": {"Parts": entries}, "IfNoneMatch": "*"}
        return self._ask("complete_multipart_upload", absent=absent, **_named(upload), **request) is not None

    def abort(self, upload: UnfinishedUpload) -> None:
        self._ask("abort_multipart_upload", absent={"NoSuchUpload", "404"}, **_named(upload))

    def end_unfinished_uploads(self, prefix: str) -> str:
        """Add our rule to those of the bucket: S3 replaces all rules at once, so they must be readable first."""
        try:
            current = self._ask("get_bucket_lifecycle_configuration", absent={"NoSuchLifecycleConfiguration"})
            rules = list((current or {}).get("Rules", []))
            if any(_ends_unfinished(rule, prefix) for rule in rules):
                return ""
            own = {
                "ID": f"{_RULE}-{hashlib.sha256(prefix.encode()).hexdigest()[:8]}",
                "Status": "Enabled",
                "Filter": {"Prefix": prefix},
                "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": UNFINISHED_DAYS},
            }
            size = "TransitionDefaultMinimumObjectSize"  # a request without it sets S3's default for the whole bucket
            preserved = {size: current[size]} if current and size in current else {}
            configuration = {"Rules": [*rules, own]}
            self._ask("put_bucket_lifecycle_configuration", LifecycleConfiguration=configuration, **preserved)
        except (StorageError, CredentialsError) as error:
            return error.what
        return ""

    # ---- below ------------------------------------------------------------------------------------------------------

    def _ask(self, operation: str, *, absent: Collection[str] = (), **arguments: Any) -> Any:
        """Return an answer; None for an error code of `absent`. Raises StorageError, CredentialsError."""
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        try:
            return getattr(self._client, operation)(Bucket=self._bucket, **arguments)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in absent:
                return None
            raise self._refused(code, operation, error) from None
        except NoCredentialsError:
            raise CredentialsError(
                f"There are no AWS credentials here for the bucket {self._bucket}.",
                next_step="Give `role_to_assume` or an access key; docs/models.md has the policy.",
            ) from None
        except (BotoCoreError, OSError) as error:
            raise self._error(str(error), operation) from None

    def _refused(self, code: str, operation: str, error: Exception) -> StorageError | CredentialsError:
        if code == "NoSuchBucket":
            return StorageError(
                f"The bucket {self._bucket} does not exist.",
                next_step=f"Create it first, in the region of your machines: aws s3 mb s3://{self._bucket}",
            )
        if code in _DENIED | _UNKNOWN_KEYS:
            return CredentialsError(
                f"AWS refuses {operation} in the bucket {self._bucket}: {code}.",
                next_step="docs/models.md has the policy that this needs.",
            )
        return self._error(str(error), operation)

    def _error(self, why: str, operation: str) -> StorageError:
        return StorageError(
            f"The bucket {self._bucket} gave no valid answer to {operation}: {why}"[:400],
            next_step="Try again: an upload continues where it ended.",
        )

    def _pages(self, operation: str, *, absent: Collection[str] = (), **arguments: Any) -> Iterator[Mapping[str, Any]]:
        following = {
            "list_objects_v2": (("ContinuationToken", "NextContinuationToken"),),
            "list_multipart_uploads": (("KeyMarker", "NextKeyMarker"), ("UploadIdMarker", "NextUploadIdMarker")),
            "list_parts": (("PartNumberMarker", "NextPartNumberMarker"),),
        }[operation]
        marks: dict[str, Any] = {}
        earlier_marks: list[dict[str, Any]] = []
        while True:
            answer = self._ask(operation, absent=absent, **arguments, **marks)
            if answer is None:
                return
            yield answer
            if "IsTruncated" not in answer:
                raise self._error("the list does not tell whether it is complete", operation)
            if not answer["IsTruncated"]:
                return
            earlier_marks.append(marks)
            marks = {name: answer[source] for name, source in following if answer.get(source)}
            if not marks or marks in earlier_marks:
                raise self._error("the list has no last page", operation)

    def _pieces(self, body: Any, key: str, *, most: int | None = None, seconds: float | None = None) -> Iterator[bytes]:
        """Yield a body as it comes. Raise StorageError for more than `most` bytes or `seconds`, and for a slow one."""
        from botocore.exceptions import BotoCoreError, IncompleteReadError

        # A read of botocore's body waits for all of its bytes, and each of them starts the socket's time-out again.
        body._raw_stream = _AsItComes(body._raw_stream)  # noqa: SLF001  botocore/response.py, StreamingBody
        length, waited = 0, 0.0
        try:
            while True:
                since = time.monotonic()
                piece = body.read(PIECE)
                waited += time.monotonic() - since
                if not piece:
                    return
                length += len(piece)
                if most is not None and length > most:
                    raise StorageError(f"{key} in the bucket {self._bucket} is longer than {most >> 20} MiB.")
                if seconds is not None and waited > seconds:
                    raise self._error(f"{key} did not arrive in {seconds:g} s", "get_object")
                if waited > SLOW_SECONDS and length < waited * LEAST_SPEED:
                    raise self._error(f"{key}: fewer than {LEAST_SPEED // 1000} kB a second arrive", "get_object")
                yield piece
        except (BotoCoreError, IncompleteReadError, OSError) as error:
            raise self._error(f"{key}: {error}", "get_object") from None


class _AsItComes:
    """A body of urllib3, of which one read brings the bytes that are there."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def read(self, size: int) -> bytes:
        piece: bytes = self._raw.read1(size)
        return piece

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)


def s3_client(*, environ: Mapping[str, str], is_local: bool = False) -> Any:
    """Return a client of S3 that threads can share. It finds credentials as boto3 does. Raises EngineError.

    `is_local`: an emulator on this computer, which no proxy can reach.
    """
    try:
        import boto3
        from botocore.config import Config
    except ImportError:
        raise EngineError(
            "The AWS client is not installed, so cvl-ci cannot reach a bucket.",
            money="No machine was started.",
            next_step="Install it: pip install 'cvl-ci[aws]'.",
        ) from None

    endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL") or None
    config = Config(
        retries={"mode": "standard", "max_attempts": 6},
        connect_timeout=10,
        read_timeout=60,
        max_pool_connections=32,
        s3={"addressing_style": "path"} if endpoint else None,
        proxies={} if is_local else None,
    )
    session = boto3.Session(
        aws_access_key_id=environ.get("AWS_ACCESS_KEY_ID"),
        aws_secret_access_key=environ.get("AWS_SECRET_ACCESS_KEY"),
        aws_session_token=environ.get("AWS_SESSION_TOKEN"),
        region_name=environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1",
    )
    from cvl_ci.clouds.aws import bounded_client

    new = session.client("s3", endpoint_url=endpoint, config=config)
    bounded_client.bind(new, seconds=ANSWER_SECONDS, leaves_streams=True)
    return new


def _named(upload: UnfinishedUpload) -> dict[str, str]:
    return {"Key": upload.key, "UploadId": upload.id}


def _part(number: int, size: int, answer: Mapping[str, Any]) -> StoredPart:
    return StoredPart(
        number=number, size=size, version=str(answer["ETag"]), sha256=str(answer.get("ChecksumSHA256") or "")
    )


def _ends_unfinished(rule: Mapping[str, Any], prefix: str) -> bool:
    """Return whether an enabled rule covers the prefix and no filter narrows it further."""
    narrowed = rule.get("Filter") or {}
    covered = str(narrowed.get("Prefix", rule.get("Prefix", "")) or "")
    is_plain = not narrowed or set(narrowed) <= {"Prefix"}
    is_enabled = rule.get("Status") == "Enabled" and "AbortIncompleteMultipartUpload" in rule
    return bool(is_enabled and is_plain and prefix.startswith(covered))
