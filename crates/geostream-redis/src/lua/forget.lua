-- Forgets what is kept, if it is of this mark, or if no mark is said.
-- KEYS: what is kept. ARGV: the mark, or nothing.
if not ARGV[1] or redis.call('HGET', KEYS[1], 'mark') == ARGV[1] then
    redis.call('DEL', KEYS[1])
end
return 1
