-- Notes what a node sees, and returns what the others have said: the name of each, the age in
-- milliseconds, the number, and the words and removals, unless the caller has those of that number.
-- Returns nothing where the words are needed and not given.
-- KEYS: who has said something when, its number, its words, and how sure it is of what it sees down.
-- ARGV: node, number, words, the channel if it is news, for how many milliseconds words hold, how many
-- nodes and bytes are read at most, removals; then each node whose words the caller has, and their number.
-- Nodes of earlier versions know three keys, so a removal names the number whose words it goes with.
local said, numbers, bodies, removals = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local node, number, body = ARGV[1], ARGV[2], ARGV[3]
local holds, most, most_bytes = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- What another program has put there would be in the way for ever.
for i, kind in ipairs({'zset', 'hash', 'hash', 'hash'}) do
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
        redis.call('HDEL', removals, gone)
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
    redis.call('HSET', removals, node, number .. ':' .. ARGV[8])
    if ARGV[4] ~= '' then
        redis.call('PUBLISH', ARGV[4], '')
    end
end
redis.call('ZADD', said, string.format('%.0f', now), node)
-- Nodes of earlier versions forget others, and leave their removals.
if redis.call('HLEN', removals) > redis.call('ZCARD', said) then
    for _, other in ipairs(redis.call('HKEYS', removals)) do
        if not redis.call('ZSCORE', said, other) then
            redis.call('HDEL', removals, other)
        end
    end
end
for _, key in ipairs(KEYS) do
    redis.call('PEXPIRE', key, 30 * holds)
end

local known = {}
for i = 9, #ARGV, 2 do
    known[ARGV[i]] = ARGV[i + 1]
end
local answer = {}
local living = redis.call('ZREVRANGEBYSCORE', said, '+inf', '-inf', 'WITHSCORES', 'LIMIT', 0, most)
for i = 1, #living, 2 do
    local other = living[i]
    if other ~= node then
        local its, text, sure = redis.call('HGET', numbers, other), false, ''
        if its ~= known[other] and redis.call('HSTRLEN', bodies, other) <= most_bytes then
            text = redis.call('HGET', bodies, other)
            local prefix = (its or '') .. ':'
            local found = redis.call('HSTRLEN', removals, other) <= most_bytes
                and redis.call('HGET', removals, other) or ''
            if string.sub(found, 1, #prefix) == prefix then
                sure = string.sub(found, #prefix + 1)
            end
        end
        local age = math.max(0, now - tonumber(living[i + 1]))
        answer[#answer + 1] = {other, age, its, text, sure}
    end
end
return answer
