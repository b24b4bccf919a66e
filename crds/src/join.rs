//! The token by which a machine joins a fleet: one text with all that it takes to reach the API server, to know that it is the right
//! one, and to ask for a certificate there.
//!
//! ```text
//!   vkj1 . base64url({server, ca, token, fleet, names, until, relay}) . checksum
//! ```
//!
//! The authorities in `ca` are all that the server is known by: nothing is trusted because it was there first. The checksum tells a
//! text that was cut off or changed on the way from a wrong one; it is no signature. The text is a secret, and is never shown.

use std::fmt;
use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::certificates::{BOOTSTRAP_GROUP, FLEET_BOOTSTRAP_PREFIX};

/// What a join token begins with: its kind and the version of its form.
const HEAD: &str = "vkj1";
/// What those of all versions begin with.
const ANY_HEAD: &str = "vkj";
/// How many bytes of the digest are in the checksum.
const CHECKSUM_BYTES: usize = 4;
/// The longest text that is looked at: it holds a few certificates.
const LENGTH_MAX: usize = 64 * 1024;

/// How many characters the public and the secret part of a bootstrap token have: `abcdef.0123456789abcdef`.
pub const ID_LENGTH: usize = 6;
/// See [`ID_LENGTH`].
pub const SECRET_LENGTH: usize = 16;

/// A token of the cluster, `abcdef.0123456789abcdef`. Its secret part is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct BootstrapToken {
    id: String,
    secret: String,
}

impl BootstrapToken {
    /// Checks the two parts: six and sixteen lower-case letters and digits. `None` where they are not.
    #[must_use]
    pub fn new(id: &str, secret: &str) -> Option<Self> {
        let is_text = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let is_one = is_text(id) && is_text(secret) && (id.len(), secret.len()) == (ID_LENGTH, SECRET_LENGTH);
        is_one.then(|| Self { id: id.to_owned(), secret: secret.to_owned() })
    }

    /// Reads `abcdef.0123456789abcdef`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.split_once('.')?;
        Self::new(id, secret)
    }

    /// Its public part, by which it is listed and revoked.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its secret part.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// Both: what the API server is shown.
    #[must_use]
    pub fn bearer(&self) -> String {
        format!("{}.{}", self.id, self.secret)
    }
}

impl fmt::Debug for BootstrapToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.…", self.id)
    }
}

/// By which way a node is reached that nobody can dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Where the node dials: `HOST:PORT`, or several with commas between them.
    pub address: String,
    /// The authorities that it is known by, in DER.
    pub authorities: Vec<Vec<u8>>,
}

/// All that it takes to join a fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinToken {
    /// The URL of the API server.
    pub server: String,
    /// The authorities that the API server is known by, in DER; at least one.
    pub authorities: Vec<Vec<u8>>,
    /// What the API server is shown.
    pub token: BootstrapToken,
    /// The fleet.
    pub fleet: String,
    /// Patterns of the names that its nodes may have, as they were when the token was made. The operator has the last word.
    pub names: Vec<String>,
    /// Until when it can be used.
    pub until: Timestamp,
    /// By which way the node is reached, where it is by a relay.
    pub relay: Option<Relay>,
}

/// Why a text is no join token. None of these says anything of what is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinTokenError {
    /// There is nothing.
    #[error(
        "there is no join token: pipe one in, name a file with --token-file, or set $VK_NODE_JOIN (an administrator makes the line: \
         vk-operator join-token --fleet NAME). If that line was broken in two when it was copied, put it together again"
    )]
    Empty,
    /// It is one of Kubernetes' own.
    #[error(
        "this is a bootstrap token of Kubernetes (abcdef.…), which does not say where the cluster is and whom to trust: use the \
         whole line that \"vk-operator join-token\" has printed"
    )]
    Bare,
    /// It is one of another version.
    #[error(
        "this join token was made for another version of vk-cmd ({0}…, and this is {HEAD}): install the vk-node that belongs to \
         the cluster's operator"
    )]
    Version(String),
    /// It is something else.
    #[error("this is no join token: it begins with {HEAD}., as \"vk-operator join-token\" prints it")]
    Other,
    /// It is too long.
    #[error("this is no join token: it is longer than {LENGTH_MAX} characters; is it the right file?")]
    TooLong,
    /// A part is missing or changed.
    #[error("the join token was cut off or changed on its way here: copy the whole line again, up to its end")]
    Damaged,
    /// It is whole, and says what it cannot mean.
    #[error("the join token {0}: have a new one made (vk-operator join-token)")]
    Contents(&'static str),
}

