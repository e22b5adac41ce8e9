-- Returns the revision and the mark of what is kept; the configuration too, if it is of this mark.
-- KEYS: what is kept. ARGV: the mark, the most bytes.
local kept = redis.call('HMGET', KEYS[1], 'revision', 'mark')
if kept[2] ~= ARGV[1] then
    return kept
end
if redis.call('HSTRLEN', KEYS[1], 'config') > tonumber(ARGV[2]) then
    return {kept[1], kept[2], false}
end
return {kept[1], kept[2], redis.call('HGET', KEYS[1], 'config')}
