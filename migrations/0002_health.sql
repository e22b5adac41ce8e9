-- How the health of regions has changed, as the nodes have seen it.

-- The last change of each region.
CREATE TABLE health_latest (
    region_id        text        PRIMARY KEY,
    -- Null: unknown.
    is_healthy       boolean,
    last_check       timestamptz NOT NULL,
    response_time_ms double precision,
    error_count      bigint      NOT NULL,
    evidence         text        NOT NULL
);

-- Every change, in partitions by month, which go as a whole.
CREATE SEQUENCE health_status_number;
CREATE TABLE health_status (
    number           bigint      NOT NULL DEFAULT nextval('health_status_number'),
    region_id        text        NOT NULL,
    is_healthy       boolean,
    last_check       timestamptz NOT NULL,
    response_time_ms double precision,
    error_count      bigint      NOT NULL,
    evidence         text        NOT NULL,
    -- The node, or the pooler that it uses; null for a local socket.
    seen_from        inet        DEFAULT inet_client_addr()
) PARTITION BY RANGE (last_check);
CREATE INDEX ON health_status (number);
CREATE INDEX ON health_status (region_id, number);

-- Makes the partition of a moment, and drops those that have ended so many days before.
--
-- Nodes need no right to make tables: this is done with the rights of whoever migrates.
CREATE FUNCTION geostream_keep_health(moment timestamptz, days integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    start date := date_trunc('month', moment AT TIME ZONE 'UTC');
    partition text := 'health_status_' || to_char(start, 'YYYY_MM');
    old regclass;
BEGIN
    IF to_regclass(partition) IS NULL THEN
        -- Of several nodes one makes it.
        PERFORM pg_advisory_xact_lock('health_status'::regclass::bigint);
        EXECUTE format(
            'CREATE TABLE IF NOT EXISTS %I PARTITION OF health_status FOR VALUES FROM (%L) TO (%L)',
            partition, start::timestamp AT TIME ZONE 'UTC',
            (start + interval '1 month') AT TIME ZONE 'UTC');
    END IF;
    FOR old IN
        SELECT inhrelid::regclass FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = 'health_status'::regclass
          AND to_date(right(relname, 7), 'YYYY_MM') + interval '1 month'
              <= (least(moment, now()) AT TIME ZONE 'UTC') - make_interval(days => days)
    LOOP
        EXECUTE format('DROP TABLE IF EXISTS %s', old);
    END LOOP;
END
$$;
