-- Alerts by version, and the accounts that they name.
--
-- Rows are deterministic: a message that is written twice has the same sorting key and merges into one.
-- Times are event times, except `written`, from which a row's retention counts: a replay of last year's
-- traffic is not thrown away on arrival. An absent value is NULL, never 0.

CREATE TABLE IF NOT EXISTS alerts ${on_cluster}
(
    alert_id       String CODEC(ZSTD(1)),
    version        UInt32 CODEC(T64, ZSTD(1)),
    kind           LowCardinality(String),
    campaign_id    Nullable(String) CODEC(ZSTD(1)),
    status         LowCardinality(String),
    ts             DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    first_seen     DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    last_seen      DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    accounts       Array(String) CODEC(ZSTD(3)) COMMENT 'accounts that this version names for the first time',
    accounts_total UInt64 CODEC(T64, ZSTD(1)),
    requests_total UInt64 CODEC(T64, ZSTD(1)),
    score          Float64 CODEC(ZSTD(1)),
    severity       LowCardinality(String),
    confidence     Float64 CODEC(ZSTD(1)),
    -- Evidence is JSON text: its shape differs by signal, and Arrow, in which rows are sent, has no JSON type.
    `signals.name`         Array(LowCardinality(String)),
    `signals.contribution` Array(Float64),
    `signals.evidence`     Array(String) CODEC(ZSTD(3)),
    blind          Array(LowCardinality(String)) COMMENT 'fields that were missing, so nothing was learnt from them',
    atlas          Array(LowCardinality(String)),
    runbook        LowCardinality(String),
    config_version LowCardinality(String),
    shadow         Bool,
    written        DateTime('UTC') DEFAULT now('UTC') CODEC(DoubleDelta, ZSTD(1))
)
ENGINE = ${replacing}
PARTITION BY toYYYYMM(ts)
ORDER BY (alert_id, version)
TTL written + toIntervalDay(${alert_days});

-- One row an account and alert version that named it: "which alerts name this account" needs no array scan.
CREATE TABLE IF NOT EXISTS alert_accounts ${on_cluster}
(
    account        String CODEC(ZSTD(1)),
    alert_id       String CODEC(ZSTD(1)),
    version        UInt32 CODEC(T64, ZSTD(1)),
    kind           LowCardinality(String),
    campaign_id    Nullable(String) CODEC(ZSTD(1)),
    ts             DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'when the account was named',
    shadow         Bool,
    written        DateTime('UTC') DEFAULT now('UTC') CODEC(DoubleDelta, ZSTD(1)),
    INDEX campaign campaign_id TYPE bloom_filter GRANULARITY 4
)
ENGINE = ${replacing}
PARTITION BY toYYYYMM(ts)
ORDER BY (account, alert_id, version)
TTL written + toIntervalDay(${alert_days});
