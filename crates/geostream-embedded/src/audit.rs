//! Who wanted what, in the database.

use std::time::Duration;

use geostream_api::{KeptChanges, Time};
use geostream_domain::{Line, Revision, Timestamp, outlived};
use geostream_ports::{Attempt, AuditPart, AuditRecord, Audited, Effect, TrailQuery};
use redb::{
    AccessGuard, Database, ReadableTable as _, ReadableTableMetadata as _, Table, TableDefinition,
    TableHandle as _, WriteTransaction,
};
use serde::Deserialize;

use crate::database::{begin_read, parse, put};
use crate::documents::AuditDocument;
use crate::error::{LogError, damaged};

/// What was done, by its number.
pub(crate) const DONE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("audit_done");
/// What was refused to known tokens; the numbers are of the same row.
const REFUSED: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("audit_refused");
/// What was refused without a valid token; the numbers are of the same row.
pub(crate) const ANONYMOUS: TableDefinition<'_, u64, &[u8]> =
    TableDefinition::new("audit_anonymous");

const TABLES: [TableDefinition<'_, u64, &[u8]>; 3] = [DONE, REFUSED, ANONYMOUS];

/// Makes the tables that are not there.
pub(crate) fn prepare(write: &WriteTransaction) -> Result<(), LogError> {
    let is_split = write.list_tables()?.any(|table| table.name() == ANONYMOUS.name());
    for table in TABLES {
        write.open_table(table)?;
    }
    if is_split { Ok(()) } else { split(write) }
}

/// Moves what was refused without a valid token to a table of its own: earlier versions kept it
/// together with what was refused to known tokens.
fn split(write: &WriteTransaction) -> Result<(), LogError> {
    let mut refused = write.open_table(REFUSED)?;
    let mut anonymous = write.open_table(ANONYMOUS)?;
    let is_anonymous = |number: u64, document: &[u8]| {
        parse::<AuditDocument>("audit", number, document).is_ok_and(|record| record.is_anonymous())
    };
    for entry in refused.extract_if(is_anonymous)? {
        let (number, document) = entry?;
        anonymous.insert(number.value(), document.value())?;
    }
    Ok(())
}

/// Records what is done by the same transaction, if it is somebody's attempt.
pub(crate) fn note_done(
    write: &WriteTransaction,
    attempt: Option<Attempt>,
    revision: Option<Revision>,
    reason: Option<Line>,
    changes: &KeptChanges,
) -> Result<(), LogError> {
    let Some(attempt) = attempt else { return Ok(()) };
    let changes = serde_json::to_string(changes).map_err(|error| damaged("document", 0, error))?;
    append(write, &[attempt.done(Effect { revision, reason, changes })])
}

fn append(write: &WriteTransaction, records: &[AuditRecord]) -> Result<(), LogError> {
    let mut done = write.open_table(DONE)?;
    let mut refused = write.open_table(REFUSED)?;
    let mut anonymous = write.open_table(ANONYMOUS)?;
    let last = last_of(&done)?.max(last_of(&refused)?).max(last_of(&anonymous)?);
    for (number, record) in (last + 1..).zip(records) {
        let table = match record.part() {
            AuditPart::Done => &mut done,
            AuditPart::Refused => &mut refused,
            AuditPart::Anonymous => &mut anonymous,
        };
        let document = AuditDocument::new(record);
        put(table, number, &document.map_err(|error| damaged("audit", number, error))?)?;
    }
    Ok(())
}

fn last_of(table: &Table<'_, u64, &'static [u8]>) -> Result<u64, LogError> {
    Ok(table.last()?.map_or(0, |(number, _)| number.value()))
}

pub(crate) fn record(database: &Database, records: &[AuditRecord]) -> Result<(), LogError> {
    let write = database.begin_write()?;
    append(&write, records)?;
    Ok(write.commit()?)
}

pub(crate) fn trail(database: &Database, wanted: &TrailQuery) -> Result<Vec<Audited>, LogError> {
    let read = begin_read(database)?;
    let below = wanted.below.unwrap_or(u64::MAX);
    let mut found = Vec::new();
    for table in TABLES {
        let table = read.open_table(table)?;
        let of_table = table.range(..below)?.rev().map(|entry| read_entry(entry?));
        let is_wanted = |audited: &Result<Audited, LogError>| match audited {
            Ok(audited) => wanted.wants(&audited.record),
            Err(_) => true,
        };
        for audited in of_table.filter(is_wanted).take(wanted.limit) {
            found.push(audited?);
        }
    }
    found.sort_by_key(|audited| std::cmp::Reverse(audited.number));
    found.truncate(wanted.limit);
    Ok(found)
}

pub(crate) fn forget(
    database: &Database,
    age: Duration,
    now: Timestamp,
    most: usize,
) -> Result<(), LogError> {
    let first_kept = first_kept(database, age, now)?;
    let write = database.begin_write()?;
    let mut forgotten = 0;
    for table in TABLES {
        forgotten += forget_oldest(&mut write.open_table(table)?, first_kept, most)?;
    }
    // What changes nothing needs no fsync.
    if forgotten > 0 { Ok(write.commit()?) } else { Ok(write.abort()?) }
}

/// Returns the number of the oldest record that has not outlived this age.
fn first_kept(database: &Database, age: Duration, now: Timestamp) -> Result<u64, LogError> {
    let read = begin_read(database)?;
    let mut dated = Vec::new();
    for table in TABLES {
        for entry in read.open_table(table)?.iter()? {
            let (number, document) = entry?;
            let Dated { at: Time(at) } = parse("audit", number.value(), document.value())?;
            dated.push((number.value(), at));
        }
    }
    dated.sort_unstable();
    let written: Vec<_> = dated.iter().map(|&(_, at)| at).collect();
    let first = dated.get(outlived(&written, now, age));
    Ok(first.map_or(0, |&(number, _)| number))
}

/// The part of a record that tells its age.
#[derive(Deserialize)]
struct Dated {
    at: Time,
}

/// Forgets from the oldest on, as long as there are too many or it comes before the first kept.
fn forget_oldest(
    table: &mut Table<'_, u64, &'static [u8]>,
    first_kept: u64,
    most: usize,
) -> Result<u64, LogError> {
    let too_many = table.len()?.saturating_sub(most as u64);
    let mut oldest = Vec::new();
    for entry in table.iter()? {
        let (number, _) = entry?;
        if oldest.len() as u64 >= too_many && number.value() >= first_kept {
            break;
        }
        oldest.push(number.value());
    }
    for number in &oldest {
        table.remove(number)?;
    }
    Ok(oldest.len() as u64)
}

fn read_entry(
    (number, document): (AccessGuard<'_, u64>, AccessGuard<'_, &'static [u8]>),
) -> Result<Audited, LogError> {
    let number = number.value();
    let document: AuditDocument = parse("audit", number, document.value())?;
    let record = document.to_record().map_err(|error| damaged("audit", number, error))?;
    Ok(Audited { number, record })
}
