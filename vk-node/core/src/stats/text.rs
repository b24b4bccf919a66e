//! The text that Prometheus reads: version 0.0.4 of its exposition format.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;

/// The content type of [`Text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A text in the making. A family without samples leaves nothing in it.
#[derive(Debug, Default)]
pub struct Text(String);

/// The samples of one name.
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut String,
    name: &'a str,
    head: Option<(&'a str, FamilyKind)>,
}

/// What the values of a family are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FamilyKind {
    /// It only grows.
    Counter,
    /// It comes and goes.
    Gauge,
    /// How many observations were at most so much.
    Histogram,
}

/// Names and values. They are written in this order: some readers depend on it.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// Durations, counted by how long they were: those up to each bound, by default of Prometheus' usual ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    bounds: &'static [f64],
    buckets: Vec<u64>,
    count: u64,
    sum: Duration,
}

/// The upper bounds of the buckets, in seconds: Prometheus' `DefBuckets`.
const BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

impl Text {
    /// Begins a family.
    pub fn family<'a>(&'a mut self, name: &'a str, help: &'a str, kind: FamilyKind) -> Family<'a> {
        Family { text: &mut self.0, name, head: Some((help, kind)) }
    }

    /// A family of a single sample without labels.
    pub fn single(&mut self, name: &str, help: &str, kind: FamilyKind, value: f64) {
        self.family(name, help, kind).sample(&[], value);
    }

    /// The whole text.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

impl Family<'_> {
    /// Adds a sample of now.
    pub fn sample(&mut self, labels: Labels<'_>, value: f64) {
        self.line("", labels, None, value, None);
    }

    /// Adds a sample of a time.
    pub fn sample_at(&mut self, labels: Labels<'_>, value: f64, at: Timestamp) {
        self.line("", labels, None, value, Some(at));
    }

    /// Adds a histogram.
    #[expect(clippy::cast_precision_loss, reason = "the format knows no other numbers")]
    pub fn histogram(&mut self, labels: Labels<'_>, histogram: &Histogram) {
        for (bound, count) in histogram.bounds.iter().zip(&histogram.buckets) {
            self.line("_bucket", labels, Some(&bound.to_string()), *count as f64, None);
        }
        self.line("_bucket", labels, Some("+Inf"), histogram.count as f64, None);
        self.line("_sum", labels, None, histogram.sum.as_secs_f64(), None);
        self.line("_count", labels, None, histogram.count as f64, None);
    }

    fn line(&mut self, suffix: &str, labels: Labels<'_>, bound: Option<&str>, value: f64, at: Option<Timestamp>) {
        let (name, text) = (self.name, &mut *self.text);
        if let Some((help, kind)) = self.head.take() {
            let kind = match kind {
                FamilyKind::Counter => "counter",
                FamilyKind::Gauge => "gauge",
                FamilyKind::Histogram => "histogram",
            };
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        }
        text.push_str(name);
        text.push_str(suffix);
        let all = labels.iter().copied().chain(bound.map(|bound| ("le", bound)));
        let mut before = '{';
        for (label, value) in all {
            text.push(before);
            let _ = write!(text, "{label}=\"");
            for c in value.chars() {
                match c {
                    '\\' => text.push_str("\\\\"),
                    '"' => text.push_str("\\\""),
                    '\n' => text.push_str("\\n"),
                    c => text.push(c),
                }
            }
            text.push('"');
            before = ',';
        }
        if before == ',' {
            text.push('}');
        }
        let _ = write!(text, " {value}");
        if let Some(at) = at {
            let _ = write!(text, " {}", at.as_millisecond());
        }
        text.push('\n');
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::with(&BOUNDS)
    }
}

impl Histogram {
    /// With these upper bounds of its buckets, in seconds, the lowest first.
    #[must_use]
    pub fn with(bounds: &'static [f64]) -> Self {
        Self { bounds, buckets: vec![0; bounds.len()], count: 0, sum: Duration::ZERO }
    }

    /// Counts one more.
    pub fn observe(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        for (bound, count) in self.bounds.iter().zip(&mut self.buckets) {
            *count += u64::from(seconds <= *bound);
        }
        self.count += 1;
        self.sum = self.sum.saturating_add(took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_as_the_format_says() {
        let mut text = Text::default();
        let mut family = text.family("a_total", "How many.", FamilyKind::Counter);
        family.sample(&[("b", "x\"\\\ny"), ("a", "2")], 1.5);
        family.sample_at(&[], 2e9, Timestamp::from_millisecond(1234).unwrap());
        let _ = text.family("empty", "None.", FamilyKind::Gauge);
        let mut histogram = Histogram::default();
        for ms in [1, 300, 20_000] {
            histogram.observe(Duration::from_millis(ms));
        }
        text.family("h", "Long.", FamilyKind::Histogram).histogram(&[("k", "v")], &histogram);
        let expected = "\
# HELP a_total How many.
# TYPE a_total counter
a_total{b=\"x\\\"\\\\\\ny\",a=\"2\"} 1.5
a_total 2000000000 1234
# HELP h Long.
# TYPE h histogram
h_bucket{k=\"v\",le=\"0.005\"} 1
h_bucket{k=\"v\",le=\"0.01\"} 1
h_bucket{k=\"v\",le=\"0.025\"} 1
h_bucket{k=\"v\",le=\"0.05\"} 1
h_bucket{k=\"v\",le=\"0.1\"} 1
h_bucket{k=\"v\",le=\"0.25\"} 1
h_bucket{k=\"v\",le=\"0.5\"} 2
h_bucket{k=\"v\",le=\"1\"} 2
h_bucket{k=\"v\",le=\"2.5\"} 2
h_bucket{k=\"v\",le=\"5\"} 2
h_bucket{k=\"v\",le=\"10\"} 2
h_bucket{k=\"v\",le=\"+Inf\"} 3
h_sum{k=\"v\"} 20.301
h_count{k=\"v\"} 3
";
        assert_eq!(text.into_string(), expected);
    }
}
