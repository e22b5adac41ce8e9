-- Keeps a configuration, unless that of a later revision is kept, and tells all nodes.
-- KEYS: what is kept. ARGV: revision, mark, configuration, how many milliseconds, channel.
local kept = tonumber(redis.call('HGET', KEYS[1], 'revision') or '')
if kept and kept > tonumber(ARGV[1]) then
    return 0
end
redis.call('HSET', KEYS[1], 'revision', ARGV[1], 'mark', ARGV[2], 'config', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('PUBLISH', ARGV[5], ARGV[1])
return 1
