//! `cargo xtask tidy`: the rules of the house, which also run as a test.

mod circles;
mod rooms;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context as _, bail};
use serde::Deserialize;

use xtask::shell::{cargo, command, output, root, say};

pub(crate) fn run() -> anyhow::Result<()> {
    let broken = broken_rules()?;
    for rule in &broken {
        say(rule);
    }
    if broken.is_empty() {
        say("the house is tidy");
        Ok(())
    } else {
        bail!("{} rules are broken", broken.len());
    }
}

/// What may lie at the top of the repository.
const TOP_LEVEL: &[&str] = &[
    ".cargo",
    ".ci",
    ".editorconfig",
    ".github",
    ".gitignore",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "bins",
    "clippy.toml",
    "crates",
    "deny.toml",
    "deploy",
    "docs",
    "migrations",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "typos.toml",
    "xtask",
];

/// Which of our crates each crate may import: everything points inward.
const ARROWS: &[(&str, &[&str])] = &[
    // A leaf: Raft knows nothing of GeoStream.
    ("geostream-consensus", &[]),
    ("geostream-domain", &[]),
    // A leaf: it knows files and certificates, and nothing of what is sent.
    ("geostream-tls", &[]),
    ("geostream-ports", &["geostream-domain"]),
    ("geostream-api", &["geostream-domain"]),
    ("geostream-app", &["geostream-domain", "geostream-ports"]),
    // A store keeps its log in the API's vocabulary: docs/architecture.md says why.
    ("geostream-embedded", &["geostream-api", "geostream-domain", "geostream-ports"]),
    ("geostream-geoip", &["geostream-domain", "geostream-ports"]),
    (
        "geostream-http",
        &["geostream-api", "geostream-app", "geostream-domain", "geostream-ports", "geostream-tls"],
    ),
    ("geostream-http-probe", &["geostream-domain", "geostream-ports", "geostream-tls"]),
    ("geostream-otlp", &["geostream-ports"]),
    ("geostream-pg", &["geostream-api", "geostream-domain", "geostream-ports", "geostream-tls"]),
    // It keeps configurations in the API's vocabulary, as the stores do.
    ("geostream-redis", &["geostream-api", "geostream-domain", "geostream-ports", "geostream-tls"]),
    (
        "geostream-server",
        &[
            "geostream-api",
            "geostream-app",
            "geostream-domain",
            "geostream-embedded",
            "geostream-geoip",
            "geostream-http",
            "geostream-http-probe",
            "geostream-otlp",
            "geostream-pg",
            "geostream-ports",
            "geostream-redis",
            "geostream-tls",
        ],
    ),
    // It makes the schema that a server waits for, so it cannot ask the server to.
    ("geostream-admin", &["geostream-api", "geostream-pg", "geostream-tls"]),
    // Breaks Raft, which needs nothing else of GeoStream.
    ("geostream-sim", &["geostream-consensus"]),
    // Starts servers for tests, and knows nothing of what is tested.
    ("geostream-testbed", &[]),
    ("xtask", &[]),
    // Measures built programs, beside peers that it starts.
    ("geostream-bench", &["geostream-domain", "geostream-geoip", "geostream-testbed", "xtask"]),
];

/// What any crate's tests may import: contract suites, a store in memory, and real servers.
const FOR_TESTS: &[&str] = &["geostream-embedded", "geostream-ports", "geostream-testbed"];

/// What else the innermost crates may import; the others may import what they need.
const INNERMOST: &[(&str, &[&str])] = &[
    ("geostream-consensus", &["thiserror"]),
    ("geostream-domain", &["thiserror"]),
    ("geostream-ports", &["thiserror"]),
];

/// What only the API's vocabulary, adapters and programs know.
const SERDE: &[&str] = &["serde", "serde_json", "toml"];
const WITHOUT_SERDE: &[&str] =
    &["geostream-consensus", "geostream-domain", "geostream-ports", "geostream-app"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `null` for a normal dependency, else `dev` or `build`.
    kind: Option<String>,
}

