"""What every room of mora_jobs tests with: a tiny real model made on the fly, a cache of its own, a small local Ray."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Read once at import by huggingface_hub: tests never ask a hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Read once by MKL: engines in this process compute as those that a pool starts (engines/choice.py).
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CORPUS = [
    "How do I bake bread at home? Mix flour, water, salt and yeast, then wait an hour and bake.",
    "Is it safe to mix bleach and ammonia? No, the gas is poisonous. Open a window and leave the room.",
    "What is the capital of France? The capital of France is Paris, and it has been for a long time.",
    "Please write a short story about a cat who wants to be helpful, harmless and truthful.",
    "The user asks a question, the assistant answers it in one or two sentences.",
]


def make_tiny_model(folder: Path, *, seed: int = 0, chat_template: str | None = CHAT_TEMPLATE) -> Path:
    """Save a random 0.4 M-parameter Llama with a byte-level BPE tokenizer (any Unicode) into `folder`.

    2 layers of width 128 with heads of 32 (which vLLM has kernels for), context 512, fp32. The weights are wide enough
    that sampling is neither uniform nor greedy.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    special = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=512, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        eos_token="<|im_end|>",
        clean_up_tokenization_spaces=False,
        model_max_length=512,
    )
    if chat_template is not None:
        fast.chat_template = chat_template
    fast.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.2,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session", autouse=True)
def mora_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """MORA_CACHE of this test run, so that tests neither use nor fill the user's cache."""
    folder = tmp_path_factory.mktemp("mora-cache")
    before = os.environ.get("MORA_CACHE")
    os.environ["MORA_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["MORA_CACHE"]
    else:
        os.environ["MORA_CACHE"] = before


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny chat model in the transformers layout. Do not write into it."""
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def ray_local(mora_cache: Path) -> Iterator[None]:
    """A Ray of two CPUs in this process's session, shared by all tests that ask for it."""
    import ray

    from mora_jobs.engines.cluster import start_local

    start_local(cpus=2)
    yield
    ray.shutdown()
