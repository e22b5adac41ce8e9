//! A log in a file: a line of JSON each for what it goes on from, for every commit, and for its end.
//!
//! The last line counts the commits and has the checksum of all lines before it, so that a file
//! that was cut off or changed is noticed.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Lines, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use geostream_api::{Commit, Snapshot};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::backup::create_private;

/// The only format so far.
const FORMAT: u32 = 1;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    geostream_log: u32,
    base: Snapshot,
}

/// The last line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Footer {
    commits: u64,
    sha256: String,
}

/// How the last line begins, and no other.
const FOOTER: &str = r#"{"commits":"#;

/// Writes a log to a file, which has its name once it is whole.
#[derive(Debug)]
pub(crate) struct LogWriter {
    path: PathBuf,
    file: BufWriter<File>,
    digest: Sha256,
    pub(crate) base: u64,
    pub(crate) last: u64,
}

impl LogWriter {
    pub(crate) fn begin(path: &Path, base: Snapshot) -> anyhow::Result<Self> {
        // A log may have secrets: the values of checks' header fields.
        let file = create_private(&unfinished(path));
        let file = file.with_context(|| format!("writing {}", unfinished(path).display()))?;
        let (file, digest) = (BufWriter::new(file), Sha256::new());
        let revision = base.revision;
        let mut writer =
            Self { path: path.to_owned(), file, digest, base: revision, last: revision };
        writer.line(&Header { geostream_log: FORMAT, base })?;
        Ok(writer)
    }

    pub(crate) fn add(&mut self, commit: &Commit) -> anyhow::Result<()> {
        let (expected, found) = (self.last + 1, commit.revision);
        ensure!(
            found == expected,
            "the server tells of commit {found} where {expected} belongs: it has forgotten old \
             ones meanwhile; export again"
        );
        self.last = found;
        self.line(commit)
    }

    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        let commits = self.last - self.base;
        let sha256 = hex(&self.digest.clone().finalize());
        self.line(&Footer { commits, sha256 })?;
        let file = self.file.into_inner()?;
        file.sync_all()?;
        std::fs::rename(unfinished(&self.path), &self.path)
            .with_context(|| format!("giving {} its name", self.path.display()))
    }

    fn line(&mut self, document: &impl Serialize) -> anyhow::Result<()> {
        let line = serde_json::to_string(document)? + "\n";
        self.digest.update(&line);
        self.file.write_all(line.as_bytes()).context("writing the file")
    }
}

fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

/// A log that was read from its beginning to its end and found to be whole.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    /// The file's checksum, as far as it names an import.
    pub(crate) id: String,
    pub(crate) base: Snapshot,
    pub(crate) last: u64,
}

impl LogFile {
    /// Reads a file, and says at which line it is not a log, and what helps.
    pub(crate) fn check(path: &Path) -> anyhow::Result<Self> {
        let mut lines = NumberedLines::open(path)?;
        let checked = Self::read(path, &mut lines);
        checked.with_context(|| format!("{}, line {}", path.display(), lines.number))
    }

    fn read(path: &Path, lines: &mut NumberedLines) -> anyhow::Result<Self> {
        let mut digest = Sha256::new();
        let header = lines.next()?.context("the file is empty; export again")?;
        digest.update(header.clone() + "\n");
        let Header { geostream_log, base } = parse(&header)
            .context("this is no exported log; name a file of geostream-admin export")?;
        ensure!(
            geostream_log == FORMAT,
            "this log has format {geostream_log}, and this program reads format {FORMAT}: export \
             again by this version, or import by the one that has written it"
        );
        let mut reached = base.to_domain()?;
        loop {
            let cut_off =
                "the file breaks off before its last line; copy it again, or export again";
            let line = lines.next()?.context(cut_off)?;
            if line.starts_with(FOOTER) {
                check_footer(&line, reached.revision.get() - base.revision, &digest)?;
                ensure!(lines.next()?.is_none(), "there is more behind the end; export again");
                let last = reached.revision.get();
                let id = hex(&digest.finalize())[..32].to_owned();
                return Ok(Self { path: path.to_owned(), id, base, last });
            }
            digest.update(line.clone() + "\n");
            let commit: Commit = parse(&line).context("this is no commit; export again")?;
            let commit = commit.to_domain().context("this is no commit; export again")?;
            let next = reached.followed_by(&commit);
            reached = next.context("this does not follow on the line before; export again")?;
        }
    }

    /// Returns the commits.
    pub(crate) fn commits(&self) -> anyhow::Result<impl Iterator<Item = anyhow::Result<Commit>>> {
        let lines = NumberedLines::open(&self.path)?.lines;
        let commits = usize::try_from(self.last - self.base.revision)?;
        Ok(lines.skip(1).take(commits).map(|line| parse(&line?)))
    }
}

fn check_footer(line: &str, commits: u64, digest: &Sha256) -> anyhow::Result<()> {
    let footer: Footer = parse(line).context("this is no last line; export again")?;
    if footer.commits != commits {
        bail!("the file is to have {} commits, and has {commits}; export again", footer.commits);
    }
    let is_as_it_was = footer.sha256 == hex(&digest.clone().finalize());
    ensure!(is_as_it_was, "the lines before are not as they were written; export again");
    Ok(())
}

/// The lines of a file, and the number of the one that was read last.
#[derive(Debug)]
struct NumberedLines {
    lines: Lines<BufReader<File>>,
    number: u64,
}

impl NumberedLines {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("reading {}", path.display()))?;
        Ok(Self { lines: BufReader::new(file).lines(), number: 0 })
    }

    fn next(&mut self) -> anyhow::Result<Option<String>> {
        self.number += 1;
        self.lines.next().transpose().context("reading the file")
    }
}

fn parse<T: DeserializeOwned>(line: &str) -> anyhow::Result<T> {
    Ok(serde_json::from_str(line)?)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
