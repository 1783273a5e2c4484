-- Forgets sections. KEYS: sections.
local time = redis.call('TIME')
redis.call('DEL', unpack(KEYS))
return {time[1] * 1000 + math.floor(time[2] / 1000), false}
