//! How the health of regions has changed, in the database.

use geostream_domain::RegionId;
use geostream_ports::{CHANGES_IN_ALL, CHANGES_PER_REGION, HealthRecord};
use redb::{
    Database, MultimapTable, MultimapTableDefinition, ReadableMultimapTable as _,
    ReadableTable as _, ReadableTableMetadata as _, Table, TableDefinition, WriteTransaction,
};

use crate::database::{begin_read, parse};
use crate::documents::HealthDocument;
use crate::error::{LogError, damaged};

/// The last change of each region.
const LATEST: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("health");
/// The changes that are kept, by their number and region.
pub(crate) const CHANGES: TableDefinition<'_, (u64, &str), &[u8]> =
    TableDefinition::new("health_changes");
/// The numbers of each region's changes.
const NUMBERS: MultimapTableDefinition<'_, &str, u64> =
    MultimapTableDefinition::new("health_numbers");

/// Makes the tables that are not there.
pub(crate) fn prepare(write: &WriteTransaction) -> Result<(), LogError> {
    write.open_table(LATEST)?;
    write.open_table(CHANGES)?;
    write.open_multimap_table(NUMBERS)?;
    Ok(())
}

pub(crate) fn append(database: &Database, records: &[HealthRecord]) -> Result<(), LogError> {
    let write = database.begin_write()?;
    {
        let mut latest = write.open_table(LATEST)?;
        let mut history = History::open(&write)?;
        for record in records {
            let document = serde_json::to_vec(&HealthDocument::from(record));
            let document = document.map_err(|error| damaged("document", 0, error))?;
            latest.insert(record.region.as_str(), document.as_slice())?;
            history.append(record.region.as_str(), &document)?;
        }
        history.forget_oldest()?;
    }
    Ok(write.commit()?)
}

pub(crate) fn latest(database: &Database) -> Result<Vec<HealthRecord>, LogError> {
    let read = begin_read(database)?;
    let latest = read.open_table(LATEST)?;
    let mut records = Vec::new();
    for (number, entry) in (0..).zip(latest.iter()?) {
        let (key, value) = entry?;
        let record = read_change(number, key.value(), value.value())?;
        records.push(HealthRecord { node: None, ..record });
    }
    Ok(records)
}

pub(crate) fn changes(
    database: &Database,
    region: Option<&RegionId>,
    limit: usize,
) -> Result<Vec<HealthRecord>, LogError> {
    let read = begin_read(database)?;
    let changes = read.open_table(CHANGES)?;
    let mut records = Vec::new();
    match region.map(RegionId::as_str) {
        Some(region) => {
            let numbers = read.open_multimap_table(NUMBERS)?;
            for number in numbers.get(region)?.rev().take(limit) {
                let number = number?.value();
                let missing = || damaged("health", number, "it is counted, and not there");
                let change = changes.get((number, region))?.ok_or_else(missing)?;
                records.push(read_change(number, region, change.value())?);
            }
        }
        None => {
            for entry in changes.iter()?.rev().take(limit) {
                let (key, value) = entry?;
                let (number, region) = key.value();
                records.push(read_change(number, region, value.value())?);
            }
        }
    }
    Ok(records)
}

fn read_change(number: u64, region: &str, bytes: &[u8]) -> Result<HealthRecord, LogError> {
    let document: HealthDocument = parse("health", number, bytes)?;
    document.to_record(region).map_err(|error| damaged("health", number, error))
}

/// The history while it is written.
struct History<'a> {
    changes: Table<'a, (u64, &'static str), &'static [u8]>,
    numbers: MultimapTable<'a, &'static str, u64>,
    next: u64,
}

impl<'a> History<'a> {
    fn open(write: &'a WriteTransaction) -> Result<Self, LogError> {
        let changes = write.open_table(CHANGES)?;
        let numbers = write.open_multimap_table(NUMBERS)?;
        let next = changes.last()?.map_or(0, |(key, _)| key.value().0 + 1);
        Ok(Self { changes, numbers, next })
    }

    /// Adds a change, in place of the region's oldest one if there are enough.
    fn append(&mut self, region: &str, document: &[u8]) -> Result<(), LogError> {
        self.changes.insert((self.next, region), document)?;
        self.numbers.insert(region, self.next)?;
        self.next += 1;
        let mut numbers = self.numbers.get(region)?;
        if numbers.len() <= CHANGES_PER_REGION as u64 {
            return Ok(());
        }
        let Some(oldest) = numbers.next().transpose()?.map(|number| number.value()) else {
            return Ok(());
        };
        drop(numbers);
        self.changes.remove((oldest, region))?;
        self.numbers.remove(region, oldest)?;
        Ok(())
    }

    /// Forgets the oldest changes of all, as many as there are too many.
    fn forget_oldest(&mut self) -> Result<(), LogError> {
        while self.changes.len()? > CHANGES_IN_ALL as u64 {
            let Some((key, _)) = self.changes.pop_first()? else { return Ok(()) };
            let (number, region) = key.value();
            self.numbers.remove(region, number)?;
        }
        Ok(())
    }
}
