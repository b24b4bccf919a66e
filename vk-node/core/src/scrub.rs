//! What is handed to others, without secrets: `vk-node support-bundle`.
//!
//! Two ways, one on top of the other: what looks like a secret is left out (keys, tokens, values of settings with such a name,
//! passwords in URLs), and so is each text that is known to be one, wherever it stands.

use regex_lite::{Error, Regex};

/// What stands in place of a secret.
pub const LEFT_OUT: &str = "<left-out>";
/// Shorter texts are no secrets worth the name, and stand everywhere.
const LEAST_KNOWN: usize = 6;

/// The names of settings and variables that hold secrets, as far as names tell.
const NAMED: &str = r#"["']?[\w.-]*(?:passw(?:or)?d|passphrase|secret|token|api_?key|access_?key|private_?key|client-key-data|credential)[\w.-]*["']?"#;

/// What looks like a secret, and what is left of it. `NAME` is one of [`NAMED`].
const PATTERNS: [(&str, &str); 11] = [
    // Private keys as they are in files.
    (r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\z)", "<left-out>"),
    // Join tokens of fleets.
    (r"vkj1\.[A-Za-z0-9_-]+", "<left-out>"),
    // Kubernetes' bootstrap tokens.
    (r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b", "<left-out>"),
    // Tokens of ServiceAccounts and others that are JSON within.
    (r"\beyJ[A-Za-z0-9_-]{6,}(\.[A-Za-z0-9_-]+)*", "<left-out>"),
    // Headers.
    (r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}", "$1 <left-out>"),
    // The user and password of a URL.
    (r"://[^/\s@:]+:[^/\s@]+@", "://<left-out>@"),
    // Values by their names, in YAML, JSON, shells and programs' own words; what was in quotes stays in quotes.
    (r#"(?i)(NAME\s*[:=]\s*)"(?:[^"\\]|\\.)*""#, "$1\"<left-out>\""),
    (r"(?i)(NAME\s*[:=]\s*)'[^']*'", "$1'<left-out>'"),
    (r#"(?i)(NAME\s*[:=]\s*)[^\s,}\]"']+"#, "$1<left-out>"),
    // Flags by theirs.
    (r"(?i)(--?[\w-]*(?:passw(?:or)?d|passphrase|secret|token|api-?key)[\w-]*[ =]+)[^\s]+", "$1<left-out>"),
    // Digests of passwords.
    (r"\$[0-9a-z]{1,8}\$[./A-Za-z0-9$=,]{12,}", "<left-out>"),
];

/// What takes secrets out of texts.
pub struct Scrubber {
    patterns: Vec<(Regex, &'static str)>,
    known: Vec<String>,
}

impl Scrubber {
    /// One that knows these secrets besides.
    ///
    /// # Errors
    /// Never: the patterns are tested.
    pub fn new(known: impl IntoIterator<Item = String>) -> Result<Self, Error> {
        let patterns = PATTERNS.iter().map(|(pattern, left)| Ok((Regex::new(&pattern.replace("NAME", NAMED))?, *left)));
        let mut known: Vec<String> = known.into_iter().map(|text| text.trim().to_owned()).collect();
        known.retain(|text| text.len() >= LEAST_KNOWN);
        // One may be within another.
        known.sort_by_key(|text| std::cmp::Reverse(text.len()));
        known.dedup();
        Ok(Self { patterns: patterns.collect::<Result<_, Error>>()?, known })
    }

    /// The text without secrets.
    #[must_use]
    pub fn scrub(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.known {
            text = text.replace(secret.as_str(), LEFT_OUT);
        }
        for (pattern, left) in &self.patterns {
            text = pattern.replace_all(&text, *left).into_owned();
        }
        text
    }
}

/// Whether a variable of this name holds a secret, as far as its name tells.
#[must_use]
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["passw", "passphrase", "secret", "token", "api_key", "apikey", "access_key", "private_key", "credential"]
        .iter()
        .any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scrub(text: &str) -> String {
        Scrubber::new([]).unwrap().scrub(text)
    }

    #[test]
    fn what_looks_like_a_secret_is_left_out() {
        for (text, secret) in [
            ("-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----\n", "MHcCAQEE"),
            ("-----BEGIN PRIVATE KEY-----\nMHcCAQEE", "MHcCAQEE"),
            ("echo vkj1.eyJzZXJ2ZXIi | vk-node join", "eyJzZXJ2ZXIi"),
            ("    token: abcdef.0123456789abcdef", "0123456789abcdef"),
            ("got abcdef.0123456789abcdef from it", "0123456789abcdef"),
            ("Authorization: Bearer eyJhbGciOi.eyJpc3Mi.c2ln", "eyJpc3Mi"),
            ("authorization: basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
            ("HTTPS_PROXY=http://me:hunter2@proxy:3128", "hunter2"),
            (r#"{"DB_PASSWORD": "hunter2 with \" quotes"}"#, "hunter2"),
            ("env: {MY_SECRET: hunter2, PATH: /bin}", "hunter2"),
            ("export AWS_SECRET_ACCESS_KEY='hun ter2'", "hun ter2"),
            ("client-key-data: LS0tLS1CRUdJTg==", "LS0tLS1CRUdJTg"),
            ("mysql --password hunter2 -u me", "hunter2"),
            ("curl --api-key=hunter2", "hunter2"),
            ("apiKey = hunter2", "hunter2"),
            ("root:$6$abcdefgh$ABCDEFGHIJKLMNOP:1:", "ABCDEFGHIJKLMNOP"),
        ] {
            let scrubbed = scrub(text);
            assert!(!scrubbed.contains(secret) && scrubbed.contains(LEFT_OUT), "{text:?} became {scrubbed:?}");
            assert_eq!(scrub(&scrubbed), scrubbed, "once is enough");
        }
        let json = scrub(r#"{"token": "a\"b", "password":"c", "port": 1}"#);
        assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{json}");
    }

    #[test]
    fn what_is_of_use_stays() {
        for text in [
            "nodeName: vk-perlmutter-01\nport: 10250\n",
            "bootstrapKubeconfig: /home/u/hostpipe/bootstrap.kubeconfig",
            r#"{"id": "secrets", "state": "ok", "reason": "they are closed to others"}"#,
            "https://api.example.org:6443/version",
            "the API server does not take the join token, which was revoked",
            "2026-11-26T05:53:31.123456Z  INFO vk_node::node: registered node=vk-a address=10.0.0.7",
            "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        ] {
            assert_eq!(scrub(text), text);
        }
    }

    #[test]
    fn what_is_known_is_left_out_wherever_it_stands() {
        let scrubber = Scrubber::new(["correct horse".to_owned(), "horse".to_owned(), "a".to_owned()]).unwrap();
        assert_eq!(scrubber.scrub("a correct horse, and a horse"), format!("a {LEFT_OUT}, and a horse"));
        assert!(is_secret_name("DB_PASSWORD") && is_secret_name("githubToken") && !is_secret_name("HOME"));
    }

    proptest! {
        #[test]
        fn a_known_secret_never_comes_through(secret in "[A-Za-z0-9+/]{12,40}", before in "[ -~]{0,40}", after in "[ -~\n]{0,40}") {
            let scrubber = Scrubber::new([secret.clone()]).unwrap();
            let scrubbed = scrubber.scrub(&format!("{before}{secret}{after}"));
            prop_assert!(!scrubbed.contains(&secret));
        }
    }
}
