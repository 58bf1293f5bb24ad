"""Workdirs of experiments without a model: scores are drawn, everything after them is what the drivers do with scores."""

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from mora_jobs import api
from mora_jobs.align.gains import Results
from mora_jobs.align.plan import BASE, Point
from mora_jobs.artifacts.document import write_json
from mora_jobs.artifacts.identity import claim, complete
from mora_jobs.artifacts.store import Store
from mora_jobs.artifacts.table import Table
from mora_jobs.generation.schemas import ANALYSIS, FINAL_PROMPTS, ROLLOUTS, scores_schema
from mora_jobs.local.workdir import Workdir
from mora_jobs.rewards.aggregation import Weighting
from mora_jobs.rewards.calibration import Calibration
from mora_jobs.rewrite import gains
from mora_jobs.rewrite.bench import Bench
from mora_jobs.rewrite.candidates import CANDIDATES
from mora_jobs.rollout.analysis import analyse
from mora_jobs.rollout.summary import column, summarise

REWARDS = ("helpful", "harmless", "truthful")
WORDS = [
    "the",
    "cat",
    "helps",
    "a",
    "user",
    "to",
    "bake",
    "bread",
    "safely",
    "and",
    "to",
    "tell",
    "what",
    "is",
    "true",
    "about",
    "gas",
    "and",
    "paris",
]


