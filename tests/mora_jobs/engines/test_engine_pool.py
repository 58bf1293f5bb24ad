"""The pool: engines as Ray actors, streamed, exact, and back after a kill -9."""

import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from mora_jobs import api
from mora_jobs.engines.base import Completion, EngineInfo, Request, request_seed
from mora_jobs.engines.host import Broken, EngineHost
from mora_jobs.engines.pool import EnginePool, SyncTimeout
from mora_jobs.engines.replica import EngineDied
from mora_jobs.errors import UserError
from mora_jobs.progress.exits import describe

pytestmark = pytest.mark.usefixtures("ray_local")
SAMPLING = api.Sampling(max_tokens=12, temperature=0.9, top_k=40)
ENGINE = api.Engine.model_validate({"type": "Transformers", "extraArgs": {"max_num_seqs": "32"}})


def requests(count: int, n: int = 3) -> Iterator[Request]:
    for i in range(count):
        yield Request(
            f"p{i}", ({"role": "user", "content": f"How do I bake bread number {i}?"},), n, request_seed(1, f"p{i}")
        )


def by_id(completions: list[Completion]) -> dict[str, Completion]:
    found = {each.id: each for each in completions}
    assert len(found) == len(completions)
    return found


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> api.ModelRef:
    return api.ModelRef(uri=f"file://{tiny_model}")


@pytest.fixture(scope="module")
def pool(model: api.ModelRef) -> Iterator[EnginePool]:
    with EnginePool(model, ENGINE, SAMPLING) as made:
        yield made


@pytest.fixture(scope="module")
def expected(pool: EnginePool) -> dict[str, Completion]:
    return by_id(list(pool.generate(requests(60))))


def kill_engine(pool: EnginePool, index: int = 0) -> None:
    """kill -9 of the process of a replica's actor."""
    actor = pool._replicas[index]._actor
    pid = ray.get(actor.__ray_call__.remote(lambda self: os.getpid()))
    os.kill(pid, signal.SIGKILL)


def test_every_prompt_once_with_all_its_samples(expected: dict[str, Completion]) -> None:
    assert sorted(expected) == sorted(f"p{i}" for i in range(60))
    assert all(len(each.samples) == 3 and each.error is None for each in expected.values())


def test_requests_are_read_as_they_are_needed(pool: EnginePool) -> None:
    read = 0

    def endless() -> Iterator[Request]:
        nonlocal read
        for each in requests(10**9):
            read += 1
            yield each

    stream = pool.generate(endless())
    taken = list(itertools.islice(stream, 30))
    assert len(taken) == 30
    assert read <= 30 + 3 * 32  # what was yielded, what is in flight (2 × 32 samples, 3 a prompt), what just came in
    stream.close()
    assert pool._replicas[0].load == 0


def test_the_pool_can_be_used_again_after_closing_early(pool: EnginePool, expected: dict[str, Completion]) -> None:
    stream = pool.generate(requests(1000))
    next(stream)
    with pytest.raises(RuntimeError, match="one call of a pool at a time"):
        next(pool.generate(requests(1)))
    stream.close()
    assert by_id(list(pool.generate(requests(60)))) == expected


def test_no_requests(pool: EnginePool) -> None:
    assert list(pool.generate([])) == []
    assert pool.option_logprobs([], ["1"]) == []


def test_killed_engine_comes_back_and_draws_the_same(pool: EnginePool, expected: dict[str, Completion]) -> None:
    found = []
    for count, completion in enumerate(pool.generate(requests(60))):
        found.append(completion)
        if count == 10:
            kill_engine(pool)
    assert by_id(found) == expected


def test_an_error_of_the_iterable_comes_through(pool: EnginePool) -> None:
    def broken() -> Iterator[Request]:
        yield from requests(5)
        raise KeyError("no such column")

    with pytest.raises(KeyError, match="no such column"):
        list(pool.generate(broken()))
    assert len(list(pool.generate(requests(2)))) == 2


def test_option_logprobs_keep_the_order_of_the_prompts(pool: EnginePool) -> None:
    prompts = [[{"role": "user", "content": f"Rate number {i}"}] for i in range(9)]
    found = pool.option_logprobs(prompts, ["1", "2", "3"])
    assert found == [pool.option_logprobs([prompt], ["1", "2", "3"])[0] for prompt in prompts]
    assert len({tuple(each) for each in found if each is not None}) == 9


