//! What a write has done, in sentences.

use geostream_api::{Difference, Override, OverrideAction, Proposed};
use serde_json::Value;

use crate::fields::{changed_fields, shortened};
use crate::place;
use crate::when::Now;

/// The most changes that have a sentence each; more of them are counted.
const TOLD: usize = 5;

/// The most fields of a part that a sentence names.
const FIELDS: usize = 4;

/// Says what a write has done, and what undoes it.
pub(crate) fn of(proposed: &Proposed, now: Now, clients: Option<&str>) -> Vec<String> {
    let Proposed { revision, changes, .. } = proposed;
    let mut sentences: Vec<String> = match changes.len() {
        0 => return vec![format!("nothing to change; still at revision {revision}")],
        1..=TOLD => changes.iter().map(|change| of_change(change, now, clients)).collect(),
        _ => vec![counted(changes)],
    };
    let undo = match &changes[..] {
        [change] => undo(change).or_else(|| rolled_back(*revision, changes)),
        _ => rolled_back(*revision, changes),
    };
    match (&mut sentences[..], undo) {
        ([sentence], Some(undo)) => sentence.push_str(&format!("; undo: geostream-admin {undo}")),
        (_, Some(undo)) => sentences.push(format!("undo: geostream-admin {undo}")),
        (_, None) => {}
    }
    sentences.push(format!("now at revision {revision}"));
    sentences
}

/// Says where changed or added regions are if their coordinates look swapped.
pub(crate) fn doubts(changes: &[Difference]) -> Vec<String> {
    let of_one = |change: &Difference| {
        let region = change.path.strip_prefix("regions/")?;
        let at = place::coordinates(change.after.as_ref()?)?;
        let is_new = change.before.as_ref().and_then(place::coordinates) != Some(at);
        let meant = place::if_swapped(at.0, at.1).filter(|_| is_new)?;
        let near = place::nearest(at.0, at.1)?;
        Some(format!(
            "{region} is {near}; with latitude and longitude swapped, it would be {meant}: \
             geostream-admin region set {region} --latitude {} --longitude {}",
            at.1, at.0
        ))
    };
    changes.iter().filter_map(of_one).collect()
}

fn of_change(change: &Difference, now: Now, clients: Option<&str>) -> String {
    let Difference { path, before, after } = change;
    let (kind, id) = path.split_once('/').unwrap_or((path, ""));
    match (kind, before, after) {
        ("overrides", _, Some(after)) => overridden(id, after, now, clients),
        ("overrides", before, None) => restored(id, before.as_ref()),
        ("flags", before, Some(Value::Bool(on))) => {
            let state = |on: bool| if on { "on" } else { "off" };
            let was = before.as_ref().and_then(Value::as_bool).map(state);
            let was = was.map(|was| format!(" (was {was})")).unwrap_or_default();
            format!("flag {id} switched {}{was}", state(*on))
        }
        ("settings", before, after) => {
            let text = |value: &Option<Value>| {
                value.as_ref().map_or_else(|| in_words(&Value::Null), in_words)
            };
            format!("settings/{id} set to {} (was {})", text(after), text(before))
        }
        (_, None, Some(after)) => format!("{} {id} added{}", one(kind), details(kind, after)),
        (_, Some(_), None) => format!("{} {id} removed", one(kind)),
        (_, Some(before), Some(after)) => {
            let fields = changed_fields(before, after);
            let named = fields.iter().take(FIELDS);
            let named: Vec<String> = named.map(|(name, old, new)| field(name, old, new)).collect();
            let more = match fields.len().saturating_sub(FIELDS) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let place = moved(before, after).map(|place| format!("; it is now {place}"));
            let named = named.join(", ");
            format!("{} {id} changed: {named}{more}{}", one(kind), place.unwrap_or_default())
        }
        (_, None, None) => format!("{} {id} is as it was", one(kind)),
    }
}

/// Says how a field was changed.
fn field(name: &str, before: &Value, after: &Value) -> String {
    let member = name.strip_prefix("members.").filter(|rest| !rest.contains('.'));
    match (member, before, after) {
        (Some(member), Value::Null, Value::Object(facts)) => {
            let facts = facts.iter().map(|(name, value)| format!("{name} {}", in_words(value)));
            let facts: Vec<String> = facts.collect();
            let facts =
                if facts.is_empty() { facts.concat() } else { format!(" ({})", facts.join(", ")) };
            format!("region {member} added{facts}")
        }
        (Some(member), _, Value::Null) => format!("region {member} taken out"),
        _ => format!("{name} {} -> {}", in_words(before), in_words(after)),
    }
}

