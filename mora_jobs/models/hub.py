"""hf://owner/name: a snapshot of a hub repository, and what its errors mean for the user."""

import os
from pathlib import Path

from mora_jobs.artifacts.failures import StoreUnavailable, translate
from mora_jobs.errors import UserError

# Everything transformers and vLLM read; not the same weights again in the formats of other frameworks.
IGNORED = [
    "*.h5",
    "*.msgpack",
    "*.onnx",
    "*.onnx_data",
    "*.tflite",
    "*.ot",
    "*.ckpt",
    "original/*",
    "onnx/*",
    "openvino/*",
]
TOKEN_TODO = "give a token by HF_TOKEN or spec.credentials `hf`, or correct the name"
MOUNTED_TOKEN = Path("/var/run/secrets/mora/hf")


def hub_token() -> str | None:
    """The user's token: HF_TOKEN, the file HF_TOKEN_PATH, MORA_CREDENTIAL_HF, or the mounted credential `hf`."""
    for variable in ("HF_TOKEN", "MORA_CREDENTIAL_HF"):
        if token := os.environ.get(variable, "").strip():
            return token
    for file in (os.environ.get("HF_TOKEN_PATH"), MOUNTED_TOKEN):
        if file and Path(file).is_file():
            return Path(file).read_text().strip() or None
    return None


def snapshot(uri: str, revision: str | None) -> tuple[Path, str | None]:
    """The local path of `uri` (a repository, a folder or a .gguf file inside one), and the commit it is of.

    A repository that is in the hub's cache is used when the hub cannot be reached (HF_HUB_OFFLINE=1 asks for that).
    Raises UserError for what the user can put right, StoreUnavailable when the hub does not answer.
    """
    parts = uri.removeprefix("hf://").strip("/").split("/")
    if len(parts) < 2 or not all(parts):
        raise UserError(uri, "is not the name of a hub repository", "write hf://OWNER/NAME")
    repo, inside = "/".join(parts[:2]), "/".join(parts[2:])
    if "@" in repo:
        raise UserError(uri, "holds a revision", "put it into the field `revision`")
    root = _download(uri, repo, inside, revision)
    path = root / inside if inside else root
    if not path.exists():
        raise UserError(uri, f"the repository {repo} has no {inside}", "correct the URI")
    # The cache keeps snapshots/<commit>/.
    commit = root.name if root.parent.name == "snapshots" else None
    return path, commit


def _download(uri: str, repo: str, inside: str, revision: str | None) -> Path:
    from huggingface_hub import errors as hub
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import HF_HUB_OFFLINE

    wanted = None if not inside else [inside] if inside.endswith(".gguf") else [f"{inside}/*"]
    at = f" at revision {revision}" if revision else ""
    try:
        return Path(
            snapshot_download(
                repo, revision=revision, token=hub_token(), allow_patterns=wanted, ignore_patterns=IGNORED
            )
        )
    except hub.GatedRepoError as error:
        todo = (
            f"accept its terms at https://huggingface.co/{repo} and give a token by HF_TOKEN or spec.credentials `hf`"
        )
        raise UserError(uri, "is gated", todo) from error
    except hub.RevisionNotFoundError as error:
        raise UserError(uri, f"has no revision {revision}", "correct spec.model.revision") from error
    except (hub.RepositoryNotFoundError, hub.DisabledRepoError) as error:
        raise UserError(uri, "is not on the hub, or it is private", TOKEN_TODO) from error
    except hub.HFValidationError as error:
        raise UserError(uri, "is not the name of a hub repository", "write hf://OWNER/NAME") from error
    except (hub.LocalEntryNotFoundError, hub.OfflineModeIsEnabled) as error:
        if HF_HUB_OFFLINE:
            todo = "unset HF_HUB_OFFLINE, or use a folder by file://"
            raise UserError(uri, f"is not in the hub's cache{at}, and HF_HUB_OFFLINE is set", todo) from error
        raise StoreUnavailable(uri, f"the hub cannot be reached, and the cache does not hold it{at}") from error
    except hub.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in {401, 403}:
            raise UserError(uri, f"the hub refuses access ({status})", TOKEN_TODO) from error
        raise StoreUnavailable(uri, f"the hub answered {status}") from error
    except Exception as error:  # a full disk, a connection that broke: said as for any other store
        raise translate(uri, error) from error
