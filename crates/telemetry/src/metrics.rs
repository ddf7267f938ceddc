//! Counters, gauges and histograms, and the registry that finds them by name and labels.
//!
//! A handle is cheap to clone and costs one uncontended atomic addition to use: counters and histograms are split into
//! shards, and a thread always adds to its own. Looking a handle up costs a lock and a hash, so hot paths keep theirs.
//! Cardinality is bounded: past [`MAX_SERIES_PER_FAMILY`] label sets, a family files every further one under `other`.

use parking_lot::RwLock;
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Most label sets one metric may have; a label whose values a client chooses cannot fill the memory.
pub const MAX_SERIES_PER_FAMILY: usize = 1_000;

/// Upper bounds of the default histogram, in seconds.
pub const SECONDS_BUCKETS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Upper bounds for sizes, in bytes or rows.
pub const SIZE_BUCKETS: &[f64] = &[
    1.0,
    10.0,
    100.0,
    1_000.0,
    10_000.0,
    100_000.0,
    1_000_000.0,
    10_000_000.0,
];

const SHARDS: usize = 8;

#[derive(Default)]
#[repr(align(64))]
struct Shard(AtomicU64);

fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static MINE: Cell<usize> = const { Cell::new(usize::MAX) });
    MINE.with(|mine| {
        if mine.get() == usize::MAX {
            mine.set(NEXT.fetch_add(1, Relaxed) % SHARDS);
        }
        mine.get()
    })
}

/// A number that only grows.
#[derive(Clone, Default)]
pub struct Counter(Arc<[Shard; SHARDS]>);

impl Counter {
    /// Adds one.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0[shard()].0.fetch_add(n, Relaxed);
    }

    /// The sum so far.
    pub fn value(&self) -> u64 {
        self.0.iter().map(|s| s.0.load(Relaxed)).sum()
    }
}

/// A number that goes up and down.
#[derive(Clone, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Relaxed);
    }

    /// Adds `delta`, which may be negative.
    pub fn add(&self, delta: f64) {
        let _ = self
            .0
            .fetch_update(Relaxed, Relaxed, |bits| Some((f64::from_bits(bits) + delta).to_bits()));
    }

    /// Adds one.
    pub fn inc(&self) {
        self.add(1.0);
    }

    /// Takes one away.
    pub fn dec(&self) {
        self.add(-1.0);
    }

    /// The value now.
    pub fn value(&self) -> f64 {
        f64::from_bits(self.0.load(Relaxed))
    }
}

/// How values are spread over fixed buckets.
#[derive(Clone)]
pub struct Histogram(Arc<Buckets>);

struct Buckets {
    bounds: &'static [f64],
    /// One row of `bounds.len() + 1` counts per shard, the last for what exceeds every bound.
    counts: Box<[AtomicU64]>,
    /// Sums per shard, in billionths, so that they can be added atomically.
    sums: [Shard; SHARDS],
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Histogram {
        let counts = (0..SHARDS * (bounds.len() + 1)).map(|_| AtomicU64::new(0)).collect();
        Histogram(Arc::new(Buckets {
            bounds,
            counts,
            sums: Default::default(),
        }))
    }

    /// Counts a duration, in seconds.
    #[inline]
    pub fn observe(&self, duration: Duration) {
        self.record(duration.as_secs_f64(), duration.as_nanos() as u64);
    }

    /// Counts a value in the unit of the metric's name.
    pub fn observe_value(&self, value: f64) {
        self.record(value, (value.max(0.0) * 1e9) as u64);
    }

    fn record(&self, value: f64, billionths: u64) {
        let shard = shard();
        let bucket = self.0.bounds.partition_point(|bound| *bound < value);
        self.0.counts[shard * (self.0.bounds.len() + 1) + bucket].fetch_add(1, Relaxed);
        self.0.sums[shard].0.fetch_add(billionths, Relaxed);
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.0.counts.iter().map(|c| c.load(Relaxed)).sum()
    }

