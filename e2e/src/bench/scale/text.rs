//! A histogram in Prometheus' text format.

use anyhow::{Context, Result};

/// Counts below each bound.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Histogram {
    /// Upper bounds and how many are not above them; the last bound is infinite.
    buckets: Vec<(f64, f64)>,
}

impl Histogram {
    /// The histogram of this name, whose only series it is.
    pub(super) fn read(text: &str, name: &str) -> Result<Self> {
        let prefix = format!("{name}_bucket{{");
        let bucket = |line: &str| -> Option<(f64, f64)> {
            let (labels, count) = line.strip_prefix(&*prefix)?.rsplit_once("} ")?;
            let bound = labels.rsplit_once("le=\"")?.1.split('"').next()?;
            Some((bound.replace("+Inf", "inf").parse().ok()?, count.trim().parse().ok()?))
        };
        let buckets: Vec<_> = text.lines().filter_map(bucket).collect();
        (!buckets.is_empty()).then_some(Self { buckets }).with_context(|| format!("the operator measures no {name}"))
    }

    /// What has come since `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        let of = |at: usize| before.buckets.get(at).map_or(0.0, |(_, count)| *count);
        let buckets = self.buckets.iter().enumerate().map(|(at, (bound, count))| (*bound, count - of(at)));
        Self { buckets: buckets.collect() }
    }

    /// How many there are.
    pub(super) fn count(&self) -> f64 {
        self.buckets.last().map_or(0.0, |(_, count)| *count)
    }

    /// As Prometheus' `histogram_quantile`: within a bucket all are taken to be spread evenly.
    pub(super) fn quantile(&self, part: f64) -> f64 {
        let wanted = self.count() * part;
        let mut below = (0.0, 0.0);
        for (bound, count) in &self.buckets {
            if *count >= wanted && *count > below.1 {
                // Above the last bound nothing is known.
                let top = if bound.is_finite() { *bound } else { below.0 };
                return below.0 + (top - below.0) * (wanted - below.1) / (count - below.1);
            }
            below = (*bound, *count);
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_prometheus() {
        let text =
            "x_bucket{a=\"b\",le=\"1\"} 10\nx_bucket{a=\"b\",le=\"2\"} 30\nx_bucket{a=\"b\",le=\"+Inf\"} 40\nx_sum 7\n";
        let all = Histogram::read(text, "x").unwrap();
        assert_eq!((all.count(), all.quantile(0.5), all.quantile(0.25), all.quantile(0.99)), (40.0, 1.5, 1.0, 2.0));
        assert_eq!(all.since(&all).count(), 0.0);
        assert!(Histogram::read(text, "y").is_err());
    }
}