/// Says what an override does to a region, why and until when, and where its clients go.
fn overridden(region: &str, wish: &Value, now: Now, clients: Option<&str>) -> String {
    let Ok(Override { action, reason, expires, .. }) = serde_json::from_value(wish.clone()) else {
        return format!("region {region} overridden: {}", shortened(wish));
    };
    let until = match expires {
        Some(end) => format!("until {}", now.until(end)),
        None if action == OverrideAction::Drain => "until it is undrained".to_owned(),
        None => "until that is undone".to_owned(),
    };
    match action {
        OverrideAction::Drain => {
            let clients = clients.map(|clients| format!("; {clients}")).unwrap_or_default();
            format!("{region} drained {until}: {reason}{clients}")
        }
        OverrideAction::Up => {
            format!("{region} forced up {until}: {reason}; it serves whatever its probes say")
        }
        OverrideAction::Down => format!(
            "{region} forced down {until}: {reason}; it is unhealthy whatever its probes say"
        ),
    }
}

fn restored(region: &str, before: Option<&Value>) -> String {
    let action = before.and_then(|before| before.get("action")).and_then(Value::as_str);
    match action {
        Some("up") => format!("{region} no longer forced up: its health decides"),
        Some("down") => format!("{region} no longer forced down: its health decides"),
        Some(_) | None => format!("{region} undrained: it takes clients as its health permits"),
    }
}

/// Says what matters most of what was added.
fn details(kind: &str, after: &Value) -> String {
    match kind {
        "regions" => {
            let at = place::coordinates(after).map(|(latitude, longitude)| {
                let near = place::nearest(latitude, longitude);
                let near = near.map(|near| format!(" ({near})")).unwrap_or_default();
                format!(" at {latitude}, {longitude}{near}")
            });
            let endpoint = after.get("endpoint").and_then(Value::as_str);
            let endpoint = endpoint.map(|endpoint| format!(": {endpoint}"));
            at.unwrap_or_default() + &endpoint.unwrap_or_default()
        }
        "services" => {
            let members = after.get("members").and_then(Value::as_object);
            let names: Vec<&str> = members.into_iter().flatten().map(|(id, _)| &**id).collect();
            let objective = after.pointer("/policy/objective").and_then(Value::as_str);
            format!(" over {}, ranked by {}", listed(&names), objective.unwrap_or("latency"))
        }
        _ => String::new(),
    }
}

/// Returns the place that a region was moved to.
fn moved(before: &Value, after: &Value) -> Option<place::Near> {
    let at = place::coordinates(after)?;
    let is_moved = place::coordinates(before)? != at;
    place::nearest(at.0, at.1).filter(|_| is_moved)
}

