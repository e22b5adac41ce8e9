//! Maps whose names may appear once: JSON and its readers would let the last one win.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};

/// Reads a map and refuses a name that appears twice.
pub(crate) fn map<'de, D, V>(deserializer: D) -> Result<BTreeMap<String, V>, D::Error>
where
    D: Deserializer<'de>,
    V: Deserialize<'de>,
{
    deserializer.deserialize_map(UniqueMap(PhantomData))
}

/// Reads header fields. Errors are noted in the audit trail, so they do not quote what was read.
pub(crate) fn headers<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let expected = "headers is a table of names and texts, each name once";
    map(deserializer).map_err(|_| D::Error::custom(expected))
}

struct UniqueMap<V>(PhantomData<V>);

/// Refuses a value, since its name was there already: so the error points at it.
struct Twice<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Twice<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, _value: D) -> Result<(), D::Error> {
        Err(D::Error::custom(format_args!("{:?} is given twice", self.0)))
    }
}

impl<'de, V: Deserialize<'de>> Visitor<'de> for UniqueMap<V> {
    type Value = BTreeMap<String, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut map = BTreeMap::new();
        while let Some(name) = access.next_key::<String>()? {
            if map.contains_key(&name) {
                access.next_value_seed(Twice(&name))?;
            }
            map.insert(name, access.next_value()?);
        }
        Ok(map)
    }
}
