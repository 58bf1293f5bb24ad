"""The work queue keeps client-go's rules."""

import asyncio

import pytest

from mora_operator.workqueue import ShutDown, WorkQueue


async def take(queue: WorkQueue[str]) -> str:
    key, _ = await asyncio.wait_for(queue.get(), 5)
    return key


async def test_a_key_that_waits_is_handed_out_once() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for _ in range(3):
        queue.add("a")
    assert len(queue) == 1
    assert await take(queue) == "a"
    queue.done("a")
    assert len(queue) == 0


async def test_a_key_is_never_processed_twice_at_once_and_comes_back_if_it_changed() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    assert await take(queue) == "a"
    queue.add("a")
    queue.add("b")
    assert await take(queue) == "b"
    assert len(queue) == 0, "a is being processed"
    queue.done("a")
    assert await take(queue) == "a"


async def test_a_waiting_worker_is_woken() -> None:
    queue: WorkQueue[str] = WorkQueue()
    worker = asyncio.create_task(take(queue))
    await asyncio.sleep(0)
    queue.add("a")
    assert await worker == "a"


async def test_a_wake_up_is_not_lost_with_a_cancelled_worker() -> None:
    queue: WorkQueue[str] = WorkQueue()
    first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()
    key, _ = await asyncio.wait_for(second, 5)
    assert key == "a"


async def test_the_earliest_delay_wins() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 60)
    queue.add_after("a", 0.01)
    queue.add_after("a", 60)
    assert await take(queue) == "a"
    assert not queue._timers


async def test_an_add_at_once_replaces_a_delayed_one() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 0.01)
    queue.add("a")
    assert await take(queue) == "a"
    queue.done("a")
    await asyncio.sleep(0.03)
    assert len(queue) == 0


async def test_failures_back_off_and_are_forgotten() -> None:
    queue: WorkQueue[str] = WorkQueue(base_delay=1, max_delay=10, jitter=0.1, random_share=lambda: 0.5)
    loop, delays = asyncio.get_running_loop(), []
    with pytest.MonkeyPatch.context() as patch:
        for _ in range(6):
            delays.append(queue.add_failed("a"))
            later = loop.time() + delays[-1]
            patch.setattr(loop, "time", lambda later=later: later)
    assert delays == pytest.approx([1.05, 2.1, 4.2, 8.4, 10.5, 10.5])
    queue.forget("a")
    assert queue.add_failed("a") == pytest.approx(1.05)
    assert queue.add_failed("b", at_least=30) == 30
    assert queue.add_failed("b") <= 30, "a failure before the wait is over (an event came) does not make it longer"
    queue.close()


async def test_a_closed_queue_gives_out_what_waits_and_then_ends() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    queue.close()
    queue.add("b")
    assert await take(queue) == "a"
    with pytest.raises(ShutDown):
        await take(queue)


async def test_workers_that_wait_hear_of_the_end() -> None:
    queue: WorkQueue[str] = WorkQueue()
    workers = [asyncio.create_task(take(queue)) for _ in range(3)]
    await asyncio.sleep(0)
    queue.close()
    ends = await asyncio.gather(*workers, return_exceptions=True)
    assert all(isinstance(end, ShutDown) for end in ends)


async def test_many_workers_process_every_key_and_each_alone() -> None:
    queue: WorkQueue[int] = WorkQueue()
    busy: set[int] = set()
    count = dict.fromkeys(range(50), 0)

    async def work() -> None:
        while True:
            try:
                key, _ = await queue.get()
            except ShutDown:
                return
            assert key not in busy
            busy.add(key)
            await asyncio.sleep(0)
            count[key] += 1
            busy.discard(key)
            queue.done(key)

    workers = [asyncio.create_task(work()) for _ in range(8)]
    for _ in range(4):
        for key in count:
            queue.add(key)
        await asyncio.sleep(0)
    queue.close()
    await asyncio.gather(*workers)
    assert all(count.values())
