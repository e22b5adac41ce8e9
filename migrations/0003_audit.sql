-- Who wanted what of the nodes, and what came of it. Nodes forget what is too old or too much.

CREATE TABLE audit (
    number   bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL,
    -- The node that was asked.
    node     text        NOT NULL,
    -- The name of the token, or of what the node did by itself; null without a valid token.
    who      text,
    token    text,
    scope    text,
    -- Null: the node itself.
    address  inet,
    action   text        NOT NULL,
    target   text        NOT NULL,
    -- What was done; as the API writes it, and cut to 16 KiB. Null: it was refused.
    changes  json,
    revision bigint,
    reason   text,
    -- Why it was refused. Null: it was done.
    status   integer,
    problem  text,
    detail   text,
    CHECK ((changes IS NULL) <> (status IS NULL))
);
COMMENT ON TABLE audit IS 'who wanted what, and what came of it; rows may be deleted';
