"""A model URI becomes a local folder in the transformers layout, pinned by digests.

local = fetch(api.ModelRef(uri="hf://owner/name", revision="…"))    # also s3://, gs://, az://, file://, one .gguf file
local.path, local.digest, local.chat_template_digest
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mora_jobs import api
from mora_jobs.api.inputs import TrustRemoteCode
from mora_jobs.artifacts.store import Store
from mora_jobs.errors import UserError
from mora_jobs.models.digest import digest_files, digest_text, model_files, tokenizer_files
from mora_jobs.models.gguf import converted
from mora_jobs.models.hub import snapshot

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True)
class LocalAdapter:
    """A LoRA adapter in the PEFT layout. `config` is its adapter_config.json."""

    name: str
    path: Path
    digest: str
    config: dict[str, Any] = field(compare=False)


@dataclass(frozen=True)
class LocalModel:
    """A model on this machine.

    `path` is a folder that transformers and vLLM load; `revision` the commit of a hub repository; `gguf` the file that
    `path` was converted from. `digest` is over the model's files (of the .gguf file, where there is one) and differs
    from machine to machine only if the model does. `chat_template` is the template in force, None when there is none.
    """

    uri: str
    path: Path
    revision: str | None
    digest: str
    gguf: Path | None
    tokenizer_digest: str
    chat_template: str | None
    chat_template_digest: str | None
    trust_remote_code: bool = False
    adapters: tuple[LocalAdapter, ...] = ()


def fetch(model: api.ModelRef) -> LocalModel:
    """Download what is not here yet, and say exactly what it is. The second time costs milliseconds.

    Raises UserError (no such model, gated, not a model folder, brings code that trustRemoteCode denies) and
    StoreUnavailable (the service does not answer).
    """
    trusted = model.trust_remote_code is TrustRemoteCode.ALLOW
    path, revision = _locate(model.uri, model.revision)
    gguf = None
    if path.is_file():
        if path.suffix != ".gguf":
            raise UserError(model.uri, "is a file, but not a .gguf file", "give a model folder or one .gguf file")
        gguf, digest = path, digest_files(path.parent, [path])
        path = converted(model.uri, gguf, digest)
    else:
        _check_folder(model.uri, path, trusted)
        digest = digest_files(path, model_files(path))
    template = model.chat_template if model.chat_template is not None else stored_chat_template(path)
    return LocalModel(
        uri=model.uri,
        path=path,
        revision=revision,
        digest=digest,
        gguf=gguf,
        tokenizer_digest=digest_files(path, tokenizer_files(path)),
        chat_template=template,
        chat_template_digest=digest_text(template) if template is not None else None,
        trust_remote_code=trusted,
        adapters=tuple(_fetch_adapter(each) for each in model.adapters),
    )


def stored_chat_template(folder: Path) -> str | None:
    """The (default) chat template that the files of a tokenizer bring, in the order in which transformers looks."""
    jinja = folder / "chat_template.jinja"
    if jinja.is_file():
        return jinja.read_text(encoding="utf-8")
    for name in ("chat_template.json", "tokenizer_config.json"):
        template = _read_json(folder / name).get("chat_template")
        if isinstance(template, list):
            template = {each["name"]: each["template"] for each in template}.get("default")
        if isinstance(template, str):
            return template
    return None


def _locate(uri: str, revision: str | None) -> tuple[Path, str | None]:
    scheme, _, rest = uri.partition("://")
    if scheme == "hf":
        return snapshot(uri, revision)
    if revision is not None:
        raise UserError(uri, "has no revisions", "remove spec.model.revision, it goes with hf://")
    if scheme == "pvc":
        raise UserError(uri, "a volume claim can only be read in a cluster", "use a file:// URI")
    parent, _, name = rest.rstrip("/").rpartition("/")
    if not name or (not parent and scheme != "file"):
        raise UserError(uri, "names no model", f"write {scheme}://{'BUCKET/' if scheme != 'file' else '/'}FOLDER")
    try:
        return Store(f"{scheme}://{parent or '/'}").local(name), None
    except FileNotFoundError as error:
        raise UserError(uri, "there is no such file or folder", "correct the URI") from error


def _check_folder(uri: str, path: Path, trusted: bool) -> None:
    if not (path / "config.json").is_file():
        if (path / ADAPTER_CONFIG).is_file():
            raise UserError(uri, "is an adapter, not a model", "list it in spec.model.adapters")
        files = sorted(path.rglob("*.gguf"))
        todo = f"give the file itself, e.g. {uri.rstrip('/')}/{files[0].relative_to(path).as_posix()}" if files else ""
        raise UserError(uri, "is not a model folder: it has no config.json", todo or "use the transformers layout")
    for name in ("config.json", "tokenizer_config.json", "processor_config.json"):
        if not trusted and "auto_map" in _read_json(path / name):
            what = f"brings its own Python code ({name} has auto_map), which trustRemoteCode: Deny refuses"
            raise UserError(uri, what, "read that code, then set trustRemoteCode: Allow")


def _fetch_adapter(adapter: api.Adapter) -> LocalAdapter:
    path, _ = _locate(adapter.uri, None)
    weights = [path / ADAPTER_WEIGHTS, path / "adapter_model.bin"]
    if not (path / ADAPTER_CONFIG).is_file() or not any(each.is_file() for each in weights):
        what = f"adapter {adapter.name} is not in the PEFT layout ({ADAPTER_CONFIG} and {ADAPTER_WEIGHTS})"
        raise UserError(adapter.uri, what)
    digest = digest_files(path, [path / ADAPTER_CONFIG, next(each for each in weights if each.is_file())])
    return LocalAdapter(adapter.name, path, digest, _read_json(path / ADAPTER_CONFIG))


def _read_json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, OSError) as error:
        raise UserError(str(file), f"cannot be read as JSON ({error})") from error
    return value if isinstance(value, dict) else {}
