//! What a tenant is called in addresses.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Lower-case letters and digits, in parts with one hyphen between two, beginning with a letter, at most [`Name::LONGEST`] in all. So
/// there is one way to write it: nothing in it is ever escaped or folded, and no number, `.`, `..` or `xn--` is one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Box<str>);

impl Name {
    /// The most characters of a name: those of a label in a host name.
    pub const LONGEST: usize = 63;

    /// Reads a name as it stands in an address.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_part = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        let is_name = text.len() <= Self::LONGEST
            && text.starts_with(|first: char| first.is_ascii_lowercase())
            && text.split('-').all(is_part);
        is_name.then(|| Self(text.into()))
    }

    /// That of the tenant under `/fhir`.
    #[must_use]
    pub fn default_tenant() -> Self {
        Self("default".into())
    }

    /// The name.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("no name of a tenant")
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.into()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_way_to_write_a_name() {
        let longest = "a".repeat(Name::LONGEST);
        for name in ["a", "acme", "st-mary-2", "a1", Name::default_tenant().as_str(), &longest] {
            assert_eq!(Name::parse(name).unwrap().as_str(), name);
        }
        let longer = "a".repeat(Name::LONGEST + 1);
        let bad = [
            "", ".", "..", "a.b", "%2e", "%61", "Acme", "acmé", "аcme", "a b", "a_b", "a--b", "-a", "a-", "1a", "7",
            "xn--a", "a/b", "a\\b", "a\0", "a\n", "a;b", "a%2fb", &longer,
        ];
        for name in bad {
            assert_eq!(Name::parse(name), None, "{name:?}");
        }
        assert!(serde_json::from_str::<Name>("\"..\"").is_err());
    }
}
