//! The Prometheus text format, version 0.0.4.

use crate::metrics::{Labels, Registry, Series};
use std::fmt::Write;

/// All metrics of a registry, families and series in a stable order.
pub(crate) fn render(registry: &Registry) -> String {
    let families = registry.families.read();
    let mut out = String::with_capacity(16 * 1024);
    for (name, family) in families.iter() {
        let mut series: Vec<_> = family.series.iter().collect();
        let Some((_, first)) = series.first() else {
            continue;
        };
        if let Some(help) = family.help {
            let _ = writeln!(out, "# HELP {name} {}", help.replace('\\', "\\\\").replace('\n', "\\n"));
        }
        let _ = writeln!(out, "# TYPE {name} {}", first.kind());
        series.sort_by(|a, b| a.0.cmp(b.0));
        for (labels, series) in series {
            match series {
                Series::Counter(counter) => sample(&mut out, name, "", labels, None, counter.value() as f64),
                Series::FloatCounter(gauge) | Series::Gauge(gauge) => {
                    sample(&mut out, name, "", labels, None, gauge.value())
                }
                Series::Probe(read) => sample(&mut out, name, "", labels, None, read()),
                Series::Histogram(histogram) => {
                    for (bound, count) in histogram.cumulative() {
                        sample(&mut out, name, "_bucket", labels, Some(bound), count as f64);
                    }
                    sample(&mut out, name, "_sum", labels, None, histogram.sum());
                    sample(&mut out, name, "_count", labels, None, histogram.count() as f64);
                }
            }
        }
    }
    out
}

fn sample(out: &mut String, name: &str, suffix: &str, labels: &Labels, bound: Option<f64>, value: f64) {
    out.push_str(name);
    out.push_str(suffix);
    let mut open = '{';
    for (key, text) in labels.iter() {
        out.push(open);
        out.push_str(key);
        out.push_str("=\"");
        for c in text.chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                '\n' => out.push_str("\\n"),
                c => out.push(c),
            }
        }
        out.push('"');
        open = ',';
    }
    if let Some(bound) = bound {
        out.push(open);
        if bound.is_infinite() {
            out.push_str("le=\"+Inf\"");
        } else {
            let _ = write!(out, "le=\"{bound}\"");
        }
        open = ',';
    }
    if open == ',' {
        out.push('}');
    }
    let _ = writeln!(out, " {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_a_scraper_reads() {
        let registry = Registry::default();
        registry.describe("b_total", "Counts\nthings.");
        registry.counter("b_total", &[("route", "a\"b\\c\nd")]).add(3);
        registry.gauge("a", &[]).set(1.5);
        registry.gauge_fn("c", &[("x", "y")], || 7.0);
        registry
            .histogram("d_bytes", &[("k", "v")], &[1.0, 10.0])
            .observe_value(5.0);
        assert_eq!(
            render(&registry),
            "# TYPE a gauge\na 1.5\n\
             # HELP b_total Counts\\nthings.\n# TYPE b_total counter\nb_total{route=\"a\\\"b\\\\c\\nd\"} 3\n\
             # TYPE c gauge\nc{x=\"y\"} 7\n\
             # TYPE d_bytes histogram\nd_bytes_bucket{k=\"v\",le=\"1\"} 0\nd_bytes_bucket{k=\"v\",le=\"10\"} 1\n\
             d_bytes_bucket{k=\"v\",le=\"+Inf\"} 1\nd_bytes_sum{k=\"v\"} 5\nd_bytes_count{k=\"v\"} 1\n"
        );
    }

    #[test]
    fn the_process_speaks_of_itself() {
        let text = crate::render_metrics();
        for name in [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_start_time_seconds",
        ] {
            let value = text
                .lines()
                .find_map(|l| l.strip_prefix(&format!("{name} ")))
                .and_then(|v| v.parse::<f64>().ok());
            assert!(value.is_some_and(|v| v > 0.0), "{name}: {value:?}");
        }
    }
}
