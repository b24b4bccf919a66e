//! The Secrets of join tokens. See "Bootstrap tokens" in Kubernetes' documentation; the API server refuses those that have expired,
//! and the controller-manager's `tokencleaner` removes them.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use vk_cmd_crds::certificates::{BOOTSTRAP_GROUP, FLEET_BOOTSTRAP_PREFIX};
use vk_cmd_crds::join::{BootstrapToken, ID_LENGTH, JoinToken, SECRET_LENGTH};

/// Where bootstrap tokens are.
pub const NAMESPACE: &str = "kube-system";
/// Their type.
pub const TYPE: &str = "bootstrap.kubernetes.io/token";
/// What the Secret of a token is called, before the token's id.
const PREFIX: &str = "bootstrap-token-";
/// The shortest and the longest time that a token can be used.
const SHORTEST: SignedDuration = SignedDuration::from_mins(1);
const LONGEST: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The letters of tokens.
const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
/// How many random bytes [`token`] needs at most, but for one time in a billion.
pub const RANDOM_BYTES: usize = 128;

/// A token of random bytes; none if too few of them can be used, which is one time in a billion.
pub fn token(random: &[u8; RANDOM_BYTES]) -> Option<BootstrapToken> {
    // Each letter shall be as likely as the others.
    let fair = random.iter().filter(|byte| usize::from(**byte) < 256 / LETTERS.len() * LETTERS.len());
    let mut letters =
        fair.filter_map(|byte| LETTERS.get(usize::from(*byte) % LETTERS.len())).map(|byte| char::from(*byte));
    let id: String = letters.by_ref().take(ID_LENGTH).collect();
    let secret: String = letters.take(SECRET_LENGTH).collect();
    BootstrapToken::new(&id, &secret)
}

/// Until when a token can be used that is made now.
///
/// # Errors
/// When it would be too short, or too long for a secret that people pass on.
pub fn until(now: Timestamp, lifetime: SignedDuration) -> Result<Timestamp, String> {
    if !(SHORTEST..=LONGEST).contains(&lifetime) {
        return Err(format!("{lifetime:#} is no time for a join token: from {SHORTEST:#} to {LONGEST:#}"));
    }
    let until = now.checked_add(lifetime).map_err(|error| error.to_string())?;
    // Kubernetes reads RFC 3339 without fractions, as Go's time.RFC3339 writes it.
    Timestamp::from_second(until.as_second()).map_err(|error| error.to_string())
}

/// The Secret by which the API server knows a join token.
pub fn secret(token: &JoinToken, description: &str) -> Secret {
    let fields = [
        ("token-id", token.token.id().to_owned()),
        ("token-secret", token.token.secret().to_owned()),
        ("expiration", token.until.to_string()),
        ("usage-bootstrap-authentication", "true".to_owned()),
        ("auth-extra-groups", JoinToken::groups(&token.fleet).join(",")),
        ("description", description.to_owned()),
    ];
    Secret {
        metadata: ObjectMeta {
            name: Some(secret_name(token.token.id())),
            namespace: Some(NAMESPACE.to_owned()),
            ..ObjectMeta::default()
        },
        type_: Some(TYPE.to_owned()),
        string_data: Some(fields.map(|(key, value)| (key.to_owned(), value)).into()),
        ..Secret::default()
    }
}

/// The name of the Secret of the token with this id.
pub fn secret_name(id: &str) -> String {
    format!("{PREFIX}{id}")
}

/// A token of vk-cmd, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// The fleet that it is bound to; none: it was made for any vk-node.
    pub fleet: Option<String>,
    /// Its public part.
    pub id: String,
    /// Until when it can be used; none: for ever, or what stands there is no time.
    pub until: Option<Timestamp>,
    /// What it is for, in words.
    pub description: String,
}

impl Listed {
    /// Reads a Secret, if it is a bootstrap token of vk-cmd.
    pub fn of(secret: &Secret) -> Option<Self> {
        let empty = BTreeMap::new();
        let data = secret.data.as_ref().unwrap_or(&empty);
        let field = |name: &str| data.get(name).and_then(|ByteString(bytes)| std::str::from_utf8(bytes).ok());
        let groups: Vec<&str> = field("auth-extra-groups")?.split(',').map(str::trim).collect();
        if secret.type_.as_deref() != Some(TYPE) || !groups.contains(&BOOTSTRAP_GROUP) {
            return None;
        }
        Some(Self {
            fleet: groups.iter().find_map(|group| group.strip_prefix(FLEET_BOOTSTRAP_PREFIX)).map(str::to_owned),
            id: field("token-id")?.to_owned(),
            until: field("expiration").and_then(|time| time.parse().ok()),
            description: field("description").unwrap_or_default().to_owned(),
        })
    }

