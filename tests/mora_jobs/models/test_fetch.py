"""A model URI becomes a local folder; what is wrong with it becomes one line."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import fsspec
import pytest

from mora_jobs import api
from mora_jobs.errors import UserError
from mora_jobs.models import fetch, load_tokenizer, render_chat
from mora_jobs.models.hub import hub_token

HELLO = [{"role": "user", "content": "Grüße 🙂"}]


def ref(uri: str | Path, **fields: Any) -> api.ModelRef:
    return api.ModelRef.model_validate({"uri": uri if isinstance(uri, str) else f"file://{uri}", **fields})


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "copy"))


def edit(file: Path, **changes: Any) -> None:
    value = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: each for key, each in value.items() if each is not None}))


def test_a_folder_is_used_where_it_is(tiny_model: Path) -> None:
    local = fetch(ref(tiny_model))
    assert local.path == tiny_model
    assert (local.gguf, local.revision, local.adapters) == (None, None, ())
    assert local.digest.startswith("sha256:")
    assert local.chat_template_digest is not None


def test_the_digest_is_of_the_model_not_of_its_place(tiny_model: Path, copy: Path) -> None:
    one, two = fetch(ref(tiny_model)), fetch(ref(copy))
    assert (one.digest, one.tokenizer_digest) == (two.digest, two.tokenizer_digest)
    (copy / "README.md").write_text("new words")
    (copy / "pytorch_model.bin").write_bytes(b"the same weights again")
    (copy / ".cache").mkdir()
    (copy / ".cache" / "x").write_text("x")
    assert fetch(ref(copy)).digest == one.digest
    edit(copy / "config.json", rms_norm_eps=1e-5)
    changed = fetch(ref(copy))
    assert changed.digest != one.digest
    assert changed.tokenizer_digest == one.tokenizer_digest


def test_a_file_that_changes_in_place_is_noticed(copy: Path) -> None:
    before = fetch(ref(copy)).digest
    weights = copy / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert fetch(ref(copy)).digest != before


def test_from_an_object_store(tiny_model: Path) -> None:
    fs = fsspec.filesystem("memory")
    fs.put(str(tiny_model), "/bucket/models/tiny", recursive=True)
    local = fetch(ref("file:///unused").with_changes(uri="memory://bucket/models/tiny"))
    assert local.digest == fetch(ref(tiny_model)).digest
    assert local.path != tiny_model
    assert load_tokenizer(local).name_or_path == "memory://bucket/models/tiny"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("file:///no/such/folder", "there is no such file or folder; correct the URI"),
        ("hf://justaname", "is not the name of a hub repository; write hf://OWNER/NAME"),
        ("hf://owner/name@main", "holds a revision; put it into the field `revision`"),
        ("hf://owner/name", "is not in the hub's cache, and HF_HUB_OFFLINE is set; unset HF_HUB_OFFLINE"),
        ("pvc://claim/path", "can only be read in a cluster"),
        ("s3://bucket", "names no model"),
    ],
)
def test_uris_that_lead_nowhere(uri: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError) as caught:
        fetch(ref(uri))
    assert str(caught.value).startswith(uri)
    assert message in str(caught.value)


def test_revisions_are_for_the_hub(tiny_model: Path) -> None:
    with pytest.raises(UserError, match="has no revisions"):
        fetch(ref(tiny_model, revision="main"))


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(UserError, match=r"is not a model folder: it has no config.json; use the transformers layout"):
        fetch(ref(tmp_path))
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    with pytest.raises(UserError, match=r"give the file itself, e.g. file://.*/a.gguf"):
        fetch(ref(tmp_path))
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match=r"is an adapter, not a model; list it in spec.model.adapters"):
        fetch(ref(tmp_path))


def test_a_file_that_is_no_gguf(tiny_model: Path) -> None:
    with pytest.raises(UserError, match=r"is a file, but not a .gguf file"):
        fetch(ref(tiny_model / "config.json"))


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_of_the_repository_is_refused(copy: Path, name: str) -> None:
    edit(copy / name, auto_map={"AutoModelForCausalLM": "modeling.Evil"})
    with pytest.raises(UserError, match=rf"brings its own Python code \({name} has auto_map\).*Deny refuses"):
        fetch(ref(copy))
    assert fetch(ref(copy, trustRemoteCode="Allow")).trust_remote_code


def test_a_broken_config(copy: Path) -> None:
    (copy / "config.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read as JSON"):
        fetch(ref(copy))


def test_the_chat_template_in_force(tiny_model: Path) -> None:
    local = fetch(ref(tiny_model))
    assert render_chat(load_tokenizer(local), HELLO) == (
        "<|im_start|>user\nGrüße 🙂<|im_end|>\n<|im_start|>assistant\n"
    )
    assert render_chat(load_tokenizer(local), HELLO, add_generation_prompt=False).endswith("<|im_end|>\n")
    own = fetch(ref(tiny_model, chatTemplate="{{ messages[0].content }}!"))
    assert render_chat(load_tokenizer(own), HELLO) == "Grüße 🙂!"
    assert own.digest == local.digest
    assert own.chat_template_digest != local.chat_template_digest


@pytest.mark.parametrize("place", ["chat_template.jinja", "tokenizer_config.json", "named"])
def test_where_a_chat_template_may_stand(copy: Path, place: str) -> None:
    (copy / "chat_template.jinja").unlink()
    text = "{{ messages[0].content }}?"
    if place == "chat_template.jinja":
        (copy / place).write_text(text)
    else:
        named = [{"name": "tools", "template": "no"}, {"name": "default", "template": text}]
        edit(copy / "tokenizer_config.json", chat_template=text if place != "named" else named)
    local = fetch(ref(copy))
    assert local.chat_template == text
    assert render_chat(load_tokenizer(local), HELLO) == "Grüße 🙂?"


def test_a_model_without_a_chat_template(copy: Path) -> None:
    (copy / "chat_template.jinja").unlink()
    local = fetch(ref(copy))
    assert local.chat_template_digest is None
    with pytest.raises(UserError) as caught:
        render_chat(load_tokenizer(local), HELLO)
    assert str(caught.value) == f"file://{copy}: has no chat template; give one in spec.model.chatTemplate"


def test_a_template_that_is_not_jinja(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(fetch(ref(tiny_model, chatTemplate="{% for %}")))
    with pytest.raises(UserError, match=r"its chat template is not valid Jinja .line 1"):
        render_chat(tokenizer, HELLO)


def test_a_template_that_refuses_the_prompt(tiny_model: Path) -> None:
    template = "{{ raise_exception('roles must alternate') }}"
    tokenizer = load_tokenizer(fetch(ref(tiny_model, chatTemplate=template)))
    with pytest.raises(ValueError, match="refuses the prompt: roles must alternate"):
        render_chat(tokenizer, HELLO)


def test_a_folder_without_a_tokenizer(copy: Path) -> None:
    for file in copy.glob("*token*"):
        file.unlink()
    with pytest.raises(UserError, match="has no tokenizer that can be loaded"):
        load_tokenizer(fetch(ref(copy)))


def test_the_token_may_be_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "MORA_CREDENTIAL_HF", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    assert hub_token() is None
    (tmp_path / "token").write_text("hf_file\n")
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "token"))
    assert hub_token() == "hf_file"
    monkeypatch.setenv("MORA_CREDENTIAL_HF", "hf_local")
    assert hub_token() == "hf_local"
    monkeypatch.setenv("HF_TOKEN", "hf_env")
    assert hub_token() == "hf_env"


def test_a_snapshot_in_the_hubs_cache(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    root = tmp_path / "models--owner--tiny"
    shutil.copytree(tiny_model, root / "snapshots" / commit)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for revision in (None, commit):
        local = fetch(ref("hf://owner/tiny", revision=revision))
        assert local.revision == commit
        assert local.digest == fetch(ref(tiny_model)).digest
    with pytest.raises(UserError, match="is not in the hub's cache at revision v2"):
        fetch(ref("hf://owner/tiny", revision="v2"))


def test_importing_and_fetching_load_neither_torch_nor_ray(tiny_model: Path) -> None:
    code = (
        "import sys; from mora_jobs import api, models; "
        f"models.fetch(api.ModelRef(uri='file://{tiny_model}')); "
        "print([name for name in ('torch', 'ray', 'transformers', 'vllm') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
