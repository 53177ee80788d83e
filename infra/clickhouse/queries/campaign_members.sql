-- Who belongs to a campaign
--
-- Parameter: campaign. One row an account, with the time at which it was named, and what it did in the hours
-- that are kept. Counts are NULL where no activity is kept or no response reported tokens.

SELECT
    member.account AS account,
    member.named_at AS named_at,
    done.first_hour AS first_hour,
    done.last_hour AS last_hour,
    done.requests AS requests,
    done.output_tokens AS output_tokens
FROM campaign_members_current AS member
LEFT JOIN
(
    SELECT
        account,
        toNullable(min(hour)) AS first_hour,
        toNullable(max(hour)) AS last_hour,
        toNullable(sum(requests)) AS requests,
        sumOrNull(output_tokens) AS output_tokens
    FROM activity_current
    GROUP BY account
) AS done ON done.account = member.account
WHERE member.campaign = {campaign:String}
ORDER BY named_at, account;
