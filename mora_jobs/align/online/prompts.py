"""What an online training reads: its prompts, the rewards of the rollout job and their frozen calibration."""

import dataclasses
import hashlib
import json
import logging

import pyarrow as pa

from mora_jobs import api
from mora_jobs.align.evaluate import Measurement
from mora_jobs.align.heldout import HeldOut
from mora_jobs.align.online.sampler import Sampler
from mora_jobs.align.plan import Plan
from mora_jobs.align.pools import RolloutSource
from mora_jobs.align.task import Task
from mora_jobs.artifacts.document import canonical, write_json
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table
from mora_jobs.errors import UserError
from mora_jobs.generation.appender import Appender
from mora_jobs.generation.prompts import Prompt, fields_json, read_prompts

log = logging.getLogger(__name__)

PROMPTS = pa.schema([("id", pa.string()), ("messages", pa.string()), ("fields", pa.string())])
CALIBRATION = "online/calibration.json"


class OnlineSource:
    """In the place of pairs: the prompts that are sampled from."""

    def __init__(
        self, resolved: api.ResolvedJob, spec: api.AlignmentSpec, sources: list[RolloutSource], held_out: HeldOut
    ) -> None:
        """UserError when nothing can be learned with this sampling. That objectives have rewards was seen with the pairs."""
        assert spec.online_prompts is not None
        self._resolved, self._spec, self._held_out = resolved, spec, held_out
        self._wanted = spec.online_prompts
        self._source = sources[0]
        self.sampling = spec.generation.sampling or self._source.job.spec.sampling
        self._check()
        self._prompts = self._read()

    def commit(self, store: Store) -> Table:
        """The prompts as a table, and the calibration beside it."""
        table = Table(store.child("online"), "prompts", PROMPTS)
        done = table.committed()
        with Appender(table) as rows:
            for prompt in self._prompts:
                if prompt.id not in done:
                    row = {"id": prompt.id, "messages": json.dumps(prompt.messages), "fields": fields_json(prompt)}
                    rows.add(row)
        write_json(store, CALIBRATION, self._source.calibration.to_json())
        log.info("%d prompts are sampled from while the policy is trained", len(self._prompts))
        return table

    def equip(self, plan: Plan, how: Measurement) -> Plan:
        """The plan, each of its trainings with what it needs to sample."""
        rewards = tuple(reward for reward in how.rewards if reward.name in self._source.rewards)
        content = canonical(self._source.calibration.to_json())
        sampler = Sampler(
            dataclasses.replace(how, rewards=rewards, sampling=self.sampling),
            tuple(self._resolved.import_paths),
            f"sha256:{hashlib.sha256(content).hexdigest()}",
        )
        rounds = tuple(tuple(dataclasses.replace(task, sampler=sampler) for task in tasks) for tasks in plan.rounds)
        return dataclasses.replace(plan, rounds=rounds)

    def _read(self) -> list[Prompt]:
        """The prompts that may be trained on. UserError when there is none."""
        originals = self._originals()
        read = list(read_prompts(self._wanted, self._resolved))
        prompts = [p for p in read if not self._held_out.forbids(p.id, p.text, originals.get(p.id, p.text))]
        if not prompts:
            what = f"each of the {len(read)} prompts is measured on"
            raise UserError("spec.onlinePrompts", what, "the prompts to evaluate on must be others")
        return prompts

    def _originals(self) -> dict[str, str]:
        """Texts of the prompts before they were rewritten, by id."""
        if self._wanted.rewrite_job_ref is None:
            return {}
        rewrite = self._resolved.rewrite_job(self._wanted.rewrite_job_ref.name)
        source = self._resolved.rollout_job(rewrite.spec.source.rollout_job_ref.name).spec.prompts
        return {prompt.id: prompt.text for prompt in read_prompts(source, self._resolved)}

    def _check(self) -> None:
        where, count = "spec.generation.sampling", self.sampling.samples_per_prompt
        if self.sampling.temperature == 0:
            raise UserError(f"{where}.temperature", "is 0: all responses to a prompt are the same", "raise it")
        if count < 2:
            raise UserError(f"{where}.samplesPerPrompt", "is 1: there is nothing to compare", "raise it")
        per_step = self._spec.trainer.examples_per_step
        if per_step % count:
            raise UserError(
                "spec.trainer",
                f"a step takes {per_step} responses (perDeviceBatchSize × gradientAccumulation × workers), which is no "
                f"multiple of the {count} of a prompt (samplesPerPrompt)",
                "make it one",
            )
        if self.sampling.top_k or self.sampling.top_p < 1:
            log.warning(
                "topK or topP cuts off what the policy could say, and the gradient does not know of it: "
                "set topK: 0 and topP: 1 in spec.generation.sampling unless you want that"
            )


def read_committed(task: Task) -> list[Prompt]:
    """The prompts of the job's table, in the order of their ids."""
    rows = Table(Store(task.root).child("online"), "prompts", PROMPTS).rows()
    found = [(row["id"], tuple(json.loads(row["messages"])), json.loads(row["fields"])) for row in rows]
    return sorted(
        (Prompt(name, chat[-1]["content"], chat, fields) for name, chat, fields in found), key=lambda p: p.id
    )
