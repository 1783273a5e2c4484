-- Takes note of what commits left behind. Running it twice is the same as running it once.
-- KEYS: sections, then seats of sections.
-- ARGV: fresh_ms, kept_ms, how many sections;
--       for each section: version capacity available next_expiry settled_at;
--       for the seats of each: version through settled_at marks.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local fresh, kept, sections = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])

-- A clock that was set back puts things into the future: they are not believed.
local function is_fresh(at)
  return at ~= nil and at <= now and now - at <= fresh
end

local at = 4
for i = 1, sections do
  local key, version, settled_at = KEYS[i], tonumber(ARGV[at]), tonumber(ARGV[at + 4])
  if is_fresh(settled_at) then
    local held = redis.pcall('HMGET', key, 'version', 'checked_at')
    if held.err then
      redis.call('DEL', key)
      held = {}
    end
    local held_version, checked_at = tonumber(held[1] or ''), tonumber(held[2] or '')
    local is_older = held_version and (version < held_version
      or (version == held_version and settled_at < (checked_at or 0)))
    -- Only a newer one takes the place of what is fresh. The same version told again counts as checked
    -- again; where its contents differ, the store was set back, and the later word counts.
    if not (is_older and is_fresh(checked_at)) then
      redis.call('HSET', key, 'version', ARGV[at], 'capacity', ARGV[at + 1],
        'available', ARGV[at + 2], 'next_expiry', ARGV[at + 3], 'checked_at', ARGV[at + 4])
    end
    redis.call('PEXPIRE', key, kept)
  end
  at = at + 5
end

for i = sections + 1, #KEYS do
  local key, version, settled_at = KEYS[i], tonumber(ARGV[at]), tonumber(ARGV[at + 2])
  if is_fresh(settled_at) then
    local held = redis.pcall('HMGET', key, 'version', 'through', 'checked_at')
    if held.err then
      redis.call('DEL', key)
      held = {}
    end
    local held_version, through = tonumber(held[1] or ''), tonumber(held[2] or '')
    local checked_at = tonumber(held[3] or '')
    if held_version and through and is_fresh(checked_at) and version <= held_version then
      if version == held_version and settled_at > checked_at then
        redis.call('HSET', key, 'checked_at', ARGV[at + 2])
      end
      if version == held_version and tonumber(ARGV[at + 1]) > through then
        redis.call('HSET', key, 'through', ARGV[at + 1])
      end
    else
      redis.call('HSET', key, 'version', ARGV[at], 'through', ARGV[at + 1],
        'checked_at', ARGV[at + 2], 'marks', ARGV[at + 3])
    end
    redis.call('PEXPIRE', key, kept)
  end
  at = at + 4
end
return {now, false}
