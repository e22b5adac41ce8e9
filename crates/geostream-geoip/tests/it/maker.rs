//! Makes files in the format of `MaxMind`, version 2.0, with records of any layout.

use std::net::{IpAddr, Ipv6Addr};

/// A value of a record.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(&'static str),
    Double(f64),
    Float(f32),
    U16(u16),
    U32(u32),
    U64(u64),
    U128(u128),
    I32(i32),
    Map(Vec<(&'static str, Self)>),
    /// A list of nothing.
    Nothings,
}

const SIZE: usize = 8;
const NOTHING: u32 = u32::MAX;

/// Makes a file of this type in which these networks have these records; IPv4 is at `::/96`.
pub(crate) fn file(kind: &'static str, records: &[(&str, Value)]) -> Vec<u8> {
    built(kind, 1_700_000_000, records)
}

/// The same, made at this time.
pub(crate) fn built(kind: &'static str, epoch: u64, records: &[(&str, Value)]) -> Vec<u8> {
    let mut nodes = vec![[NOTHING; 2]];
    let mut data = Vec::new();
    for (network, record) in records {
        let offset = u32::try_from(data.len()).unwrap();
        write(record, &mut data);
        // Marked by the highest bit until the number of nodes is known.
        plant(&mut nodes, network, offset | 1 << 31);
    }
    let count = u32::try_from(nodes.len()).unwrap();
    let mut file = Vec::with_capacity(nodes.len() * SIZE);
    for branch in nodes.into_iter().flatten() {
        let pointer = match branch {
            NOTHING => count,
            offset if offset & 1 << 31 != 0 => count + 16 + (offset & !(1 << 31)),
            node => node,
        };
        file.extend_from_slice(&pointer.to_be_bytes());
    }
    file.extend_from_slice(&[0; 16]);
    file.extend_from_slice(&data);
    file.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
    let metadata = Value::Map(vec![
        ("binary_format_major_version", Value::U16(2)),
        ("binary_format_minor_version", Value::U16(0)),
        ("build_epoch", Value::U64(epoch)),
        ("database_type", Value::Text(kind)),
        ("description", Value::Map(vec![])),
        ("ip_version", Value::U16(6)),
        ("languages", Value::Nothings),
        ("node_count", Value::U32(count)),
        ("record_size", Value::U16(32)),
    ]);
    write(&metadata, &mut file);
    file
}

fn plant(nodes: &mut Vec<[u32; 2]>, network: &str, leaf: u32) {
    let (address, prefix) = network.split_once('/').unwrap();
    let prefix: u32 = prefix.parse().unwrap();
    let (bits, prefix) = match address.parse().unwrap() {
        IpAddr::V4(address) => (u128::from(address.to_bits()), prefix + 96),
        IpAddr::V6(address) => (Ipv6Addr::to_bits(address), prefix),
    };
    let side = |bit: u32| usize::from(bits >> (127 - bit) & 1 == 1);
    let mut at = 0;
    for bit in 0..prefix - 1 {
        let next = nodes[at][side(bit)];
        at = if next == NOTHING {
            nodes.push([NOTHING; 2]);
            let next = nodes.len() - 1;
            nodes[at][side(bit)] = u32::try_from(next).unwrap();
            next
        } else {
            next as usize
        };
    }
    nodes[at][side(prefix - 1)] = leaf;
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Text(text) => {
            control(2, text.len(), out);
            out.extend_from_slice(text.as_bytes());
        }
        Value::Double(number) => number_of(3, &number.to_be_bytes(), out),
        Value::Float(number) => number_of(15, &number.to_be_bytes(), out),
        Value::U16(number) => number_of(5, &number.to_be_bytes(), out),
        Value::U32(number) => number_of(6, &number.to_be_bytes(), out),
        Value::I32(number) => number_of(8, &number.to_be_bytes(), out),
        Value::U64(number) => number_of(9, &number.to_be_bytes(), out),
        Value::U128(number) => number_of(10, &number.to_be_bytes(), out),
        Value::Nothings => control(11, 0, out),
        Value::Map(entries) => {
            control(7, entries.len(), out);
            for (key, value) in entries {
                write(&Value::Text(key), out);
                write(value, out);
            }
        }
    }
}

fn number_of(kind: u8, bytes: &[u8], out: &mut Vec<u8>) {
    control(kind, bytes.len(), out);
    out.extend_from_slice(bytes);
}

fn control(kind: u8, size: usize, out: &mut Vec<u8>) {
    let (small, rest) = if size < 29 { (size, None) } else { (29, Some(size - 29)) };
    let small = u8::try_from(small).unwrap();
    if kind <= 7 {
        out.push(kind << 5 | small);
    } else {
        out.extend_from_slice(&[small, kind - 7]);
    }
    out.extend(rest.map(|rest| u8::try_from(rest).unwrap()));
}
