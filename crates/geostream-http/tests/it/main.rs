//! The API's description against the route table, both ways.

use std::collections::BTreeMap;

use geostream_http::{OPENAPI, ROUTES};
use geostream_ports::Scope;

/// What either side says of an operation.
#[derive(Debug, PartialEq)]
struct Said {
    operation: String,
    needs_token: bool,
    scope: Option<&'static str>,
    takes_body: bool,
}

#[test]
fn the_description_and_the_route_table_say_the_same() {
    let described = described();
    let table: BTreeMap<_, _> = ROUTES
        .iter()
        .map(|route| {
            let said = Said {
                operation: route.operation.id().to_owned(),
                needs_token: route.scope.is_some(),
                // That a viewer may read is said once, for all.
                scope: route.scope.filter(|scope| *scope > Scope::Viewer).map(Scope::as_str),
                takes_body: route.body_limit > 0,
            };
            (format!("{} {}", route.method, route.pattern), said)
        })
        .collect();
    assert_eq!(table.len(), ROUTES.len(), "each method and path is there once");
    for (endpoint, said) in &table {
        assert_eq!(described.get(endpoint), Some(said), "{endpoint} in the description");
    }
    for endpoint in described.keys() {
        assert!(
            table.contains_key(endpoint),
            "{endpoint} is described, and there is no such route"
        );
    }
}

/// Reads the operations out of the description, by its indentation.
fn described() -> BTreeMap<String, Said> {
    let mut operations: BTreeMap<String, Said> = BTreeMap::new();
    let (mut path, mut endpoint) = (String::new(), String::new());
    let paths = OPENAPI.lines().skip_while(|line| *line != "paths:");
    for line in paths.take_while(|line| *line != "components:") {
        let text = line.trim();
        match line.len() - line.trim_start().len() {
            2 => text.trim_end_matches(':').clone_into(&mut path),
            4 if ["get:", "put:", "post:", "delete:"].contains(&text) => {
                endpoint = format!("{} {path}", text.trim_end_matches(':').to_uppercase());
                let nothing = Said {
                    operation: String::new(),
                    needs_token: false,
                    scope: None,
                    takes_body: false,
                };
                operations.insert(endpoint.clone(), nothing);
            }
            6 => {
                let Some(said) = operations.get_mut(&endpoint) else { continue };
                if let Some(id) = text.strip_prefix("operationId: ") {
                    id.clone_into(&mut said.operation);
                }
                said.needs_token |= text == "security: [token: []]";
                said.takes_body |= text == "requestBody:";
                let scopes = Scope::ALL.iter().map(|scope| scope.as_str());
                let named = scopes
                    .into_iter()
                    .find(|scope| text.contains(&format!("Needs the scope `{scope}`")));
                said.scope = said.scope.or(named);
            }
            _ => {}
        }
    }
    operations
}
