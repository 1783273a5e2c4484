-- A lease as it was written, 'version checked_at text', unless it has lapsed.
-- KEYS: the lease. ARGV: fresh_ms.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.pcall('GET', KEYS[1])
local checked_at = type(held) == 'string' and tonumber(string.match(held, '^%d+ (%d+) ') or '')
if checked_at and checked_at <= now and now - checked_at <= tonumber(ARGV[1]) then
  return {now, held}
end
return {now, false}
