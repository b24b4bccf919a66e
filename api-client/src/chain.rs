//! Errors in words.

use std::error::Error;

use kube::core::Status;

/// An error with its sources, on one line. Many of kube's errors say their source themselves: it is not said twice. Of an answer of the
/// API server that is said which people can use; kube's own words for it have every field in them besides.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    if let Some(status) = answer(error) {
        return said(status);
    }
    let text = error.to_string();
    let Some(source) = error.source() else { return text };
    let rest = chain(source);
    match text.strip_suffix(&source.to_string()) {
        Some(before) => format!("{before}{rest}"),
        None => format!("{text}: {rest}"),
    }
}

/// What the API server has answered, if the error is nothing else.
fn answer<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Status> {
    let api = |error: &'a kube::Error| if let kube::Error::Api(status) = error { Some(&**status) } else { None };
    let boxed = || error.downcast_ref::<Box<kube::Error>>().and_then(|error| api(error));
    let status =
        || error.downcast_ref::<Status>().or_else(|| error.downcast_ref::<Box<Status>>().map(|status| &**status));
    error.downcast_ref().and_then(api).or_else(boxed).or_else(status)
}

/// What the API server has answered, in words. Its message may be no more than its reason: `Unauthorized`.
pub(crate) fn said(status: &Status) -> String {
    let Status { code, reason, message, .. } = status;
    let message = message.trim();
    match reason == message {
        true => format!("the API server says {code} {reason}"),
        false => format!("the API server says {code} {reason}: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use kube::core::Status;

    use super::chain;

    /// As kube and ours write them.
    #[derive(Debug, thiserror::Error)]
    enum Error {
        #[error("cannot read it: {0}")]
        Loud(#[source] io::Error),
        #[error("cannot read it")]
        Quiet(#[source] io::Error),
        #[error("failed to start watching object: {0}")]
        Watch(#[source] kube::Error),
        #[error("error returned by apiserver during watch: {0}")]
        Watched(#[source] Box<Status>),
        #[error("cannot look at the pods")]
        Boxed(#[source] Box<kube::Error>),
    }

    #[test]
    fn a_source_is_said_once() {
        let gone = || io::Error::other("it is gone");
        for error in [Error::Loud(gone()), Error::Quiet(gone())] {
            assert_eq!(chain(&error), "cannot read it: it is gone");
        }
        let deep = kube::Error::Service(Box::new(Error::Loud(gone())));
        assert_eq!(chain(&deep), "ServiceError: cannot read it: it is gone");
    }

    #[test]
    fn an_answer_of_the_api_server_is_said_once_and_without_its_fields() {
        let status = || Status::failure("pods is forbidden\n", "Forbidden").with_code(403).boxed();
        let said = "the API server says 403 Forbidden: pods is forbidden";
        let api = || kube::Error::Api(status());
        for (error, before) in [
            (Error::Watch(api()), "failed to start watching object: "),
            (Error::Watched(status()), "error returned by apiserver during watch: "),
            (Error::Boxed(Box::new(api())), "cannot look at the pods: "),
        ] {
            assert_eq!(chain(&error), format!("{before}{said}"));
        }
        assert_eq!(chain(&api()), said);
        let unknown = kube::Error::Api(Status::failure("Unauthorized", "Unauthorized").with_code(401).boxed());
        assert_eq!(chain(&unknown), "the API server says 401 Unauthorized");
    }
}
