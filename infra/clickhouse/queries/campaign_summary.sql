-- A campaign at a glance: who, since when, how much
--
-- Parameter: campaign. Requests and tokens are those of its named accounts in the hours that are kept,
-- `requests_total` is the campaign's own count since it was first seen.

SELECT
    campaign.campaign AS campaign,
    campaign.status AS status,
    campaign.severity AS severity,
    campaign.score AS score,
    campaign.first_seen AS first_seen,
    campaign.last_seen AS last_seen,
    dateDiff('day', campaign.first_seen, campaign.last_seen) AS days,
    campaign.accounts_total AS accounts_total,
    campaign.requests_total AS requests_total,
    (SELECT count() FROM campaign_members_current WHERE campaign = {campaign:String}) AS accounts_named,
    (
        SELECT (sumOrNull(requests), sumOrNull(refused), sumOrNull(input_tokens), sumOrNull(output_tokens), sumOrNull(reasoning_tokens))
        FROM activity_current
        WHERE account IN (SELECT account FROM campaign_members_current WHERE campaign = {campaign:String})
    ) AS done,
    done.1 AS requests_kept,
    done.2 AS refused,
    done.3 AS input_tokens,
    done.4 AS output_tokens,
    done.5 AS reasoning_tokens,
    campaign.runbook AS runbook
FROM campaigns_current AS campaign
WHERE campaign.campaign = {campaign:String};
