-- Prints what wrk measured as one line of JSON, the last of its output.
-- Latencies are microseconds; "refused" counts answers of 400 and above.
-- Its arguments, if any: the method to send; then one of
--   mix SHARE METHOD TARGET   so many requests of a hundred are these, evenly spread and in the same
--                             order in every run
--   unlike COUNT              so many requests that differ in target, its length, and a field
local cycle, position

function init(args)
  wrk.method = args[1] or wrk.method
  if args[2] == "mix" then
    cycle = mix(tonumber(args[3]), args[4], args[5])
  elseif args[2] == "unlike" then
    cycle = unlike(tonumber(args[3]))
  else
    return
  end
  position = 0
  -- Defined only now: without it wrk sends one request over and over, at less cost.
  function request()
    position = position % #cycle + 1
    return cycle[position]
  end
end

function mix(share, method, target)
  local usual, other, made = wrk.format(), wrk.format(method, target), {}
  for number = 1, 100 do
    local due = math.floor(number * share / 100) > math.floor((number - 1) * share / 100)
    made[number] = due and other or usual
  end
  return made
end

function unlike(count)
  local made = {}
  for number = 1, count do
    local target = wrk.path .. "/" .. number .. "-" .. string.rep("x", number * 7 % 40)
    wrk.headers["X-Request-Id"] = string.format("%08x-%08x", number * 2654435761 % 2 ^ 32, number)
    made[number] = wrk.format(nil, target)
  end
  return made
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
