"""What keeps pods from coming up, on a real kubelet: it is said, and the job goes on when the missing thing is made."""

import pytest
from experiments import SECONDS
from kubectl import Namespace
from statuses import condition, ended
from tiny_jobs import prepare, rollout_job

pytestmark = pytest.mark.e2e


@pytest.mark.timeout(2 * SECONDS)
def test_a_missing_secret_is_named_and_waited_for(namespace: Namespace, runtime_image: str) -> None:
    prepare(namespace)
    credential = {"name": "hub", "secretRef": {"name": "hub-token", "key": "token"}}
    namespace.apply(rollout_job(runtime_image, "secret", credentials=[credential]))
    seen = namespace.await_job(
        "rolloutjob", "secret", 180, until=lambda status: condition(status, "Ready").get("reason") == "SecretNotFound"
    )
    print(namespace.kubectl("get", "rlj", "-o", "wide"), namespace.kubectl("get", "events", "-A"))
    assert seen[-1]["phase"] == "Provisioning"
    assert "hub-token" in condition(seen[-1], "Stalled")["message"]
    namespace.kubectl("create", "secret", "generic", "hub-token", "--from-literal=token=x")
    done = namespace.await_job("rolloutjob", "secret", SECONDS, until=ended)[-1]
    assert done["phase"] == "Complete", done
    assert done["attempts"]["current"] == 1


@pytest.mark.timeout(SECONDS)
def test_an_image_that_does_not_exist(namespace: Namespace, runtime_image: str) -> None:
    prepare(namespace)
    namespace.apply(rollout_job("localhost/no-such-image:1", "image"))
    seen = namespace.await_job(
        "rolloutjob", "image", 180, until=lambda status: condition(status, "Ready").get("reason") == "ImagePullFailed"
    )
    assert "no-such-image" in condition(seen[-1], "Stalled")["message"]
