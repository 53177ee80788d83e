-- Everything that detectors found about an account, the newest first
--
-- Parameters: account, limit. `evidence` is JSON: JSONExtractString(evidence, 'pattern') takes a field out.

SELECT ts, detector, score, p_value, request_id, cohort, evidence
FROM signals_current
WHERE account = {account:String}
ORDER BY ts DESC, detector, signal_id
LIMIT {limit:UInt32};
