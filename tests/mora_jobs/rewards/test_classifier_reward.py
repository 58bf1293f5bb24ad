"""Classifier rewards on random real models: the score of a text alone is its score in every batch."""

import json
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    LlamaModel,
)

from mora_jobs import api
from mora_jobs.errors import UserError
from mora_jobs.rewards.base import Item
from mora_jobs.rewards.load import groups, load, make
from mora_jobs.rewards.templates import encode

WORDS = [
    "How",
    "do",
    "I",
    "bake",
    "bread",
    "at",
    "home",
    "?",
    "the",
    "gas",
    "is",
    "poisonous",
    "Paris",
    "capital",
    "of",
    "France",
    "Ünïcode",
    "猫",
    "helpful",
]


def items(count: int = 30) -> list[Item]:
    chance = random.Random(3)
    return [
        Item(str(i), " ".join(chance.choices(WORDS, k=5)), " ".join(chance.choices(WORDS, k=chance.randint(1, 60))))
        for i in range(count)
    ]


def llama_config(tokenizer, **extra) -> LlamaConfig:
    settings = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "initializer_range": 0.3,
        "num_labels": 3, "bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": None,
    }  # fmt: skip
    return LlamaConfig(**settings | extra)


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.fixture(scope="module")
def folders(tiny_model, tokenizer, tmp_path_factory) -> dict[str, Path]:
    """Tiny reward models by kind: decoders with a pad token of their own, none, or the end token; an encoder."""
    root = tmp_path_factory.mktemp("classifiers")
    pads = {"own-pad": tokenizer.pad_token_id, "no-pad": None, "eos-pad": tokenizer.eos_token_id}
    made = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        for name, pad in pads.items():
            model = LlamaForSequenceClassification(llama_config(tokenizer, pad_token_id=pad))
            made[name] = (model, root / name)
        bert = BertConfig(
            vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
            max_position_embeddings=128, num_labels=3, initializer_range=0.3, pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
        made["encoder"] = (BertForSequenceClassification(bert), root / "encoder")
    for model, folder in made.values():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return {name: folder for name, (_, folder) in made.items()}


def reward(folder: Path, name: str = "r", head: int = 0, **spec) -> api.Reward:
    return api.Reward(
        name=name, classifier=api.ClassifierReward(model=api.ModelRef(uri=folder.as_uri()), head=head, **spec)
    )


@pytest.mark.parametrize("kind", ["own-pad", "no-pad", "eos-pad", "encoder"])
@pytest.mark.parametrize("template", ["Chat", "Beaver", "Response"])
def test_every_batch_gives_the_score_that_transformers_gives_alone(folders, tokenizer, kind, template):
    rows = items()
    expected = []
    model = AutoModelForSequenceClassification.from_pretrained(folders[kind]).eval()
    for encoded in encode(tokenizer, api.Template(template), rows, 128):
        with torch.inference_mode():
            expected.append(model(torch.tensor([encoded.ids])).logits[0, 1].item())
    for batch_tokens in (64, 100_000):
        scores = make(
            reward(folders[kind], head=1, template=template, batch_tokens=batch_tokens, max_length=128)
        ).score(rows)
        assert scores == pytest.approx(expected, abs=1e-5)
    assert max(expected) - min(expected) > 0.1


def test_shuffled_and_split_batches_agree(folders):
    rows = items()
    one = make(reward(folders["no-pad"]))
    whole = dict(zip([r.id for r in rows], one.score(rows), strict=True))
    shuffled = random.Random(1).sample(rows, len(rows))
    for start in range(0, len(rows), 7):
        part = shuffled[start : start + 7]
        assert one.score(part) == pytest.approx([whole[r.id] for r in part], abs=1e-5)
    assert one.score([]) == []


def test_scores_are_raw_logits_of_the_head_asked_for(folders, tokenizer):
    rows = items(4)
    raw = [make(reward(folders["own-pad"], head=head)).score(rows) for head in range(3)]
    assert min(min(r) for r in raw) < 0 or max(max(r) for r in raw) > 1
    assert raw[0] != raw[1] != raw[2]
    with pytest.raises(UserError, match=r"reward 'r' \(file://.*\): has 3 outputs, so there is no head 3"):
        make(reward(folders["own-pad"], head=3))


def test_heads_of_one_model_share_its_forward_pass(folders):
    rewards = [
        reward(folders["own-pad"], "a", 0),
        reward(folders["no-pad"], "b", 0),
        reward(folders["own-pad"], "c", 2),
    ]
    parts = groups(rewards)
    assert [[r.name for r in group] for group in parts] == [["a", "c"], ["b"]]
    scorer = load(parts[0])
    calls = []
    scorer._model._model.model.register_forward_hook(lambda *_: calls.append(1))
    scores = scorer.score(items(5))
    assert len(calls) == 1
    assert scores == {r.name: pytest.approx(make(r).score(items(5)), abs=1e-6) for r in (rewards[0], rewards[2])}


def test_long_inputs_lose_their_beginning_and_keep_begin_token_and_answer(tokenizer):
    row = Item("1", "bread " * 400, "the answer is Paris")
    full, cut = (encode(tokenizer, api.Template.CHAT, [row], length)[0].ids for length in (10_000, 32))
    assert cut == full[-32:]
    begin = AutoTokenizer.from_pretrained(tokenizer.name_or_path)
    begin.add_special_tokens({"bos_token": "<|im_start|>"})
    assert encode(begin, api.Template.CHAT, [row], 32)[0].ids == [full[0], *full[-31:]]
    for template in ("Response", "HumanAssistant", "Pair"):
        ids = encode(tokenizer, api.Template(template), [Item("1", "x", "bread " * 400 + "Paris")], 32)[0].ids
        assert len(ids) == 32
        assert tokenizer.decode(ids).endswith("Paris")


@pytest.mark.parametrize(
    ("template", "text"),
    {
        "Chat": "<|im_start|>user\nQ?<|im_end|>\n<|im_start|>assistant\nA.<|im_end|>\n",
        "HumanAssistant": "\n\nHuman: Q? \n\nAssistant: A.",
        "Beaver": "BEGINNING OF CONVERSATION: USER: Q? ASSISTANT:A.<|im_end|>",
        "Response": "A.",
    }.items(),
)
def test_templates(tokenizer, template, text):
    encoded = encode(tokenizer, api.Template(template), [Item("1", "Q?", "A.")], 256)[0]
    assert tokenizer.decode(encoded.ids) == text


def test_pair_is_two_segments(folders):
    from transformers import BertTokenizerFast

    tokenizer = BertTokenizerFast(vocab={t: i for i, t in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "q", "a"])})
    encoded = encode(tokenizer, api.Template.PAIR, [Item("1", "q q", "a")], 16)[0]
    assert encoded.ids == [2, 4, 4, 3, 5, 3]
    assert encoded.segments == [0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("architecture", "head", "settings"),
    [
        ("LlamaForScore", "score_head", {"score_type": "reward"}),
        (
            "LlamaModelForScore",
            "score_head",
            {"score_type": "cost", "do_normalize": True, "mean": [3.0], "var": [4.0]},
        ),
        ("LlamaForScore", "score_head", {"score_type": "reward", "do_normalize": True, "mean": [3.0], "var": [4.0]}),
        ("LlamaForRewardModelWithGating", "regression_layer", {}),
    ],
)
@pytest.mark.parametrize("bias", [False, True])
def test_heads_on_the_last_token_under_other_names(tokenizer, tmp_path, architecture, head, settings, bias):
    """safe-rlhf's and ArmoRM's layouts on random weights: score = normalise(head(last hidden state))."""
    outputs = 1 if head == "score_head" else 19
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        decoder = LlamaModel(llama_config(tokenizer, pad_token_id=tokenizer.pad_token_id)).eval()
        linear = torch.nn.Linear(32, outputs, bias=bias)
    decoder.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    tensors = {f"model.{name}": tensor for name, tensor in load_file(tmp_path / "model.safetensors").items()}
    tensors |= {f"{head}.{name}": tensor.detach() for name, tensor in linear.named_parameters()}
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((tmp_path / "config.json").read_text()) | settings | {"architectures": [architecture]}
    (tmp_path / "config.json").write_text(json.dumps(config))

    rows, index = items(12), outputs - 1
    expected = []
    for encoded in encode(tokenizer, api.Template.BEAVER, rows, 256):
        with torch.inference_mode():
            value = linear(decoder(torch.tensor([encoded.ids])).last_hidden_state[0, -1])[index].item()
        if settings.get("do_normalize"):
            value = (value - (3.0 if settings["score_type"] == "reward" else 0.0)) / 2.0
        expected.append(value)
    scores = make(reward(tmp_path, head=index, template="Beaver", batch_tokens=300)).score(rows)
    assert scores == pytest.approx(expected, abs=1e-5)


