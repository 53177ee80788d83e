"""What signals, blind spots and ATLAS identifiers mean, in a sentence each; the runbook has the rest."""

from __future__ import annotations

from typing import Final, NamedTuple


class SignalText(NamedTuple):
    """A signal in words: what it saw, and what to check before acting on it."""

    meaning: str
    check: str


SIGNALS: Final[dict[str, SignalText]] = {
    "elicitation": SignalText(
        "requests ask for reasoning: strong patterns have no known honest use, weak ones have some",
        "read the named techniques: tutoring and audit of reasoning ask for steps, not for the hidden trace",
    ),
    "template_family": SignalText(
        "many accounts send one prompt skeleton and vary only what stands in its slots",
        "read the skeleton: an app's default system prompt or a course's assignment looks alike",
    ),
    "signature_replay": SignalText(
        "requests carry reasoning signatures that were never issued to their account",
        "ask whether these accounts belong to one customer who moves sessions between them",
    ),
    "foreign_turns": SignalText(
        "histories hold assistant turns that this provider never gave to their account",
        "ask whether a product stands behind them that routes between providers or imports conversations",
    ),
    "leakage": SignalText(
        "answers show the reasoning that their request forced out, in tags or told in the open",
        "read what the request asks for: a product may have its model think aloud in tags of its own",
    ),
    "sampling_sweep": SignalText(
        "the account tries one combination of sampling parameters after another",
        "ask what it studies: a grid over settings ends, reading logits goes on with one prompt and ever new biases",
    ),
    "coverage": SignalText(
        "requests go on bringing what is new to their account, where others come back to what they did",
        "ask what it works off: an index, a table of rows and an assistant for many users are as new each time",
    ),
    "technique_sweep": SignalText(
        "the account tries one wording after another to get at hidden reasoning, and is often refused",
        "ask whether a red team or a study of prompts is announced: both try many ways, and end",
    ),
    "grading": SignalText(
        "the account has answers graded or compared in most hours of the day, as a good part of its requests",
        "ask whose answers are graded: a customer's tests judge its own product, in one part of the day",
    ),
    "trace_cleaning": SignalText(
        "the account pastes reasoning in and has it cleaned, rewritten or judged",
        "ask where the reasoning comes from and what it is for: an editor's work looks alike",
    ),
    "cadence": SignalText(
        "the account's timing, rate and places are unusual together, against accounts of its plan",
        "ask what runs behind it: a reseller, a shared key and a program that never stops look alike",
    ),
    "shift": SignalText(
        "the account's text crowds with those of others that it shares something with, where others do not ask",
        "look up what they share: a class, a team or a product with one subject crowds as well",
    ),
    "even_shares": SignalText(
        "the accounts carry nearly equal shares of the work, as a load balancer would give them",
        "compare with the customer's own scheduler if all accounts are one customer's",
    ),
    "shared_infrastructure": SignalText(
        "the accounts share payment, address prefix, mail domain or client stack that is rare elsewhere",
        "look up who stands behind what is shared: an employer, a school and a VPN share too",
    ),
    "young_accounts": SignalText(
        "the accounts are much younger than the population, or were made together",
        "compare with launches, invitations and classes of those days",
    ),
}

BLIND: Final[dict[str, str]] = {
    "request.text": (
        "requests carried no text: elicitation, templates, coverage, grading, cleaning and shift were not seen"
    ),
    "request.signatures": "requests reported no reasoning signatures: their replay was not seen",
    "response.signatures": "responses reported no reasoning signatures: which ones were issued was not seen",
    "request.messages": "requests carried no messages: turns of another model in them were not seen",
    "response.text": "responses carried no text: foreign turns and leaked reasoning were not seen",
    "signatures": "no response carried a reasoning signature: their replay was not seen",
    "answers": "no response carried a text: foreign turns and leaked reasoning were not seen",
    "response.refused": "responses did not say whether they refuse: sweeps over ways of asking were not seen",
    "request.params": "requests carried no sampling parameters: sweeps over them were not seen",
    "request.client": "requests came without `client`: one account in many places was not seen",
    "account.created": "accounts came without `created`: full use from creation on was not seen",
    "account.plan": "accounts came without `plan`: a volume that does not fit it was not seen",
    "payment": "accounts came without `payment`: shared cards were not seen",
    "email_domain": "accounts came without `email_domain`: shared mail domains were not seen",
    "signup": "accounts came without `signup_ip`: sign-ups from one network were not seen",
    "created": "accounts came without `created`: their age was not seen",
    "ip_prefix": "requests came without `client.ip`: shared address prefixes were not seen",
    "asn_agent": "requests came without `client.asn` and `client.user_agent`: shared networks were not seen",
    "tls_agent": "requests came without `client.tls`: shared client stacks were not seen",
}

ATLAS: Final[dict[str, str]] = {
    "AML.T0024": "Exfiltration via AI Inference API",
    "AML.T0024.002": "Extract AI Model",
    "AML.T0040": "AI Model Inference API Access",
    "AML.T0005.001": "Train Proxy via Replication",
    "AML.T0008.005": "AI Service Proxies",
    "AML.T0021": "Establish Accounts",
    "AML.T0012": "Valid Accounts",
    "AML.T0048.004": "AI Intellectual Property Theft",
    "AML.T0054": "LLM Jailbreak",
    "AML.T0056": "Extract LLM System Prompt",
}

NEXT_STEPS: Final[dict[str, tuple[str, ...]]] = {
    "campaign": (
        "Rule out one owner: a roll-out, a class or a team shares templates, payment and network (see the evidence).",
        "Check the strongest signal first, as noted under it.",
        "Hand all accounts over at once; banning some of them teaches the others.",
        "Watch for further versions of this alert: new accounts that join the campaign are named in them.",
    ),
    "account": (
        "Look for a campaign alert that names this account too; the campaign is the better unit to act on.",
        "Check the strongest signal first, as noted under it.",
        "Watch for further versions of this alert: tenfold more of the same gives a new one.",
    ),
}
