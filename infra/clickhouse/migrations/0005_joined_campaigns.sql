-- A campaign that turned out to be part of an older one ends with a message that names the older one.

CREATE VIEW IF NOT EXISTS campaigns_joined ${on_cluster} AS
SELECT
    assumeNotNull(campaign_id) AS campaign,
    argMax(JSONExtractString(`signals.evidence`[indexOf(`signals.name`, 'joined_campaign')], 'campaign'), version) AS part_of,
    max(ts) AS joined_at
FROM alerts
WHERE kind = 'campaign' AND campaign_id IS NOT NULL AND status = 'closed' AND has(`signals.name`, 'joined_campaign')
GROUP BY campaign;

-- The accounts of such a campaign are the older one's now, whose messages name them again.
CREATE OR REPLACE VIEW campaign_members_current ${on_cluster} AS
SELECT
    assumeNotNull(campaign_id) AS campaign,
    account,
    min(ts) AS named_at,
    min(shadow) AS shadow
FROM alert_accounts
WHERE kind = 'campaign' AND campaign_id IS NOT NULL AND campaign_id NOT IN (SELECT campaign FROM campaigns_joined)
GROUP BY campaign, account;
