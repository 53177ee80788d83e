"""Secrets: from the environment, or from a file that the environment names; never from config files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pipelines.errors import UsageError
from pipelines.settings import PipelineSettings

HASH_KEY: Final = "DISTILLWATCH_HASH_KEY"
KAFKA_PASSWORD: Final = "DISTILLWATCH_KAFKA_PASSWORD"  # noqa: S105 - a variable's name
KAFKA_KEY_PASSWORD: Final = "DISTILLWATCH_KAFKA_KEY_PASSWORD"  # noqa: S105 - a variable's name
CLICKHOUSE_PASSWORD: Final = "DISTILLWATCH_CLICKHOUSE_PASSWORD"  # noqa: S105 - a variable's name

DEVELOPMENT_HASH_KEY: Final = b"distillwatch development key: not a secret"
"""Used where no key is given, so that the demo runs and two replays agree. It protects nobody."""

# BLAKE2b takes keys of up to 64 bytes.
HASH_KEY_BYTES: Final = (16, 64)
# A mounted secret is a line of text; anything larger is the wrong file.
_MAX_SECRET_BYTES: Final = 64 * 1024


def load_secret(name: str, environ: Mapping[str, str] | None = None) -> str | None:
    """The secret called `name`: the variable's value, or the content of the file named by `<name>_FILE`.

    One line end at the end of the file is not part of the secret. None where neither is set.

    Raises:
        UsageError: the file cannot be read, is empty, is not UTF-8 or is far too large.

    >>> load_secret("DISTILLWATCH_KAFKA_PASSWORD", {"DISTILLWATCH_KAFKA_PASSWORD": "s3cret"})
    's3cret'
    """
    variables = os.environ if environ is None else environ
    value = variables.get(name)
    if value:
        return value
    file = variables.get(f"{name}_FILE")
    if not file:
        return None
    try:
        with Path(file).open("rb") as stream:
            raw = stream.read(_MAX_SECRET_BYTES + 1)
        text = raw.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise UsageError(f"{name}_FILE names {file}, which cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{name}_FILE names {file}, which is not UTF-8 text") from None
    if not text:
        raise UsageError(f"{name}_FILE names {file}, which is empty; write the secret into it")
    if len(raw) > _MAX_SECRET_BYTES:
        raise UsageError(f"{name}_FILE names {file}, which is larger than a secret can be ({_MAX_SECRET_BYTES} bytes)")
    return text


def load_hash_key(settings: PipelineSettings, environ: Mapping[str, str] | None = None) -> bytes:
    """The key of the fingerprints' hash; see :func:`is_development_key` for the warning it may deserve.

    Raises:
        UsageError: a key of fewer than 16 or more than 64 bytes, an unreadable key file, or no key
            although `privacy.require_hash_key` is set.
    """
    key = load_secret(HASH_KEY, environ)
    if key is None:
        if settings.privacy.require_hash_key:
            raise UsageError(f"privacy.require_hash_key is true and there is no key; set {HASH_KEY} or {HASH_KEY}_FILE")
        return DEVELOPMENT_HASH_KEY
    raw = key.encode("utf-8")
    least, most = HASH_KEY_BYTES
    if not least <= len(raw) <= most:
        raise UsageError(
            f"{HASH_KEY} must have {least} to {most} bytes, got {len(raw)}; `openssl rand -hex 32` makes one"
        )
    return raw


def is_development_key(key: bytes) -> bool:
    """Whether fingerprints under this key can be recomputed by anyone who has read the source.

    >>> is_development_key(DEVELOPMENT_HASH_KEY)
    True
    """
    return key == DEVELOPMENT_HASH_KEY
