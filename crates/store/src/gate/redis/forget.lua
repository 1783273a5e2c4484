-- Forgets sections. KEYS: sections and their seats.
local time = redis.call('TIME')
redis.call('DEL', unpack(KEYS))
return {time[1] * 1000 + math.floor(time[2] / 1000), false}