    /// The sum of all values.
    pub fn sum(&self) -> f64 {
        self.0.sums.iter().map(|s| s.0.load(Relaxed) as f64).sum::<f64>() / 1e9
    }

    /// Bounds with the number of values at or below each, the last one unbounded.
    pub(crate) fn cumulative(&self) -> Vec<(f64, u64)> {
        let width = self.0.bounds.len() + 1;
        let mut total = 0;
        (0..width)
            .map(|bucket| {
                total += (0..SHARDS)
                    .map(|s| self.0.counts[s * width + bucket].load(Relaxed))
                    .sum::<u64>();
                (self.0.bounds.get(bucket).copied().unwrap_or(f64::INFINITY), total)
            })
            .collect()
    }
}

/// Reads a gauge's value when metrics are rendered.
type Probe = Arc<dyn Fn() -> f64 + Send + Sync>;

#[derive(Clone)]
pub(crate) enum Series {
    Counter(Counter),
    FloatCounter(Gauge),
    Gauge(Gauge),
    Probe(Probe),
    Histogram(Histogram),
}

impl Series {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Series::Counter(_) | Series::FloatCounter(_) => "counter",
            Series::Gauge(_) | Series::Probe(_) => "gauge",
            Series::Histogram(_) => "histogram",
        }
    }
}

pub(crate) type Labels = Box<[(Box<str>, Box<str>)]>;

#[derive(Default)]
pub(crate) struct Family {
    pub(crate) help: Option<&'static str>,
    pub(crate) series: HashMap<Labels, Series>,
}

/// Metrics by name and labels. There is one per process ([`registry`]); tests may make their own.
#[derive(Default)]
pub struct Registry {
    pub(crate) families: RwLock<BTreeMap<&'static str, Family>>,
}

impl Registry {
    /// The series of `name` with `labels`, made on first use.
    fn find(&self, name: &'static str, labels: &[(&str, &str)], make: impl Fn() -> Series) -> Series {
        {
            let families = self.families.read();
            if let Some(found) = families.get(name).and_then(|family| family.series.get(&owned(labels))) {
                return found.clone();
            }
        }
        let mut families = self.families.write();
        let family = families.entry(name).or_default();
        let full = family.series.len() >= MAX_SERIES_PER_FAMILY;
        let key = if full {
            labels
                .iter()
                .map(|(k, _)| (Box::from(*k), Box::from("other")))
                .collect()
        } else {
            owned(labels)
        };
        family.series.entry(key).or_insert_with(make).clone()
    }

    /// The counter of that name and labels. A name that is already another kind of metric gives a handle that nobody
    /// reads, rather than a panic in production; the debug build says so.
    pub fn counter(&self, name: &'static str, labels: &[(&str, &str)]) -> Counter {
        match self.find(name, labels, || Series::Counter(Counter::default())) {
            Series::Counter(counter) => counter,
            other => mismatch(name, "counter", other.kind()),
        }
    }

    /// The gauge of that name and labels.
    pub fn gauge(&self, name: &'static str, labels: &[(&str, &str)]) -> Gauge {
        match self.find(name, labels, || Series::Gauge(Gauge::default())) {
            Series::Gauge(gauge) => gauge,
            other => mismatch(name, "gauge", other.kind()),
        }
    }

    /// A gauge whose value is asked for whenever metrics are read; a second one of the same name and labels replaces it.
    pub fn gauge_fn(
        &self,
        name: &'static str,
        labels: &[(&str, &str)],
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        let mut families = self.families.write();
        families
            .entry(name)
            .or_default()
            .series
            .insert(owned(labels), Series::Probe(Arc::new(read)));
    }

    /// The histogram of that name and labels, with the bounds given at its first use.
    pub fn histogram(&self, name: &'static str, labels: &[(&str, &str)], bounds: &'static [f64]) -> Histogram {
        match self.find(name, labels, || Series::Histogram(Histogram::new(bounds))) {
            Series::Histogram(histogram) => histogram,
            other => {
                debug_assert!(false, "{name} is a {}, not a histogram", other.kind());
                Histogram::new(bounds)
            }
        }
    }

