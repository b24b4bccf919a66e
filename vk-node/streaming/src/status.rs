//! How a session ended, in the words of the Kubernetes API: `metav1.Status`.

use serde::{Deserialize, Serialize};

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Always empty.
    #[serde(default)]
    metadata: Metadata,
    /// Whether all is well.
    pub status: Outcome,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// For programs; empty if all is well.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// More for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
    /// As of an answer by HTTP; 0 for an exit code.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub code: u16,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Metadata {}

/// Whether all is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It is.
    Success,
    /// It is not.
    Failure,
}

/// More for programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// What led to it.
    pub causes: Vec<Cause>,
}

/// What led to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Its kind: `ExitCode`, say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The exit code, say.
    pub message: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(code: &u16) -> bool {
    *code == 0
}

impl Status {
    /// All is well.
    #[must_use]
    pub fn success() -> Self {
        let (message, reason) = (String::new(), String::new());
        Self { metadata: Metadata {}, status: Outcome::Success, message, reason, details: None, code: 0 }
    }

    fn failure(reason: &str, message: String, cause: Cause, code: u16) -> Self {
        let details = Some(Details { causes: vec![cause] });
        Self { metadata: Metadata {}, status: Outcome::Failure, message, reason: reason.to_owned(), details, code }
    }

    /// A program has ended: with exit code 0 all is well; otherwise `how` says how it ended.
    #[must_use]
    pub fn exited(code: i32, how: &str) -> Self {
        if code == 0 {
            return Self::success();
        }
        let cause = Cause { reason: "ExitCode".into(), message: code.to_string() };
        Self::failure("NonZeroExitCode", format!("command terminated with non-zero exit code: {how}"), cause, 0)
    }

    /// It was not done, or broke off.
    #[must_use]
    pub fn internal_error(why: &str) -> Self {
        let cause = Cause { reason: String::new(), message: why.to_owned() };
        Self::failure("InternalError", format!("Internal error occurred: {why}"), cause, 500)
    }

    /// It is not allowed here.
    #[must_use]
    pub fn forbidden(why: &str) -> Self {
        let cause = Cause { reason: String::new(), message: why.to_owned() };
        Self::failure("Forbidden", why.to_owned(), cause, 403)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_clients_of_the_kubelet_read() {
        let json = |status: &Status| serde_json::to_string(status).unwrap();
        assert_eq!(json(&Status::success()), r#"{"metadata":{},"status":"Success"}"#);
        assert_eq!(
            json(&Status::exited(3, "exit status 3")),
            r#"{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: exit status 3","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#
        );
        assert_eq!(Status::exited(0, "exit status 0"), Status::success());
        assert_eq!(
            json(&Status::internal_error("no")),
            r#"{"metadata":{},"status":"Failure","message":"Internal error occurred: no","reason":"InternalError","details":{"causes":[{"message":"no"}]},"code":500}"#
        );
    }
}
