import asyncio

import pytest

from serving.pace import Gate, Pace


def test_average_follows_what_changes():
    pace = Pace()
    for _ in range(30):
        pace.note(1, 0.1)
    for _ in range(30):
        pace.note(2, 0.6)

    assert pace.per_image_s == pytest.approx(0.3, rel=0.01)


async def ask(gate: Gate, names: str, entered: list[str]) -> list[asyncio.Task[None]]:
    async def enter(name: str) -> None:
        await gate.enter()
        entered.append(name)

    tasks = [asyncio.create_task(enter(name)) for name in names]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


def test_idle_model_takes_whoever_comes():
    async def run() -> list[str]:
        entered: list[str] = []
        await ask(Gate(4), "ab", entered)
        return entered

    assert asyncio.run(run()) == ["a", "b"]


def test_busy_model_takes_those_who_waited_at_once_and_in_order():
    async def run() -> None:
        gate, entered = Gate(2), []
        await ask(gate, "a", entered)
        gate.begin(1)
        await ask(gate, "bcd", entered)
        assert entered == ["a"]

        gate.end()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

        assert entered == ["a", "b", "c"]  # no more than fit into a batch

    asyncio.run(run())


def test_place_of_who_goes_away_is_free_for_the_next():
    async def run() -> None:
        gate, entered = Gate(1), []
        await ask(gate, "a", entered)
        gate.begin(1)
        gone, _ = await ask(gate, "bc", entered)

        gone.cancel()
        gate.end()
        await asyncio.sleep(0.01)

        assert entered == ["a", "c"]

    asyncio.run(run())


def test_place_that_was_given_to_who_goes_away_is_given_on():
    async def run() -> None:
        gate, entered = Gate(1), []
        await ask(gate, "a", entered)
        gate.begin(1)
        gone, _ = await ask(gate, "bc", entered)

        gate.end()
        gone.cancel()  # before it could notice that it was let in
        await asyncio.sleep(0.01)

        assert entered == ["a", "c"]

    asyncio.run(run())
