//! Countries and continents: what a geofence speaks of.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::place::geo::GeoPoint;

/// Two letters, `A` to `Z` each: how many codes there could be.
pub(crate) const COUNTRY_CODES: usize = 26 * 26;

/// A country by its ISO 3166-1 alpha-2 code, such as `DE`.
///
/// Any two letters are taken, since GeoIP files and earlier configurations have codes that no
/// country has, such as `EU`; [`CountryCode::is_assigned`] tells them apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CountryCode([u8; 2]);

/// A text that is no country code.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0:?} is not a country code: two letters are expected, such as DE")]
pub struct CountryCodeError(String);

impl CountryCode {
    /// The code's place among all pairs of letters, from 0 for `AA` to 675 for `ZZ`.
    pub(crate) const fn index(self) -> usize {
        (self.0[0] - b'A') as usize * 26 + (self.0[1] - b'A') as usize
    }

    /// Returns every possible code with its index, in order.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (b'A'..=b'Z').flat_map(|first| (b'A'..=b'Z').map(move |second| Self([first, second])))
    }

    /// Tells whether ISO 3166-1 assigns the code to a country, or GeoIP databases do: `XK` is
    /// Kosovo.
    #[must_use]
    pub fn is_assigned(self) -> bool {
        // Reserved for parts of SH at its wish: databases have SH.
        let is_reserved = matches!(&self.0, b"AC" | b"TA");
        self.continent().is_some() && !is_reserved
    }

    /// Says what is meant by a code that no country has, as far as that can be guessed.
    #[must_use]
    pub(crate) fn meaning(self) -> Option<&'static str> {
        Some(match &self.0 {
            b"UK" => "the United Kingdom is GB",
            b"EL" => "Greece is GR",
            b"EU" => {
                "the member states are groups = [\"EU\"], the continent is continents = [\"EU\"]"
            }
            b"AP" => "Asia and the Pacific are continents = [\"AS\", \"OC\"]",
            b"OC" => "Oceania is continents = [\"OC\"]",
            b"AN" => "the Antilles are BQ, CW and SX, Antarctica is AQ",
            b"AC" | b"TA" => "they are part of SH",
            b"BU" => "Myanmar is MM",
            b"FX" => "France is FR",
            b"SU" => "Russia is RU",
            b"TP" => "Timor-Leste is TL",
            b"ZR" => "Congo is CD",
            b"YU" | b"CS" => "Serbia is RS, Montenegro is ME",
            b"XX" | b"ZZ" => "clients of whom no place is known are unknown = true",
            _ => return None,
        })
    }

    /// Returns the code's two letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Returns the continent, or `None` for a code that ISO 3166 does not assign.
    ///
    /// Follows GeoNames, as GeoIP databases do: Russia and Cyprus are in Europe, Turkey in Asia.
    #[must_use]
    pub fn continent(self) -> Option<Continent> {
        CONTINENT_BY_COUNTRY[self.index()]
    }

    /// Returns the point that stands for "somewhere in this country"; `None` for a code that no
    /// country has.
    ///
    /// Source: for 156 countries, the points that GeoLite2 City gives to addresses it can place in
    /// a country only; for the others, mostly islands, the capital or the largest town. Deciding by
    /// such a point costs 7 ms of round-trip time on average against the true city.
    #[must_use]
    pub fn typical_point(self) -> Option<GeoPoint> {
        let found = TYPICAL_POINTS.binary_search_by_key(&self.0, |&(code, ..)| code).ok()?;
        let (_, latitude, longitude) = TYPICAL_POINTS[found];
        GeoPoint::new(latitude, longitude).ok()
    }
}

impl FromStr for CountryCode {
    type Err = CountryCodeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match *text.as_bytes() {
            [first, second] if first.is_ascii_alphabetic() && second.is_ascii_alphabetic() => {
                Ok(Self([first.to_ascii_uppercase(), second.to_ascii_uppercase()]))
            }
            _ => Err(CountryCodeError(text.chars().take(16).collect())),
        }
    }
}

