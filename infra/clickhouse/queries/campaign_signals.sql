-- Why a campaign was called: its signals by contribution, with what a human can check
--
-- Parameter: campaign. The newest message counts. `evidence` is JSON.

SELECT name, contribution, evidence
FROM
(
    SELECT `signals.name`, `signals.contribution`, `signals.evidence`
    FROM alerts
    WHERE campaign_id = {campaign:String} AND kind = 'campaign'
    ORDER BY ts DESC, version DESC
    LIMIT 1
)
ARRAY JOIN `signals.name` AS name, `signals.contribution` AS contribution, `signals.evidence` AS evidence
ORDER BY contribution DESC, name;
