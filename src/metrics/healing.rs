//! Counts of what was done against dead connections, and why.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::healing::{Reason, Step};

/// Each step that was taken, by its reason; clones count together.
#[derive(Clone, Debug)]
pub struct HealingSteps(Family<StepLabel, Counter>);

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StepLabel {
    step: &'static str,
    reason: &'static str,
}

impl Default for HealingSteps {
    fn default() -> Self {
        let steps = Self(Family::default());
        for step in Step::ALL {
            for reason in Reason::ALL {
                let _ = steps.counter(step, reason);
            }
        }
        steps
    }
}

impl HealingSteps {
    /// Adds the metric to the registry that is prefixed `onionscrape`.
    pub fn register(&self, to: &mut Registry) {
        to.register("healing_steps", "What was done to get through again, and why", self.0.clone());
    }

    /// Counts one.
    pub fn taken(&self, step: Step, reason: Reason) {
        self.counter(step, reason).inc();
    }

    fn counter(&self, step: Step, reason: Reason) -> Counter {
        let label = StepLabel { step: step.label(), reason: reason.label() };
        self.0.get_or_create(&label).clone()
    }
}