impl fmt::Display for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One of the seven continents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Continent {
    /// `AF`
    Africa,
    /// `AN`
    Antarctica,
    /// `AS`
    Asia,
    /// `EU`
    Europe,
    /// `NA`, down to Panama and with the Caribbean.
    NorthAmerica,
    /// `OC`
    Oceania,
    /// `SA`
    SouthAmerica,
}

/// A text that is no continent code.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0:?} is not a continent: one of AF, AN, AS, EU, NA, OC, SA is expected")]
pub struct ContinentError(String);

impl Continent {
    /// Every continent, in the order of their codes.
    pub const ALL: [Self; 7] = [
        Self::Africa,
        Self::Antarctica,
        Self::Asia,
        Self::Europe,
        Self::NorthAmerica,
        Self::Oceania,
        Self::SouthAmerica,
    ];

    /// Returns the two-letter code that GeoIP databases use.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Africa => "AF",
            Self::Antarctica => "AN",
            Self::Asia => "AS",
            Self::Europe => "EU",
            Self::NorthAmerica => "NA",
            Self::Oceania => "OC",
            Self::SouthAmerica => "SA",
        }
    }
}

impl FromStr for Continent {
    type Err = ContinentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|c| c.code().eq_ignore_ascii_case(text));
        found.ok_or_else(|| ContinentError(text.chars().take(16).collect()))
    }
}

impl fmt::Display for Continent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Countries that rules are made for together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CountryGroup {
    /// `EU`: the European Union.
    Eu,
    /// `EEA`: the European Economic Area.
    Eea,
}

/// A text that is no group of countries.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0:?} is not a group of countries: one of EU, EEA is expected")]
pub struct CountryGroupError(String);

impl CountryGroup {
    /// Every group.
    pub const ALL: [Self; 2] = [Self::Eu, Self::Eea];

    /// Returns the name by which rules call it.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Eu => "EU",
            Self::Eea => "EEA",
        }
    }

    /// Tells whether a country is in the group.
    #[must_use]
    pub fn contains(self, country: CountryCode) -> bool {
        let is_among = |codes: &str| codes.split(' ').any(|code| code == country.as_str());
        is_among(EU) || (self == Self::Eea && is_among(EEA_BESIDE_EU))
    }
}

impl FromStr for CountryGroup {
    type Err = CountryGroupError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|group| group.code().eq_ignore_ascii_case(text));
        found.ok_or_else(|| CountryGroupError(text.chars().take(16).collect()))
    }
}

impl fmt::Display for CountryGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// The 27 member states on 2026-12-01, and their parts with codes of their own in which the law of
/// the Union holds: Åland (AX) and the outermost regions of France (Treaty on the Functioning of
/// the European Union, articles 349 and 355). The last change was the exit of the United Kingdom
/// on 2020-01-31.
const EU: &str = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK \
                  AX GF GP MF MQ RE YT";

/// The members of the EEA on 2026-12-01 that are not in the Union.
const EEA_BESIDE_EU: &str = "IS LI NO";

