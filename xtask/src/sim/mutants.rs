//! Plants known bugs in a copy of the consensus crate.
//!
//! The protocol's source holds no bug and no switch for one. Tables in
//! `crates/geostream-sim/mutants` say which text of the source each bug replaces, and by what.
//! [`plant`] copies the crate and the simulator to `target/mutants`, and puts a switch in the place
//! of each such text, `if mutant(7) { mutated } else { original }`: so one build has all bugs, and
//! the simulator switches them on one by one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;

use xtask::shell::root;

const CONSENSUS: &str = "crates/geostream-consensus";
const SIM: &str = "crates/geostream-sim";

/// Where the copy is, below the root of the workspace.
const COPY: &str = "target/mutants";

/// One file of the tables.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    mutant: Vec<Mutant>,
}

/// A known bug.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutant {
    /// The number of the rule that the bug breaks; 100 and 200 more are other ways to break it.
    id: u8,
    /// What the bug is.
    what: String,
    /// Which implementation had it, or which rule of the paper or the thesis it breaks.
    source: String,
    /// Why the crate cannot have it.
    cannot: Option<String>,
    #[serde(default)]
    site: Vec<Site>,
}

/// A place where a bug changes the source.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Site {
    /// The file, below the `src` of the consensus crate.
    file: String,
    /// One expression or whole statements, which the file contains exactly once. Any whitespace
    /// matches any other.
    original: String,
    /// What the bug puts in its place; whole statements may become none.
    mutated: String,
}

/// What one bug puts in the place of a text.
#[derive(Clone, Copy, Debug)]
struct Alternative<'a> {
    id: u8,
    mutated: &'a str,
}

/// The bugs of one file, by the text that they replace: several may replace the same.
type Replacements<'a> = BTreeMap<&'a str, Vec<Alternative<'a>>>;

/// Brings the copy up to date, and returns the path of its manifest.
///
/// A file whose content is the same is not written, so that cargo does not build it again.
pub(super) fn plant() -> anyhow::Result<PathBuf> {
    let mutants = read_tables()?;
    let mut files = BTreeMap::new();
    for directory in [CONSENSUS, SIM] {
        for path in files_below(&root().join(directory))? {
            let content = fs::read(&path).with_context(|| path.display().to_string())?;
            files.insert(path.strip_prefix(root())?.to_owned(), content);
        }
    }
    let source = Path::new(CONSENSUS).join("src");
    for (file, text) in planted(&mutants)? {
        files.insert(source.join(file), text.into_bytes());
    }
    files.insert(source.join("mutants.rs"), switch(&mutants)?.into_bytes());
    files.insert("Cargo.toml".into(), manifest()?.into_bytes());
    files.insert("Cargo.lock".into(), fs::read(root().join("Cargo.lock"))?);
    let copy = root().join(COPY);
    update(&copy, &files)?;
    Ok(copy.join("Cargo.toml"))
}

/// Reads the tables, and returns the bugs in the order of their names.
fn read_tables() -> anyhow::Result<Vec<Mutant>> {
    let mut mutants = Vec::new();
    for path in files_below(&root().join(SIM).join("mutants"))? {
        let table = fs::read_to_string(&path)?;
        let table: Table = toml::from_str(&table).with_context(|| path.display().to_string())?;
        mutants.extend(table.mutant);
    }
    mutants.sort_by_key(|mutant| (mutant.id % 100, mutant.id));
    for Mutant { id, what, source, cannot, site } in &mutants {
        ensure!(*id > 0, "a mutant has number 0, which stands for none");
        ensure!(!what.is_empty() && !source.is_empty(), "mutant {id} lacks `what` or `source`");
        ensure!(cannot.is_none() != site.is_empty(), "mutant {id} needs a site, or `cannot`");
    }
    for pair in mutants.windows(2) {
        ensure!(pair[0].id != pair[1].id, "two mutants have number {}", pair[0].id);
    }
    Ok(mutants)
}

