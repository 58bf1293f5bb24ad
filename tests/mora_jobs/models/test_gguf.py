"""A .gguf file becomes a model folder once."""

import json
import threading
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from mora_jobs import api
from mora_jobs.errors import UserError
from mora_jobs.models import fetch, load_causal_lm, load_tokenizer, render_chat
from mora_jobs.models.cache import cache_folder, made_once


@pytest.fixture(scope="module")
def gguf_file(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as llama.cpp stores it, in Q8_0 where the format allows."""
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    config = model.config
    file = tmp_path_factory.mktemp("gguf") / "tiny.Q8_0.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(32)
    writer.add_vocab_size(config.vocab_size)
    vocabulary = tokenizer.get_vocab()
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    merges = json.loads((tiny_model / "tokenizer.json").read_text())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token.startswith("<|") else 1 for token in tokens])
    writer.add_token_merges([" ".join(each) for each in merges])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_bos_token_id(tokenizer.convert_tokens_to_ids("<|im_start|>"))
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_chat_template(tokenizer.chat_template)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight":
            continue  # tied
        target = names.get_name(name, try_suffixes=(".weight",))
        data = tensor.numpy()
        for key, heads in (("q_proj", config.num_attention_heads), ("k_proj", config.num_key_value_heads)):
            if key in name:  # llama.cpp's order of the rotary halves
                data = data.reshape(heads, 2, -1, data.shape[1]).swapaxes(1, 2).reshape(data.shape)
        if data.ndim == 2:
            packed = gguf.quantize(np.ascontiguousarray(data), gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(target, packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(target, data.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def test_a_gguf_file_is_the_model_it_was_made_from(gguf_file: Path, tiny_model: Path) -> None:
    local = fetch(api.ModelRef(uri=f"file://{gguf_file}"))
    assert local.gguf == gguf_file
    assert local.path.parent == cache_folder() / "gguf"
    model = load_causal_lm(local)
    assert model.dtype == torch.bfloat16
    assert getattr(model.config, "quantization_config", None) is None
    original = AutoModelForCausalLM.from_pretrained(tiny_model).state_dict()
    for name, tensor in model.state_dict().items():
        error = (tensor.float() - original[name]).abs().max()
        assert error < 0.012 * original[name].abs().max(), name
    text = render_chat(load_tokenizer(local), [{"role": "user", "content": "Grüße, bake bread 🙂"}])
    theirs = AutoTokenizer.from_pretrained(tiny_model)
    assert load_tokenizer(local)(text, add_special_tokens=False)["input_ids"] == theirs(text)["input_ids"]
    assert (local.path / "model.safetensors").stat().st_size < 2 * 2 * 400_000


def test_it_is_converted_once(gguf_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fetch(api.ModelRef(uri=f"file://{gguf_file}"))
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", None)
    assert fetch(api.ModelRef(uri=f"file://{gguf_file}")) == first


def test_a_file_that_is_not_gguf_inside(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF but no more")
    with pytest.raises(UserError, match=r"broken.gguf: cannot be read as a GGUF model"):
        fetch(api.ModelRef(uri=f"file://{tmp_path}/broken.gguf"))
    assert not list((cache_folder() / "gguf").glob(".*"))


def test_what_is_made_once_appears_whole_or_not_at_all() -> None:
    calls = []
    gate = threading.Barrier(4)

    def make(folder: Path) -> None:
        calls.append(folder)
        (folder / "a").write_text("a")
        if len(calls) == 1:
            raise RuntimeError("killed")
        (folder / "b").write_text("b")

    with pytest.raises(RuntimeError, match="killed"):
        made_once("test", "key", make)
    assert not (cache_folder() / "test" / "key").exists()

    found: list[Path] = []

    def race() -> None:
        gate.wait(10)
        found.append(made_once("test", "key", make))

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 2
    assert set(found) == {cache_folder() / "test" / "key"}
    assert sorted(each.name for each in found[0].iterdir()) == ["a", "b"]
