-- Grants the wish to whoever is first, for a while.
-- KEYS: the claim. ARGV: how many milliseconds.
return redis.call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[1]) and 1 or 0
