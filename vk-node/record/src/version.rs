//! The version of a record.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The version that this program writes and reads. A record of another version is refused, not guessed at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Version;

/// As a number.
const NUMBER: u32 = 1;

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(NUMBER)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            NUMBER => Ok(Self),
            other => Err(de::Error::custom(format_args!(
                "it is a record of version {other}, and this vk-node knows version {NUMBER}: run the vk-node that wrote it"
            ))),
        }
    }
}