/// Returns a line for every rule that is broken.
fn broken_rules() -> anyhow::Result<Vec<String>> {
    let metadata = output(cargo().args(["metadata", "--format-version", "1", "--no-deps"]))?;
    let Metadata { packages } = serde_json::from_str(&metadata).context("cargo's metadata")?;
    let mut broken = imports(&packages);
    broken.extend(lints(&packages)?);
    let files =
        output(command("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]))?;
    let files: Vec<&str> = files.lines().collect();
    broken.extend(top_level(&files));
    broken.extend(crate_docs(&files));
    broken.extend(imports_of_files(&files));
    Ok(broken)
}

/// The files of a crate import each other in one direction, and so do the rooms of the domain.
fn imports_of_files(files: &[&str]) -> Vec<String> {
    let mut crates = BTreeMap::<&str, BTreeMap<String, String>>::new();
    for file in files.iter().filter(|file| file.ends_with(".rs")) {
        let Some((name, path)) = file.split_once("/src/") else { continue };
        let Ok(text) = fs::read_to_string(root().join(file)) else { continue };
        crates.entry(name).or_default().insert(path.to_owned(), text);
    }
    let mut broken = Vec::new();
    for (name, files) in crates {
        if name == "crates/geostream-domain" {
            broken.extend(rooms::broken(&files));
        }
        let circle = circles::in_circles(&files);
        if !circle.is_empty() {
            broken.push(format!("{name}: files import each other in a circle: {circle:?}"));
        }
    }
    broken
}

fn imports(packages: &[Package]) -> Vec<String> {
    let arrows: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let innermost: BTreeMap<_, _> = INNERMOST.iter().copied().collect();
    let ours: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let mut broken = Vec::new();
    for Package { name, dependencies, .. } in packages {
        let Some(allowed) = arrows.get(name.as_str()) else {
            broken.push(format!("{name} is not in the table of arrows in xtask/src/tidy.rs"));
            continue;
        };
        for dependency in dependencies {
            let imported = dependency.name.as_str();
            let for_tests = dependency.kind.is_some();
            let test_only = for_tests && FOR_TESTS.contains(&imported);
            if ours.contains(imported) && !allowed.contains(&imported) && !test_only {
                broken.push(format!("{name} must not import {imported}"));
            }
            if for_tests {
                continue;
            }
            if let Some(allowed) = innermost.get(name.as_str())
                && !ours.contains(imported)
                && !allowed.contains(&imported)
            {
                broken.push(format!("{name} must not import {imported}: it is innermost"));
            }
            if SERDE.contains(&imported) && WITHOUT_SERDE.contains(&name.as_str()) {
                broken.push(format!("{name} must not know {imported}"));
            }
        }
    }
    broken
}

fn lints(packages: &[Package]) -> anyhow::Result<Vec<String>> {
    let mut broken = Vec::new();
    for Package { name, manifest_path, .. } in packages {
        let manifest = fs::read_to_string(manifest_path)?;
        if !manifest.contains("[lints]\nworkspace = true") {
            broken.push(format!("{name} does not take the lints of the workspace"));
        }
    }
    Ok(broken)
}

fn top_level(files: &[&str]) -> Vec<String> {
    let tops: BTreeSet<&str> = files.iter().filter_map(|file| file.split('/').next()).collect();
    let strange = tops.into_iter().filter(|top| !TOP_LEVEL.contains(top));
    strange.map(|top| format!("{top} does not belong at the top level")).collect()
}

/// Every crate and test says in its first line what it is.
fn crate_docs(files: &[&str]) -> Vec<String> {
    let mut broken = Vec::new();
    for file in files.iter().filter(|file| file.ends_with(".rs")) {
        let path = root().join(file);
        let Ok(text) = fs::read_to_string(&path) else { continue };
        if !text.starts_with("//! ") {
            broken.push(format!("{file} does not say in its first line what it is"));
        }
        if file.ends_with("/mod.rs") {
            broken.push(format!("{file}: a module is named after its file"));
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_house_is_tidy() {
        assert_eq!(broken_rules().unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_wrong_import_is_seen() {
        let dependency = |name: &str| Dependency { name: name.to_owned(), kind: None };
        let package = |name: &str, imports: &[&str]| Package {
            name: name.to_owned(),
            manifest_path: String::new(),
            dependencies: imports.iter().map(|import| dependency(import)).collect(),
        };
        let packages = [
            package("geostream-domain", &["thiserror", "tokio"]),
            package("geostream-app", &["geostream-geoip", "serde"]),
            package("geostream-geoip", &["geostream-embedded", "serde"]),
            package("geostream-embedded", &[]),
        ];
        assert_eq!(
            imports(&packages),
            [
                "geostream-domain must not import tokio: it is innermost",
                "geostream-app must not import geostream-geoip",
                "geostream-app must not know serde",
                "geostream-geoip must not import geostream-embedded",
            ]
        );
    }
}
