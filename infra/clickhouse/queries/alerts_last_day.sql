-- Alerts of the last day of event time, the most severe first
--
-- The day ends with the newest alert, so the query also answers for a replay of old traffic.

SELECT alert_id, version, kind, campaign_id, status, severity, score, ts, accounts_total, requests_total, `signals.name` AS signals
FROM alerts_current
WHERE ts > (SELECT max(ts) FROM alerts) - toIntervalDay(1) AND NOT shadow
ORDER BY indexOf(['critical', 'high', 'medium', 'low'], severity), ts DESC, alert_id;
