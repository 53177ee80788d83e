-- Rejected messages by source and reason

SELECT source, reason, count() AS messages, sum(bytes) AS bytes, max(ts) AS newest, anyLast(detail) AS example
FROM dead_letters_current
GROUP BY source, reason
ORDER BY messages DESC, source, reason;
