-- Accounts that alerts name, against all others: how differently do they use the service?
--
-- Parameter: since. Per account and day; medians, so that one big customer does not stand for all.

SELECT
    if(account IN (SELECT account FROM named_accounts), 'named', 'others') AS side,
    uniqExact(account) AS accounts,
    median(day_requests) AS requests_a_day,
    median(day_output) AS output_tokens_a_day,
    median(day_reasoning) AS reasoning_tokens_a_day,
    median(day_hours) AS active_hours_a_day,
    avg(day_refused / day_requests) AS refused_share
FROM
(
    SELECT
        account,
        toDate(hour) AS day,
        sum(requests) AS day_requests,
        sum(refused) AS day_refused,
        sumOrNull(output_tokens) AS day_output,
        sumOrNull(reasoning_tokens) AS day_reasoning,
        count() AS day_hours
    FROM activity_current
    WHERE hour >= {since:DateTime('UTC')} AND requests > 0
    GROUP BY account, day
)
GROUP BY side
ORDER BY side;
