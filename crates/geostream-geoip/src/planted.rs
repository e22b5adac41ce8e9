//! Search trees for tests.

use std::cell::OnceCell;
use std::net::IpAddr;

use crate::tree::{Branch, Tree};

/// A tree in the making.
#[derive(Debug)]
pub(crate) struct Planted {
    nodes: Vec<[Branch; 2]>,
    bytes: OnceCell<Vec<u8>>,
}

impl Default for Planted {
    fn default() -> Self {
        Self { nodes: vec![[Branch::Nothing; 2]], bytes: <_>::default() }
    }
}

impl Planted {
    /// Puts a record where a network is, and takes away what was there.
    ///
    /// Records are numbered from 0 here, and from 1 in the file's.
    pub(crate) fn plant(&mut self, network: &str, record: usize) {
        self.put(network, Branch::Record(u32::try_from(record).unwrap()));
    }

    /// Makes a network another way to where a second one is.
    pub(crate) fn lead(&mut self, network: &str, to: &str) {
        let (bits, prefix) = parse(to);
        let mut at = 0;
        for bit in 0..prefix {
            let Branch::Node(next) = self.nodes[at][side(bits, bit)] else { panic!("no {to}") };
            at = next as usize;
        }
        self.put(network, Branch::Node(u32::try_from(at).unwrap()));
    }

    fn put(&mut self, network: &str, branch: Branch) {
        let (bits, prefix) = parse(network);
        if prefix == 0 {
            self.nodes[0] = [branch; 2];
            return;
        }
        let mut at = 0;
        for bit in 0..prefix - 1 {
            let end = self.nodes[at][side(bits, bit)];
            at = match end {
                Branch::Node(next) => next as usize,
                Branch::Record(_) | Branch::Nothing => {
                    let next = self.nodes.len();
                    self.nodes[at][side(bits, bit)] = Branch::Node(u32::try_from(next).unwrap());
                    self.nodes.push([end; 2]);
                    next
                }
            };
        }
        self.nodes[at][side(bits, prefix - 1)] = branch;
    }

    /// Writes the tree as a file has it, with records of 32 bits.
    pub(crate) fn tree(&self) -> Tree<'_> {
        let nodes = u32::try_from(self.nodes.len()).unwrap();
        let bytes = self.bytes.get_or_init(|| {
            let word = |branch: &Branch| match branch {
                Branch::Node(node) => *node,
                Branch::Record(record) => nodes + 1 + record,
                Branch::Nothing => nodes,
            };
            self.nodes.iter().flatten().flat_map(|branch| word(branch).to_be_bytes()).collect()
        });
        Tree::new(bytes, nodes, 32)
    }
}

fn parse(network: &str) -> (u128, u32) {
    let (address, prefix) = network.split_once('/').unwrap();
    let bits = match address.parse().unwrap() {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    };
    (bits, prefix.parse().unwrap())
}

fn side(bits: u128, bit: u32) -> usize {
    usize::from(bits >> (127 - bit) & 1 == 1)
}
