"""The one place where the work of a partition becomes durable, in one transaction and in one written order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from detectors.blocks import Part
from pipelines.detect.changelog import BlockWriter, Head, StateError, assemble
from pipelines.detect.ports import Changelog, Lane, TickOutput, TopicPartition, Writer
from pipelines.detect.told import TOLD, Cut, Told, decode_told, encode_told
from pipelines.errors import Failure
from pipelines.kafka_transactions import StuckTransactionError
from schemas.deadletters import DeadLetter
from schemas.evidence import Watermark

Said = TickOutput | Watermark
"""What a partition says, in its order: closed ticks, and that it becomes active or idle."""


class Restored(Struct, frozen=True):
    """What the changelog had of a partition. `head` is None without a state; `damage` says why one was not used.

    `cuts` are those whose results were told on top of the state.
    """

    head: Head | None
    records: int
    bytes: int
    damage: str | None
    cuts: list[Cut] = []


class Checkpoint:
    """Dead letters, outputs, state, offsets of one partition: all in one transaction.

    A failure before its end leaves everything as the last checkpoint had it: whoever takes the partition over
    reads the same records again, into the state of then, and says the same.

    Attributes:
        group: the consumer group whose offsets are committed.
        wrote: records and bytes of state that the last :meth:`write` gave to the writer.
        based: is there a durable state that this worker's lane goes on from? Else nothing can be told on top of it.
    """

    def __init__(self, changelog: Changelog, partition: int, config: str) -> None:
        """Become the partition's one writer; `config` is the version of what decides."""
        self._partition = partition
        self._config = config
        self._changelog = changelog
        self.group = changelog.group
        self._writer: Writer = changelog.open(partition)
        self._blocks = BlockWriter()
        self.wrote = (0, 0)
        self.based = False
        self._has_told = False
        self._stuck = False

    @property
    def records(self) -> int:
        """Records that the durable state has, without its head."""
        return self._blocks.records

    def reopen(self) -> None:
        """Become the one writer again, where others may have been it meanwhile; the next state is written whole."""
        self._writer.close()
        self._writer = self._changelog.open(self._partition)
        self._blocks.rewrite()
        self.based = False
        self._stuck = False

    def _is_open(self) -> bool:
        """Is there a client to write with? Replaces one that is stuck, as soon as a broker answers."""
        if self._stuck:
            try:
                self.reopen()
            except Failure:
                return False
        return True

    def _commit(self, offsets: Mapping[TopicPartition, int], note: str = "") -> bool:
        try:
            return self._writer.commit(offsets, note)
        except StuckTransactionError:
            self._stuck = True
            return False

    def restore(self, lane: Lane, committed: Mapping[str, int | None]) -> Restored:
        """Bring a fresh lane to the state of the last checkpoint, whose offsets must be those that are committed.

        A state that cannot be used is named in the answer and left alone; the next checkpoint overwrites it.
        The lane is then of no use where `damage` is set, and a fresh one has to take its place.
        """
        records = self._changelog.read(self._partition)
        size = sum(map(len, records.values()))
        self._has_told = TOLD in records
        try:
            told = decode_told(records.get(TOLD))
            state = assemble(records)
            if state is None:
                return Restored(None, 0, 0, None)
            if state.head.group != self.group:
                raise StateError(f"it belongs to the group {state.head.group}; each needs a topic of its own")
            if state.head.layout != lane.layout:
                raise StateError("it was made with other sizes of detectors, other columns or another hash key")
            for topic, progress in state.head.topics.items():
                offset = committed.get(topic)
                if offset is not None and offset != progress.committed:
                    raise StateError(f"it belongs to offset {progress.committed} of {topic}, and {offset} is committed")
            lane.restore_parts(state.parts)
        except (KeyError, ValueError) as error:
            self._blocks.forget(records)
            return Restored(None, len(records), size, f"{type(error).__name__}: {error}")
        self._blocks.adopt(state, lane.parts())
        self.based = True
        # Under another config the same records may say something else, and that was not told.
        cuts = told.cuts if told is not None and told.config == self._config else []
        return Restored(state.head, len(records), size, None, cuts)

    def announce(self, watermark: Watermark) -> bool:
        """Say at once that the partition becomes active; False where that is to be tried again.

        The campaign stage must know of every source before it decides on what the others say, so this does not
        wait for the partition's next checkpoint.
        """
        if not self._is_open():
            return False
        self._writer.put_evidence(watermark)
        return self._commit({})

    def tell(self, said: Iterable[Said], cuts: list[Cut], offsets: Mapping[TopicPartition, int]) -> bool:
        """Make results readable before the state that they come from is written.

        Args:
            said: in order.
            cuts: all since the durable state, those of `said` the last of them.
            offsets: what is committed already, one or more; committed again, with a note by which
                whoever has an older state of the partition sees that others have told something.

        Returns:
            False as :meth:`write` does.
        """
        if not self._is_open():
            return False
        self._put(said)
        self._writer.put_state(TOLD, encode_told(Told(self._config, cuts)))
        told = self._commit(offsets, note_of(cuts))
        self._has_told = self._has_told or told
        return told

    def _put(self, said: Iterable[Said]) -> None:
        for one in said:
            if isinstance(one, Watermark):
                self._writer.put_evidence(one)
            else:
                self._writer.put_tick(one)

    def write(
        self,
        *,
        letters: Sequence[DeadLetter],
        said: Iterable[Said],
        head: Head,
        parts: Mapping[str, Part] | None,
        offsets: Mapping[TopicPartition, int],
    ) -> bool:
        """Make the work since the last checkpoint durable.

        Args:
            letters: rejected records.
            said: in order.
            head: of the state.
            parts: the state itself; None where it did not change since the last checkpoint.
            offsets: what may be committed with all of that.

        Returns:
            False where the group takes no offsets now: nothing was written, and all of it has to be given again.

        Raises:
            DeliveryFailure: something was not taken; stop the worker.
        """
        if not self._is_open():
            return False
        writer = self._writer
        for letter in letters:
            writer.put_letter(letter)
        self._put(said)
        records = self._blocks.head_only(head) if parts is None else self._blocks.changes(head, parts)
        count = size = 0
        for key, value in records:
            writer.put_state(key, value)
            count, size = count + 1, size + len(value or b"")
        self.wrote = count, size
        if self._has_told:
            writer.put_state(TOLD, None)
        if not self._commit(offsets):
            return False
        self._blocks.durable()
        self.based, self._has_told = True, False
        return True

    def close(self) -> None:
        """Give the partition up."""
        self._writer.close()


def note_of(cuts: Sequence[Cut]) -> str:
    """What is committed beside offsets that do not move, to tell apart what was told on top of one state."""
    return f"told to {cuts[-1].closed}"
