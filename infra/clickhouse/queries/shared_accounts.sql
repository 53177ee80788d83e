-- Accounts that several campaigns name: one operator behind both?

SELECT account, groupArray(campaign) AS campaigns, min(named_at) AS first_named
FROM (SELECT * FROM campaign_members_current WHERE NOT shadow ORDER BY campaign)
GROUP BY account
HAVING length(campaigns) > 1
ORDER BY first_named, account;
