"""What tests ask of a job's status."""

import json

from kubectl import Object


def begun(status: Object) -> bool:
    return bool(status.get("progress", {}).get("completed", 0) > 0)


def ended(status: Object) -> bool:
    return "completionTime" in status


def condition(status: Object, kind: str) -> Object:
    """{} while there is none of this kind."""
    found: Object = next((each for each in status.get("conditions", []) if each["type"] == kind), {})
    return found


def results(status: Object) -> Object:
    """What a status says about the job's results, without places and times."""
    members = ("rollouts", "rewards", "isolation", "rewriting", "objectives", "pairs", "pareto")
    digests = {each["name"]: each["digest"] for each in status["outputs"]}
    found = json.loads(json.dumps({name: status[name] for name in members if name in status}))
    for point in found.get("pareto", {}).get("front", []):
        point.pop("checkpointURI", None)
    found.get("pareto", {}).get("artifact", {}).pop("uri", None)
    return found | {"digests": digests}
