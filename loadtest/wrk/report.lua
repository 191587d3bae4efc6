-- Prints what wrk measured as one line of JSON, the last of its output.
-- Latencies are microseconds; "refused" counts answers of 400 and above.
-- Its one argument, if any, is the method to send.
function init(args)
  wrk.method = args[1] or wrk.method
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %.6f, "bytes": %d, "errors": %d, "refused": %d, '
      .. '"p50": %d, "p99": %d}\n',
    summary.requests, summary.duration / 1e6, summary.bytes,
    e.connect + e.read + e.write + e.timeout, e.status,
    latency:percentile(50), latency:percentile(99)))
end