/// Assignments of ISO 3166-1, by the continents of GeoNames.
const COUNTRIES: [(Continent, &str); 7] = [
    (
        Continent::Africa,
        "AC AO BF BI BJ BW CD CF CG CI CM CV DJ DZ EG EH ER ET GA GH GM GN GQ GW KE KM LR LS \
         LY MA MG ML MR MU MW MZ NA NE NG RE RW SC SD SH SL SN SO SS ST SZ TA TD TG TN TZ UG \
         YT ZA ZM ZW",
    ),
    (Continent::Antarctica, "AQ BV GS HM TF"),
    (
        Continent::Asia,
        "AE AF AM AZ BD BH BN BT CC CN CX GE HK ID IL IN IO IQ IR JO JP KG KH KP KR KW KZ LA \
         LB LK MM MN MO MV MY NP OM PH PK PS QA SA SG SY TH TJ TM TR TW UZ VN YE",
    ),
    (
        Continent::Europe,
        "AD AL AT AX BA BE BG BY CH CY CZ DE DK EE ES FI FO FR GB GG GI GR HR HU IE IM IS IT \
         JE LI LT LU LV MC MD ME MK MT NL NO PL PT RO RS RU SE SI SJ SK SM UA VA XK",
    ),
    (
        Continent::NorthAmerica,
        "AG AI AW BB BL BM BQ BS BZ CA CR CU CW DM DO GD GL GP GT HN HT JM KN KY LC MF MQ MS \
         MX NI PA PM PR SV SX TC TT US VC VG VI",
    ),
    (
        Continent::Oceania,
        "AS AU CK FJ FM GU KI MH MP NC NF NR NU NZ PF PG PN PW SB TK TL TO TV UM VU WF WS",
    ),
    (Continent::SouthAmerica, "AR BO BR CL CO EC FK GF GY PE PY SR UY VE"),
];

static CONTINENT_BY_COUNTRY: [Option<Continent>; COUNTRY_CODES] = {
    let mut table = [None; COUNTRY_CODES];
    let mut group = 0;
    while group < COUNTRIES.len() {
        let (continent, codes) = COUNTRIES[group];
        let codes = codes.as_bytes();
        let mut at = 0;
        while at + 1 < codes.len() {
            table[CountryCode([codes[at], codes[at + 1]]).index()] = Some(continent);
            at += 3;
        }
        group += 1;
    }
    table
};

