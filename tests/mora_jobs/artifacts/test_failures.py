"""Every library's way of reporting trouble becomes one of our few answers."""

import errno
import os
from pathlib import Path

import adlfs
import aiohttp
import azure.core.exceptions
import botocore.exceptions
import google.auth.exceptions
import httpx2
import pytest
import requests
from gcsfs.retry import HttpError
from s3fs.errors import translate_boto_error

from mora_jobs.artifacts import remote_files
from mora_jobs.artifacts.failures import DiskFull, StoreUnavailable, translate
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table
from mora_jobs.errors import UserError

URI = "s3://bucket/folder/file"


def boto(code: str, status: int) -> BaseException:
    response = {"Error": {"Code": code, "Message": "words"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return translate_boto_error(botocore.exceptions.ClientError(response, "PutObject"))


def azure_error(kind: type[azure.core.exceptions.HttpResponseError], status: int, code: str) -> BaseException:
    error = kind("words")
    error.status_code, error.error_code = status, code
    return error


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (boto("NoSuchKey", 404), FileNotFoundError, ""),
        (boto("NoSuchBucket", 404), UserError, "no such bucket"),
        (boto("AccessDenied", 403), UserError, "permission denied"),
        (boto("InvalidAccessKeyId", 403), UserError, "AWS_ACCESS_KEY_ID"),
        (boto("403", 403), UserError, "permission denied"),
        (boto("PreconditionFailed", 412), FileExistsError, ""),
        (boto("ConditionalRequestConflict", 409), StoreUnavailable, "409"),
        (boto("SlowDown", 503), StoreUnavailable, "503 SlowDown"),
        (boto("InternalError", 500), StoreUnavailable, "500"),
        (boto("XMinioStorageFull", 507), DiskFull, "no space left"),
        (botocore.exceptions.NoCredentialsError(), UserError, "set AWS_ACCESS_KEY_ID"),
        (botocore.exceptions.EndpointConnectionError(endpoint_url="http://x"), StoreUnavailable, "cannot connect"),
        (botocore.exceptions.ReadTimeoutError(endpoint_url="http://x"), StoreUnavailable, "cannot connect"),
        (HttpError({"code": 503, "message": "busy"}), StoreUnavailable, "503"),
        (HttpError({"code": 429, "message": "slow"}), StoreUnavailable, "429"),
        (HttpError({"code": 404, "message": "The specified bucket does not exist."}), UserError, "no such bucket"),
        (HttpError({"code": 401, "message": "Invalid Credentials"}), UserError, "permission denied"),
        (OSError("Forbidden: https://storage.googleapis.com/b/o\nno"), UserError, "permission denied"),
        (FileExistsError("b/o"), FileExistsError, ""),
        (google.auth.exceptions.DefaultCredentialsError("none"), UserError, "no usable credentials"),
        (azure_error(azure.core.exceptions.ResourceNotFoundError, 404, "BlobNotFound"), FileNotFoundError, ""),
        (
            azure_error(azure.core.exceptions.ResourceNotFoundError, 404, "ContainerNotFound"),
            UserError,
            "no such bucket",
        ),
        (
            azure_error(azure.core.exceptions.ClientAuthenticationError, 403, "AuthorizationFailure"),
            UserError,
            "no usable",
        ),
        (azure_error(azure.core.exceptions.HttpResponseError, 500, "InternalError"), StoreUnavailable, "500"),
        (azure.core.exceptions.ServiceRequestError("no route"), StoreUnavailable, "cannot connect"),
        (aiohttp.ClientConnectionError("reset"), StoreUnavailable, "cannot connect"),
        (requests.ConnectionError("refused"), StoreUnavailable, "cannot connect"),
        (httpx2.ConnectError("refused"), StoreUnavailable, "cannot connect"),
        (ConnectionResetError("reset"), StoreUnavailable, "cannot be reached"),
        (TimeoutError("late"), StoreUnavailable, "cannot be reached"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), DiskFull, "free space"),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), DiskFull, "raise the quota"),
        (OSError(errno.EROFS, os.strerror(errno.EROFS)), UserError, "read-only"),
        (OSError(errno.ENAMETOOLONG, "x"), UserError, "too long"),
        (OSError(errno.ESTALE, "stale"), StoreUnavailable, "cannot be reached"),
        (PermissionError(errno.EACCES, "no"), UserError, "permission denied"),
        (UserError("a", "b"), UserError, "a: b"),
        (KeyError("a bug of ours"), KeyError, "a bug"),
    ],
    ids=lambda value: None if isinstance(value, str | type) else f"{type(value).__name__}-{value}"[:60],
)
def test_errors_are_translated(error: BaseException, kind: type[BaseException], says: str) -> None:
    found = translate(URI, error)
    assert type(found) is kind
    assert says in str(found)
    assert "\n" not in str(found)
    if kind is not KeyError and not str(error).startswith("a: "):
        assert URI in str(found)


def test_azure_without_an_account_is_a_users_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    adlfs.AzureBlobFileSystem.clear_instance_cache()
    with pytest.raises(UserError, match="AZURE_STORAGE_ACCOUNT_NAME"):
        Store("az://container/folder").read("x")


OPERATIONS = {
    "read": lambda store: store.read("x"),
    "write": lambda store: store.write("x", b""),
    "create": lambda store: store.create("x", b""),
    "exists": lambda store: store.exists("x"),
    "list": lambda store: store.list(),
    "delete": lambda store: store.delete("x"),
    "local": lambda store: store.local("x"),
    "upload": lambda store: store.upload(Path(__file__), "x"),
    "read_all": lambda store: list(store.read_all(["x", "y"])),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_missing_bucket_is_named(s3_server: str, operation: str) -> None:
    with pytest.raises(UserError, match="no such bucket"):
        OPERATIONS[operation](Store("s3://absent-bucket/folder"))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_wrong_credentials_are_named(s3_server: str, operation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    monkeypatch.setitem(remote_files.OPTIONS, "s3", {**remote_files.OPTIONS["s3"], "skip_instance_cache": True})
    with pytest.raises(UserError, match="permission denied"):
        OPERATIONS[operation](Store("s3://artifacts/folder"))


def test_a_server_that_is_gone_is_waited_for_but_not_forever(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(remote_files, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setitem(remote_files.OPTIONS, "s3", {**remote_files.OPTIONS["s3"], "skip_instance_cache": True})
    with pytest.raises(StoreUnavailable, match="cannot connect"):
        Store("s3://artifacts/folder").read("x")


def test_a_server_that_comes_back_is_enough(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store("s3://artifacts/comes-back")
    files = store._files
    assert isinstance(files, remote_files.RemoteFiles)
    filesystem, failures = files._filesystem, iter([ConnectionResetError("gone"), TimeoutError("late")])

    def sometimes() -> object:
        for failure in failures:
            raise failure
        return filesystem()

    monkeypatch.setattr(files, "_filesystem", sometimes)
    store.write("x", b"1")
    assert store.read("x") == b"1"


def test_no_permission_is_a_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for store in (Store(f"file://{tmp_path}/file"), Store("file:///proc/nothing")):
        with pytest.raises(UserError):
            store.write("x", b"")
        assert store.list() == []
    with pytest.raises(UserError):
        Table.open(Store(f"file://{tmp_path}/file"), "t")
