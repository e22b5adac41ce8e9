//! Which rooms of a crate import which: a room is a directory of `src`, and a file in it a concept.

use std::collections::{BTreeMap, BTreeSet};

use crate::tidy::circles::imported_paths;

/// The rooms of `geostream-domain`, and which other rooms each may import.
const ROOMS: &[(&str, &[&str])] = &[
    ("place", &[]),
    ("limit", &[]),
    ("latency", &["place"]),
    ("config", &["latency", "limit", "place"]),
    ("health", &["config"]),
    ("routing", &["config", "health", "latency", "place"]),
];

/// The most imports of another room, each counted once a file.
const MOST_IMPORTS: usize = 30;

/// The most files beside the rooms.
const MOST_BESIDE: usize = 8;

/// Returns a line for each rule that the files of `geostream-domain` break.
pub(super) fn broken(files: &BTreeMap<String, String>) -> Vec<String> {
    let rooms: BTreeMap<_, _> = ROOMS.iter().copied().collect();
    let mut broken = Vec::new();
    let mut imports = BTreeSet::new();
    for (path, text) in files {
        let Some((room, _)) = path.split_once('/') else { continue };
        let Some(allowed) = rooms.get(room) else {
            broken.push(format!("the domain's room {room} is not in the table of rooms"));
            continue;
        };
        for imported in imported_paths(path, text).into_iter().filter_map(|p| p.into_iter().next())
        {
            if imported == room || !rooms.contains_key(imported.as_str()) {
                continue;
            }
            if !allowed.contains(&imported.as_str()) {
                broken.push(format!("{path}: the room {room} must not import {imported}"));
            }
            imports.insert((path, imported));
        }
    }
    if imports.len() > MOST_IMPORTS {
        broken.push(format!("the domain's rooms have {} imports of another", imports.len()));
    }
    let beside = files.keys().filter(|path| !path.contains('/')).count();
    if beside > MOST_BESIDE {
        broken.push(format!("{beside} files of the domain are in no room"));
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_that_imports_against_the_arrows_is_told() {
        let files = [
            ("place/geo.rs", "use crate::routing::Decision;"),
            ("routing/table.rs", "use crate::place::GeoPoint;\nuse crate::routing::pool::Pool;"),
            ("attic/old.rs", ""),
        ];
        let files = files.map(|(path, text)| (path.to_owned(), text.to_owned())).into();
        assert_eq!(
            broken(&files),
            [
                "the domain's room attic is not in the table of rooms",
                "place/geo.rs: the room place must not import routing",
            ]
        );
    }
}