    /// The line that `/metrics` says about a metric.
    pub fn describe(&self, name: &'static str, help: &'static str) {
        self.families.write().entry(name).or_default().help = Some(help);
    }

    pub(crate) fn set_float_counter(&self, name: &'static str, value: f64) {
        if let Series::FloatCounter(cell) = self.find(name, &[], || Series::FloatCounter(Gauge::default())) {
            cell.set(value);
        }
    }
}

fn mismatch<T: Default>(name: &str, wanted: &str, found: &str) -> T {
    debug_assert!(false, "{name} is a {found}, not a {wanted}");
    T::default()
}

fn owned(labels: &[(&str, &str)]) -> Labels {
    labels.iter().map(|(k, v)| (Box::from(*k), Box::from(*v))).collect()
}

/// The registry of this process.
pub fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(Registry::default)
}

/// [`Registry::counter`] of this process.
pub fn counter(name: &'static str, labels: &[(&str, &str)]) -> Counter {
    registry().counter(name, labels)
}

/// [`Registry::gauge`] of this process.
pub fn gauge(name: &'static str, labels: &[(&str, &str)]) -> Gauge {
    registry().gauge(name, labels)
}

/// [`Registry::gauge_fn`] of this process.
pub fn gauge_fn(name: &'static str, labels: &[(&str, &str)], read: impl Fn() -> f64 + Send + Sync + 'static) {
    registry().gauge_fn(name, labels, read);
}

/// [`Registry::histogram`] of this process, in seconds ([`SECONDS_BUCKETS`]).
pub fn histogram(name: &'static str, labels: &[(&str, &str)]) -> Histogram {
    registry().histogram(name, labels, SECONDS_BUCKETS)
}

/// [`Registry::describe`] of this process.
pub fn describe(name: &'static str, help: &'static str) {
    registry().describe(name, help);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_and_labels_are_the_same_counter_on_every_thread() {
        let registry = Registry::default();
        std::thread::scope(|scope| {
            for _ in 0..10 {
                scope.spawn(|| (0..1000).for_each(|_| registry.counter("t_total", &[("a", "b")]).inc()));
            }
        });
        assert_eq!(registry.counter("t_total", &[("a", "b")]).value(), 10_000);
        assert_eq!(registry.counter("t_total", &[("a", "c")]).value(), 0);
    }

    #[test]
    fn a_histogram_puts_a_value_at_its_bound_inside() {
        let registry = Registry::default();
        let histogram = registry.histogram("t_seconds", &[], SECONDS_BUCKETS);
        histogram.observe(Duration::from_millis(1));
        histogram.observe(Duration::from_micros(1001));
        histogram.observe(Duration::from_secs(99));
        let at = |bound: f64| {
            histogram
                .cumulative()
                .iter()
                .find(|(b, _)| *b == bound)
                .map(|(_, n)| *n)
        };
        assert_eq!(
            (at(0.0005), at(0.001), at(0.0025), at(f64::INFINITY)),
            (Some(0), Some(1), Some(2), Some(3))
        );
        assert_eq!(histogram.count(), 3);
        assert!((histogram.sum() - 99.002001).abs() < 1e-6);
    }

    #[test]
    fn labels_cannot_fill_the_memory() {
        let registry = Registry::default();
        for i in 0..MAX_SERIES_PER_FAMILY + 50 {
            registry.counter("t_total", &[("path", &i.to_string())]).inc();
        }
        let families = registry.families.read();
        assert_eq!(families["t_total"].series.len(), MAX_SERIES_PER_FAMILY + 1);
        drop(families);
        assert_eq!(registry.counter("t_total", &[("path", "other")]).value(), 50);
        registry.counter("t_total", &[("path", "5")]).inc();
        assert_eq!(
            registry.counter("t_total", &[("path", "5")]).value(),
            2,
            "those that were there go on"
        );
    }
}
