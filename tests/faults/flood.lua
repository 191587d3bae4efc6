-- For wrk: every other request is one that policy refuses. Says what came back, as JSON.
local threads = {}

function setup(thread)
   table.insert(threads, thread)
end

function init()
   sent, s200, s403, other = 0, 0, 0, 0
   wrk.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
   allowed = wrk.format("OPTIONS", "/ok/flood")
   refused = wrk.format("OPTIONS", "/no/flood")
end

function request()
   sent = sent + 1
   return sent % 2 == 0 and allowed or refused
end

function response(status)
   if status == 200 then
      s200 = s200 + 1
   elseif status == 403 then
      s403 = s403 + 1
   else
      other = other + 1
   end
end

function done(summary)
   local sums = {s200 = 0, s403 = 0, other = 0}
   for _, thread in ipairs(threads) do
      for name in pairs(sums) do
         sums[name] = sums[name] + thread:get(name)
      end
   end
   local errors = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
   io.write(string.format(
      '{"200": %d, "403": %d, "other": %d, "errors": %d}\n', sums.s200, sums.s403, sums.other, errors))
end
