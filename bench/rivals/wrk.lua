-- The load of the HTTP comparison, the same for every rival: the paths of a file, in its order (a
-- Zipf sequence), each thread from a place of its own. Requests are formatted once and not per
-- request, so that wrk does little beside sending them.
--
-- wrk … -s wrk.lua URL -- PATHS_FILE

local threads = 0

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init(args)
  requests = {}
  local known = {}
  for path in io.lines(args[1]) do
    local request = known[path]
    if not request then
      request = wrk.format("GET", path)
      known[path] = request
    end
    requests[#requests + 1] = request
  end
  count = #requests
  at = number * 7919 % count
end

function request()
  at = at + 1
  if at > count then
    at = 1
  end
  return requests[at]
end

-- One line of JSON: times in microseconds.
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"max_us":%d,"errors":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
