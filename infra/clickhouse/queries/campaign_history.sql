-- How a campaign grew: each version of its alert
--
-- Parameter: campaign.

SELECT DISTINCT alert_id, version, ts, status, severity, score, length(accounts) AS newly_named, accounts_total, requests_total, config_version
FROM alerts
WHERE campaign_id = {campaign:String}
ORDER BY ts, version;
