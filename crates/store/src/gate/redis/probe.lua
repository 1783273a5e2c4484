-- Whether this server takes writes, and what its clock shows. KEYS: a key of the shard asked about.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', KEYS[1], now, 'PX', 1000)
return {now, false}
