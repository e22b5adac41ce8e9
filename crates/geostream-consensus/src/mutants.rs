//! Known bugs that can be switched on, to see whether tests find them.
//!
//! Only a build with `--cfg mutants` contains them: in any other, [`mutant`] is `false`, and the
//! compiler drops what it guards. One binary tries them one after the other: each is switched on for
//! the thread that asks. The numbers are those of the rules (`M13`) in this crate's comments;
//! 100 and 200 more are other ways to break the same rule.

#[cfg(mutants)]
use std::cell::Cell;

#[cfg(mutants)]
thread_local! {
    static ACTIVE: Cell<u8> = const { Cell::new(0) };
}

/// Switches one bug on for this thread, and any other off; 0 is none.
#[cfg(mutants)]
pub fn activate(mutant: u8) {
    ACTIVE.set(mutant);
}

/// Tells whether the bug of this number is to be had.
#[cfg(mutants)]
pub(crate) fn mutant(number: u8) -> bool {
    ACTIVE.get() == number
}

#[cfg(not(mutants))]
pub(crate) const fn mutant(_number: u8) -> bool {
    false
}