/// The middle part.
#[derive(Serialize, Deserialize)]
struct Told {
    server: String,
    ca: Vec<String>,
    token: String,
    fleet: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    names: Vec<String>,
    until: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    relay: Option<ToldRelay>,
}

#[derive(Serialize, Deserialize)]
struct ToldRelay {
    address: String,
    ca: Vec<String>,
}

impl JoinToken {
    /// As a text of one line.
    ///
    /// # Errors
    /// When it does not turn into JSON, which none does.
    pub fn to_text(&self) -> serde_json::Result<String> {
        let told = Told {
            server: self.server.clone(),
            ca: encoded(&self.authorities),
            token: self.token.bearer(),
            fleet: self.fleet.clone(),
            names: self.names.clone(),
            until: self.until,
            relay: self
                .relay
                .as_ref()
                .map(|relay| ToldRelay { address: relay.address.clone(), ca: encoded(&relay.authorities) }),
        };
        let body = format!("{HEAD}.{}", URL_SAFE_NO_PAD.encode(serde_json::to_vec(&told)?));
        let sum = checksum(&body);
        Ok(format!("{body}.{sum}"))
    }

    /// Reads a text. Spaces and line breaks in it are passed over: terminals put them there.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(text: &str) -> Result<Self, JoinTokenError> {
        if text.len() > LENGTH_MAX {
            return Err(JoinTokenError::TooLong);
        }
        let text: String = text.split_whitespace().collect();
        if text.is_empty() {
            return Err(JoinTokenError::Empty);
        }
        if BootstrapToken::parse(&text).is_some() {
            return Err(JoinTokenError::Bare);
        }
        let head = text.split('.').next().unwrap_or_default();
        if head != HEAD {
            let number = head.strip_prefix(ANY_HEAD).filter(|rest| rest.parse::<u16>().is_ok());
            return Err(number.map_or(JoinTokenError::Other, |_| JoinTokenError::Version(head.to_owned())));
        }
        let (body, sum) = text.rsplit_once('.').ok_or(JoinTokenError::Damaged)?;
        let (_, middle) = body.split_once('.').ok_or(JoinTokenError::Damaged)?;
        if checksum(body) != sum {
            return Err(JoinTokenError::Damaged);
        }
        let json = URL_SAFE_NO_PAD.decode(middle).map_err(|_| JoinTokenError::Damaged)?;
        let told: Told = serde_json::from_slice(&json)
            .map_err(|_| JoinTokenError::Contents("does not say what a join token says"))?;
        told.read().map_err(JoinTokenError::Contents)
    }

    /// The groups that its token is in: those of all vk-nodes, and those of this fleet.
    #[must_use]
    pub fn groups(fleet: &str) -> [String; 2] {
        [BOOTSTRAP_GROUP.to_owned(), format!("{FLEET_BOOTSTRAP_PREFIX}{fleet}")]
    }
}

impl Told {
    fn read(self) -> Result<JoinToken, &'static str> {
        if !self.server.starts_with("https://") || self.server.len() <= "https://".len() {
            return Err("has no https:// URL of an API server in it");
        }
        let authorities = decoded(&self.ca).ok_or("has an authority in it that cannot be read")?;
        if authorities.is_empty() {
            return Err("says of no authority by which the API server is known");
        }
        if self.fleet.is_empty() {
            return Err("names no fleet");
        }
        let relay = match self.relay {
            Some(relay) => Some(Relay {
                authorities: decoded(&relay.ca).ok_or("has an authority of its relay in it that cannot be read")?,
                address: relay.address,
            }),
            None => None,
        };
        Ok(JoinToken {
            token: BootstrapToken::parse(&self.token).ok_or("has no bootstrap token in it")?,
            server: self.server,
            authorities,
            fleet: self.fleet,
            names: self.names,
            until: self.until,
            relay,
        })
    }
}

fn encoded(all: &[Vec<u8>]) -> Vec<String> {
    all.iter().map(|der| STANDARD.encode(der)).collect()
}

