-- Charges buckets with what has passed, and takes from each as much as is wanted and there beyond
-- what is reserved: the generic cell rate algorithm. Returns the tokens of each.
-- Neither a debt nor a clock that has gone back keeps anybody away for longer than two bursts take.
-- KEYS: of each bucket, when it is full again, in microseconds. ARGV: the microseconds between two
-- tokens, how many pass at once, how many are reserved; then what each bucket is charged, and what
-- is wanted of it.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, burst, reserved = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local room = interval * burst
local answer = {}
for i, key in ipairs(KEYS) do
    local spent, wanted = tonumber(ARGV[2 * i + 2]), tonumber(ARGV[2 * i + 3])
    -- What is no number counts for nothing, of whatever kind it is, and is written over.
    local kept = redis.pcall('GET', key)
    local full = type(kept) == 'string' and tonumber(kept)
    if not full or not (full > now) then
        full = now
    end
    full = math.min(full + spent * interval, now + 2 * room)
    local there = math.floor((now + room - full) / interval) - reserved
    local tokens = math.max(0, math.min(wanted, there))
    full = full + tokens * interval
    if full > now then
        local ends = math.ceil((full - now) / 1000)
        redis.call('SET', key, string.format('%.0f', full), 'PX', string.format('%.0f', ends))
    end
    answer[#answer + 1] = tokens
end
return answer