    /// As a line of a table.
    pub fn row(&self, now: Timestamp) -> [String; 4] {
        let until = match self.until {
            Some(until) if until <= now => format!("{until} (over)"),
            Some(until) => until.to_string(),
            None => "never".to_owned(),
        };
        [self.id.clone(), self.fleet.clone().unwrap_or_else(|| "-".to_owned()), until, self.description.clone()]
    }
}

/// Lines with columns as wide as they must be.
pub fn table(rows: &[[String; 4]]) -> String {
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|text| text.chars().count()).max();
    let widths: Vec<usize> = (0..4).map(|column| width(column).unwrap_or_default()).collect();
    let line = |row: &[String; 4]| {
        let cells = row.iter().zip(&widths).map(|(text, width)| format!("{text:width$}"));
        cells.collect::<Vec<_>>().join("   ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn join_token() -> JoinToken {
        JoinToken {
            server: "https://api.example.org:6443".to_owned(),
            authorities: vec![vec![1]],
            token: BootstrapToken::parse("abcdef.0123456789abcdef").unwrap(),
            fleet: "f".to_owned(),
            names: vec!["vk-f-*".to_owned()],
            until: "2026-01-02T00:00:00Z".parse().unwrap(),
            relay: None,
        }
    }

    /// As the API server gives it back.
    fn stored(mut secret: Secret) -> Secret {
        let fields = secret.string_data.take().unwrap_or_default();
        secret.data = Some(fields.into_iter().map(|(key, value)| (key, ByteString(value.into_bytes()))).collect());
        secret
    }

    #[test]
    fn a_secret_is_as_kubernetes_wants_it() {
        let secret = secret(&join_token(), "for the night shift");
        assert_eq!(secret.metadata.name.as_deref(), Some("bootstrap-token-abcdef"));
        let fields = secret.string_data.clone().unwrap();
        assert_eq!(fields["expiration"], "2026-01-02T00:00:00Z");
        assert_eq!(fields["auth-extra-groups"], "system:bootstrappers:vk-cmd,system:bootstrappers:vk-cmd:f");
        assert_eq!(fields["usage-bootstrap-authentication"], "true");
        assert!(!fields.contains_key("usage-bootstrap-signing"));
        let listed = Listed::of(&stored(secret)).unwrap();
        assert_eq!((listed.fleet.as_deref(), &*listed.id), (Some("f"), "abcdef"));
        let before = "2026-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(listed.row(before), ["abcdef", "f", "2026-01-02T00:00:00Z", "for the night shift"]);
        assert_eq!(listed.row("2026-01-02T00:00:00Z".parse().unwrap())[2], "2026-01-02T00:00:00Z (over)");
    }

    #[test]
    fn others_are_not_listed() {
        let mut other = secret(&join_token(), "");
        let fields = other.string_data.as_mut().unwrap();
        fields.insert("auth-extra-groups".to_owned(), "system:bootstrappers:kubeadm:default-node-token".to_owned());
        assert_eq!(Listed::of(&stored(other.clone())), None);
        other.string_data.as_mut().unwrap().insert("auth-extra-groups".to_owned(), BOOTSTRAP_GROUP.to_owned());
        assert_eq!(Listed::of(&stored(other.clone())).unwrap().fleet, None);
        other.type_ = Some("Opaque".to_owned());
        assert_eq!(Listed::of(&stored(other)), None);
    }

    #[test]
    fn a_token_lasts_neither_too_short_nor_too_long() {
        let now: Timestamp = "2026-01-01T00:00:00.5Z".parse().unwrap();
        assert_eq!(until(now, SignedDuration::from_hours(24)).unwrap().to_string(), "2026-01-02T00:00:00Z");
        for wrong in
            [SignedDuration::ZERO, SignedDuration::from_secs(-5), SignedDuration::from_hours(721), SignedDuration::MAX]
        {
            assert!(until(now, wrong).unwrap_err().contains("no time for a join token"));
        }
    }

    #[test]
    fn a_table_has_columns() {
        let row = |a: &str, b: &str| [a.to_owned(), b.to_owned(), "c".to_owned(), String::new()];
        assert_eq!(table(&[row("ID", "FLEET"), row("abcdef", "f")]), "ID       FLEET   c\nabcdef   f       c");
    }

    proptest! {
        #[test]
        fn random_bytes_make_a_token(random in prop::array::uniform32(any::<u8>())) {
            let mut all = [255; RANDOM_BYTES];
            for (place, byte) in all.iter_mut().zip(random.iter().chain(&random).chain(&random).chain(&random)) {
                *place = *byte;
            }
            let fair = all.iter().filter(|byte| **byte < 252).count();
            prop_assert_eq!(token(&all).is_some(), fair >= ID_LENGTH + SECRET_LENGTH);
        }
    }
}