def test_an_input_without_tokens_has_no_score(folders):
    one = make(reward(folders["own-pad"], template="Response"))
    scores = one.score([Item("1", "q", "bread"), Item("2", "q", "")])
    assert scores[0] is not None
    assert scores[1] is None


def test_what_is_no_reward_model_is_refused(tiny_model, tmp_path):
    with pytest.raises(UserError, match=r"has no trained classification head \(score.weight missing\)"):
        make(reward(tiny_model))
    adapted = api.ModelRef(uri=tiny_model.as_uri(), adapters=[{"name": "a", "uri": "file:///x"}])
    with pytest.raises(UserError, match="adapters of a reward model are not applied; merge them"):
        make(api.Reward(name="r", classifier=api.ClassifierReward(model=adapted)))


def test_a_model_that_gives_nan_is_an_error_not_a_missing_score(folders, tmp_path):
    model = AutoModelForSequenceClassification.from_pretrained(folders["own-pad"])
    model.score.weight.data[0, 0] = float("nan")
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(folders["own-pad"]).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="gives NaN or infinity"):
        make(reward(tmp_path)).score(items(3))


def test_a_pad_token_that_is_the_end_token_is_said(folders, caplog):
    make(reward(folders["eos-pad"]))
    assert "pad token is its end token" in caplog.text
    caplog.clear()
    make(reward(folders["own-pad"]))
    assert not caplog.records


def test_out_of_memory_splits_the_batch(folders, monkeypatch):
    one = make(reward(folders["own-pad"]))
    expected = one.score(items(8))
    model = one._scorer._model._model
    run, sizes = model._run, []

    def scarce(batch):
        sizes.append(len(batch["input_ids"]))
        if len(batch["input_ids"]) > 2:
            raise torch.OutOfMemoryError
        return run(batch)

    monkeypatch.setattr(model, "_run", scarce)
    assert one.score(items(8)) == pytest.approx(expected, abs=1e-5)
    assert max(sizes) > 2


def test_half_precision_is_a_choice(folders):
    one = make(reward(folders["own-pad"], dtype="BFloat16"))
    exact = make(reward(folders["own-pad"])).score(items(6))
    assert one._scorer._model._model.model.dtype is torch.bfloat16
    assert one.score(items(6)) == pytest.approx(exact, abs=0.3)
    assert one.score(items(6)) != exact