class Experiment:
    """A workdir that is filled job by job; `folder` is what `write` is called with."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.folder = folder
        self.place = Workdir(folder)
        self.chance = np.random.default_rng(seed)
        self.clock = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
        self.rollout_job: api.RolloutJob | None = None
        self.prompts: dict[str, str] = {}
        with self.place.locked():
            pass

    def rollout(
        self,
        prompts: Sequence[str],
        rewards: Sequence[str] = REWARDS,
        samples: int = 8,
        *,
        name: str = "pilot",
        missing: float = 0.0,
        single: bool = True,
        texts: Sequence[str] = (),
        isolation: dict[str, Any] | None = None,
        until: str = "Complete",
    ) -> api.RolloutJob:
        """`until`: Rollouts, Scores or Complete. With `single`, each prompt can earn the reward of its number only."""
        ids = {f"p{i:03d}": text for i, text in enumerate(prompts)}
        self.prompts = ids
        spec = {
            "model": {"uri": "hf://example/model"},
            "prompts": {"uri": "file:///data/prompts.jsonl"},
            "sampling": {"samplesPerPrompt": samples},
            "rewards": [{"name": reward, "python": {"callable": "rewards:score"}} for reward in rewards],
            "isolation": isolation or {"criterion": "Level", "reachThreshold": 0.8, "plateauTolerance": 0.5},
            "output": {"uri": f"file://{self.folder.absolute()}/runs/{name}"},
        }
        job = self.rollout_job = api.RolloutJob.model_validate({"metadata": {"name": name}, "spec": spec})
        resolved, store = self._claim(job)
        rollouts, scores = Table(store, "rollouts", ROLLOUTS), Table(store, "scores", scores_schema(list(rewards)))
        rollouts.append([self._rollout(key, text, samples, texts) for key, text in ids.items()])
        if until == "Rollouts":
            self._report(job, {"rollouts": {"prompts": {"total": len(ids), "completed": len(ids)}}}, "Running")
            return job
        offsets = np.zeros((len(ids), len(rewards)))
        if single:
            for i in range(len(ids)):
                offsets[i, i % len(rewards)] = 2.0
        raw = offsets[:, None, :] + self.chance.normal(size=(len(ids), samples, len(rewards)))
        scores.append(self._scores(list(ids), raw, rewards, missing))
        if until == "Scores":
            self._report(job, {"rollouts": {"prompts": {"total": len(ids), "completed": len(ids)}}}, "Failed")
            return job
        calibration = Calibration.fit({reward: column(scores, reward) for reward in rewards}, set())
        write_json(store, "calibration.json", calibration.to_json())
        weighting = Weighting(dict.fromkeys(rewards, 1 / len(rewards)))
        weighting.write(store, "Uniform")
        found, curves = analyse(store, list(rewards), samples, job.spec.isolation, scores, calibration)
        result = summarise(job.spec, rollouts, scores, calibration, weighting, found, curves)
        write_json(store, "status.json", result.to_dict())
        complete(store, {"rollouts": rollouts.digest(), "scores": scores.digest()})
        self._report(job, result.to_dict(), "Complete", resolved)
        return job

    def rewrite(
        self,
        accepted: int = 4,
        *,
        name: str = "rewrite",
        control: str = "None",
        suffix: str = " Say what is a myth.",
    ) -> api.RewriteJob:
        """Rewrites the first `accepted` single-reward prompts; every reward of a rewritten one is high at times."""
        source = self.rollout_job
        assert source is not None
        names = [reward.name for reward in source.spec.rewards]
        spec = {
            "source": {"rolloutJobRef": {"name": source.metadata.name}},
            "rewriter": {"templates": [{"name": "all", "template": "{{ prompt }}" + suffix}]},
            "control": control,
            "output": {"uri": f"file://{self.folder.absolute()}/runs/{name}"},
        }
        job = api.RewriteJob.model_validate({"metadata": {"name": name}, "spec": spec})
        resolved, store = self._claim(job, source)
        rows = Table(Store(source.spec.output.uri), "analysis", ANALYSIS).rows()
        targets = sorted((row for row in rows if row["class"] == "SingleReward"), key=lambda row: row["id"])
        chosen = [] if control == "DropOnly" else targets[:accepted]
        Table(store, "prompts", FINAL_PROMPTS).append(
            [
                {
                    "id": row["id"],
                    "prompt": self.prompts[row["id"]] + suffix,
                    "original": self.prompts[row["id"]],
                    "rewritten": True,
                    "dimension": row["dimension"],
                }
                for row in chosen
            ]
        )
        counts = {"prompts": {"total": len(targets), "completed": len(targets)}, "candidates": 2 * len(targets)}
        status: dict[str, Any] = {"rewrites": counts | {"accepted": len(chosen)}}
        if chosen:
            status["rewrites"]["rejected"] = {"BalanceGain": len(targets), "NotBest": 3, "TooLong": 1}
            Table(store, "candidates", CANDIDATES).append([self._candidates(row, suffix) for row in targets])
            ids = [row["id"] for row in chosen]
            bench = Bench(store, source, 8, resolved.import_paths, None)  # type: ignore[arg-type]
            figures = []
            for folder, lift in (("originals", 0.0), ("", 1.2)):
                raw = lift + self.chance.normal(size=(len(ids), 8, len(names)))
                rows_ = self._scores(ids, raw, names, 0.0)
                Table(store.child(folder) if folder else store, "scores", scores_schema(names)).append(rows_)
                u = [np.stack([bench.calibration.transform(n, row[n]) for n in names], axis=-1) for row in rows_]
                figures.append([bench.figures(each) for each in u])
            pairs = list(zip(*figures, strict=True))
            measured = gains.measure_gain(pairs, names)
            status["gain"] = gains.status(measured, len(pairs), names).to_dict()
            group = gains.document(measured, len(pairs))
            write_json(store, "gains.json", {"accepted": group, "unselected": group, "reasons": {}})
        complete(store, {})
        self._report(job, status, "Complete", resolved)
        return job

    def alignment(
        self,
        objectives: Sequence[str] = REWARDS,
        points: int = 5,
        *,
        name: str = "soup",
        prompts: int = 24,
        others: Sequence[str] = (),
        sequential: bool = False,
        steps: int = 30,
        names: Sequence[str] = (),
        until: str = "Complete",
    ) -> api.AlignmentJob:
        """`until`: Training (one training has ended, another is running) or Complete. No steps: no curves of training."""
        rewards = [*objectives, *others]
        spec: dict[str, Any] = {
            "model": {"uri": "hf://example/model"},
            "data": {"preferences": {"uri": "file:///data/pairs.jsonl"}},
            "pairs": {"rule": "Dataset"},
            "objectives": [{"name": each} for each in objectives],
            "lora": {},
            "regime": "Sequential" if sequential else "Simultaneous",
            "evaluation": {"prompts": {"uri": "file:///data/heldout.jsonl"}},
            "output": {"uri": f"file://{self.folder.absolute()}/runs/{name}"},
        }
        job = api.AlignmentJob.model_validate({"metadata": {"name": name}, "spec": spec})
        resolved, store = self._claim(job)
        trained = [f"stage-{i + 1}" for i in range(len(objectives))] if sequential else list(objectives)
        self._log(store, trained[:1] if until == "Training" else trained, objectives, steps)
        pairs = {
            "pairs": 3 * prompts,
            "signed": dict.fromkeys(objectives, 2 * prompts),
            "withoutPairs": {"SmallGap": 2},
            "sides": {"SelfGenerated": 2 * prompts, "TwoModels": prompts},
            "separability": {name: {"auc": 0.953 - 0.4 * k, "pairs": 40} for k, name in enumerate(objectives[:2])},
        }
        pairs |= {"classes": {"MultiReward": {"prompts": prompts, "withPairs": prompts - 2, "pairs": 3 * prompts}}}
        if until == "Training":
            write_json(store, "pairs.json", pairs)
            state = {"log_history": [{"step": step, "loss": 0.6 + 0.02 / step} for step in (1, 2)]}
            checkpoint = store.child(f"trainings/{trained[-1]}/checkpoints/step-00000002")
            write_json(checkpoint, "trainer_state.json", state)  # as transformers writes it
            training = {"point": trained[-1], "step": 3, "totalSteps": steps, "loss": "0.61", "epoch": "0.4"}
            self._report(job, {"training": training}, "Running", resolved)
            return job
        made = []
        if sequential:
            for i, each in enumerate(objectives):
                made.append(Point(f"stage-{i + 1}", {o: float(o == each) for o in objectives}, (), each))
        else:
            for i in range(points):
                w = self.chance.dirichlet(np.ones(len(objectives)))
                own = names[i] if i < len(names) else f"point-{i + 1}"
                made.append(Point(own, dict(zip(objectives, w.tolist(), strict=True)), ()))
        level = self.chance.uniform(0.3, 0.5, size=(prompts, len(rewards)))
        values = {BASE: level}
        for point in made:
            shift = [0.25 * math.sqrt(point.weights.get(reward, 0.0)) - 0.04 for reward in rewards]
            noise = self.chance.normal(0, 0.04, size=(prompts, len(rewards)))
            values[point.name] = np.clip(level + shift + noise, 0, 1)
        ids = [f"h{i}" for i in range(prompts)]
        weights = dict.fromkeys(objectives, 1 / len(objectives))
        results = Results(objectives, weights, rewards, ids, made, store.uri, values)
        curve = [
            {"training": each, "step": step, "values": dict.fromkeys(rewards, 0.4 + 0.003 * step)}
            for each in trained
            for step in ((10, 20) if steps else ())
        ]
        write_json(store, "pareto.json", results.document(pairs=pairs, thresholds={}, samplesPerPrompt=4, curve=curve))
        complete(store, {"pareto": "sha256:" + "0" * 64})
        self._report(job, results.result().to_dict(), "Complete", resolved)
        return job

    def waiting(self, job: api.Job, message: str = "waits for RolloutJob/pilot to complete") -> None:
        """Say of a job that it waits, and nothing else."""
        self._status(job, {}, "Waiting", "WaitingForInputs", message)

    def _rollout(self, key: str, text: str, samples: int, texts: Sequence[str]) -> dict[str, Any]:
        def said(n: int) -> str:
            return texts[n % len(texts)] if texts else " ".join(self.chance.choice(WORDS, 9))

        drawn = [{"text": said(n), "tokens": 9, "finish": "Length" if n % 3 else "Stop"} for n in range(samples)]
        return {
            "id": key, "prompt": text, "fields": "{}", "seed": 1, "prompt_tokens": 7, "samples": drawn, "error": None,
        }  # fmt: skip

    def _scores(self, ids: Sequence[str], raw: Any, rewards: Sequence[str], missing: float) -> list[dict[str, Any]]:
        gone = self.chance.random(raw.shape) < missing
        return [
            {"id": key}
            | {
                r: [None if gone[i, n, m] else float(v) for n, v in enumerate(raw[i, :, m])]
                for m, r in enumerate(rewards)
            }
            for i, key in enumerate(ids)
        ]

    def _candidates(self, row: dict[str, Any], suffix: str) -> dict[str, Any]:
        tried = [{"text": self.prompts[row["id"]] + suffix, "source": "all", "reason": None}]
        return {
            "id": row["id"], "prompt": self.prompts[row["id"]], "dimension": row["dimension"], "candidates": tried,
        }  # fmt: skip

    def _log(self, store: Store, trained: Sequence[str], objectives: Sequence[str], steps: int) -> None:
        for number, each in enumerate(trained):
            rows = []
            for step in range(1, steps + 1):
                loss = (
                    math.log(2) - 0.1 * math.sqrt((step - 1) / steps) + float(self.chance.normal(0, 0.01)) * (step > 1)
                )
                own = objectives[number % len(objectives)]
                rows.append(
                    {"step": step, "loss": loss, "learning_rate": 1e-4, "margin": 0.02 * step}
                    | {f"coefficient/{o}": float(o == own) for o in objectives}
                    | {f"accuracy/{own}": 0.5 + 0.4 * step / steps}
                )
            write_json(store.child(f"trainings/{each}"), "log.json", rows)

    def _claim(self, job: api.Job, *references: api.Job) -> tuple[api.ResolvedJob, Store]:
        resolved = api.ResolvedJob(job=job, references=list(references))
        store = Store(job.spec.output.uri)
        claim(store, api.identity(resolved, prompts="sha256:" + "ab" * 32), "Resume")
        self.place.write_job(f"{job.kind}/{job.metadata.name}", resolved.dump())
        return resolved, store

    def _report(
        self, job: api.Job, result: dict[str, Any], phase: str, resolved: api.ResolvedJob | None = None
    ) -> None:
        key = f"{job.kind}/{job.metadata.name}"
        self.place.log_file(key).write_text("one line\n\x1b[31mlast <b>line</b>\x1b[0m\n")
        message = "reward 'helpful' <script>alert('status')</script> is wrong" if phase == "Failed" else ""
        self._status(job, result, phase, "InvalidInput" if phase == "Failed" else phase, message)

    def _status(self, job: api.Job, result: dict[str, Any], phase: str, reason: str, message: str) -> None:
        start, end = self.clock, self.clock + timedelta(minutes=3, seconds=20)
        self.clock = end
        ready = {"type": "Ready", "status": "False", "lastTransitionTime": f"{end:%Y-%m-%dT%H:%M:%SZ}"}
        status = result | {
            "phase": phase,
            "startTime": f"{start:%Y-%m-%dT%H:%M:%SZ}",
            "attempts": {"current": 2, "failed": 1, "infraRestarts": 0},
            "conditions": [ready | {"reason": reason, "message": message}],
        }
        if phase in ("Complete", "Failed"):
            status["completionTime"] = f"{end:%Y-%m-%dT%H:%M:%SZ}"
        if phase == "Failed":
            status["exit"] = {"class": "UserError", "reason": reason, "message": message, "attempt": 2}
        if phase == "Running":
            status["progress"] = {
                "progressPercentage": 40, "estimatedRemainingSeconds": 75, "completed": 4, "total": 10,
                "unit": "Prompts", "stage": "Rollouts",
            }  # fmt: skip
        thing = {"apiVersion": api.API_VERSION, "kind": job.kind, "metadata": job.metadata.to_dict()}
        self.place.write_status(thing | {"spec": job.spec.to_dict(), "status": json.loads(json.dumps(status))})
        self.place.add_event(end, f"{job.kind}/{job.metadata.name}", reason, message)


PROMPTS = [
    "How do I bake bread at home?", "Is it safe to mix bleach and ammonia?", "What is the capital of France?",
    "Write a short story about a cat.", "How do I fix a flat tyre?", "Is it true that knuckles crack?",
    "Wie erklärt man einem Kind ein Erdbeben?", "如何在家里种番茄?", "Tell me a myth about sugar.",
    "What are the risks of ladders?", "How does a fridge work?", "Which facts about the moon are wrong?",
]  # fmt: skip
