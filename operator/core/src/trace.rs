//! The trace that a job belongs to, as W3C Trace Context has it (<https://www.w3.org/TR/trace-context/>): each process finds in
//! `TRACEPARENT` the trace of its job, and a span that is its attempt's own. What it tells a collector then hangs together, over
//! all attempts and indexes.
//!
//! Nothing is drawn by lot, so a pod that is made again after a crash has the same one.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// How long a `traceparent` of version 00 is.
const LENGTH: usize = 55;
/// The version that is written.
const VERSION: &str = "00";
/// Of the flags: somebody records the trace.
const SAMPLED: u8 = 0b01;
/// Of the flags: the last seven bytes of the trace's id were drawn by lot. The two are all that there are (level 2 of the
/// specification); what else is set is not passed on, as it asks for.
const RANDOM: u8 = 0b10;

/// The id of a trace. Not all of it is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId([u8; 16]);

/// The id of a span. Not all of it is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId([u8; 8]);

/// The trace of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    id: TraceId,
    flags: u8,
}

/// A trace and a place in it. Reads and writes itself as the value of a `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    trace: Trace,
    span: SpanId,
}

/// A text that is no `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent of W3C Trace Context, 00-TRACE-SPAN-FLAGS in lower-case hexadecimal digits")]
pub struct NotATraceParent;

impl Trace {
    /// The trace of a job: the one that its maker has put into the annotation, if that can be read, or else one of the job's own,
    /// by its UID. Whoever cannot read what they were given begins a new trace, says the specification.
    pub fn of_job(uid: &str, given: Option<&str>) -> Self {
        let given = given.and_then(|given| given.trim().parse().ok());
        given.map_or_else(|| Self { id: TraceId::of_uid(uid), flags: SAMPLED }, |given: TraceParent| given.trace)
    }

    /// The place of an attempt in it.
    pub fn at(self, uid: &str, index: u32, attempt: u32) -> TraceParent {
        TraceParent { trace: self, span: SpanId::of_attempt(uid, index, attempt) }
    }
}

impl TraceId {
    /// A UUID is one already, but for its hyphens. Any other UID is made one.
    fn of_uid(uid: &str) -> Self {
        let is_hyphen = |n| matches!(n, 8 | 13 | 18 | 23);
        let is_uuid = uid.len() == 36 && uid.bytes().enumerate().all(|(n, byte)| is_hyphen(n) == (byte == b'-'));
        let digits: String = uid.chars().filter(|c| *c != '-').map(|c| c.to_ascii_lowercase()).collect();
        let id = is_uuid.then(|| bytes(&digits).ok()).flatten().filter(|bytes| !is_zero(bytes));
        Self(id.unwrap_or_else(|| hash(uid)))
    }
}

impl SpanId {
    fn of_attempt(uid: &str, index: u32, attempt: u32) -> Self {
        Self(hash(&format!("{uid}/{index}/{attempt}")))
    }
}

impl FromStr for TraceParent {
    type Err = NotATraceParent;

    /// Reads a later version, too: what is known of it stands where it stood, and more may follow after another hyphen.
    fn from_str(text: &str) -> Result<Self, NotATraceParent> {
        let (known, more) = text.split_at_checked(LENGTH).ok_or(NotATraceParent)?;
        let mut parts = known.split('-');
        let mut next = || parts.next().ok_or(NotATraceParent);
        let (version, id, span, flags) = (next()?, next()?, next()?, next()?);
        let [number] = bytes::<1>(version)?;
        let is_longer = number > 0 && more.starts_with('-');
        if parts.next().is_some() || number == u8::MAX || !(more.is_empty() || is_longer) {
            return Err(NotATraceParent);
        }
        let (id, span, [flags]) = (bytes::<16>(id)?, bytes::<8>(span)?, bytes::<1>(flags)?);
        if is_zero(&id) || is_zero(&span) {
            return Err(NotATraceParent);
        }
        Ok(Self { trace: Trace { id: TraceId(id), flags: flags & (SAMPLED | RANDOM) }, span: SpanId(span) })
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VERSION}-")?;
        digits(f, &self.trace.id.0)?;
        f.write_str("-")?;
        digits(f, &self.span.0)?;
        write!(f, "-{:02x}", self.trace.flags)
    }
}