fn decoded(all: &[String]) -> Option<Vec<Vec<u8>>> {
    all.iter().map(|text| STANDARD.decode(text).ok()).collect()
}

fn checksum(body: &str) -> String {
    Sha256::digest(body.as_bytes()).iter().take(CHECKSUM_BYTES).fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> JoinToken {
        JoinToken {
            server: "https://api.example.org:6443".to_owned(),
            authorities: vec![vec![1, 2, 3], vec![4; 400]],
            token: BootstrapToken::parse("abcdef.0123456789abcdef").unwrap(),
            fleet: "perlmutter".to_owned(),
            names: vec!["vk-perlmutter-*".to_owned()],
            until: "2030-01-01T00:00:00Z".parse().unwrap(),
            relay: Some(Relay { address: "relay.example.org:443".to_owned(), authorities: vec![vec![9]] }),
        }
    }

    /// A whole text around other contents.
    fn around(json: &str) -> String {
        let body = format!("{HEAD}.{}", URL_SAFE_NO_PAD.encode(json));
        format!("{body}.{}", checksum(&body))
    }

    #[test]
    fn a_text_says_what_the_token_says_also_when_a_terminal_has_broken_it() {
        let text = token().to_text().unwrap();
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)), "no shell changes it");
        assert_eq!(JoinToken::parse(&text).unwrap(), token());
        let middle = text.len() / 2;
        assert_eq!(JoinToken::parse(&format!(" {}\n  {}\r\n", &text[..middle], &text[middle..])).unwrap(), token());
    }

    #[test]
    fn what_is_shown_of_it_is_no_secret() {
        let shown = format!("{:?}", token());
        assert!(shown.contains("abcdef.…") && !shown.contains("0123456789abcdef"), "{shown}");
    }

    #[test]
    fn each_wrong_text_is_told_apart_and_none_is_repeated() {
        let text = token().to_text().unwrap();
        let until = r#""until": "2030-01-01T00:00:00Z""#;
        let good = r#""server": "https://a", "ca": ["AQ=="], "token": "abcdef.0123456789abcdef", "fleet": "f""#;
        let with = |from: &str, to: &str| around(&format!("{{{}, {until}}}", good.replace(from, to)));
        assert!(JoinToken::parse(&with("", "")).is_ok());
        for (wrong, says) in [
            (String::new(), "there is no join token"),
            (" \n".to_owned(), "--token-file"),
            ("abcdef.0123456789abcdef".to_owned(), "a bootstrap token of Kubernetes"),
            ("eyJhbGciOi.secret.x".to_owned(), "this is no join token"),
            (text.replacen("vkj1", "vkj2", 1), "another version"),
            (text[..text.len() - 3].to_owned(), "cut off or changed"),
            (text[..text.len() / 2].to_owned(), "cut off or changed"),
            (text.replacen("A", "B", 1), "cut off or changed"),
            (format!("{text}{text}"), "cut off or changed"),
            ("x".repeat(70_000), "longer than"),
            (around("{}"), "does not say what a join token says"),
            (with("https://a", "http://a"), "no https:// URL"),
            (with("[\"AQ==\"]", "[]"), "no authority"),
            (with("AQ==", "??"), "cannot be read"),
            (with("0123456789abcdef", "short"), "no bootstrap token"),
            (with("\"f\"", "\"\""), "names no fleet"),
        ] {
            let said = JoinToken::parse(&wrong).unwrap_err().to_string();
            assert!(said.contains(says), "{wrong}: {said}");
            assert!(!said.contains("0123456789abcdef") && !said.contains("secret.x"), "{said}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "(vkj1\\.)?[-a-zA-Z0-9._=\\s]{0,200}", json in ".{0,80}") {
            let _ = JoinToken::parse(&text);
            let _ = JoinToken::parse(&around(&json));
        }

        #[test]
        fn no_changed_text_is_taken_for_the_right_one(at in 0..400_usize, letter in "[a-zA-Z0-9]") {
            let text = token().to_text().unwrap();
            let mut changed = text.clone();
            changed.replace_range(at..=at, &letter);
            prop_assert!(changed == text || JoinToken::parse(&changed).is_err());
        }
    }
}