/// Says how many parts were added, changed and removed.
fn counted(changes: &[Difference]) -> String {
    let mut counts = std::collections::BTreeMap::<(&str, &str), usize>::new();
    for Difference { path, before, after } in changes {
        let kind = path.split_once('/').map_or(&**path, |(kind, _)| kind);
        let deed = match (before, after) {
            (None, _) => "added",
            (Some(_), None) => "removed",
            (Some(_), Some(_)) => "changed",
        };
        *counts.entry((kind, deed)).or_default() += 1;
    }
    let parts = counts.into_iter().map(|((kind, deed), count)| match count {
        1 => format!("1 {} {deed}", one(kind)),
        count => format!("{count} {kind} {deed}"),
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// Returns the command that undoes a change, where one does that and nothing else.
fn undo(change: &Difference) -> Option<String> {
    let Difference { path, before, after } = change;
    let (kind, id) = path.split_once('/')?;
    match (kind, before, after) {
        ("overrides", None, Some(_)) => Some(format!("region undrain {id}")),
        ("regions", None, Some(_)) => Some(format!("region remove {id}")),
        ("services", None, Some(_)) => Some(format!("service remove {id}")),
        ("flags", _, Some(Value::Bool(on))) => {
            Some(format!("flag set {id} {}", if *on { "off" } else { "on" }))
        }
        ("settings", None | Some(Value::Null), _) => Some(format!("setting reset {id}")),
        ("settings", Some(before), _) => Some(format!("setting set {id}={}", as_argument(before))),
        _ => None,
    }
}

/// Returns the command that goes back to the revision before, which leaves overrides as they are.
fn rolled_back(revision: u64, changes: &[Difference]) -> Option<String> {
    let is_kept = |change: &Difference| change.path.starts_with("overrides/");
    let before = revision.checked_sub(1).filter(|before| *before > 0)?;
    (!changes.iter().any(is_kept)).then(|| format!("rollback {before}"))
}

fn as_argument(value: &Value) -> String {
    match value {
        Value::Array(items) => items.iter().map(as_argument).collect::<Vec<_>>().join(","),
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

fn in_words(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => shortened(value),
    }
}

/// Returns the name of one of a kind.
fn one(kind: &str) -> &str {
    kind.strip_suffix('s').unwrap_or(kind)
}

/// Names the first of many.
pub(crate) fn listed(names: &[&str]) -> String {
    const NAMED: usize = 4;
    match names.len().checked_sub(NAMED) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..NAMED].join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(path: &str, before: Value, after: Value, expected: &str) {
        let some = |value: Value| Some(value).filter(|value| !value.is_null());
        let change = Difference { path: path.to_owned(), before: some(before), after: some(after) };
        let proposed = Proposed { revision: 7, changes: vec![change], warnings: Vec::new() };
        let sentences = of(&proposed, Now::read(), None);
        assert_eq!(sentences, [expected, "now at revision 7"]);
    }

    #[test]
    fn each_write_is_told_in_a_sentence_with_what_undoes_it() {
        let wish = |action: &str| {
            let since = "2026-12-01T21:24:00.000Z";
            json!({ "action": action, "owner": "ops", "reason": "kernel upgrade", "since": since })
        };
        check(
            "overrides/ohio",
            Value::Null,
            wish("drain"),
            "ohio drained until it is undrained: kernel upgrade; undo: geostream-admin region undrain \
             ohio",
        );
        check(
            "overrides/ohio",
            wish("up"),
            Value::Null,
            "ohio no longer forced up: its health decides",
        );
        check(
            "regions/fra",
            Value::Null,
            json!({ "latitude": 50.1109, "longitude": 8.6821, "endpoint": "https://fra.example" }),
            "region fra added at 50.1109, 8.6821 (Frankfurt, DE): https://fra.example; undo: \
             geostream-admin region remove fra",
        );
        check(
            "regions/fra",
            json!({ "latitude": 50.1109, "longitude": 8.6821 }),
            json!({ "latitude": 50.1109, "longitude": 8.6821, "capacity": 5 }),
            "region fra changed: capacity none -> 5; undo: geostream-admin rollback 6",
        );
        check(
            "services/api",
            Value::Null,
            json!({ "members": { "a": {}, "b": {} }, "policy": { "objective": "cost" } }),
            "service api added over a, b, ranked by cost; undo: geostream-admin service remove api",
        );
        check(
            "services/api",
            json!({ "members": { "a": {}, "b": {} } }),
            json!({ "members": { "a": { "weight": 9 }, "c": { "weight": 2 } } }),
            "service api changed: members.a.weight none -> 9, region b taken out, region c added \
             (weight 2); undo: geostream-admin rollback 6",
        );
        check(
            "flags/public_explain",
            json!(true),
            json!(false),
            "flag public_explain switched off (was on); undo: geostream-admin flag set \
             public_explain on",
        );
        check(
            "settings/alternatives",
            json!(3),
            json!(2),
            "settings/alternatives set to 2 (was 3); undo: geostream-admin setting set \
             alternatives=3",
        );
        check(
            "settings/requests_per_second",
            Value::Null,
            json!(500),
            "settings/requests_per_second set to 500 (was none); undo: geostream-admin setting \
             reset requests_per_second",
        );
    }

    #[test]
    fn many_changes_are_counted() {
        let change = |number: usize| Difference {
            path: format!("regions/r{number}"),
            before: None,
            after: Some(json!({ "latitude": 1, "longitude": 2 })),
        };
        let changes = (0..6).map(change).collect();
        let proposed = Proposed { revision: 2, changes, warnings: Vec::new() };
        let expected = ["6 regions added; undo: geostream-admin rollback 1", "now at revision 2"];
        assert_eq!(of(&proposed, Now::read(), None), expected);
    }

    #[test]
    fn swapped_coordinates_are_doubted_once() {
        let change = Difference {
            path: "regions/fra".to_owned(),
            before: None,
            after: Some(json!({ "latitude": 8.6821, "longitude": 50.1109 })),
        };
        let told = doubts(std::slice::from_ref(&change)).remove(0);
        assert!(told.contains("swapped, it would be Frankfurt, DE"), "{told}");
        assert!(told.ends_with("--latitude 50.1109 --longitude 8.6821"), "{told}");
        let again = Difference { before: change.after.clone(), ..change };
        assert_eq!(doubts(&[again]), Vec::<String>::new());
    }
}