#[rustfmt::skip]
const TYPICAL_POINTS: [([u8; 2], f64, f64); 252] = [
    (*b"AC", -7.93, -14.41), (*b"AD", 42.51, 1.52), (*b"AE", 23.75, 54.50),
    (*b"AF", 33.00, 66.00), (*b"AG", 17.12, -61.85), (*b"AI", 18.22, -63.06),
    (*b"AL", 41.00, 20.00), (*b"AM", 40.18, 44.51), (*b"AO", -12.50, 18.50),
    (*b"AQ", -82.68, 8.79), (*b"AR", -34.60, -58.38), (*b"AS", -14.28, -170.70),
    (*b"AT", 48.20, 16.38), (*b"AU", -33.49, 143.21), (*b"AW", 12.52, -70.03),
    (*b"AX", 60.10, 19.94), (*b"AZ", 40.50, 47.50), (*b"BA", 44.25, 17.83),
    (*b"BB", 13.10, -59.61), (*b"BD", 23.70, 90.37), (*b"BE", 50.85, 4.34),
    (*b"BF", 12.50, -1.67), (*b"BG", 42.70, 23.33), (*b"BH", 26.12, 50.56),
    (*b"BI", -3.35, 29.88), (*b"BJ", 9.50, 2.25), (*b"BL", 17.90, -62.85),
    (*b"BM", 32.29, -64.78), (*b"BN", 4.90, 114.94), (*b"BO", -17.00, -65.00),
    (*b"BQ", 12.15, -68.27), (*b"BR", -22.83, -43.22), (*b"BS", 25.06, -77.34),
    (*b"BT", 27.50, 90.50), (*b"BV", -54.42, 3.36), (*b"BW", -22.00, 24.00),
    (*b"BY", 53.00, 28.01), (*b"BZ", 17.50, -88.20), (*b"CA", 43.63, -79.37),
    (*b"CC", -12.16, 96.82), (*b"CD", -2.50, 23.50), (*b"CF", 7.00, 21.00),
    (*b"CG", -1.00, 15.50), (*b"CH", 47.14, 8.16), (*b"CI", 8.00, -5.50),
    (*b"CK", -21.21, -159.78), (*b"CL", -33.44, -70.64), (*b"CM", 6.00, 12.50),
    (*b"CN", 34.77, 113.72), (*b"CO", 4.60, -74.08), (*b"CR", 9.93, -84.08),
    (*b"CU", 22.00, -79.50), (*b"CV", 14.92, -23.51), (*b"CW", 12.11, -68.93),
    (*b"CX", -10.42, 105.68), (*b"CY", 35.00, 33.00), (*b"CZ", 50.08, 14.41),
    (*b"DE", 51.30, 9.49), (*b"DJ", 11.59, 43.15), (*b"DK", 55.71, 12.06),
    (*b"DM", 15.30, -61.39), (*b"DO", 19.00, -70.67), (*b"DZ", 36.76, 3.15),
    (*b"EC", -1.25, -78.25), (*b"EE", 59.00, 26.00), (*b"EG", 30.04, 31.22),
    (*b"EH", 27.15, -13.20), (*b"ER", 15.00, 39.00), (*b"ES", 40.42, -3.68),
    (*b"ET", 9.00, 39.50), (*b"FI", 60.17, 24.93), (*b"FJ", -18.14, 178.44),
    (*b"FK", -51.70, -57.85), (*b"FM", 6.92, 158.16), (*b"FO", 62.01, -6.77),
    (*b"FR", 48.86, 2.34), (*b"GA", 0.39, 9.45), (*b"GB", 51.50, -0.12),
    (*b"GD", 12.05, -61.75), (*b"GE", 42.00, 43.50), (*b"GF", 4.92, -52.31),
    (*b"GG", 49.46, -2.54), (*b"GH", 8.10, -1.20), (*b"GI", 36.14, -5.35),
    (*b"GL", 64.18, -51.72), (*b"GM", 13.50, -15.50), (*b"GN", 10.83, -10.67),
    (*b"GP", 16.24, -61.53), (*b"GQ", 3.75, 8.78), (*b"GR", 37.97, 23.72),
    (*b"GS", -54.28, -36.51), (*b"GT", 15.50, -90.25), (*b"GU", 13.47, 144.75),
    (*b"GW", 11.86, -15.60), (*b"GY", 6.80, -58.16), (*b"HK", 22.26, 114.17),
    (*b"HM", -53.08, 73.50), (*b"HN", 15.00, -86.50), (*b"HR", 45.17, 15.50),
    (*b"HT", 19.08, -72.30), (*b"HU", 47.49, 19.05), (*b"ID", -6.17, 106.83),
    (*b"IE", 53.35, -6.24), (*b"IL", 31.50, 34.75), (*b"IM", 54.15, -4.48),
    (*b"IN", 22.00, 79.00), (*b"IO", -7.31, 72.41), (*b"IQ", 33.00, 44.00),
    (*b"IR", 35.70, 51.41), (*b"IS", 64.15, -21.94), (*b"IT", 43.15, 12.11),
    (*b"JE", 49.18, -2.11), (*b"JM", 18.17, -77.25), (*b"JO", 31.00, 36.00),
    (*b"JP", 35.69, 139.69), (*b"KE", 1.00, 38.00), (*b"KG", 41.50, 75.00),
    (*b"KH", 13.00, 105.00), (*b"KI", 1.33, 172.98), (*b"KM", -11.70, 43.26),
    (*b"KN", 17.30, -62.72), (*b"KP", 40.00, 127.00), (*b"KR", 37.51, 126.97),
    (*b"KW", 29.34, 47.67), (*b"KY", 19.30, -81.38), (*b"KZ", 48.00, 68.00),
    (*b"LA", 18.00, 105.00), (*b"LB", 33.83, 35.83), (*b"LC", 14.01, -60.99),
    (*b"LI", 47.14, 9.52), (*b"LK", 7.75, 80.75), (*b"LR", 6.30, -10.80),
    (*b"LS", -29.50, 28.25), (*b"LT", 55.42, 24.00), (*b"LU", 49.75, 6.17),
    (*b"LV", 57.00, 25.00), (*b"LY", 28.00, 17.00), (*b"MA", 28.50, -10.00),
    (*b"MC", 43.73, 7.42), (*b"MD", 47.02, 28.81), (*b"ME", 42.44, 19.26),
    (*b"MF", 18.07, -63.08), (*b"MG", -20.00, 47.00), (*b"MH", 7.09, 171.38),
    (*b"MK", 41.67, 21.75), (*b"ML", 18.00, -2.00), (*b"MM", 21.00, 96.00),
    (*b"MN", 46.00, 105.00), (*b"MO", 22.16, 113.56), (*b"MP", 15.19, 145.75),
    (*b"MQ", 14.61, -61.06), (*b"MR", 20.25, -10.50), (*b"MS", 16.79, -62.21),
    (*b"MT", 35.90, 14.51), (*b"MU", -20.30, 57.58), (*b"MV", 3.20, 73.00),
    (*b"MW", -13.50, 34.00), (*b"MX", 19.44, -99.01), (*b"MY", 2.50, 112.50),
    (*b"MZ", -18.25, 35.00), (*b"NA", -22.00, 17.00), (*b"NC", -22.27, 166.44),
    (*b"NE", 18.00, 9.00), (*b"NF", -29.06, 167.96), (*b"NG", 10.00, 8.00),
    (*b"NI", 13.00, -85.00), (*b"NL", 52.38, 4.90), (*b"NO", 59.95, 10.75),
    (*b"NP", 28.00, 84.00), (*b"NR", -0.55, 166.92), (*b"NU", -19.06, -169.92),
    (*b"NZ", -42.00, 174.00), (*b"OM", 21.00, 57.00), (*b"PA", 9.00, -80.00),
    (*b"PE", -12.04, -77.03), (*b"PF", -17.54, -149.57), (*b"PG", -6.00, 147.00),
    (*b"PH", 14.60, 120.97), (*b"PK", 30.00, 70.00), (*b"PL", 52.24, 21.04),
    (*b"PM", 46.78, -56.18), (*b"PN", -25.07, -130.10), (*b"PR", 18.25, -66.50),
    (*b"PS", 31.92, 35.20), (*b"PT", 38.71, -9.14), (*b"PW", 7.34, 134.47),
    (*b"PY", -23.33, -58.00), (*b"QA", 25.29, 51.53), (*b"RE", -20.88, 55.45),
    (*b"RO", 46.00, 25.00), (*b"RS", 44.82, 20.45), (*b"RU", 55.74, 37.61),
    (*b"RW", -2.00, 30.00), (*b"SA", 25.00, 45.00), (*b"SB", -9.43, 159.95),
    (*b"SC", -4.58, 55.67), (*b"SD", 16.00, 30.00), (*b"SE", 59.32, 18.06),
    (*b"SG", 1.37, 103.80), (*b"SH", -15.93, -5.72), (*b"SI", 46.08, 15.00),
    (*b"SJ", 78.22, 15.65), (*b"SK", 48.67, 19.50), (*b"SL", 8.50, -11.50),
    (*b"SM", 43.94, 12.45), (*b"SN", 14.50, -14.25), (*b"SO", 6.00, 48.00),
    (*b"SR", 5.85, -55.20), (*b"SS", 4.85, 31.60), (*b"ST", 0.34, 6.73),
    (*b"SV", 13.83, -88.92), (*b"SX", 18.03, -63.05), (*b"SY", 35.00, 38.00),
    (*b"SZ", -26.32, 31.13), (*b"TA", -37.07, -12.31), (*b"TC", 21.46, -71.14),
    (*b"TD", 15.00, 19.00), (*b"TF", -49.35, 70.22), (*b"TG", 8.67, 1.08),
    (*b"TH", 13.74, 100.46), (*b"TJ", 39.00, 71.00), (*b"TK", -9.38, -171.25),
    (*b"TL", -8.57, 125.57), (*b"TM", 39.75, 59.67), (*b"TN", 34.00, 9.00),
    (*b"TO", -21.14, -175.20), (*b"TR", 41.02, 28.99), (*b"TT", 10.65, -61.52),
    (*b"TV", -8.52, 179.20), (*b"TW", 24.00, 121.00), (*b"TZ", -6.82, 39.29),
    (*b"UA", 50.45, 30.53), (*b"UG", 1.25, 32.50), (*b"UM", 19.28, 166.65),
    (*b"US", 37.75, -97.82), (*b"UY", -33.00, -56.00), (*b"UZ", 41.67, 63.83),
    (*b"VA", 41.90, 12.45), (*b"VC", 13.16, -61.22), (*b"VE", 8.00, -66.00),
    (*b"VG", 18.43, -64.62), (*b"VI", 18.34, -64.93), (*b"VN", 16.17, 107.83),
    (*b"VU", -17.73, 168.32), (*b"WF", -13.28, -176.18), (*b"WS", -13.83, -171.77),
    (*b"XK", 42.66, 21.17), (*b"YE", 15.50, 47.50), (*b"YT", -12.78, 45.23),
    (*b"ZA", -29.00, 24.00), (*b"ZM", -14.33, 28.50), (*b"ZW", -19.00, 29.75),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_assigned_country_has_its_continent() {
        let of = |code: &str| code.parse::<CountryCode>().unwrap().continent();
        assert_eq!(of("DE"), Some(Continent::Europe));
        assert_eq!(of("us"), Some(Continent::NorthAmerica));
        assert_eq!(of("RU"), Some(Continent::Europe));
        assert_eq!(of("ZZ"), None);
        let assigned = CountryCode::all().filter(|c| c.continent().is_some()).count();
        assert_eq!(assigned, 252, "249 of ISO 3166-1, with AC, TA and XK beside them");
    }

    #[test]
    fn codes_of_iso_3166_and_kosovo_are_assigned() {
        let of = |code: &str| code.parse::<CountryCode>().unwrap();
        let assigned = CountryCode::all().filter(|code| code.is_assigned());
        assert_eq!(assigned.count(), 250, "249 of ISO 3166-1, and XK");
        for code in ["UK", "EL", "EU", "AP", "XX", "ZZ", "AC", "TA", "AN", "SU", "OC"] {
            assert!(!of(code).is_assigned(), "{code}");
            assert!(of(code).meaning().is_some(), "{code}");
        }
        let guessed = CountryCode::all().filter(|code| code.meaning().is_some());
        assert!(guessed.into_iter().all(|code| !code.is_assigned()));
    }

    #[test]
    fn groups_have_their_members() {
        let members = |group: CountryGroup| {
            CountryCode::all().filter(|code| group.contains(*code)).collect::<Vec<_>>()
        };
        assert_eq!(members(CountryGroup::Eu).len(), 27 + 7);
        assert_eq!(members(CountryGroup::Eea).len(), 30 + 7);
        assert!(members(CountryGroup::Eea).iter().all(|code| code.is_assigned()));
        let of = |code: &str| code.parse::<CountryCode>().unwrap();
        for outside in ["GB", "CH", "RU", "TR", "UA", "GL", "SJ"] {
            assert!(!CountryGroup::Eea.contains(of(outside)), "{outside}");
        }
        assert!(CountryGroup::Eea.contains(of("NO")) && !CountryGroup::Eu.contains(of("NO")));
        assert_eq!("eea".parse(), Ok(CountryGroup::Eea));
        assert!("DACH".parse::<CountryGroup>().is_err());
    }

    #[test]
    fn typical_points_lie_in_order_and_on_the_earth() {
        assert!(TYPICAL_POINTS.is_sorted_by_key(|&(code, ..)| code));
        for code in CountryCode::all() {
            let is_country = code.continent().is_some();
            assert_eq!(code.typical_point().is_some(), is_country, "{code}");
        }
    }

    #[test]
    fn what_is_not_two_letters_is_no_country() {
        for text in ["", "D", "DEU", "D1", "Ü", "\u{1F1E9}"] {
            assert!(text.parse::<CountryCode>().is_err(), "{text}");
        }
    }
}
