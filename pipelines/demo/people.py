"""Simulated accounts: networks, clients, payment, mail, age and plan.

Every name and address is plainly synthetic: 198.18.0.0/15 (benchmark range), 2001:db8::/32 (documentation),
private autonomous-system numbers and mail domains under `.example`. The shares are plausible, not measured:
public data holds none of these fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from random import Random
from typing import Final, NamedTuple

from msgspec import Struct

from schemas.events import Account, Client, Params

MINUTE: Final = 60_000
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

V4_BLOCKS: Final = 512  # the /24s of 198.18.0.0/15
FIRST_ASN: Final = 64_512
ASNS: Final = 400

# Country, hours from UTC, share. Shares only give the population a day and a night at several hours at once.
PLACES: Final = (
    ("US", -6, 30), ("IN", 5, 12), ("DE", 1, 9), ("GB", 0, 8), ("BR", -3, 7), ("JP", 9, 6), ("FR", 1, 6),
    ("CA", -5, 5), ("NL", 1, 4), ("AU", 10, 4), ("PL", 1, 3), ("KR", 9, 3), ("NG", 1, 3),
)  # fmt: skip

MODELS: Final = (("m-large", 34), ("m-medium", 38), ("m-small", 22), ("m-large-old", 6))

# Public mail providers carry most accounts; the last two hand out throw-away addresses, to some honest users too.
PUBLIC_MAIL: Final = (
    ("mailhouse.example", 46), ("postroom.example", 21), ("lettera.example", 11), ("webpost.example", 8),
    ("poczta-online.example", 5), ("kurier.example", 4), ("inboxly.example", 3), ("tenminutes.example", 1),
    ("dropmail-now.example", 1),
)  # fmt: skip
DISPOSABLE_MAIL: Final = (
    ("tenminutes.example", 30), ("dropmail-now.example", 28), ("quickbox.example", 22),
    ("trash-letters.example", 12), ("mailnull.example", 8),
)  # fmt: skip

# HTTP clients and their shares; each stack's TLS fingerprint follows from its name (see `tls_of`).
STACKS: Final = (
    ("python-httpx/0.27.2", 18), ("python-httpx/0.28.1", 11), ("python-requests/2.32.3", 12), ("node-fetch/1.0", 9),
    ("axios/1.7.7", 8), ("Go-http-client/2.0", 7), ("aiohttp/3.10.5", 5), ("okhttp/4.12.0", 4),
    ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/129.0", 9), ("Mozilla/5.0 (Macintosh) Safari/17.6", 5),
    ("Mozilla/5.0 (X11; Linux x86_64) Firefox/130.0", 2), ("curl/8.9.1", 3), ("reqwest/0.12", 2), ("Java/17", 2),
    ("aiohttp/3.9.1", 1), ("undici/6.19", 1), ("Faraday v2.12", 1),
)  # fmt: skip


class Network(NamedTuple):
    """One block of addresses: a /24 or a /48."""

    prefix: str
    asn: int
    country: str
    offset: int

    def address(self, rng: Random) -> str:
        """Any address of the block.

        >>> Network("2001:db8:7", 64512, "NL", 1).address(Random(1))
        '2001:db8:7:44cb:a:a::1'
        """
        if ":" in self.prefix:
            subnet, host = rng.randrange(1 << 16), rng.randrange(1, 16)
            return f"{self.prefix}:{subnet:x}:{host:x}:{host:x}::1"
        return f"{self.prefix}.{rng.randrange(1, 255)}"

    @property
    def cidr(self) -> str:
        """The block as the enrichment of accounts writes it."""
        return f"{self.prefix}::/48" if ":" in self.prefix else f"{self.prefix}.0/24"


class Person(Struct, frozen=True):
    """One account: who it is to the provider's account system, and how it calls."""

    account: str
    enrichment: Account | None
    clients: tuple[Client, ...]
    models: tuple[str, ...]
    params: Params
    offset: int


def pick(rng: Random, table: Sequence[tuple[str, int]]) -> str:
    """One name of a table of (name, share)."""
    return rng.choices([name for name, _ in table], weights=[share for _, share in table])[0]


def opaque(seed: int, *parts: object, size: int = 6) -> str:
    """A name that tells nothing: `2 * size` hexadecimal digits.

    >>> opaque(1, "account", 7) == opaque(1, "account", 7) != opaque(1, "account", 8)
    True
    """
    return blake2b(repr((seed, *parts)).encode(), digest_size=size).hexdigest()


