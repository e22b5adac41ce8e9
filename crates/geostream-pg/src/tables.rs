//! The tables of what the log adds up to: the latest configuration, as people read it.

use geostream_api as api;
use geostream_domain::{Change, Config};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_postgres::types::Type;

use crate::error::{PgError, unreadable};
use crate::session::Session;

/// Everything, as one [`api::WholeConfig`].
const WHOLE: &str = "SELECT json_build_object(
    'config', json_build_object(
        'regions', (SELECT coalesce(json_object_agg(id, json_strip_nulls(json_build_object(
            'name', name, 'latitude', latitude, 'longitude', longitude, 'endpoint', endpoint,
            'capacity', capacity, 'cost_per_gb', cost_per_gb, 'labels', labels,
            'check', health_check))), '{}') FROM regions),
        'services', (SELECT coalesce(json_object_agg(id, json_build_object(
            'members', members, 'policy', policy, 'geofence', geofence, 'all_down', all_down,
            'removal_budget_percent', removal_budget_percent)), '{}') FROM services),
        'flags', (SELECT coalesce(json_object_agg(name, is_on), '{}') FROM flags),
        'settings', (SELECT coalesce(json_object_agg(name, value), '{}') FROM settings)),
    'overrides', (SELECT coalesce(json_object_agg(region_id, json_strip_nulls(json_build_object(
        'action', action, 'owner', owner, 'reason', reason, 'since', since,
        'expires', expires))), '{}') FROM overrides))::text";

/// Each takes the changes as the API writes them, does those of its kind, and leaves the others to
/// the next. What others refer to comes before them, and goes after them.
const WRITES: &[&str] = &[
    "INSERT INTO flags (name, is_on)
     SELECT c->'set_flag'->>'flag', (c->'set_flag'->'on')::boolean
     FROM jsonb_array_elements($1::jsonb) AS c WHERE c ? 'set_flag'
     ON CONFLICT (name) DO UPDATE SET is_on = excluded.is_on",
    "INSERT INTO regions (id, name, latitude, longitude, endpoint, capacity, cost_per_gb, labels,
                          health_check)
     SELECT c->'put_region'->>'id', name, latitude, longitude, endpoint, capacity, cost_per_gb,
            coalesce(labels, '{}'), \"check\"
     FROM jsonb_array_elements($1::jsonb) AS c, jsonb_to_record(c->'put_region'->'region') AS r(
         name text, latitude double precision, longitude double precision, endpoint text,
         capacity bigint, cost_per_gb double precision, labels jsonb, \"check\" jsonb)
     WHERE c ? 'put_region'
     ON CONFLICT (id) DO UPDATE SET
         name = excluded.name, latitude = excluded.latitude, longitude = excluded.longitude,
         endpoint = excluded.endpoint, capacity = excluded.capacity,
         cost_per_gb = excluded.cost_per_gb, labels = excluded.labels,
         health_check = excluded.health_check",
    "INSERT INTO services (id, members, policy, geofence, all_down, removal_budget_percent)
     SELECT c->'put_service'->>'id', members, policy, coalesce(geofence, '[]'), all_down,
            coalesce(removal_budget_percent, 50)
     FROM jsonb_array_elements($1::jsonb) AS c, jsonb_to_record(c->'put_service'->'service') AS s(
         members jsonb, policy jsonb, geofence jsonb, all_down jsonb,
         removal_budget_percent smallint)
     WHERE c ? 'put_service'
     ON CONFLICT (id) DO UPDATE SET
         members = excluded.members, policy = excluded.policy, geofence = excluded.geofence,
         all_down = excluded.all_down, removal_budget_percent = excluded.removal_budget_percent",
    "INSERT INTO settings (name, value)
     SELECT 'default_service', coalesce(c->'set_default_service'->'service', 'null')
     FROM jsonb_array_elements($1::jsonb) AS c WHERE c ? 'set_default_service'
     UNION ALL
     SELECT 'alternatives', c->'set_alternatives'->'count'
     FROM jsonb_array_elements($1::jsonb) AS c WHERE c ? 'set_alternatives'
     UNION ALL
     SELECT s.name, c->('set_' || s.name)->s.field
     FROM jsonb_array_elements($1::jsonb) AS c, (VALUES
         ('requests_per_second', 'limit'), ('requests_per_second_per_token', 'limit'),
         ('reachability_targets', 'targets')) AS s (name, field)
     WHERE (c->('set_' || s.name)) ? s.field
     ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    // What is left to the nodes has no row, so that programs which do not know it can read the rest.
    "DELETE FROM settings USING jsonb_array_elements($1::jsonb) AS c, (VALUES
         ('requests_per_second', 'limit'), ('requests_per_second_per_token', 'limit'),
         ('reachability_targets', 'targets')) AS s (name, field)
     WHERE settings.name = s.name AND c ? ('set_' || s.name)
       AND NOT (c->('set_' || s.name)) ? s.field",
    "DELETE FROM services USING jsonb_array_elements($1::jsonb) AS c
     WHERE services.id = c->'remove_service'->>'id'",
    "DELETE FROM overrides USING jsonb_array_elements($1::jsonb) AS c
     WHERE overrides.region_id = c->'clear_override'->>'region'",
    "DELETE FROM regions USING jsonb_array_elements($1::jsonb) AS c
     WHERE regions.id = c->'remove_region'->>'id'",
    "INSERT INTO overrides (region_id, action, owner, reason, since, expires)
     SELECT c->'set_override'->>'region', action, owner, reason, since, expires
     FROM jsonb_array_elements($1::jsonb) AS c,
          jsonb_to_record(c->'set_override'->'override') AS o(
              action text, owner text, reason text, since timestamptz, expires timestamptz)
     WHERE c ? 'set_override'
     ON CONFLICT (region_id) DO UPDATE SET
         action = excluded.action, owner = excluded.owner, reason = excluded.reason,
         since = excluded.since, expires = excluded.expires",
];

/// Reads the latest configuration.
pub(crate) async fn read(session: &Session) -> Result<Config, PgError> {
    let row = session.row(WHOLE, &[]).await?;
    let document: api::WholeConfig = parse("a configuration", row.try_get(0)?)?;
    document.to_domain().map_err(unreadable("a configuration"))
}

/// Makes the tables of one configuration those of another.
pub(crate) async fn write(session: &Session, old: &Config, new: &Config) -> Result<(), PgError> {
    let changes = old.changes_to(new);
    let document = text(&documents(&changes))?;
    let mut rows = 0;
    for statement in WRITES {
        rows += session.run(statement, &[(&document, Type::TEXT)]).await?;
    }
    // Every change is about one row.
    if rows == changes.len() as u64 {
        Ok(())
    } else {
        let reason = format!("{} changes concern {rows} rows", changes.len());
        Err(PgError::damaged("tables that are not what the log adds up to", reason))
    }
}

/// Returns changes as the API writes them.
pub(crate) fn documents(changes: &[Change]) -> Vec<api::Change> {
    changes.iter().map(api::Change::from).collect()
}

/// Writes a document as JSON.
pub(crate) fn text(document: &impl Serialize) -> Result<String, PgError> {
    serde_json::to_string(document).map_err(|error| PgError::damaged("a document", error))
}

/// Reads a document from JSON.
pub(crate) fn parse<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, PgError> {
    serde_json::from_str(text).map_err(|error| PgError::damaged(what, error))
}
