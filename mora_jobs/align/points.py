"""The policies of the plan as models in the store: points/<name>/ and, when it is whole, points/<name>.json."""

import tempfile
from pathlib import Path

import ray

from mora_jobs import api
from mora_jobs.align.adapters import adapter_folder
from mora_jobs.align.plan import Plan, Point
from mora_jobs.align.task import Task
from mora_jobs.api.training import Save
from mora_jobs.artifacts.document import read_json, write_json
from mora_jobs.artifacts.store import Store
from mora_jobs.engines.cluster import connect


def hand_over(store: Store, spec: api.AlignmentSpec, plan: Plan, point: Point) -> api.ModelRef:
    """Write the point in the form of spec.output.save; returns it as a model that can be loaded."""
    if read_json(store, f"points/{point.name}.json") is None:
        # Not in this process: a head pod has little memory, and a merged model passes through it whole.
        connect()
        options = {"num_cpus": 0.5, "scheduling_strategy": "SPREAD"}
        ray.get(ray.remote(export).options(**options).remote(store.uri, spec, plan.tasks, point))
    return point_model(store, spec, point)


def point_model(store: Store, spec: api.AlignmentSpec, point: Point) -> api.ModelRef:
    """The model of a point that was handed over."""
    uri = f"{store.uri}/points/{point.name}"
    if spec.output.save is Save.ADAPTER:
        return spec.model.with_changes(adapters=[api.Adapter(name="mora", uri=uri)])
    return spec.model.with_changes(uri=uri, revision=None, adapters=[])


def export(root: str, spec: api.AlignmentSpec, tasks: dict[str, Task], point: Point) -> None:
    """Make the point's model from what the trainings learned, and upload it."""
    from mora_jobs.align.export import export_adapter, export_full, export_merged
    from mora_jobs.models import fetch

    store = Store(root)
    learned = [(adapter_folder(tasks[name].policy_uri), coefficient) for name, coefficient in point.mix]
    brought = [(adapter_folder(adapter.uri), 1.0) for adapter in spec.model.adapters]
    with tempfile.TemporaryDirectory(prefix="mora-point-") as folder:
        made = Path(folder) / point.name
        match spec.output.save:
            case Save.ADAPTER:
                export_adapter([*brought, *learned], made)
            case Save.MERGED:
                export_merged(fetch(spec.model), [*brought, *learned], made)
            case Save.FULL:
                export_full(fetch(spec.model), learned, made)
        store.upload(made, f"points/{point.name}")
    document = {"weights": point.weights, "mix": dict(point.mix), "save": spec.output.save.value}
    write_json(store, f"points/{point.name}.json", document)