def tls_of(stack: str, build: int = 0) -> str:
    """The TLS fingerprint of a client stack, in the shape of a JA4: every use of it shows the same."""
    digest = blake2b(f"{stack}#{build}".encode(), digest_size=12).hexdigest()
    return f"t13d{10 + int(digest[:2], 16) % 10}12h2_{digest[:12]}_{digest[12:24]}"


def network(rng: Random, *, v4: bool | None = None) -> Network:
    """A consumer network: block by a long-tailed choice of operator, so that some blocks are shared."""
    block = min(int(rng.paretovariate(0.35)), 1 << 15) if rng.random() < 0.1 else rng.randrange(1, 1 << 15)
    use_v4 = rng.random() < 0.55 if v4 is None else v4
    block = block % V4_BLOCKS if use_v4 else block
    # The operator of a block is a fact of the block: it follows from the block's number alone.
    fixed = Random(f"{use_v4}:{block}")
    asn = FIRST_ASN + min(int(fixed.paretovariate(0.6)) - 1, ASNS)
    country, offset, _ = Random(f"asn:{asn}").choices(PLACES, weights=[share for *_, share in PLACES])[0]
    prefix = f"198.{18 + block // 256}.{block % 256}" if use_v4 else f"2001:db8:{block:x}"
    return Network(prefix, asn, country, offset)


def client(rng: Random, net: Network, stack: str, *, build: int = 0) -> Client:
    """One place and one program that an account calls from."""
    return Client(ip=net.address(rng), asn=net.asn, country=net.country, user_agent=stack, tls=tls_of(stack, build))


def any_params(rng: Random) -> Params:
    """Sampling parameters as honest programs set them: often not at all."""
    shape = rng.random()
    if shape < 0.25:
        return Params()
    return Params(
        temperature=rng.choice((None, 0.0, 0.0, 0.2, 0.3, 0.5, 0.7, 0.7, 1.0, 1.0)),
        top_p=rng.choice((None, None, None, 0.9, 0.95, 1.0)),
        max_tokens=rng.choice((None, 256, 500, 512, 1000, 1024, 1024, 2048, 4096, 4096, 8192)),
        stream=rng.choice((None, True, True, False)),
        reasoning_effort=rng.choice((None, None, None, "low", "medium", "high")),
    )


def ordinary(seed: int, kind: str, index: int, rng: Random, start: int) -> Person:
    """One of thousands of unrelated customers.

    One in eight has no enrichment at all; one in fourteen is new: two weeks old at most, or yet to sign up.
    """
    account = f"acct_{opaque(seed, kind, index)}"
    home = network(rng)
    stack = pick(rng, STACKS)
    # Some builds of a program differ in their TLS library.
    build = rng.choice((0, 0, 0, 0, 1, 2))
    clients = [client(rng, home, stack, build=build)]
    if rng.random() < 0.35:
        clients.append(client(rng, network(rng), pick(rng, STACKS) if rng.random() < 0.5 else stack, build=build))
    plan = rng.choices(("free", "paid", "enterprise"), weights=(45, 50, 5))[0]
    young = rng.random() < 0.07
    age = rng.uniform(-2 * DAY, 14 * DAY) if young else min(rng.expovariate(1 / (400 * DAY)) + 14 * DAY, 1500 * DAY)
    created = int(start - age)
    own_domain = rng.random() < (0.95 if plan == "enterprise" else 0.2)
    payment = None
    if plan != "free":
        # A few people pay for two or three accounts with one card.
        holder = index // 3 if rng.random() < 0.03 else index
        payment = f"pm_{opaque(seed, kind, 'payment', holder, size=8)}"
    enrichment = Account(
        # Known accounts come as a snapshot in the first minutes, new ones as they sign up.
        ts=max(start + rng.randrange(10 * MINUTE), created),
        account=account,
        created=created,
        plan=plan,
        payment=payment,
        email_domain=f"{opaque(seed, 'own', kind, index, size=4)}.example" if own_domain else pick(rng, PUBLIC_MAIL),
        signup_ip=home.cidr,
        signup_channel=rng.choices(("direct", "marketplace", "partner"), weights=(86, 9, 5))[0],
    )
    main = pick(rng, MODELS)
    return Person(
        account=account,
        enrichment=None if rng.random() < 0.125 else enrichment,
        clients=tuple(clients),
        models=(main, main, main, pick(rng, MODELS)),
        params=any_params(rng),
        offset=home.offset,
    )
