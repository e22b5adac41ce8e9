-- The configuration: its log, what the log adds up to, and who may change it.
--
-- Only GeoStream writes these tables: what is changed by hand is not in the log, and gone with the
-- next change of the same row. Whoever wants to know may read them.

-- One row: the latest revision. Whoever commits locks it, so commits come one after another.
CREATE TABLE config_head (
    is_only  boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    revision bigint  NOT NULL,
    -- Tells a commit from another of the same number, after a failover that has lost the first.
    mark     uuid    NOT NULL
);
INSERT INTO config_head (revision, mark) VALUES (0, gen_random_uuid());

CREATE TABLE config_log (
    revision bigint      PRIMARY KEY,
    mark     uuid        NOT NULL,
    at       timestamptz NOT NULL,
    author   text        NOT NULL,
    reason   text        NOT NULL,
    -- What was changed, in order: an array of what the API calls changes.
    change   jsonb       NOT NULL
);
COMMENT ON TABLE config_log IS 'every commit; rows up to one of config_checkpoints may be deleted';

-- Whole configurations at some revisions, so that an old one is found without replaying all.
CREATE TABLE config_checkpoints (
    revision bigint PRIMARY KEY,
    config   jsonb  NOT NULL
);

CREATE TABLE regions (
    id           text PRIMARY KEY,
    name         text,
    latitude     double precision NOT NULL,
    longitude    double precision NOT NULL,
    endpoint     text,
    capacity     bigint,
    -- US dollars per gigabyte.
    cost_per_gb  double precision,
    labels       jsonb NOT NULL,
    health_check jsonb
);

CREATE TABLE services (
    id                     text PRIMARY KEY,
    members                jsonb    NOT NULL,
    policy                 jsonb    NOT NULL,
    geofence               jsonb    NOT NULL,
    all_down               jsonb    NOT NULL,
    removal_budget_percent smallint NOT NULL
);

-- What operators force: it ends by itself at `expires`, without a commit.
CREATE TABLE overrides (
    region_id text PRIMARY KEY REFERENCES regions ON DELETE CASCADE,
    action    text NOT NULL,
    owner     text NOT NULL,
    reason    text NOT NULL,
    since     timestamptz NOT NULL,
    expires   timestamptz
);

-- Those that were ever switched.
CREATE TABLE flags (
    name  text    PRIMARY KEY,
    is_on boolean NOT NULL
);

CREATE TABLE settings (
    name  text  PRIMARY KEY,
    value jsonb NOT NULL
);

CREATE TABLE tokens (
    id      text        PRIMARY KEY,
    name    text        NOT NULL,
    scope   text        NOT NULL,
    -- The SHA-256 of 256 random bits.
    hash    bytea       NOT NULL,
    created timestamptz NOT NULL
);
