-- Notes what a node sees, and returns what the others have said: the name of each, the age in
-- milliseconds, the number, and the words, unless the caller has those of that number.
-- Returns nothing where the words are needed and not given.
-- KEYS: who has said something when, its number, its words. ARGV: node, number, words, the channel
-- if it is news, for how many milliseconds words hold, how many nodes and bytes are read at most;
-- then each node whose words the caller has, and their number.
local said, numbers, bodies = KEYS[1], KEYS[2], KEYS[3]
local node, number, body = ARGV[1], ARGV[2], ARGV[3]
local holds, most, most_bytes = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- What another program has put there would be in the way for ever.
for i, kind in ipairs({'zset', 'hash', 'hash'}) do
    local found = redis.call('TYPE', KEYS[i]).ok
    if found ~= 'none' and found ~= kind then
        redis.call('DEL', KEYS[i])
    end
end

local function forget(nodes)
    for _, gone in ipairs(nodes) do
        redis.call('ZREM', said, gone)
        redis.call('HDEL', numbers, gone)
        redis.call('HDEL', bodies, gone)
    end
end
forget(redis.call('ZRANGEBYSCORE', said, '-inf', string.format('%.0f', now - holds)))
-- After a failover, the clock of the server before may have been ahead.
forget(redis.call('ZRANGEBYSCORE', said, string.format('(%.0f', now + 1000), '+inf'))

if redis.call('HGET', numbers, node) ~= number then
    if body == '' then
        return false
    end
    redis.call('HSET', numbers, node, number)
    redis.call('HSET', bodies, node, body)
    if ARGV[4] ~= '' then
        redis.call('PUBLISH', ARGV[4], '')
    end
end
redis.call('ZADD', said, string.format('%.0f', now), node)
for _, key in ipairs(KEYS) do
    redis.call('PEXPIRE', key, 30 * holds)
end

local known = {}
for i = 8, #ARGV, 2 do
    known[ARGV[i]] = ARGV[i + 1]
end
local answer = {}
local living = redis.call('ZREVRANGEBYSCORE', said, '+inf', '-inf', 'WITHSCORES', 'LIMIT', 0, most)
for i = 1, #living, 2 do
    local other = living[i]
    if other ~= node then
        local its, text = redis.call('HGET', numbers, other), false
        if its ~= known[other] and redis.call('HSTRLEN', bodies, other) <= most_bytes then
            text = redis.call('HGET', bodies, other)
        end
        local age = math.max(0, now - tonumber(living[i + 1]))
        answer[#answer + 1] = {other, age, its, text}
    end
end
return answer
