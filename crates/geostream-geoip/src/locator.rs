//! The locator over one or several files, and their replacement while it answers.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use geostream_ports::{Chain, GeoData, GeoDatabase, GeoLocator, Place};

use crate::error::DatabaseError;

use crate::database::{Database, FileVersion};
use crate::special;

/// Finds places in one or several files of GeoIP data, asked in order.
///
/// A file that is missing or damaged at the start leaves a gap that [`GeoIp::refresh`] fills when
/// the file is mended; until then its addresses are at unknown places.
#[derive(Debug)]
pub struct GeoIp {
    sources: ArcSwap<Vec<Source>>,
    /// Where more files may come.
    directory: Option<PathBuf>,
}

/// A file, and what is used of it.
#[derive(Clone, Debug)]
struct Source {
    path: PathBuf,
    /// Whether the file was there at the start, so that answers are not what they should be without
    /// it.
    is_needed: bool,
    /// The data in use, which may be older than the file.
    database: Option<Arc<Database>>,
    /// Why the file is not in use, if it is not, and in which version.
    refused: Option<Refused>,
    /// Whether files that say nothing of places are no fault here, as in a directory where
    /// geoipupdate puts an ASN file beside the others.
    is_one_of_many: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Refused {
    /// The version that cannot be used; `None` if it could not be read, which no change to its
    /// content mends.
    version: Option<FileVersion>,
    why: String,
    /// Whether the file is whole, and about something else.
    is_of_no_use: bool,
}

impl GeoIp {
    /// Reads these files.
    ///
    /// Takes seconds for large ones: keep it off threads that answer requests.
    #[must_use]
    pub fn open(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        Self::with(paths, false)
    }

    fn with(paths: impl IntoIterator<Item = PathBuf>, is_one_of_many: bool) -> Self {
        let new = |path| Source::new(path, true, is_one_of_many);
        let sources = paths.into_iter().map(new).collect();
        Self { sources: ArcSwap::from_pointee(sources), directory: None }
    }

    /// Reads the `.mmdb` files in a directory, in the order of their names, and those that come.
    ///
    /// Takes seconds for large ones: keep it off threads that answer requests.
    #[must_use]
    pub fn open_directory(directory: &Path) -> Self {
        Self { directory: Some(directory.to_owned()), ..Self::with(files_in(directory), true) }
    }

    /// Reads again the files that have changed, and new ones, and tells whether anything is
    /// different now.
    ///
    /// A file that is damaged, older than the data in use or of another type is refused, and the
    /// data in use stays. Takes seconds for large files: keep it off threads that answer requests.
    pub fn refresh(&self) -> bool {
        let before = self.sources.load_full();
        let mut after = Vec::clone(&before);
        let changed = after.iter_mut().filter_map(|source| source.refresh().then_some(())).count();
        for path in self.directory.iter().flat_map(|directory| files_in(directory)) {
            if !after.iter().any(|source| source.path == path) {
                after.push(Source::new(path, false, true));
            }
        }
        let has_more = after.len() > before.len();
        if self.directory.is_some() {
            drop_replaced(&mut after);
        }
        let is_different = changed > 0 || has_more || after.len() < before.len();
        if is_different {
            if self.directory.is_some() {
                after.sort_by(|one, other| one.path.cmp(&other.path));
            }
            self.sources.store(Arc::new(after));
        }
        is_different
    }
}

/// Takes out the files that are gone and whose addresses another file of their type describes, as
/// where a file of each month has a name of its own.
fn drop_replaced(sources: &mut Vec<Source>) {
    let is_there: Vec<bool> = sources.iter().map(|source| source.path.exists()).collect();
    let in_use: Vec<_> = sources.iter().map(|source| source.database.clone()).collect();
    let mut number = 0;
    sources.retain(|source| {
        number += 1;
        if is_there[number - 1] {
            return true;
        }
        let Some(gone) = &source.database else { return true };
        let is_replaced = in_use.iter().zip(&is_there).any(|(other, is_there)| {
            *is_there && other.as_ref().is_some_and(|other| other.describes_all_of(gone))
        });
        if is_replaced {
            let path = source.path.display();
            tracing::info!(%path, "a GeoIP file is gone, and another of its type is in use");
        }
        !is_replaced
    });
}

fn files_in(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut files: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|ext| ext == "mmdb")).collect();
    files.sort();
    files
}

