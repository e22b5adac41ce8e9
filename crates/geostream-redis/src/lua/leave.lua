-- Forgets what a node has said.
-- KEYS: who has said something when, its number, its words. ARGV: node, channel.
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('PUBLISH', ARGV[2], '')
