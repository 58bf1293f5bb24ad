"""What the watches have shown, trimmed: the only memory of the operator, and no more than a cache.

Watch events and the answers to our own writes both go in; the newer version of an object wins, so that an event which
was on its way while we wrote does not bring an old state back.
"""

from collections.abc import Iterator

from .packed import PackedJob
from .plan import queueing, rayjobs
from .plan.queueing import Workload
from .plan.rayjobs import RayJob
from .plan.references import References, follow
from .resources import JobKey, Object


class Store:
    """Our jobs by key, RayJobs by their owners' keys, Workloads by their RayJobs' uids, and who refers to whom."""

    def __init__(self) -> None:
        self._jobs: dict[JobKey, PackedJob] = {}
        self._rayjobs: dict[JobKey, dict[str, RayJob]] = {}
        self._owners: dict[str, JobKey] = {}  # of RayJobs, by their uid
        self._workloads: dict[str, Workload] = {}
        self._referrers: dict[JobKey, set[JobKey]] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def job(self, key: JobKey) -> Object | None:
        kept = self._jobs.get(key)
        return kept.unpack() if kept is not None else None

    def jobs(self) -> Iterator[PackedJob]:
        return iter(self._jobs.values())

    def active(self) -> list[JobKey]:
        """Jobs that have not finished."""
        return [key for key, job in self._jobs.items() if not job.finished]

    def put_job(self, raw: Object, kind: str) -> set[JobKey]:
        """Keep a job as it is now. Returns the keys that may have something to do: its own and those that wait for it."""
        job = PackedJob.of(raw, kind)
        before = self._jobs.get(job.key)
        if before is not None and _precedes(job.version, before.version):
            return set()
        self._jobs[job.key] = job
        for other in job.references:
            self._referrers.setdefault(other, set()).add(job.key)
        return {job.key} | self._referrers.get(job.key, set())

    def drop_job(self, key: JobKey, uid: str) -> set[JobKey]:
        """Forget a job that was deleted, unless one of the same name has taken its place."""
        before = self._jobs.get(key)
        if before is None or before.uid != uid:
            return set()
        del self._jobs[key]
        for other in before.references:
            referrers = self._referrers.get(other, set())
            referrers.discard(key)
            if not referrers:
                self._referrers.pop(other, None)
        return {key} | self._referrers.get(key, set())

    def put_rayjob(self, raw: Object) -> JobKey | None:
        """Keep a RayJob as it is now. Returns its owner's key; None where the RayJob is not one of ours."""
        rayjob = rayjobs.read(raw)
        if rayjob is None:
            return None
        key = owner(rayjob)
        siblings = self._rayjobs.setdefault(key, {})
        before = siblings.get(rayjob.name)
        if before is None or not _precedes(rayjob.resource_version, before.resource_version):
            siblings[rayjob.name] = rayjob
            self._owners[rayjob.uid] = key
        return key

    def drop_rayjob(self, raw: Object) -> JobKey | None:
        rayjob = rayjobs.read(raw)
        if rayjob is None:
            return None
        key = owner(rayjob)
        self.forget_rayjob(key, rayjob.name, rayjob.uid)
        return key

    def forget_rayjob(self, key: JobKey, name: str, uid: str) -> None:
        """The RayJob with this uid is gone."""
        siblings = self._rayjobs.get(key, {})
        if name in siblings and siblings[name].uid == uid:
            del siblings[name]
            self._owners.pop(uid, None)
        if not siblings:
            self._rayjobs.pop(key, None)

    def put_workload(self, raw: Object) -> JobKey | None:
        """Keep a Workload of a RayJob as it is now. Returns the key of the job that it is about."""
        workload = queueing.read(raw)
        if workload is None:
            return None
        before = self._workloads.get(workload.rayjob_uid)
        if before is None or not _precedes(workload.resource_version, before.resource_version):
            self._workloads[workload.rayjob_uid] = workload
        return self._owners.get(workload.rayjob_uid)

    def drop_workload(self, raw: Object) -> JobKey | None:
        workload = queueing.read(raw)
        if workload is None:
            return None
        before = self._workloads.get(workload.rayjob_uid)
        if before is not None and before.uid == workload.uid:
            del self._workloads[workload.rayjob_uid]
        return self._owners.get(workload.rayjob_uid)

    def workload(self, rayjob_uid: str) -> Workload | None:
        return self._workloads.get(rayjob_uid)

    def rayjobs(self, key: JobKey, uid: str) -> tuple[RayJob, ...]:
        """RayJobs of this very job; those of a deleted one of the same name have another owner uid."""
        return tuple(rayjob for rayjob in self._rayjobs.get(key, {}).values() if rayjob.owner_uid == uid)

    def known(self) -> dict[str, JobKey]:
        """uids of all jobs and RayJobs, with the keys of the jobs that they are about."""
        jobs = {job.uid: key for key, job in self._jobs.items()}
        return jobs | {each.uid: key for key, siblings in self._rayjobs.items() for each in siblings.values()}

    def forget(self, key: JobKey, uid: str) -> None:
        """The job or RayJob with this uid is not there any more, although no event has told so."""
        self.drop_job(key, uid)
        for rayjob in list(self._rayjobs.get(key, {}).values()):
            self.forget_rayjob(key, rayjob.name, uid)

    def references(self, key: JobKey) -> References:
        kept = self._jobs.get(key)
        return follow(key, kept.references if kept is not None else (), self.job)


def owner(rayjob: RayJob) -> JobKey:
    return JobKey(rayjob.owner_kind, rayjob.namespace, rayjob.owner_name)


def _precedes(version: str, other: str) -> bool:
    """Versions of a kind's objects are comparable numbers (KEP-5504), also of two objects that had the same name.

    What is not a number counts as news.
    """
    return version.isdigit() and other.isdigit() and int(version) < int(other)
