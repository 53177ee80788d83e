-- What a campaign's verdict could not see: fields that were missing, and for how many of its messages
--
-- Parameter: campaign. A signal that needs such a field said nothing, neither for nor against.

SELECT field, count() AS messages, min(ts) AS since, max(ts) AS until, max(ts) = max(newest) AS still_blind
FROM
(
    SELECT DISTINCT alert_id, version, ts, blind, max(ts) OVER () AS newest
    FROM alerts
    WHERE campaign_id = {campaign:String} AND kind = 'campaign'
)
ARRAY JOIN blind AS field
GROUP BY field
ORDER BY still_blind DESC, messages DESC, field;
