-- Prints what wrk measured as one line of JSON, the last of its output.
-- Latencies are microseconds; "refused" counts answers of 400 and above.
-- Its arguments, if any: the method to send; then a share in percent, and the method and the
-- target of the requests that make up this share of all, evenly spread and in the same order in
-- every run.
local cycle, position

function init(args)
  wrk.method = args[1] or wrk.method
  if not args[2] then
    return
  end
  local share = tonumber(args[2])
  local usual, other = wrk.format(), wrk.format(args[3], args[4])
  cycle, position = {}, 0
  for number = 1, 100 do
    local due = math.floor(number * share / 100) > math.floor((number - 1) * share / 100)
    cycle[number] = due and other or usual
  end
  -- Defined only now: without it wrk sends one request over and over, at less cost.
  function request()
    position = position % 100 + 1
    return cycle[position]
  end
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %.6f, "bytes": %d, "errors": %d, "refused": %d, '
      .. '"p50": %d, "p99": %d, "p999": %d}\n',
    summary.requests, summary.duration / 1e6, summary.bytes,
    e.connect + e.read + e.write + e.timeout, e.status,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
