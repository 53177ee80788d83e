"""Made-up prompts for simulations in tests: no wheel, no network."""

from __future__ import annotations

from random import Random

from pipelines.demo.prompts import Dialogue, Prompt
from pipelines.simulate import Prompts
from pipelines.simulate.prompts import SETS


def made_up(seed: int = 3) -> Prompts:
    """Some hundred distinct texts on each side; every honest one begins with ``h``, every task with ``t``."""
    rng = Random(seed)
    words = ["".join(rng.choices("abcdefghijklmnoprstuvw", k=rng.randint(3, 9))) for _ in range(900)]

    def text(mark: str, number: int) -> str:
        return f"{mark}{number} {' '.join(rng.choices(words, k=rng.randint(8, 25)))}"

    return Prompts(
        ordinary=tuple(Prompt(text=text("h", n), app=f"app{n // 3}") for n in range(400)),
        dialogues=tuple(Dialogue(turns=(text("h", 1000 + n), text("h", 2000 + n))) for n in range(12)),
        code=tuple(f"def f{n}(x):\n    '''{text('h', 3000 + n)}'''\n" for n in range(30)),
        rows={},
        passages=(),
        attack={
            name: tuple(Prompt(text=text("t", 1000 * s + n), app=name) for n in range(150))
            for s, name in enumerate(SETS)
        },
        thoughts=(),
        sources=("made up for a test",),
    )
