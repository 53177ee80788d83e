"""The directory of the correlate worker's store: one process has it, and only what was left in order is taken over."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.correlate.worker import alone_in, open_store
from pipelines.errors import UsageError


def test_a_second_process_is_refused_while_the_first_one_runs(tmp_path: Path) -> None:
    store = tmp_path / "new" / "app"
    with alone_in(store):
        (open_store(store).parent / "000001.sst").touch()
        with pytest.raises(UsageError, match=r"in use by another .*data_dir of its own"), alone_in(store):
            pass
        with alone_in(tmp_path / "new" / "other"):
            pass
        assert (store / "000001.sst").exists()
    with alone_in(store):
        pass


def test_a_store_that_was_not_left_in_order_is_removed(tmp_path: Path) -> None:
    store = tmp_path / "app"
    marker = open_store(store)
    (store / "000001.sst").touch()
    marker.touch()
    assert open_store(store) == marker
    assert (store / "000001.sst").exists()
    assert not marker.exists(), "a process that is killed now leaves no marker"
    open_store(store)
    assert not (store / "000001.sst").exists()
