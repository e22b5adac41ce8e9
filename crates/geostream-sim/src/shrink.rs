//! Looking for the least that makes the same thing go wrong.

use crate::plan::Plan;
use crate::world::{Outcome, run};

/// Leaves out faults, ever fewer at a time, and bad weather, as long as the same property is broken.
///
/// Returns what is left, and what comes of it; the plan itself if nothing goes wrong in it.
#[must_use]
pub fn shrink(plan: &Plan) -> (Plan, Outcome) {
    let mut best = Best { plan: plan.clone(), outcome: run(plan, false) };
    best.shorten();
    loop {
        let faults = best.plan.faults.len();
        best.drop_faults();
        for calmer in 0..best.plan.calmer().len() {
            let candidate = best.plan.calmer().swap_remove(calmer);
            best.accept(candidate);
        }
        if best.plan.faults.len() == faults {
            return (best.plan, best.outcome);
        }
    }
}

struct Best {
    plan: Plan,
    outcome: Outcome,
}

impl Best {
    /// Takes a plan instead if it breaks the same.
    fn accept(&mut self, mut plan: Plan) -> bool {
        let Some(violation) = &self.outcome.violation else { return false };
        plan.length = plan.length.min(self.plan.length);
        let outcome = run(&plan, false);
        let same = outcome.violation.as_ref().is_some_and(|v| v.property == violation.property);
        if same {
            (self.plan, self.outcome) = (plan, outcome);
            self.shorten();
        }
        same
    }

    /// Ends where it goes wrong, if that is before the end: what would come later changes nothing.
    fn shorten(&mut self) {
        let Some(violation) = &self.outcome.violation else { return };
        if violation.at < self.plan.length {
            let at = violation.at;
            self.plan.length = at + 1;
            self.plan.faults.retain(|(time, _)| *time <= at);
        }
    }

    fn drop_faults(&mut self) {
        let mut run = self.plan.faults.len();
        while run > 0 {
            let mut from = 0;
            while from < self.plan.faults.len() {
                let mut plan = self.plan.clone();
                let to = (from + run).min(plan.faults.len());
                plan.faults.drain(from..to);
                if !self.accept(plan) {
                    from += run;
                }
            }
            run /= 2;
        }
    }
}
