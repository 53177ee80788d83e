"""Whether a course is as it has to be, in words, and its times as figures."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from tests.faults.course import CourseReport
from tests.faults.outcome import Outcome, differences


def judged(what: str, report: CourseReport, wanted: Outcome, found: Outcome, requests: int) -> list[str]:
    """What is wrong with a course; nothing where all is well.

    Args:
        wanted: of the undisturbed course.
        requests: different ones in the input.
    """
    wrong = []
    for table, difference in differences(wanted, found).items():
        counts = f"{found.tables[table].rows:,} rows, undisturbed {wanted.tables[table].rows:,}"
        wrong.append(
            f"{table} differ ({counts}): missing {difference.missing}, extra {difference.extra}, "
            f"other content {difference.changed}"
        )
    if found.requests != requests:
        wrong.append(f"{requests:,} requests went in, the activity of all accounts counts {found.requests:,}")
    if not found.tables["alerts"].rows or not found.tables["members"].rows:
        wrong.append("there was nothing to lose: no alert, or no member of a campaign")
    if report.uncommitted:
        wrong.append(f"{report.uncommitted:,} offsets of the input are not committed at the end")
    if report.lost_states:
        wrong.append(f"{report.lost_states} times a partition started without its state")
    wrong += report.overruns
    for outage in report.outages:
        if outage.resumed_s is None or outage.caught_up_s is None:
            wrong.append(f"not caught up after {outage.what} was back")
    return [f"{what}: {one}" for one in wrong]


def recovery(report: CourseReport) -> dict[str, dict[str, float]]:
    """Kills by role, and the seconds from a kill until the worker was ready again."""
    times: dict[str, list[float]] = defaultdict(list)
    kills: dict[str, int] = defaultdict(int)
    for name, lives in report.workers.items():
        role = name.split("-", maxsplit=1)[0]
        times[role] += lives.recovery_s
        kills[role] += lives.kills
    return {
        role: {"kills": kills[role], "recovered": len(found)}
        | {f"p{q}_s": float(np.percentile(found, q)) for q in (50, 99) if found}
        for role, found in times.items()
    }