impl GeoLocator for GeoIp {
    fn locate(&self, address: IpAddr) -> Place {
        let address = special::embedded(address);
        for source in self.sources.load().iter() {
            let place = source.database.as_ref().and_then(|database| database.find(address));
            if let Some(place) = place.filter(|place| special::is_credible(address, place.network))
            {
                return place;
            }
        }
        Place::UNKNOWN
    }

    fn databases(&self) -> Vec<GeoDatabase> {
        self.sources.load().iter().map(Source::describe).collect()
    }

    fn is_complete(&self) -> bool {
        self.sources.load().iter().all(|source| source.database.is_some() || !source.is_missed())
    }
}

impl Source {
    fn new(path: PathBuf, is_needed: bool, is_one_of_many: bool) -> Self {
        let mut source = Self { path, is_needed, database: None, refused: None, is_one_of_many };
        source.refresh();
        source
    }

    /// Tells whether answers are not what they should be while nothing of the file is in use.
    fn is_missed(&self) -> bool {
        self.is_needed && !self.is_of_no_use()
    }

    /// Tells whether the file says nothing of places and does not have to.
    fn is_of_no_use(&self) -> bool {
        let refused = self.refused.as_ref();
        self.is_one_of_many && refused.is_some_and(|refused| refused.is_of_no_use)
    }

    /// Reads the file again if it has changed since it was last looked at.
    fn refresh(&mut self) -> bool {
        let version = fs::metadata(&self.path).ok().map(|metadata| FileVersion::of(&metadata));
        let in_use = self.database.as_ref().map(|database| database.version());
        let looked_at = match &self.refused {
            Some(refused) => refused.version,
            None => in_use,
        };
        if version == looked_at && (version.is_some() || self.refused.is_some()) {
            return false;
        }
        match self.read(version) {
            Ok(database) => {
                let (path, kind) = (self.path.display(), database.kind());
                tracing::info!(%path, kind, "GeoIP data in use");
                self.database = Some(Arc::new(database));
                self.refused = None;
                true
            }
            Err(refused) => {
                let before = self.refused.replace(refused.clone());
                let is_news = before.is_none_or(|before| before != refused);
                if is_news && refused.is_of_no_use && self.is_one_of_many {
                    let path = self.path.display();
                    tracing::info!(%path, why = %refused.why, "GeoIP file of no use");
                } else if is_news {
                    let (path, why) = (self.path.display(), refused.why);
                    tracing::warn!(%path, %why, "GeoIP file refused; the data in use stays");
                }
                is_news
            }
        }
    }

    fn read(&self, version: Option<FileVersion>) -> Result<Database, Refused> {
        let database = Database::open(&self.path).map_err(|error| Refused {
            version: version.filter(|_| !matches!(error, DatabaseError::Read(_))),
            why: Chain(&error).to_string(),
            is_of_no_use: matches!(error, DatabaseError::NoPlaces(_)),
        })?;
        let worse = |why| Refused { version, why, is_of_no_use: false };
        self.compare(&database).map_err(worse)?;
        Ok(database)
    }

    /// Refuses data that is worse than what is in use.
    fn compare(&self, database: &Database) -> Result<(), String> {
        if let Some(in_use) = &self.database {
            if database.kind() != in_use.kind() {
                let (new, old) = (database.kind(), in_use.kind());
                return Err(format!("it is of type {new:?}, and the data in use of {old:?}"));
            }
            if database.built() < in_use.built() {
                return Err("it was made before the data in use".to_owned());
            }
        }
        Ok(())
    }

    fn describe(&self) -> GeoDatabase {
        GeoDatabase {
            path: self.path.display().to_string(),
            data: self.database.as_ref().map(|database| self.describe_data(database)),
            refused: self.refused.as_ref().map(|refused| refused.why.clone()),
            is_of_no_use: self.is_of_no_use(),
        }
    }

    fn describe_data(&self, database: &Database) -> GeoData {
        GeoData {
            kind: database.kind().to_owned(),
            built: database.built(),
            bytes: database.bytes(),
            families: database.families(),
            attribution: self.attribution(database.kind()),
        }
    }

    /// Returns what the maker's licence wants to be shown, as far as the maker can be told.
    ///
    /// ip-location-db names the maker in the file's name only.
    fn attribution(&self, kind: &str) -> Option<&'static str> {
        let file = self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_by = |maker: &str| {
            [kind, file].iter().any(|text| text.to_ascii_lowercase().starts_with(maker))
        };
        if is_by("dbip") {
            Some("IP Geolocation by DB-IP (https://db-ip.com)")
        } else if is_by("geolite2") {
            Some("This product includes GeoLite Data created by MaxMind (https://www.maxmind.com)")
        } else {
            None
        }
    }
}
