-- What an account did, hour by hour
--
-- Parameter: account.

SELECT hour, requests, responses, refused, input_tokens, output_tokens, reasoning_tokens
FROM activity_current
WHERE account = {account:String}
ORDER BY hour;
