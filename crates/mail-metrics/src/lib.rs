//! What the servers count, for monitoring: a fixed set of names, each with a few labels of few values, so that memory is bounded.
//!
//! A process has one [`Metrics`]; the supervisor gathers what its children tell, and adds up what counters had before a restart.

mod metric;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

pub use metric::{Kind, Metric};

/// Series that a process has at most; what would be one more is not counted.
const MAX_SERIES: usize = 2000;

/// One figure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// What it is.
    pub metric: Metric,
    /// The values of its labels, in the order of [`Metric::labels`].
    pub labels: Vec<String>,
    /// How much.
    pub value: u64,
}

/// Figures by what they are and their labels.
type Series = BTreeMap<(Metric, Vec<String>), u64>;

/// What a process counts. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    series: Arc<Mutex<Series>>,
}

impl Metrics {
    /// Adds to a counter.
    pub fn count(&self, metric: Metric, labels: &[&str], by: u64) {
        self.change(metric, labels, |value| value.saturating_add(by));
    }

    /// Sets a gauge.
    pub fn set(&self, metric: Metric, labels: &[&str], value: u64) {
        self.change(metric, labels, |_| value);
    }

    /// Puts these values into the place of all that a gauge had.
    pub fn replace(&self, metric: Metric, values: impl IntoIterator<Item = (Vec<String>, u64)>) {
        let mut series = self.lock();
        series.retain(|(known, _), _| *known != metric);
        let room = MAX_SERIES.saturating_sub(series.len());
        series.extend(values.into_iter().take(room).map(|(labels, value)| ((metric, labels), value)));
    }

    /// All figures, in a fixed order.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        samples(&self.lock())
    }

    fn change(&self, metric: Metric, labels: &[&str], change: impl FnOnce(u64) -> u64) {
        let key = (metric, labels.iter().map(|label| (*label).to_owned()).collect());
        let mut series = self.lock();
        if series.len() < MAX_SERIES || series.contains_key(&key) {
            let value = series.entry(key).or_default();
            *value = change(*value);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Series> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn samples(series: &Series) -> Vec<Sample> {
    let sample = |((metric, labels), value): (&(Metric, Vec<String>), &u64)| Sample {
        metric: *metric,
        labels: labels.clone(),
        value: *value,
    };
    series.iter().map(sample).collect()
}

/// The figures of several processes, those that are no more among them.
#[derive(Debug, Clone, Default)]
pub struct Sum {
    series: Series,
}

impl Sum {
    /// Adds the figures of a process.
    pub fn add<'s>(&mut self, samples: impl IntoIterator<Item = &'s Sample>) {
        for Sample { metric, labels, value } in samples {
            let sum = self.series.entry((*metric, labels.clone())).or_default();
            *sum = sum.saturating_add(*value);
        }
    }

    /// Adds what counters of a process had when it ended.
    pub fn add_counters<'s>(&mut self, samples: impl IntoIterator<Item = &'s Sample>) {
        self.add(samples.into_iter().filter(|sample| sample.metric.kind() == Kind::Counter));
    }

    /// All figures, in a fixed order.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        samples(&self.series)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(samples: &[Sample]) -> Vec<(Metric, String, u64)> {
        samples.iter().map(|it| (it.metric, it.labels.join(","), it.value)).collect()
    }

    #[test]
    fn counters_go_on_where_a_process_before_had_ended_and_gauges_do_not() {
        let (first, second) = (Metrics::default(), Metrics::default());
        for metrics in [&first, &second] {
            metrics.count(Metric::Deliveries, &["sent"], 2);
            metrics.set(Metric::QueueMessages, &[], 7);
        }
        let mut sum = Sum::default();
        sum.add_counters(&first.samples());
        sum.add(&second.samples());
        let expected =
            [(Metric::Deliveries, "sent".to_owned(), 4), (Metric::QueueMessages, String::new(), 7)];
        assert_eq!(values(&sum.samples()), expected);
    }

    #[test]
    fn a_gauge_that_is_replaced_forgets_what_it_had() {
        let metrics = Metrics::default();
        metrics.set(Metric::Listings, &["192.0.2.1", "a.test"], 1);
        metrics.replace(Metric::Listings, [(vec!["192.0.2.1".to_owned(), "b.test".to_owned()], 1)]);
        assert_eq!(values(&metrics.samples()), [(Metric::Listings, "192.0.2.1,b.test".to_owned(), 1)]);
    }

    #[test]
    fn every_label_has_a_place_and_every_counter_is_a_total() {
        for metric in Metric::ALL {
            let is_counter = metric.kind() == Kind::Counter;
            assert_eq!(metric.name().ends_with("_total"), is_counter, "{}", metric.name());
            assert!(metric.name().starts_with("mailstead_") && metric.help().ends_with('.'));
        }
    }
}
