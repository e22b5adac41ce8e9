-- Notes what a node sees, and returns the time in milliseconds and what the others have said: the name
-- of each, the age in milliseconds, the number, and the words, removals and summary, unless the caller
-- has those of that number. Returns nothing where the words are needed and not given.
-- KEYS: who has said something when, its number, its words, how sure it is of what it sees down, and what
-- it says of itself.
-- ARGV: node, number, words, the channel if it is news, for how many milliseconds words hold, how many
-- nodes and bytes are read at most, removals, summary, how many bytes of a summary are read at most; then
-- each node whose words the caller has, and their number.
-- Nodes of earlier versions know three or four keys, so a removal or summary names the number whose words
-- it goes with.
local said, numbers, bodies, removals, summaries = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local node, number, body = ARGV[1], ARGV[2], ARGV[3]
local holds, most, most_bytes = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local most_summary = tonumber(ARGV[10])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- What another program has put there would be in the way for ever.
for i, kind in ipairs({'zset', 'hash', 'hash', 'hash', 'hash'}) do
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
        redis.call('HDEL', summaries, gone)
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
    redis.call('HSET', summaries, node, number .. ':' .. ARGV[9])
    if ARGV[4] ~= '' then
        redis.call('PUBLISH', ARGV[4], '')
    end
end
redis.call('ZADD', said, string.format('%.0f', now), node)
-- Nodes of earlier versions forget others, and leave their removals and summaries.
for _, key in ipairs({removals, summaries}) do
    if redis.call('HLEN', key) > redis.call('ZCARD', said) then
        for _, other in ipairs(redis.call('HKEYS', key)) do
            if not redis.call('ZSCORE', said, other) then
                redis.call('HDEL', key, other)
            end
        end
    end
end
for _, key in ipairs(KEYS) do
    redis.call('PEXPIRE', key, 30 * holds)
end

-- Returns what goes with the words of this number.
local function beside(key, other, its, bytes)
    local found = redis.call('HSTRLEN', key, other) <= bytes and redis.call('HGET', key, other) or ''
    local prefix = (its or '') .. ':'
    return string.sub(found, 1, #prefix) == prefix and string.sub(found, #prefix + 1) or ''
end

local known = {}
for i = 11, #ARGV, 2 do
    known[ARGV[i]] = ARGV[i + 1]
end
local answer = {}
local living = redis.call('ZREVRANGEBYSCORE', said, '+inf', '-inf', 'WITHSCORES', 'LIMIT', 0, most)
for i = 1, #living, 2 do
    local other = living[i]
    if other ~= node then
        local its, text, sure, summary = redis.call('HGET', numbers, other), false, '', ''
        if its ~= known[other] and redis.call('HSTRLEN', bodies, other) <= most_bytes then
            text = redis.call('HGET', bodies, other)
            sure = beside(removals, other, its, most_bytes)
            summary = beside(summaries, other, its, most_summary)
        end
        local age = math.max(0, now - tonumber(living[i + 1]))
        answer[#answer + 1] = {other, age, its, text, sure, summary}
    end
end
return {now, answer}
