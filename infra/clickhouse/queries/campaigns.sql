-- Campaigns, the most severe first
--
-- What is going on now: one row a campaign, as its newest message describes it. Shadow findings are left out.

SELECT campaign, status, severity, score, confidence, accounts_total, requests_total, first_seen, last_seen, signals, blind
FROM campaigns_current
WHERE NOT shadow
ORDER BY status = 'closed', indexOf(['critical', 'high', 'medium', 'low'], severity), last_seen DESC;
