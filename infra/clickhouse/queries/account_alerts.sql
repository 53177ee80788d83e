-- Which alerts name an account
--
-- Parameter: account.

SELECT alert_id, any(kind) AS kind, any(campaign_id) AS campaign, min(ts) AS named_at, min(shadow) AS shadow
FROM alert_accounts
WHERE account = {account:String}
GROUP BY alert_id
ORDER BY named_at, alert_id;