fn digits(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// Reads exactly so many bytes, of two lower-case digits each.
fn bytes<const N: usize>(text: &str) -> Result<[u8; N], NotATraceParent> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != N.saturating_mul(2) || !text.bytes().all(is_digit) {
        return Err(NotATraceParent);
    }
    let mut bytes = [0; N];
    for (n, byte) in bytes.iter_mut().enumerate() {
        let at = n.saturating_mul(2);
        let pair = text.get(at..at.saturating_add(2)).ok_or(NotATraceParent)?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| NotATraceParent)?;
    }
    Ok(bytes)
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// The first bytes of the SHA-256 of a text, which are not all zero.
fn hash<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.iter_mut().zip(Sha256::digest(text)).for_each(|(byte, hashed)| *byte = hashed);
    if is_zero(&bytes) {
        bytes = [1; N];
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const UID: &str = "1A2B3C4D-5e6f-4000-8000-00000000000f";
    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_trace_of_a_job_is_given_or_its_uid() {
        let own = "00-1a2b3c4d5e6f4000800000000000000f-";
        for (given, expected) in [
            (None, own),
            (Some(GIVEN), &GIVEN[..36]),
            (Some(" 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00\n"), &GIVEN[..36]),
            (Some("nonsense"), own),
            (Some(""), own),
        ] {
            let text = Trace::of_job(UID, given).at(UID, 0, 0).to_string();
            assert_eq!(&text[..36], expected, "{given:?}");
            assert_eq!(text.parse::<TraceParent>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn whether_it_is_recorded_is_for_who_gave_it_to_say() {
        for (flags, expected) in [("00", "00"), ("01", "01"), ("03", "03"), ("ff", "03"), ("04", "00")] {
            let given = format!("{}{flags}", &GIVEN[..53]);
            let text = Trace::of_job(UID, Some(&given)).at(UID, 0, 0).to_string();
            assert_eq!(&text[53..], expected);
        }
        assert_eq!(&Trace::of_job(UID, None).at(UID, 0, 0).to_string()[53..], "01");
    }

    #[test]
    fn a_uid_that_is_no_uuid_has_a_trace_too() {
        // From `printf hello | sha256sum`.
        let text = Trace::of_job("hello", None).at("hello", 0, 0).to_string();
        assert_eq!(&text[..36], "00-2cf24dba5fb0a30e26e83b2ac5b9e29e-");
        for uid in ["", "0", "00000000-0000-0000-0000-000000000000", "1a2b3c4d5e6f40008000-0000-0000-000f"] {
            let text = Trace::of_job(uid, None).at(uid, 0, 0).to_string();
            assert!(text.parse::<TraceParent>().is_ok(), "{uid}: {text}");
        }
    }

    #[test]
    fn each_attempt_has_a_span_of_its_own_and_always_the_same() {
        let trace = Trace::of_job(UID, None);
        let all = || (0..30).flat_map(|index| (0..30).map(move |attempt| trace.at(UID, index, attempt).to_string()));
        assert_eq!(all().collect::<BTreeSet<_>>().len(), 900);
        assert!(all().eq(all()));
        // From `printf '1A2B3C4D-5e6f-4000-8000-00000000000f/3/1' | sha256sum`.
        assert_eq!(trace.at(UID, 3, 1).to_string(), "00-1a2b3c4d5e6f4000800000000000000f-7c49b15497bbb246-01");
    }

    #[test]
    fn reads_what_the_specification_allows() {
        let later = format!("cc{}", &GIVEN[2..]);
        for (text, is_right) in [
            (GIVEN.to_owned(), true),
            (later.clone(), true),
            (format!("{later}-what-the-future-brings"), true),
            (format!("{later}x"), false),
            (format!("{GIVEN}-x"), false),
            (format!("ff{}", &GIVEN[2..]), false),
            (GIVEN[..54].to_owned(), false),
            (GIVEN.to_uppercase(), false),
            (GIVEN.replace('-', "_"), false),
            (GIVEN.replacen('4', "g", 1), false),
            (GIVEN.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)), false),
            (GIVEN.replace("00f067aa0ba902b7", &"0".repeat(16)), false),
            (format!("00-{}ü", &GIVEN[3..54]), false),
            (String::new(), false),
        ] {
            assert_eq!(text.parse::<TraceParent>().is_ok(), is_right, "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_given_makes_it_wrong(uid in ".{0,40}", given in "(00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}|.{0,60})", index: u32, attempt: u32) {
            let place = Trace::of_job(&uid, Some(&given)).at(&uid, index, attempt);
            prop_assert_eq!(place.to_string().parse(), Ok(place));
        }
    }
}
