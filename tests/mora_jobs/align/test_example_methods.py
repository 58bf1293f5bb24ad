"""Every manifest of examples/methods, run to its front with the tests' tiny model in the place of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from in_this_process import run_in_this_process
from manifest_table import ROOT, documents

from mora_jobs import api
from mora_jobs.align import driver as alignment
from mora_jobs.align.driver import PARETO
from mora_jobs.api import FrontStrategy, MethodName
from mora_jobs.artifacts.document import read_json
from mora_jobs.artifacts.identity import is_complete
from mora_jobs.artifacts.store import Store
from mora_jobs.local.experiment import plan
from mora_jobs.local.supervisor import Step
from mora_jobs.local.workdir import Workdir
from mora_jobs.progress.reporter import Reporter
from mora_jobs.rollout import driver as rollout

FOLDER = ROOT / "examples" / "methods"
FILES = sorted(file for file in FOLDER.glob("*.yaml") if file.stem != "rollout")
MANIFESTS = {file.stem: documents(file)[0] for file in FILES}
COMPARED = ("model", "data", "objectives", "lora", "evaluation")
ROLLOUT = "RolloutJob/methods-rollout"


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[dict[str, Step]]:
    """The jobs as `mora run -f examples/methods --set …` has them; the rollouts are there."""
    keys = [ROLLOUT, *(f"AlignmentJob/methods-{name}" for name in MANIFESTS)]
    sets = [f"{key}.spec.model.uri=file://{tiny_model}" for key in keys]
    sets += [f"{key}.spec.trainer.maxSteps=3" for key in keys[1:]]
    sets += [f"{ROLLOUT}.spec.engine.dtype=Float32", f"{ROLLOUT}.spec.sampling.maxTokens=12"]
    with pytest.MonkeyPatch.context() as patch:
        run_in_this_process(patch)
        found = {step.key: step for step in plan([FOLDER], sets, [], Workdir(tmp_path_factory.mktemp("methods")))}
        rollout.run(found[ROLLOUT].resolved, Reporter())
        yield found


@pytest.mark.parametrize("name", MANIFESTS)
def test_it_runs_to_its_front(steps, name):
    resolved = steps[f"AlignmentJob/methods-{name}"].resolved
    result = alignment.run(resolved, Reporter())
    store = Store(resolved.job.spec.output.uri)
    assert is_complete(store) is not None
    assert result.pareto is not None
    assert result.pareto.front
    assert float(result.pareto.hypervolume) > 0
    document = read_json(store, PARETO)
    assert all(0 <= value <= 1 for point in document["points"] for value in point["values"].values())
    front = resolved.job.spec.front
    policies = len(result.stages) or (1 if front.strategy is FrontStrategy.SINGLE else front.points)
    assert len(document["points"]) == 1 + policies
    assert any(_moved(store, point["name"]) for point in document["points"][1:])


def _moved(store: Store, point: str) -> bool:
    """Whether training changed anything: B is 0 at its start."""
    from safetensors.numpy import load_file

    adapter = load_file(store.local(f"points/{point}") / "adapter_model.safetensors")
    return any(abs(value).max() > 0 for name, value in adapter.items() if "lora_B" in name)


def test_every_method_and_every_strategy_has_an_example():
    jobs = [api.AlignmentJob.model_validate(each) for each in MANIFESTS.values()]
    assert {job.spec.method.name for job in jobs} == set(MethodName)
    assert {job.spec.front.strategy for job in jobs} == set(FrontStrategy)


def test_they_differ_in_the_method_and_in_nothing_that_is_compared():
    dpo = MANIFESTS["dpo"]["spec"]
    for name, manifest in MANIFESTS.items():
        spec = manifest["spec"]
        assert {part: spec[part] for part in COMPARED} == {part: dpo[part] for part in COMPARED}, name
        assert spec["trainer"]["maxSteps"] == dpo["trainer"]["maxSteps"], name
        assert (manifest["metadata"]["name"], spec["output"]["uri"]) == (f"methods-{name}", f"file://{name}")