def test_two_replicas_share_the_work_and_outlive_each_other(
    model: api.ModelRef, expected: dict[str, Completion]
) -> None:
    with EnginePool(model, ENGINE, SAMPLING, replicas=2) as pool:
        assert pool.info.engine == "Transformers"
        assert pool.info.max_model_len == 512
        stream = pool.generate(requests(60))
        next(stream)
        kill_engine(pool, next(i for i, each in enumerate(pool._replicas) if each.info))
        stream.close()
        assert by_id(list(pool.generate(requests(60)))) == expected


@pytest.mark.parametrize(
    ("uri", "engine", "message"),
    [
        ("file:///no/such/model", ENGINE, "^file:///no/such/model: there is no such file or folder; correct the URI$"),
        (None, api.Engine(type="Transformers", quantization="AWQ"), "^engine.quantization: AWQ needs vLLM"),
        (None, api.Engine(type="Transformers", extra_args={"model": "x"}), "^engine.extraArgs.model: is not allowed"),
    ],
)
def test_mistakes_are_one_line(model: api.ModelRef, uri: str | None, engine: api.Engine, message: str) -> None:
    ref = api.ModelRef(uri=uri) if uri else model
    with pytest.raises(UserError, match=message), EnginePool(ref, engine, SAMPLING):
        pass


def test_an_engine_that_dies_at_every_start_is_given_up(model: api.ModelRef, monkeypatch: pytest.MonkeyPatch) -> None:
    class Dying(EngineHost):
        async def start(self) -> EngineInfo:
            os._exit(1)

    monkeypatch.setattr("mora_jobs.engines.replica.EngineHost", Dying)
    with (
        pytest.raises(EngineDied, match="an engine died 4 times in a row while it started"),
        EnginePool(model, ENGINE, SAMPLING),
    ):
        pass


def test_an_engine_that_breaks_is_replaced(model: api.ModelRef, monkeypatch: pytest.MonkeyPatch) -> None:
    class Fragile(EngineHost):
        """The sixth request of each actor fails in the engine, as on a GPU that is lost."""

        async def start(self) -> EngineInfo:
            self._asked = 0
            return EngineInfo("Echo", "0", "none", None, "none", None, 4, True)

        async def _run(self, turn: int, key: int, item: object) -> None:
            self._asked += 1
            assert isinstance(item, Request)
            result = Broken("CUDA error") if self._asked == 6 else Completion(item.id, 1, ())
            self._finished.append((key, result))
            self._some.set()

    monkeypatch.setattr("mora_jobs.engines.replica.EngineHost", Fragile)
    with EnginePool(model, ENGINE, SAMPLING) as pool:
        assert len(by_id(list(pool.generate(requests(20, n=1))))) == 20


@pytest.fixture(scope="module")
def adapted(model: api.ModelRef, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[api.ModelRef]:
    """The model with one of two adapters that do something."""
    torch.manual_seed(3)
    found = []
    for number in range(2):
        folder = tmp_path_factory.mktemp("renewed") / f"step-{number}"
        policy = get_peft_model(
            AutoModelForCausalLM.from_pretrained(tiny_model), LoraConfig(r=4, target_modules="all-linear")
        )
        with torch.no_grad():
            for name, parameter in policy.named_parameters():
                if "lora_B" in name:
                    parameter.normal_()
        policy.save_pretrained(folder)
        found.append(model.with_changes(adapters=[api.Adapter(name="policy", uri=f"file://{folder}")]))
    return found


def test_renewed_engines_answer_as_engines_that_began_so(adapted: list[api.ModelRef]) -> None:
    with EnginePool(adapted[1], ENGINE, SAMPLING) as fresh:
        expected = by_id(list(fresh.generate(requests(6))))
    with EnginePool(adapted[0], ENGINE, SAMPLING) as made:
        before = by_id(list(made.generate(requests(6))))
        made.renew(adapted[1], 60)
        assert by_id(list(made.generate(requests(6)))) == expected
        assert before != expected
        kill_engine(made)  # one that is started again takes the newest weights
        assert by_id(list(made.generate(requests(6)))) == expected
        with pytest.raises(
            SyncTimeout, match=r"1 of 1 engines had not taken over the weights of the step after 0\.001 s"
        ):
            made.renew(adapted[0], 0.001)


def test_samples_name_the_tokens_that_were_drawn(expected: dict[str, Completion]) -> None:
    for completion in expected.values():
        assert all(len(sample.ids) == sample.tokens for sample in completion.samples)


def test_weights_that_come_too_late_are_a_fault_of_the_infrastructure() -> None:
    record = describe(SyncTimeout("1 of 1 engines"))
    assert (record.class_, record.reason) == (api.ExitClass.INFRA, "WeightSyncTimeout")
