//! Numbers with a unit, as Kubernetes' own files have them.

use std::time::Duration;

/// The suffixes of Kubernetes' quantities that bytes are written with.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, suffix) = text.split_at(at);
    let factor: u64 = match suffix {
        "k" => 1000,
        "M" => 1000_u64.pow(2),
        "G" => 1000_u64.pow(3),
        "T" => 1000_u64.pow(4),
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// A time as Go's `time.ParseDuration` reads it, in whole numbers of milliseconds to hours: `10s`, `1m30s`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let mut sum = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(unit_at);
        let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60 * 1000,
            "h" => 3600 * 1000,
            _ => return None,
        };
        sum = sum.checked_add(Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(millis)?))?;
        rest = tail;
    }
    (!text.is_empty()).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_go_reads_them() {
        for (text, millis) in [("10s", 10_000), ("1m30s", 90_000), ("250ms", 250), ("2h", 7_200_000), ("0s", 0)] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "10", "s", "1.5s", "-1s", "1 s", "10d", "99999999999999999999s", "18446744073709551615h"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "[0-9smh.é -]{0,40}") {
            let _ = (duration(&text), bytes(&text));
        }
    }
}
