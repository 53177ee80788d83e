-- Rejected messages by place and reason. Their bytes stay in Kafka: here is only what can be counted.

CREATE TABLE IF NOT EXISTS dead_letters ${on_cluster}
(
    source    LowCardinality(String) COMMENT 'topic or file',
    partition Nullable(Int32),
    offset    UInt64 CODEC(DoubleDelta, ZSTD(1)),
    ts        DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'when it was rejected; 1970 for a replay',
    reason    LowCardinality(String),
    detail    String CODEC(ZSTD(3)),
    bytes     UInt64 CODEC(T64, ZSTD(1)) COMMENT 'size of the message',
    written   DateTime('UTC') DEFAULT now('UTC') CODEC(DoubleDelta, ZSTD(1))
)
ENGINE = ${replacing}
-- Not by time: a message that is rejected again after a restart must meet its first row to merge with it.
ORDER BY (source, partition, offset)
TTL written + toIntervalDay(${signal_days})
SETTINGS allow_nullable_key = 1;
