"""What went wrong in a store, said once for all filesystems.

Every library reports the same event in its own way (botocore's codes, gcsfs's HttpError, azure's status_code, an errno).
`translate` turns them into five answers: FileNotFoundError, FileExistsError, UserError (one line, do something about it),
DiskFull (a UserError) and StoreUnavailable (nobody's mistake: try again later).
"""

import asyncio
import errno
from collections.abc import Iterator

from mora_jobs.errors import UserError


class StoreUnavailable(Exception):
    """The store did not answer, or answered "not now", for as long as we were ready to wait. Worth another attempt."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(where, what)
        self.where = where
        self.what = what

    def __str__(self) -> str:
        return " ".join(f"{self.where}: {self.what}".split())


class DiskFull(UserError):
    """No space or quota left. What was committed before is kept."""


CREDENTIALS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE (and AWS_ENDPOINT_URL for a server of your own)",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS or give the pod a service account",
    "az": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or AZURE_STORAGE_CONNECTION_STRING",
    "hf": "set HF_TOKEN to a token that may read it",
}
FULL_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
USER_ERRNOS = {
    errno.EROFS: "the filesystem is read-only",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EISDIR: "is a folder, not a file",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "too many symbolic links",
}
UNAVAILABLE_ERRNOS = {
    errno.EIO,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.EHOSTDOWN,
    errno.ENOTCONN,
    errno.EREMOTEIO,
    errno.EBUSY,
}

# By qualified name, so that a store on one filesystem never imports the libraries of the others.
MISSING_CREDENTIALS = {
    "botocore.exceptions.NoCredentialsError",
    "botocore.exceptions.PartialCredentialsError",
    "botocore.exceptions.ProfileNotFound",
    "botocore.exceptions.CredentialRetrievalError",
    "google.auth.exceptions.GoogleAuthError",
    "azure.core.exceptions.ClientAuthenticationError",
}
NO_CONNECTION = {
    "botocore.exceptions.HTTPClientError",
    "botocore.exceptions.ConnectionError",
    "botocore.parsers.ResponseParserError",
    "aiohttp.client_exceptions.ClientError",
    "azure.core.exceptions.ServiceRequestError",
    "azure.core.exceptions.ServiceResponseError",
    "requests.exceptions.ConnectionError",
    "requests.exceptions.Timeout",
    "requests.exceptions.ProxyError",
    "httpx.TransportError",
    "httpx2.TransportError",
    "google.auth.exceptions.TransportError",
    "gcsfs.retry.ChecksumError",
}
NO_REPOSITORY = {"huggingface_hub.errors.RepositoryNotFoundError", "huggingface_hub.errors.RevisionNotFoundError"}


def translate(uri: str, error: BaseException) -> BaseException:
    """The error in our words; the same object when it is none of ours."""
    scheme = uri.split("://", 1)[0]
    chain = list(_chain(error))
    names = {name for e in chain for name in _names(e)}
    code, status = _service_code(chain)
    if isinstance(error, (UserError, StoreUnavailable)):
        return error
    if names & NO_CONNECTION and not status:
        return StoreUnavailable(uri, f"cannot connect ({_line(error)})")
    if names & MISSING_CREDENTIALS:
        return UserError(uri, f"no usable credentials ({_line(error)})", CREDENTIALS.get(scheme, ""))
    if code in {"NoSuchBucket", "ContainerNotFound", "InvalidBucketName"} or "bucket does not exist" in str(error):
        return UserError(uri, "no such bucket", "create it or correct the URI")
    if names & NO_REPOSITORY:
        return UserError(uri, "no such repository or revision, or it is private", CREDENTIALS["hf"])
    if code == "PreconditionFailed" or status == 412 or isinstance(error, FileExistsError):
        return FileExistsError(uri)
    if status in {401, 403} or isinstance(error, PermissionError) or str(error).startswith("Forbidden"):
        return UserError(uri, f"permission denied ({code or _line(error)})", CREDENTIALS.get(scheme, ""))
    if status == 507 or code in {"XMinioStorageFull", "QuotaExceeded"} or _errno(error) in FULL_ERRNOS:
        return DiskFull(uri, f"no space left ({_line(error)})", "free space or raise the quota and run again")
    if isinstance(error, FileNotFoundError) or status == 404:
        return FileNotFoundError(uri)
    if status in {408, 409, 425, 429} or status >= 500:
        return StoreUnavailable(uri, f"the service answered {status} {code}".strip())
    if isinstance(error, (ConnectionError, TimeoutError, asyncio.TimeoutError)) or _errno(error) in UNAVAILABLE_ERRNOS:
        return StoreUnavailable(uri, f"cannot be reached ({_line(error)})")
    if _errno(error) in USER_ERRNOS:
        return UserError(uri, USER_ERRNOS[_errno(error)])
    return error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _names(error: BaseException) -> Iterator[str]:
    for kind in type(error).__mro__:
        yield f"{kind.__module__}.{kind.__qualname__}"


def _errno(error: BaseException) -> int:
    return (getattr(error, "errno", None) or 0) if isinstance(error, OSError) else 0


def _service_code(chain: list[BaseException]) -> tuple[str, int]:
    """The service's own error code ("NoSuchBucket") and HTTP status, or ("", 0)."""
    for error in chain:
        response = getattr(error, "response", None)
        if isinstance(response, dict):  # botocore
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return str(response.get("Error", {}).get("Code", "")), int(status)
        status = getattr(error, "status_code", None) or getattr(error, "status", None) or getattr(error, "code", None)
        status = status or getattr(response, "status_code", None)
        if str(status).isdigit():
            return str(getattr(error, "error_code", None) or ""), int(str(status))
    return "", 0


def _line(error: BaseException) -> str:
    return " ".join((str(error) or type(error).__name__).split())[:200]