/// Returns the files of the consensus crate that differ in the copy, each with its text there.
fn planted(mutants: &[Mutant]) -> anyhow::Result<BTreeMap<&str, String>> {
    let mut by_file: BTreeMap<&str, Replacements<'_>> = BTreeMap::from([("lib.rs", [].into())]);
    for mutant in mutants {
        for Site { file, original, mutated } in &mutant.site {
            let alternative = Alternative { id: mutant.id, mutated: mutated.trim() };
            let replacements = by_file.entry(file).or_default();
            replacements.entry(original.trim()).or_default().push(alternative);
        }
    }
    let mut planted = BTreeMap::new();
    for (file, replacements) in by_file {
        let path = root().join(CONSENSUS).join("src").join(file);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let text = replace(&text, &replacements).with_context(|| path.display().to_string())?;
        planted.insert(file, text);
    }
    planted.entry("lib.rs").or_default().push_str("\npub mod mutants;\n");
    Ok(planted)
}

/// Wraps all originals of a text in switches.
fn replace(text: &str, replacements: &Replacements<'_>) -> anyhow::Result<String> {
    let mut places = Vec::new();
    for (original, alternatives) in replacements {
        let number = alternatives.first().map_or(0, |alternative| alternative.id);
        ensure!(
            !binds(original),
            "mutant {number}: a `let` in a branch binds nothing after it: take its expression"
        );
        let place = find_once(text, original).with_context(|| format!("mutant {number}"))?;
        places.push((number, place, alternatives));
    }
    places.sort_by_key(|(_, place, _)| place.start);
    for pair in places.windows(2) {
        let [(one, before, _), (other, after, _)] = pair else { continue };
        ensure!(before.end <= after.start, "mutants {one} and {other} overlap without being equal");
    }
    let mut replaced = text.to_owned();
    // From the end, so that the places before stay where they are.
    for (_, place, alternatives) in places.into_iter().rev() {
        replaced.replace_range(place.clone(), &wrap(&text[place], alternatives)?);
    }
    Ok(replaced)
}

/// Finds the one place of some words, whatever whitespace is between them.
fn find_once(text: &str, wanted: &str) -> anyhow::Result<Range<usize>> {
    let words: Vec<&str> = wanted.split_whitespace().collect();
    let first = words.first().context("the original is empty")?;
    let starts = text.match_indices(first).map(|(at, _)| at);
    let places: Vec<_> = starts.filter_map(|at| match_at(text, at, &words)).collect();
    match places.as_slice() {
        [place] => Ok(place.clone()),
        all => bail!("found {} times, not once: {wanted}", all.len()),
    }
}

/// Returns where these words end if they begin here, and are no parts of longer names.
fn match_at(text: &str, start: usize, words: &[&str]) -> Option<Range<usize>> {
    let mut end = start;
    for (nth, word) in words.iter().enumerate() {
        let rest = &text[end..];
        let trimmed = if nth == 0 { rest } else { rest.trim_start() };
        let is_apart = nth == 0 || trimmed.len() < rest.len();
        if !is_apart || !trimmed.starts_with(word) {
            return None;
        }
        end = text.len() - trimmed.len() + word.len();
    }
    let is_name =
        |character: Option<char>| character.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let found = &text[start..end];
    let longer_before = is_name(text[..start].chars().next_back()) && is_name(found.chars().next());
    let longer_after = is_name(found.chars().next_back()) && is_name(text[end..].chars().next());
    (!longer_before && !longer_after).then_some(start..end)
}

/// Tells whether statements bind a name outside of any block of their own.
fn binds(statements: &str) -> bool {
    let mut depth = 0;
    statements.lines().any(|line| {
        let is_outermost = depth == 0;
        depth += line.matches('{').count();
        depth = depth.saturating_sub(line.matches('}').count());
        is_outermost && line.trim_start().starts_with("let ")
    })
}

