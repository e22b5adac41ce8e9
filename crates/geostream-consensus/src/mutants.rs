//! Known bugs that can be switched on, to see whether tests find them.
//!
//! Only a build with `--cfg mutants` contains them. One binary tries them one after the other: each
//! is switched on for the thread that asks. `mutant!(13)` is `false` in any other build.

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

/// Tells whether a bug is switched on.
#[cfg(mutants)]
pub(crate) fn is_active(mutant: u8) -> bool {
    ACTIVE.get() == mutant
}

/// Tells whether the bug of this number is to be had.
macro_rules! mutant {
    ($number:literal) => {{
        #[cfg(mutants)]
        {
            $crate::mutants::is_active($number)
        }
        #[cfg(not(mutants))]
        {
            false
        }
    }};
}
pub(crate) use mutant;
