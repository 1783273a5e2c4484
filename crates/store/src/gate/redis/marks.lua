-- The marks of sections as they were written, each 'through' and the bytes; nothing where there are none.
-- KEYS: seats of sections.
local time = redis.call('TIME')
local known = {}
for i, key in ipairs(KEYS) do
  -- pcall: whatever else a person put there is no marks.
  local kept = redis.pcall('HMGET', key, 'through', 'marks')
  known[i] = not kept.err and tonumber(kept[1] or '') and kept[2] and kept or false
end
return {time[1] * 1000 + math.floor(time[2] / 1000), known}
