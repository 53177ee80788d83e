-- What analysts read. Each view shows one row a thing, however often its messages were written.

CREATE VIEW IF NOT EXISTS alerts_current ${on_cluster} AS
SELECT * EXCEPT written FROM alerts ORDER BY alert_id, version DESC LIMIT 1 BY alert_id;

CREATE VIEW IF NOT EXISTS campaign_members_current ${on_cluster} AS
SELECT
    assumeNotNull(campaign_id) AS campaign,
    account,
    min(ts) AS named_at,
    min(shadow) AS shadow
FROM alert_accounts
WHERE kind = 'campaign' AND campaign_id IS NOT NULL
GROUP BY campaign, account;

CREATE VIEW IF NOT EXISTS campaigns_current ${on_cluster} AS
SELECT
    assumeNotNull(latest.campaign_id) AS campaign,
    latest.alert_id AS alert_id,
    latest.version AS version,
    latest.status AS status,
    latest.severity AS severity,
    latest.score AS score,
    latest.confidence AS confidence,
    latest.first_seen AS first_seen,
    latest.last_seen AS last_seen,
    latest.ts AS updated,
    latest.accounts_total AS accounts_total,
    latest.requests_total AS requests_total,
    latest.signals.name AS signals,
    latest.blind AS blind,
    latest.atlas AS atlas,
    latest.runbook AS runbook,
    latest.config_version AS config_version,
    latest.shadow AS shadow
FROM
(
    SELECT *
    FROM alerts
    WHERE kind = 'campaign' AND campaign_id IS NOT NULL
    ORDER BY campaign_id, ts DESC, version DESC
    LIMIT 1 BY campaign_id
) AS latest;

CREATE VIEW IF NOT EXISTS named_accounts ${on_cluster} AS
SELECT account, min(ts) AS named_at, uniqExact(alert_id) AS alerts
FROM alert_accounts
WHERE NOT shadow
GROUP BY account;

CREATE VIEW IF NOT EXISTS signals_current ${on_cluster} AS
SELECT * EXCEPT written FROM signals FINAL;

CREATE VIEW IF NOT EXISTS activity_current ${on_cluster} AS
SELECT * EXCEPT written FROM activity FINAL;

CREATE VIEW IF NOT EXISTS dead_letters_current ${on_cluster} AS
SELECT * EXCEPT written FROM dead_letters FINAL;
