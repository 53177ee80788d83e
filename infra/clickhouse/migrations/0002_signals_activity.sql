-- What detectors found, and what accounts did.

CREATE TABLE IF NOT EXISTS signals ${on_cluster}
(
    signal_id  UInt64 CODEC(ZSTD(1)) COMMENT 'hash of the whole signal: the same finding, written twice, is one row',
    ts         DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    request_id Nullable(String) CODEC(ZSTD(1)),
    account    Nullable(String) CODEC(ZSTD(1)),
    cohort     Nullable(String) CODEC(ZSTD(1)),
    detector   LowCardinality(String),
    score      Float64 CODEC(ZSTD(1)),
    p_value    Float64 CODEC(ZSTD(1)),
    evidence   String CODEC(ZSTD(3)) COMMENT 'JSON; read it with JSONExtract',
    written    DateTime('UTC') DEFAULT now('UTC') CODEC(DoubleDelta, ZSTD(1)),
    INDEX cohort cohort TYPE bloom_filter GRANULARITY 4
)
ENGINE = ${replacing}
PARTITION BY toYYYYMM(ts)
ORDER BY (account, ts, detector, signal_id)
TTL written + toIntervalDay(${signal_days})
-- A signal of a cohort has no account, and NULL says so; the key puts those rows together.
SETTINGS allow_nullable_key = 1;

CREATE TABLE IF NOT EXISTS activity ${on_cluster}
(
    account          String CODEC(ZSTD(1)),
    hour             DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)),
    as_of            UInt64 CODEC(DoubleDelta, ZSTD(1)) COMMENT 'event time of the count, epoch ms: the latest row holds',
    requests         UInt64 CODEC(T64, ZSTD(1)),
    responses        UInt64 CODEC(T64, ZSTD(1)),
    refused          UInt64 CODEC(T64, ZSTD(1)),
    input_tokens     Nullable(UInt64) CODEC(T64, ZSTD(1)),
    output_tokens    Nullable(UInt64) CODEC(T64, ZSTD(1)),
    reasoning_tokens Nullable(UInt64) CODEC(T64, ZSTD(1)),
    written          DateTime('UTC') DEFAULT now('UTC') CODEC(DoubleDelta, ZSTD(1))
)
ENGINE = ${replacing}(as_of)
PARTITION BY toYYYYMM(hour)
ORDER BY (account, hour)
TTL written + toIntervalDay(${activity_days});
