-- Adds to counters and tells their sums. KEYS: counters. ARGV: window_ms, then what to add to each.
local time = redis.call('TIME')
local sums = {}
for i, key in ipairs(KEYS) do
  sums[i] = redis.call('INCRBY', key, ARGV[i + 1])
  if redis.call('PTTL', key) < 0 then
    redis.call('PEXPIRE', key, ARGV[1])
  end
end
return {time[1] * 1000 + math.floor(time[2] / 1000), sums}
