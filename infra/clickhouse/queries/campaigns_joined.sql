-- Campaigns that turned out to be part of an older one: which, of which, and since when

SELECT part.campaign AS campaign, part.part_of AS part_of, part.joined_at AS joined_at, latest.accounts_total AS accounts_then
FROM campaigns_joined AS part
INNER JOIN campaigns_current AS latest ON latest.campaign = part.campaign
ORDER BY joined_at DESC, campaign;
