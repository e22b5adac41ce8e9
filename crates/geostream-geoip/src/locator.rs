//! The locator over one or several files, and their replacement while it answers.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use geostream_ports::{Chain, Families, GeoDatabase, GeoLocator, Place};

use crate::database::{Database, FileVersion};

/// Finds places in one or several files of GeoIP data, asked in order.
///
/// A file that is missing or damaged at the start leaves a gap that [`GeoIp::refresh`] fills when
/// the file is mended; until then its addresses are at unknown places.
#[derive(Debug)]
pub struct GeoIp {
    sources: ArcSwap<Vec<Source>>,
}

/// A file, and what is used of it.
#[derive(Clone, Debug)]
struct Source {
    path: PathBuf,
    /// The data in use, which may be older than the file.
    database: Option<Arc<LoadedDatabase>>,
    /// Why the file is not in use, if it is not, and in which version.
    refused: Option<Refused>,
}

#[derive(Debug)]
struct LoadedDatabase {
    database: Database,
    families: Families,
}

#[derive(Clone, Debug)]
struct Refused {
    version: Option<FileVersion>,
    why: String,
}

impl GeoIp {
    /// Reads these files.
    ///
    /// Takes seconds for large ones: keep it off threads that answer requests.
    #[must_use]
    pub fn open(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let sources = paths.into_iter().map(Source::new).collect();
        Self { sources: ArcSwap::from_pointee(sources) }
    }

    /// Reads again the files that have changed, and tells whether anything is different now.
    ///
    /// A file that is damaged, older than the data in use or of another type is refused, and the
    /// data in use stays. Takes seconds for large files: keep it off threads that answer requests.
    pub fn refresh(&self) -> bool {
        let before = self.sources.load_full();
        let mut after = Vec::clone(&before);
        let changed = after.iter_mut().filter_map(|source| source.refresh().then_some(())).count();
        if changed > 0 {
            self.sources.store(Arc::new(after));
        }
        changed > 0
    }
}

impl GeoLocator for GeoIp {
    fn locate(&self, address: IpAddr) -> Place {
        let address = address.to_canonical();
        for source in self.sources.load().iter() {
            let Some(loaded) = &source.database else { continue };
            if !loaded.describes(address) {
                continue;
            }
            match loaded.database.find(address) {
                Ok(Some(place)) => return place,
                Ok(None) => {}
                Err(error) => {
                    metrics::counter!("geoip_decode_errors_total").increment(1);
                    tracing::debug!(%error, path = %source.path.display(), "damaged record");
                }
            }
        }
        Place::UNKNOWN
    }

    fn databases(&self) -> Vec<GeoDatabase> {
        self.sources.load().iter().filter_map(Source::describe).collect()
    }

    fn is_complete(&self) -> bool {
        self.sources.load().iter().all(|source| source.database.is_some())
    }
}

impl LoadedDatabase {
    fn describes(&self, address: IpAddr) -> bool {
        match self.families {
            Families::V4 => address.is_ipv4(),
            Families::V6 => address.is_ipv6(),
            Families::Both => true,
        }
    }
}

impl Source {
    fn new(path: PathBuf) -> Self {
        let mut source = Self { path, database: None, refused: None };
        source.refresh();
        source
    }

    /// Reads the file again if it has changed since it was last looked at.
    fn refresh(&mut self) -> bool {
        let version = fs::metadata(&self.path).ok().map(|metadata| FileVersion::of(&metadata));
        let in_use = self.database.as_ref().map(|loaded| loaded.database.version());
        let looked_at = match &self.refused {
            Some(refused) => refused.version,
            None => in_use,
        };
        if version == looked_at && (version.is_some() || self.refused.is_some()) {
            return false;
        }
        match self.read() {
            Ok(loaded) => {
                let (path, kind) = (self.path.display(), loaded.database.kind());
                tracing::info!(%path, kind, "GeoIP data in use");
                self.database = Some(Arc::new(loaded));
                self.refused = None;
            }
            Err(why) => {
                let path = self.path.display();
                tracing::warn!(%path, %why, "GeoIP file refused; the data in use stays");
                self.refused = Some(Refused { version, why });
            }
        }
        true
    }

    fn read(&self) -> Result<LoadedDatabase, String> {
        let database = Database::open(&self.path).map_err(|error| Chain(&error).to_string())?;
        if let Some(in_use) = self.database.as_ref().map(|loaded| &loaded.database) {
            if database.kind() != in_use.kind() {
                let (new, old) = (database.kind(), in_use.kind());
                return Err(format!("it is of type {new:?}, and the data in use of {old:?}"));
            }
            if database.built() < in_use.built() {
                return Err("it was made before the data in use".to_owned());
            }
        }
        let families = database.families();
        Ok(LoadedDatabase { database, families })
    }

    fn describe(&self) -> Option<GeoDatabase> {
        let loaded = self.database.as_ref()?;
        let database = &loaded.database;
        Some(GeoDatabase {
            kind: database.kind().to_owned(),
            path: self.path.display().to_string(),
            built: database.built(),
            bytes: database.bytes(),
            families: loaded.families,
            attribution: self.attribution(database.kind()),
            refused: self.refused.as_ref().map(|refused| refused.why.clone()),
        })
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
