//! Quantities of Kubernetes as whole numbers: see "Quantity" in the API's reference.
//!
//! ```text
//!   quantity = [+|-] digits [. digits] [suffix]     suffix = Ki … Ei | n u m k M G T P E | e|E [+|-] digits
//! ```

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Why a quantity is no number that can be used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuantity {
    /// It does not follow the grammar.
    #[error("it is no quantity: write 2, 500m or 1Gi, say")]
    Malformed,
    /// It is below zero.
    #[error("it is negative")]
    Negative,
    /// It does not fit.
    #[error("it is too large, or has too many digits")]
    TooLarge,
}

/// The quantity in units of one, rounded up: bytes, say.
pub fn units(quantity: &Quantity) -> Result<u64, InvalidQuantity> {
    scaled(&quantity.0, 0)
}

/// The quantity in thousandths, rounded up: of a processor, say.
pub fn thousandths(quantity: &Quantity) -> Result<u64, InvalidQuantity> {
    scaled(&quantity.0, 3)
}

/// A sum of quantities, in units of one, as Kubernetes writes it: in the way of its `first` part, with the largest suffix
/// that leaves it whole.
pub fn sum_text(first: &Quantity, sum: u64) -> String {
    match first.0.ends_with('i') {
        true => binary_text(sum),
        false => with_suffix(sum, 1000, ["k", "M", "G", "T", "P", "E"]),
    }
}

/// An amount, bytes say, as Kubernetes writes it in powers of two: with the largest suffix that leaves it whole.
pub fn binary_text(amount: u64) -> String {
    with_suffix(amount, 1024, ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"])
}

fn with_suffix(amount: u64, step: u64, suffixes: [&str; 6]) -> String {
    let (mut rest, mut suffix) = (amount, "");
    for next in suffixes {
        if rest == 0 || rest % step != 0 {
            break;
        }
        (rest, suffix) = (rest / step, next);
    }
    format!("{rest}{suffix}")
}

/// The value of `text` times ten to the `decimals`, rounded up, as Kubernetes rounds.
fn scaled(text: &str, decimals: i32) -> Result<u64, InvalidQuantity> {
    let (is_negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (number, suffix) = rest.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(InvalidQuantity::Malformed);
    }
    let (binary, tens) = multiplier(suffix).ok_or(InvalidQuantity::Malformed)?;
    let fraction = fraction.trim_end_matches('0');
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Ok(0);
    }
    if is_negative {
        return Err(InvalidQuantity::Negative);
    }
    let exponent = tens.saturating_add(decimals).saturating_sub(i32::try_from(fraction.len()).unwrap_or(i32::MAX));
    whole_number(digits, binary, exponent).ok_or(InvalidQuantity::TooLarge)
}

/// `digits` × `binary` × 10^`exponent`, rounded up; `None` where it does not fit.
fn whole_number(digits: &str, binary: u64, exponent: i32) -> Option<u64> {
    let product = digits.parse::<u128>().ok()?.checked_mul(u128::from(binary))?;
    let power = 10_u128.checked_pow(exponent.unsigned_abs());
    let value = match power {
        Some(power) if exponent >= 0 => product.checked_mul(power)?,
        Some(power) => product.div_ceil(power),
        None if exponent >= 0 => return None,
        // Less than one: what does not fit is more than any product.
        None => 1,
    };
    u64::try_from(value).ok()
}

/// A suffix as a power of two and an exponent of ten.
fn multiplier(suffix: &str) -> Option<(u64, i32)> {
    Some(match suffix {
        "" => (1, 0),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        _ => (1, suffix.strip_prefix(['e', 'E'])?.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantities_mean_what_kubernetes_says() {
        for (text, in_units, in_thousandths) in [
            ("0", 0, 0),
            ("2", 2, 2000),
            ("500m", 1, 500),
            ("0.5", 1, 500),
            (".5", 1, 500),
            ("1.", 1, 1000),
            ("+1", 1, 1000),
            ("100u", 1, 1),
            ("1Gi", 1 << 30, 1000 << 30),
            ("1.5Gi", 3 << 29, 1500 << 30),
            ("128974848", 128_974_848, 128_974_848_000),
            ("129e6", 129_000_000, 129_000_000_000),
            ("1E3", 1000, 1_000_000),
            ("1E", 1_000_000_000_000_000_000, u64::MAX),
            ("-0", 0, 0),
            ("0.0000000000000000000000000000000000000000000001Ei", 1, 1),
        ] {
            assert_eq!(scaled(text, 0), Ok(in_units), "{text}");
            if in_thousandths < u64::MAX {
                assert_eq!(scaled(text, 3), Ok(in_thousandths), "{text}");
            }
        }
        for text in ["", "-", ".", "1 Gi", "1gi", "Gi", "1.2.3", "1e", "0x1", "1e1.5", "½", "1K", "1mm"] {
            assert_eq!(scaled(text, 0), Err(InvalidQuantity::Malformed), "{text}");
        }
        assert_eq!(scaled("-1", 0), Err(InvalidQuantity::Negative));
        for text in ["16Ei", "1e99", "99999999999999999999", "1e2147483647"] {
            assert_eq!(scaled(text, 0), Err(InvalidQuantity::TooLarge), "{text}");
        }
        assert_eq!(scaled("1e-2147483648", 0), Ok(1));
    }

    #[test]
    fn sums_are_written_as_kubernetes_does() {
        for (first, sum, text) in [
            ("1Gi", 3 << 30, "3Gi"),
            ("1Gi", 3 << 29, "1536Mi"),
            ("1Ki", 1025, "1025"),
            ("1G", 2_500_000_000, "2500M"),
            ("1", 4096, "4096"),
            ("1", 4000, "4k"),
            ("0", 0, "0"),
        ] {
            assert_eq!(sum_text(&Quantity(first.to_owned()), sum), text);
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "[-+0-9.eEinumkKMGT]{0,60}", decimals in 0..4) {
            let _ = scaled(&text, decimals);
        }

        /// A number, written with a point anywhere and a suffix that makes up for it, is that number.
        #[test]
        fn a_number_is_itself_however_it_is_written(number in 0..=u64::MAX, point in 0..20_usize) {
            let digits = format!("{number:020}");
            let (whole, fraction) = digits.split_at(20 - point);
            prop_assert_eq!(scaled(&format!("{whole}.{fraction}e{point}"), 0), Ok(number));
            prop_assert_eq!(scaled(&number.to_string(), 0), Ok(number));
        }

        #[test]
        fn parts_are_rounded_up(thousandths in 0..u64::from(u32::MAX)) {
            prop_assert_eq!(scaled(&format!("{thousandths}m"), 3), Ok(thousandths));
            prop_assert_eq!(scaled(&format!("{thousandths}m"), 0), Ok(thousandths.div_ceil(1000)));
        }
    }
}
