"""What a step of each gradient method costs, as a ratio to a step of DPO on one objective.

    OMP_NUM_THREADS=1 python benchmarks/method_steps.py [--objectives 2 3 4 8] [--layers 2] [--accumulation 1] [--steps 100]

All trainings of a table run in turn, step by step, on the same pairs, through the trainer of AlignmentJobs. A step is all that
happens from the end of one to the end of the next, data and log included, in CPU seconds of one thread. Every objective has an
opinion about every pair; DPO on one objective has the first one's. The ratio is that of the sums over steps, with a 95 %
bootstrap interval over steps; the control of `gram: Margin` by the exact gradients, every 50 steps, is in it. The model is a
random Llama (d = 128, vocabulary 1024, all weights trained in fp32, 4 pairs in a forward pass).
"""

import argparse
import itertools
import os
import tempfile
import threading
import time
from dataclasses import dataclass, field
from importlib.metadata import version

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read once, by the threads that the trainings run in

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PrinterCallback, TrainerCallback, TrainingArguments
from transformers.utils import logging as transformers_logging

from mora_jobs.align import methods
from mora_jobs.align.likelihood import add_response_likelihood
from mora_jobs.align.tokens import Example
from mora_jobs.align.trainer import ObjectiveTrainer
from mora_jobs.api.methods import Gram, Method, MethodName

VOCABULARY, BATCH = 1024, 4
WARM_UP = 5
BY_GRAM = (
    MethodName.MGDA, MethodName.MGDA_NORMALISED, MethodName.MGDA_DECOUPLED, MethodName.CAGRAD, MethodName.RACO,
)  # fmt: skip


@dataclass
class Turns(TrainerCallback):
    """Lets one training do a step, then the next one; `seconds` are the CPU time of each step."""

    mine: threading.Semaphore
    following: threading.Semaphore
    seconds: list[float] = field(default_factory=list)
    begun: float = 0.0

    def on_train_begin(self, *_: object, **__: object) -> None:
        self.mine.acquire()
        self.begun = time.thread_time()

    def on_step_end(self, *_: object, **__: object) -> None:
        self.following.release()
        self.mine.acquire()
        now = time.thread_time()
        self.seconds.append(now - self.begun)
        self.begun = now


def pairs(count: int, objectives: int) -> list[Example]:
    """Random tokens; the lengths are the same for any number of objectives."""
    lengths, rng = np.random.default_rng(1), np.random.default_rng(2)
    made = []
    for index in range(count):
        prompt, chosen, rejected = (
            rng.integers(3, VOCABULARY, size=int(lengths.integers(*span))).tolist()
            for span in ((16, 65), (16, 97), (16, 97))
        )
        signs = (1, *np.random.default_rng((3, index)).choice([-1, 1], size=objectives - 1).tolist())
        made.append(
            Example(
                f"p{index}",
                prompt,
                [chosen, rejected],
                signs,
                reference=(-6.9 * len(chosen), -6.9 * len(rejected)),
                index=index,
            )
        )
    return made


def trainer(
    spec: Method, objectives: int, layers: int, accumulation: int, steps: int, folder: str, turns: Turns
) -> ObjectiveTrainer:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=128, intermediate_size=512, num_hidden_layers=layers, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=256,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    add_response_likelihood(model)
    arguments = TrainingArguments(
        output_dir=folder, max_steps=steps, per_device_train_batch_size=BATCH, gradient_accumulation_steps=accumulation,
        learning_rate=1e-5, weight_decay=0.0, max_grad_norm=1.0, optim="adamw_torch", use_cpu=True, save_strategy="no",
        logging_steps=1, report_to=[], disable_tqdm=True, remove_unused_columns=False,
    )  # fmt: skip
    names = tuple(f"objective-{index}" for index in range(objectives))
    made = ObjectiveTrainer(
        model,
        arguments,
        examples=pairs(256, objectives),
        method=methods.make(spec, names, (1 / objectives,) * objectives),
        gram=spec.gram,
        control_steps=spec.control_steps,
        pad=0,
        callbacks=[turns],
    )
    made.remove_callback(PrinterCallback)
    return made


def measure(specs: dict[str, tuple[Method, int]], layers: int, accumulation: int, steps: int) -> dict[str, np.ndarray]:
    """[steps] CPU seconds of each training's steps, the trainings in turn."""
    tokens = [threading.Semaphore(0) for _ in specs]
    with tempfile.TemporaryDirectory() as folder:
        runs = {}
        for index, (name, (spec, objectives)) in enumerate(specs.items()):
            turns = Turns(tokens[index], tokens[(index + 1) % len(specs)])
            runs[name] = turns, trainer(spec, objectives, layers, accumulation, WARM_UP + steps, folder, turns)
        threads = [threading.Thread(target=_train, args=(run, turns)) for turns, run in runs.values()]
        for thread in threads:
            thread.start()
        tokens[0].release()
        for thread in threads:
            thread.join()
    return {name: np.array(turns.seconds[WARM_UP:]) for name, (turns, _) in runs.items()}


def _train(run: ObjectiveTrainer, turns: Turns) -> None:
    torch.set_num_threads(1)  # of this thread
    run.train()
    turns.following.release()  # the next one may end too


def ratio(seconds: np.ndarray, base: np.ndarray) -> str:
    """Ratio of the sums with its interval over steps."""
    rows = np.random.default_rng(0).integers(len(base), size=(2000, len(base)))
    low, high = np.percentile(seconds[rows].sum(1) / base[rows].sum(1), [2.5, 97.5])
    return f"{seconds.sum() / base.sum():.2f} [{low:.2f}, {high:.2f}]"


def main(counts: list[int], layers: int, accumulation: int, steps: int) -> None:
    transformers_logging.set_verbosity_error()
    rows: dict[str, list[str]] = {}
    for objectives in counts:
        specs = {"one objective, DPO": (Method(), 1), "DPO": (Method(), objectives)}
        specs["GroupDRO"] = (Method(name=MethodName.GROUP_DRO), objectives)
        for name, gram in itertools.product(BY_GRAM, (Gram.MARGIN, Gram.EXACT)):
            specs[f"{name.value}, {gram.value}"] = (Method(name=name, gram=gram), objectives)
        seconds = measure(specs, layers, accumulation, steps)
        base = seconds.pop("one objective, DPO")
        for name, own in seconds.items():
            rows.setdefault(name, []).append(ratio(own, base))
        print(f"K = {objectives}: a step of DPO on one objective takes {1e3 * np.median(base):.1f} ms", flush=True)
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers"))
    print(f"\n{layers} layers, {accumulation} × {BATCH} pairs, {steps} steps; {versions}\n")
    print("| method, gram | " + " | ".join(f"K = {each}" for each in counts) + " |")
    print("|---|" + "---:|" * len(counts))
    for name, cells in rows.items():
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objectives", type=int, nargs="+", default=[2, 3, 4, 8])
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--accumulation", type=int, default=1)
    parser.add_argument("--steps", type=int, default=100)
    given = parser.parse_args()
    main(given.objectives, given.layers, given.accumulation, given.steps)
