-- Tokens with limits, with an end, or with both.
--
-- They are not in `tokens`, because programs that know neither would take them for tokens without
-- either. A program that does not know this table refuses them.

CREATE TABLE limited_tokens (
    id      text        PRIMARY KEY,
    name    text        NOT NULL,
    scope   text        NOT NULL,
    -- The SHA-256 of 256 random bits.
    hash    bytea       NOT NULL,
    created timestamptz NOT NULL,
    -- The node that made it.
    node    text,
    -- The services and regions that it reaches. Null: everything.
    limits  jsonb,
    -- When it ends. Null: only when it is revoked.
    expires timestamptz,
    CHECK (limits IS NOT NULL OR expires IS NOT NULL)
);
COMMENT ON TABLE limited_tokens IS 'tokens that earlier programs do not know; beside tokens';