/// Returns a switch between a text and what bugs put in its place: an expression stays one.
fn wrap(original: &str, alternatives: &[Alternative<'_>]) -> anyhow::Result<String> {
    let mut switch = String::new();
    for Alternative { id, mutated } in alternatives {
        write!(switch, "if crate::mutants::mutant({id}) {{ {mutated} }} else ")?;
    }
    write!(switch, "{{ {original} }}")?;
    let is_expression = !original.ends_with([';', '}']);
    Ok(if is_expression { format!("({switch})") } else { switch })
}

/// Returns the module of the copy that switches bugs on, and lists them.
fn switch(mutants: &[Mutant]) -> anyhow::Result<String> {
    let mut module = SWITCH.to_owned();
    for Mutant { id, what, cannot, .. } in mutants {
        writeln!(module, "    ({id}, {what:?}, {cannot:?}),")?;
    }
    module.push_str("];\n");
    Ok(module)
}

/// The module that switches bugs on, up to the list of them.
const SWITCH: &str = "\
//! Known bugs, each to be switched on for the thread that asks.

use std::cell::Cell;

thread_local! {
    static ACTIVE: Cell<u8> = const { Cell::new(0) };
}

/// Switches one bug on for this thread, and any other off; 0 is none.
pub fn activate(mutant: u8) {
    ACTIVE.set(mutant);
}

pub(crate) fn mutant(number: u8) -> bool {
    ACTIVE.get() == number
}

/// The number of each bug, what it is, and why this crate cannot have it, if so.
pub const MUTANTS: &[(u8, &str, Option<&str>)] = &[
";

/// Returns the manifest of the workspace, with the copied crates as its only members.
fn manifest() -> anyhow::Result<String> {
    let text = fs::read_to_string(root().join("Cargo.toml"))?;
    let mut manifest: toml::Table = toml::from_str(&text).context("Cargo.toml")?;
    let workspace = manifest.get_mut("workspace").and_then(toml::Value::as_table_mut);
    let members = [CONSENSUS, SIM].map(toml::Value::from);
    let workspace = workspace.context("Cargo.toml has no workspace")?;
    workspace.insert("members".to_owned(), members.to_vec().into());
    toml::to_string(&manifest).context("the copy's Cargo.toml")
}

/// Makes a directory contain these files. Below `crates` it then has no others.
fn update(copy: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) -> anyhow::Result<()> {
    for (path, content) in files {
        let path = copy.join(path);
        if fs::read(&path).is_ok_and(|present| present == *content) {
            continue;
        }
        fs::create_dir_all(path.parent().unwrap_or(copy))?;
        fs::write(&path, content).with_context(|| path.display().to_string())?;
    }
    for path in files_below(&copy.join("crates"))? {
        if !files.contains_key(path.strip_prefix(copy)?) {
            fs::remove_file(&path).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

/// Returns all files below a directory.
fn files_below(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    let mut files = Vec::new();
    for entry in entries.collect::<io::Result<Vec<_>>>()? {
        if entry.file_type()?.is_dir() {
            files.extend(files_below(&entry.path())?);
        } else {
            files.push(entry.path());
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_has_its_place_in_the_protocol() {
        let mutants = read_tables().unwrap();
        let planted = planted(&mutants).unwrap();
        let text: String = planted.into_values().collect();
        for Mutant { id, site, .. } in &mutants {
            let switches = text.matches(&format!("mutants::mutant({id})")).count();
            assert_eq!(switches, site.len(), "mutant {id}");
        }
    }

    #[test]
    fn an_expression_stays_one_and_statements_stay_statements() {
        let text = "let a = b\n    + c; d(a);";
        assert_eq!(
            replaced(text, &[(1, "b + c", "b"), (2, "d(a);", "")]).unwrap(),
            "let a = (if crate::mutants::mutant(1) { b } else { b\n    + c }); \
             if crate::mutants::mutant(2) {  } else { d(a); }"
        );
    }

    #[test]
    fn mutants_of_the_same_text_share_its_place() {
        assert_eq!(
            replaced("a();", &[(1, "a();", ""), (2, "a();", "b();")]).unwrap(),
            "if crate::mutants::mutant(1) {  } else if crate::mutants::mutant(2) { b(); } \
             else { a(); }"
        );
    }

    #[test]
    fn what_has_no_sound_place_is_refused() {
        let error = |text, site| format!("{:#}", replaced(text, site).unwrap_err());
        assert_eq!(error("a();", &[(7, "b()", "")]), "mutant 7: found 0 times, not once: b()");
        assert_eq!(error("a() + a()", &[(7, "a()", "")]), "mutant 7: found 2 times, not once: a()");
        assert_eq!(error("ab", &[(7, "a", "c")]), "mutant 7: found 0 times, not once: a");
        assert!(error("a + b", &[(1, "a + b", "c"), (2, "a", "c")]).contains("overlap"));
        assert!(error("let a = b;", &[(7, "let a = b;", "")]).contains("binds nothing"));
    }

    /// Replaces texts of mutants with these numbers.
    fn replaced(text: &str, sites: &[(u8, &str, &str)]) -> anyhow::Result<String> {
        let mut replacements = Replacements::new();
        for (id, original, mutated) in sites {
            let alternative = Alternative { id: *id, mutated };
            replacements.entry(original).or_default().push(alternative);
        }
        replace(text, &replacements)
    }
}
