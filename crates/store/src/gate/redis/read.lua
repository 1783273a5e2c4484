-- What is known of sections, one text for each: 'version capacity available next_expiry'.
-- KEYS: sections. ARGV: fresh_ms. Nothing where nothing is known, or what is known has lapsed.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local fresh = tonumber(ARGV[1])
local known = {}
for i, key in ipairs(KEYS) do
  known[i] = false
  -- pcall: whatever else a person put there is no snapshot.
  local kept = redis.pcall('HMGET', key, 'version', 'capacity', 'available', 'next_expiry', 'checked_at')
  local checked_at = not kept.err and tonumber(kept[5])
  if checked_at and checked_at <= now and now - checked_at <= fresh
    and kept[1] and kept[2] and kept[3] and kept[4] then
    known[i] = table.concat(kept, ' ', 1, 4)
  end
end
return {now, known}
