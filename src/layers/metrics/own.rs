//! Counters and histograms of the program's own, which handlers add to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::text::{Kind, Writer};
use crate::mutex::lock;

/// How many sets of labels are counted separately. Further sets are counted together, so that clients cannot use up
/// memory.
const MOST_LABELS: usize = 1000;

type Labels = Vec<(&'static str, String)>;

/// A counter of your own: [`Metrics::new_counter`](super::Metrics::new_counter). Clones are the same counter.
#[derive(Clone, Debug)]
pub struct Counter(Arc<Family<u64>>);

/// A histogram of your own: [`Metrics::new_histogram`](super::Metrics::new_histogram). Clones are the same histogram.
#[derive(Clone, Debug)]
pub struct Histogram {
    family: Arc<Family<Observed>>,
    bounds: Arc<[f64]>,
}

/// The samples of a metric by their labels.
#[derive(Debug)]
pub(super) struct Family<T> {
    name: &'static str,
    help: &'static str,
    samples: Mutex<BTreeMap<Labels, T>>,
}

#[derive(Debug, Default)]
struct Observed {
    /// The count of each bucket, not cumulative. The last bucket is unbounded.
    counts: Vec<u64>,
    sum: f64,
}

pub(super) trait OnPage: Send + Sync {
    fn write(&self, writer: &mut Writer);
}

impl Counter {
    pub(super) fn new(name: &'static str, help: &'static str) -> Counter {
        Counter(Arc::new(Family::new(name, help)))
    }

    /// Adds this number to the count with these labels, which can be none.
    pub fn add(&self, labels: &[(&'static str, &str)], number: u64) {
        let mut samples = lock(&self.0.samples);
        let count = sample(&mut samples, labels);
        *count = count.saturating_add(number);
    }
}

impl OnPage for Counter {
    fn write(&self, writer: &mut Writer) {
        writer.family(self.0.name, Kind::Counter, self.0.help);
        for (labels, count) in &*lock(&self.0.samples) {
            writer.sample(&borrowed(labels), count);
        }
    }
}

impl Histogram {
    /// # Panics
    /// If the bounds are not in ascending order.
    pub(super) fn new(name: &'static str, help: &'static str, bounds: &[f64]) -> Histogram {
        let ascend = bounds.windows(2).all(|two| two[0] < two[1]) && bounds.iter().all(|bound| bound.is_finite());
        assert!(ascend, "the bounds of the histogram {name} are not in ascending order: {bounds:?}");
        Histogram { family: Arc::new(Family::new(name, help)), bounds: bounds.into() }
    }

    /// Counts this value, in the bucket with the lowest bound that is not below it. `labels` can be empty. NaN is
    /// ignored.
    pub fn observe(&self, labels: &[(&'static str, &str)], value: f64) {
        if value.is_nan() {
            return;
        }
        let mut samples = lock(&self.family.samples);
        let observed = sample(&mut samples, labels);
        observed.counts.resize(self.bounds.len() + 1, 0);
        observed.counts[self.bounds.partition_point(|bound| *bound < value)] += 1;
        observed.sum += value;
    }

    /// Adds a time, in seconds.
    pub fn observe_time(&self, labels: &[(&'static str, &str)], time: Duration) {
        self.observe(labels, time.as_secs_f64());
    }
}

impl OnPage for Histogram {
    fn write(&self, writer: &mut Writer) {
        writer.family(self.family.name, Kind::Histogram, self.family.help);
        for (labels, Observed { counts, sum }) in &*lock(&self.family.samples) {
            let mut count = 0;
            let bounds = self.bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
            for (bound, more) in bounds.zip(counts) {
                count += more;
                let labels = [&borrowed(labels)[..], &[("le", bound.as_str())]].concat();
                writer.sample_of("_bucket", &labels, count);
            }
            writer.sample_of("_sum", &borrowed(labels), sum);
            writer.sample_of("_count", &borrowed(labels), count);
        }
    }
}

impl<T> Family<T> {
    fn new(name: &'static str, help: &'static str) -> Family<T> {
        Family { name, help, samples: Mutex::default() }
    }
}

/// Returns the sample with these labels, or beyond the limit the sample whose labels are all `other`.
fn sample<'a, T: Default>(samples: &'a mut BTreeMap<Labels, T>, labels: &[(&'static str, &str)]) -> &'a mut T {
    let mut key: Labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    if samples.len() >= MOST_LABELS && !samples.contains_key(&key) {
        key.iter_mut().for_each(|(_, value)| *value = "other".to_owned());
    }
    samples.entry(key).or_default()
}

fn borrowed(labels: &Labels) -> Vec<(&str, &str)> {
    labels.iter().map(|(name, value)| (*name, value.as_str())).collect()
}
