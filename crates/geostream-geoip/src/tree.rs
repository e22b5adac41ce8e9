//! The search tree of an `.mmdb` file, as it stands there.
//!
//! Source: the `MaxMind DB` file format specification, version 2.0, "Binary Search Tree Section".

use crate::error::DatabaseError;

/// A binary tree, whose nodes are numbered from the root on, which is 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tree<'a> {
    bytes: &'a [u8],
    nodes: u32,
    record_bits: u16,
}

/// What a bit of an address leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Branch {
    Node(u32),
    /// A record, by a number that no other has.
    Record(u32),
    Nothing,
}

impl<'a> Tree<'a> {
    /// Reads the tree with which a file begins; a record has 24, 28 or 32 bits.
    pub(crate) fn new(bytes: &'a [u8], nodes: u32, record_bits: u16) -> Self {
        Self { bytes, nodes, record_bits }
    }

    /// Returns how many nodes there are.
    pub(crate) fn nodes(&self) -> u32 {
        self.nodes
    }

    /// Follows the last `count` of these bits down from a node, or fewer where the tree ends before.
    pub(crate) fn below(
        &self,
        mut node: u32,
        bits: u128,
        count: u32,
    ) -> Result<Branch, DatabaseError> {
        for bit in (0..count).rev() {
            match self.next(node, bits >> bit & 1 == 1)? {
                Branch::Node(next) => node = next,
                end @ (Branch::Record(_) | Branch::Nothing) => return Ok(end),
            }
        }
        Ok(Branch::Node(node))
    }

    fn next(&self, node: u32, is_right: bool) -> Result<Branch, DatabaseError> {
        let size = usize::from(self.record_bits) / 4;
        let bytes = self.bytes.get(node as usize * size..).and_then(|bytes| bytes.get(..size));
        let next = match (bytes, is_right) {
            (Some(&[a, b, c, _, _, _]), false) => u32::from_be_bytes([0, a, b, c]),
            (Some(&[_, _, _, a, b, c]), true) => u32::from_be_bytes([0, a, b, c]),
            // The bits of the byte in the middle are the first of both.
            (Some(&[a, b, c, first, _, _, _]), false) => u32::from_be_bytes([first >> 4, a, b, c]),
            (Some(&[_, _, _, first, a, b, c]), true) => u32::from_be_bytes([first & 0xf, a, b, c]),
            (Some(&[a, b, c, d, _, _, _, _]), false) => u32::from_be_bytes([a, b, c, d]),
            (Some(&[_, _, _, _, a, b, c, d]), true) => u32::from_be_bytes([a, b, c, d]),
            _ => return Err(DatabaseError::Tree),
        };
        Ok(match next.checked_sub(self.nodes) {
            None => Branch::Node(next),
            Some(0) => Branch::Nothing,
            Some(record) => Branch::Record(record),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_all_sizes_are_read() {
        let nodes = 0xfff_ffff;
        for (record_bits, bytes, left, right) in [
            (24, &[1, 0x23, 0x45, 0x67, 0x89, 0xab][..], 0x01_2345, 0x67_89ab),
            (28, &[0x23, 0x45, 0x67, 0x18, 0x9a, 0xbc, 0xde], 0x123_4567, 0x89a_bcde),
            (32, &[1, 0x23, 0x45, 0x67, 9, 0xab, 0xcd, 0xef], 0x123_4567, 0x9ab_cdef),
        ] {
            let tree = Tree::new(bytes, nodes, record_bits);
            assert_eq!(tree.next(0, false).unwrap(), Branch::Node(left), "{record_bits}");
            assert_eq!(tree.next(0, true).unwrap(), Branch::Node(right), "{record_bits}");
            assert!(tree.next(1, false).is_err(), "{record_bits}");
        }
        let tree = Tree::new(&[0, 0, 7, 0, 0, 9], 7, 24);
        assert_eq!(tree.next(0, false).unwrap(), Branch::Nothing);
        assert_eq!(tree.next(0, true).unwrap(), Branch::Record(2));
    }
}
