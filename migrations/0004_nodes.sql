-- Which node has seen a change of health, and which has made a token.
--
-- Null in rows of programs that know no such column. `health_latest` has none: programs of both
-- kinds replace its rows, and an old one would leave the name of another node in place.

ALTER TABLE health_status ADD COLUMN node text;
COMMENT ON COLUMN health_status.node IS 'the node that saw it; null where it was not kept';

ALTER TABLE tokens ADD COLUMN node text;
COMMENT ON COLUMN tokens.node IS 'the node that made it; null where it was not kept';
