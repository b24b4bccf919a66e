//! A table of objects, or of changes, and what becomes of them.

use std::fmt::Write as _;

use futures::{StreamExt as _, stream};
use serde_json::Value;

use crate::asking::Said;

/// How many questions are asked at a time.
const AT_A_TIME: usize = 8;

/// What the API server is to say of a CmdJob.
#[derive(Clone, Copy)]
pub(super) enum Verdict {
    /// It is taken, and these fields of its spec are as in this YAML.
    Good(&'static str),
    /// It is refused, and this is said.
    Bad(&'static str),
}

/// What it says of the native Job of the same meaning.
#[derive(Clone, Copy)]
pub(super) enum Native {
    /// The same: taken, or refused.
    Same,
    /// The other; this is why, and it is intended.
    Differs(&'static str),
    /// There is no such Job: the row is about what only a CmdJob has.
    Alone,
}

/// What is changed about a spec that is right (null takes a field out), and what is said of it.
pub(super) type Row = (&'static str, Verdict, Native);

/// Asks about all rows, and says all that is not as it should be at once.
pub(super) async fn check(rows: &[Row], ask: impl AsyncFn(&Row) -> (Said, Option<Said>)) {
    let ask = &ask;
    let answers = stream::iter(rows).map(|row| async move { (row, ask(row).await) }).buffered(AT_A_TIME);
    let answers: Vec<_> = answers.collect().await;
    let mut wrong = String::new();
    for ((row, verdict, native), (said, of_native)) in answers {
        if let Some(why) = complaint(*verdict, &said) {
            writeln!(wrong, "{row}\n    {why}").unwrap();
        }
        let of_native = match (native, of_native) {
            (Native::Alone, _) => continue,
            (_, None) => panic!("{row}: no Job was asked about"),
            (_, Some(of_native)) => of_native,
        };
        let intended = matches!(native, Native::Differs(_));
        if (said.is_ok() == of_native.is_ok()) == intended {
            writeln!(wrong, "{row}\n    a Job is answered with {}", shown(&of_native)).unwrap();
        }
        if let Native::Differs(why) = native {
            println!("intended: {row}: {why}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn complaint(verdict: Verdict, said: &Said) -> Option<String> {
    match (verdict, said) {
        (Verdict::Bad(help), Err(message)) if message.contains(help) => None,
        (Verdict::Good(filled), Ok(object)) => {
            let filled: Value = yaml(filled);
            let filled = filled.as_object().unwrap();
            let other = filled
                .iter()
                .find(|(field, value)| object["spec"].get(field.as_str()).unwrap_or(&Value::Null) != *value)?;
            Some(format!("{} is {}, not {}", other.0, object["spec"][other.0.as_str()], other.1))
        }
        (Verdict::Bad(help), _) => Some(format!("is answered with {}, not with {help:?}", shown(said))),
        (Verdict::Good(_), Err(message)) => Some(format!("is refused: {message}")),
    }
}

fn shown(said: &Said) -> String {
    match said {
        Ok(object) => object["spec"].to_string(),
        Err(message) => format!("{message:?}"),
    }
}

/// What stands between the braces of a YAML mapping.
pub(super) fn yaml(text: &str) -> Value {
    serde_yaml_ng::from_str(&format!("{{{text}}}")).unwrap_or_else(|error| panic!("{text}: {error}"))
}
