"""What holds images back while the model is busy."""

import asyncio

import pytest

from serving.models.batching import BatchGate, average_latency


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


def test_all_who_come_while_the_model_is_busy_are_let_in_together():
    async def run():
        gate = BatchGate(8)
        await gate.enter()
        gate.begin(1)
        waiting = [asyncio.create_task(gate.enter()) for _ in range(5)]
        await settle()
        assert not any(task.done() for task in waiting)
        gate.end()
        await settle()
        assert all(task.done() for task in waiting)

    asyncio.run(run())


def test_no_more_are_let_in_than_a_batch_has_room_for_and_in_their_order():
    async def run():
        gate, order = BatchGate(3), []

        async def enter(number):
            await gate.enter()
            order.append(number)

        gate.begin(0)
        tasks = [asyncio.create_task(enter(number)) for number in range(7)]
        await settle()
        for expected in (3, 6, 7):
            gate.end()
            await settle()
            assert order == list(range(expected))
            gate.begin(3)
        await asyncio.gather(*tasks)

    asyncio.run(run())


@pytest.mark.parametrize("let_in", [False, True])
def test_place_of_who_gives_up_goes_to_the_next(let_in):
    async def run():
        gate = BatchGate(1)
        gate.begin(0)
        first, second = (asyncio.create_task(gate.enter()) for _ in range(2))
        await settle()
        if let_in:
            gate.end()  # before the first can notice
        first.cancel()
        await settle()
        if not let_in:
            gate.end()
        await asyncio.wait_for(second, 1)

    asyncio.run(run())


def test_pace_follows_what_images_cost():
    per_image_s = average_latency(0.0, 10, 1.0)
    assert per_image_s == pytest.approx(0.1)
    for _ in range(50):
        per_image_s = average_latency(per_image_s, 2, 1.0)
    assert per_image_s == pytest.approx(0.5, rel=0.01)
