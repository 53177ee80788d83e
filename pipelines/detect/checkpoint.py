"""The one place where work becomes durable, in one written order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pipelines.detect.ports import Outputs, TickOutput, TopicPartition
from schemas.deadletters import DeadLetter
from schemas.evidence import Evidence

Commit = Callable[[Mapping[TopicPartition, int]], bool]


class Checkpoint:
    """Dead letters, outputs, acknowledgement, offsets; in this order, and each only after the one before.

    A failure at any step leaves the offsets of the last checkpoint in place: the worker stops, and whoever
    reads on repeats the same records with the same deterministic ids. A transaction would begin before
    `put_letter` and take the offsets in place of `commit`.
    """

    def __init__(self, outputs: Outputs, commit: Commit) -> None:
        self._outputs = outputs
        self._commit = commit

    def write(
        self,
        *,
        letters: Sequence[DeadLetter],
        before: Sequence[Evidence],
        ticks: Sequence[TickOutput],
        after: Sequence[Evidence],
        offsets: Mapping[TopicPartition, int],
    ) -> bool:
        """Make one round of work durable.

        Args:
            letters: rejected records.
            before: evidence to send ahead of the ticks (a source that becomes active).
            ticks: closed ticks; per partition in order.
            after: evidence to send behind the ticks (a source that becomes idle).
            offsets: what may be committed once all of that is acknowledged.

        Returns:
            Whether the offsets were committed; False where the group takes none now.

        Raises:
            DeliveryFailure: something was not acknowledged; nothing was committed.
        """
        for letter in letters:
            self._outputs.put_letter(letter)
        for evidence in before:
            self._outputs.put_evidence(evidence)
        for tick in ticks:
            self._outputs.put_tick(tick)
        for evidence in after:
            self._outputs.put_evidence(evidence)
        if letters or before or ticks or after:
            self._outputs.flush()
        return self._commit(offsets) if offsets else True
