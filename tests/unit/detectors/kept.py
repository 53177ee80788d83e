"""A state as a checkpoint keeps it: block by block, only those that are marked as changed."""

from __future__ import annotations

from detectors.blocks import Blocked


class Kept:
    """What is known of a holder's state from its marks alone."""

    def __init__(self) -> None:
        self._blocks: dict[str, dict[int, bytes]] = {}
        self._extent: dict[str, range] = {}

    def take(self, holder: Blocked) -> int:
        """Keep what changed since the last call; how many blocks were looked at."""
        looked = 0
        parts = holder.parts()
        first = not self._blocks
        for name, part in parts.items():
            kept, held = self._blocks.setdefault(name, {}), range(part.first, part.first + part.count)
            changed = part.changed()
            for number in held if first or changed is None else changed:
                if number in held:
                    kept[number] = part.read(number)
                    looked += 1
            self._extent[name] = held
        return looked

    @property
    def blocks(self) -> dict[str, list[bytes]]:
        """The newest of each; an error where one was never marked."""
        return {name: [self._blocks[name][number] for number in held] for name, held in self._extent.items()}
