//! Which files of a crate import each other in a circle.
//!
//! A file imports another if a `crate::` or `super::` path in it, tests aside, leads
//! there. The file at the root, which declares and re-exports, takes no part.

use std::collections::{BTreeMap, BTreeSet};

/// The files that each file imports, all by their module's path, such as `["bench", "http"]`.
type Imports = BTreeMap<Vec<String>, BTreeSet<Vec<String>>>;

/// Returns the modules that are in a circle, or between two circles.
///
/// `files` has the path of each file below `src/`, such as `bench/http.rs`, and its text.
pub(super) fn in_circles(files: &BTreeMap<String, String>) -> Vec<String> {
    let mut imports = imports(files);
    // A module that imports no other is in no circle, nor is one that no other imports. Without
    // them others are in the same position, until only circles and what joins them are left.
    loop {
        let left: BTreeSet<_> = imports.keys().cloned().collect();
        let imported: BTreeSet<_> = imports.values().flatten().cloned().collect();
        for importing in imports.values_mut() {
            importing.retain(|module| left.contains(module));
        }
        imports.retain(|module, importing| !importing.is_empty() && imported.contains(module));
        if imports.len() == left.len() {
            break;
        }
    }
    imports.into_keys().map(|module| module.join("::")).collect()
}

fn imports(files: &BTreeMap<String, String>) -> Imports {
    let modules: BTreeSet<_> = files.keys().map(|path| module(path)).collect();
    let mut imports = Imports::new();
    for (path, text) in files {
        let this = module(path);
        if matches!(path.as_str(), "lib.rs" | "main.rs") || path.starts_with("bin/") {
            continue;
        }
        let mut imported = BTreeSet::new();
        for mut path in imported_paths(path, text) {
            while !path.is_empty() && !modules.contains(&path) {
                path.pop();
            }
            if !path.is_empty() && path != this {
                imported.insert(path);
            }
        }
        imports.insert(this, imported);
    }
    imports
}

/// Returns the path of the module that a file has.
fn module(path: &str) -> Vec<String> {
    path.trim_end_matches(".rs").split('/').map(str::to_owned).collect()
}

/// Returns every path of its own crate that a file names, from the crate's root on.
pub(super) fn imported_paths(path: &str, text: &str) -> Vec<Vec<String>> {
    let this = module(path);
    paths(&code(text), &this[..this.len() - 1])
}

/// Returns a file without its comments and its tests.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Returns every path that begins with `crate::` or `super::`, from the crate's root on, groups in
/// braces taken apart.
fn paths(code: &str, parent: &[String]) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for (begin, mut prefix) in [("crate::", vec![]), ("super::", parent.to_vec())] {
        for (at, found) in code.match_indices(begin) {
            let is_word = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            if !is_word {
                tree(&code[at + found.len()..], &mut prefix, &mut paths);
            }
        }
    }
    paths
}

/// Reads a tree of paths, as `use` has it; returns what comes behind it.
fn tree<'a>(text: &'a str, prefix: &mut Vec<String>, paths: &mut Vec<Vec<String>>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        while !rest.trim_start().starts_with('}') && !rest.is_empty() {
            let before = rest;
            rest = tree(rest, prefix, paths).trim_start();
            rest = rest.strip_prefix(',').unwrap_or(rest);
            if rest == before {
                break;
            }
        }
        return rest.trim_start().strip_prefix('}').unwrap_or("");
    }
    let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
    let (name, rest) = text.split_at(end.unwrap_or(text.len()));
    if name.is_empty() {
        paths.push(prefix.clone());
        return rest.strip_prefix('*').unwrap_or(rest);
    }
    prefix.push(name.to_owned());
    let rest = match rest.strip_prefix("::") {
        Some(below) => tree(below, prefix, paths),
        None => {
            paths.push(prefix.clone());
            rest
        }
    };
    prefix.pop();
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(files: &[(&str, &str)]) -> BTreeMap<String, String> {
        files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn a_circle_is_found_and_what_hangs_on_it_is_not() {
        let files = files(&[
            ("lib.rs", "mod a; use crate::a::A;"),
            ("a.rs", "use crate::{b::{B, C}, leaf::*};"),
            ("b.rs", "use crate::room::c;"),
            ("room/c.rs", "fn f() -> crate::a::A {}"),
            ("leaf.rs", ""),
            ("above.rs", "use crate::a::{self, A};"),
        ]);
        assert_eq!(in_circles(&files), ["a", "b", "room::c"]);
    }

    #[test]
    fn comments_tests_and_names_at_the_root_are_no_imports() {
        let files = files(&[
            ("a.rs", "// crate::b::B\nuse crate::Root;\n#[cfg(test)]\nmod tests { use crate::b; }"),
            ("b.rs", "use crate::a::A;"),
        ]);
        assert_eq!(in_circles(&files), Vec::<String>::new());
    }
}
