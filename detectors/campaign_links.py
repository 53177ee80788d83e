"""Are two campaigns one operator's? Told from who pays.

Networks, sign-up places and clients are rented: pools that have nothing to do with each other meet on them. A payment
has one payer. So campaigns that were found apart, each by a text of its own, are one where those who pay for the
accounts of the one pay for the other's as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from detectors.campaign_state import Campaign, Cohort
from detectors.reference import Reference

_LEAST: Final = 5  # accounts of either side whose payer pays for the other side too
_SHARE: Final = 0.5  # of the smaller side's accounts have a payment, and of these have one that the other side has
# Of the other side's accounts with a payment, so that a few of another pool, which a common phrase brought into a
# campaign, do not bring their whole pool after them.
_BACK: Final = 0.2
_RARE: Final = 0.01  # a payment of more benign accounts is a reseller's or a method's, and not a payer's


def payers(campaign: Campaign, cohorts: Mapping[str, Cohort], reference: Reference) -> list[int]:
    """The payment of each account of a campaign that has one, but for those that many benign accounts have."""
    paid: dict[str, int] = {}
    for cohort in [cohorts[name] for name in campaign.cohorts if name in cohorts]:
        for account in campaign.requests:
            member = cohort.members.get(account)
            if member is not None and member.row.payment is not None:
                paid[account] = member.row.payment
    return [value for value in paid.values() if reference.frequency("payment", value) <= _RARE]


def same_payers(ours: Sequence[int], accounts: int, theirs: Sequence[int]) -> bool:
    """Do the payers of another campaign pay for this one?

    Args:
        ours: payments of this campaign's accounts, see :func:`payers`.
        accounts: of this campaign, with a payment and without.
        theirs: payments of the other campaign's accounts.

    >>> same_payers([1, 1, 1, 2, 2, 3], 8, [1, 1, 1, 2, 2, 9]), same_payers([1, 1, 1, 2, 2, 3], 13, [1, 1, 1, 2, 2, 9])
    (True, False)
    >>> same_payers([1, 1, 1, 2, 2, 3], 8, [1, 1, 1, 2, 2, *range(10, 40)])
    False
    """
    known, other = set(ours), set(theirs)
    shared, back = sum(value in other for value in ours), sum(value in known for value in theirs)
    return (
        len(ours) >= _SHARE * accounts
        and shared >= max(_LEAST, _SHARE * len(ours))
        and back >= max(_LEAST, _BACK * len(theirs))
    )
