//! What a request requires of the current version: `If-Match`, `If-None-Match`, `If-Modified-Since`, `If-None-Exist`.
//!
//! <https://hl7.org/fhir/R4/http.html#concurrency>, <https://hl7.org/fhir/R4/http.html#cread>,
//! <https://hl7.org/fhir/R4/http.html#ccreate>; RFC 9110 sections 8.8.3 and 13.1. Headers and Bundle entries spell them alike.

use super::precondition_failed;
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::store::{Expect, Version};

/// The conditions of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    /// `If-Match`: one of these versions must be current.
    pub if_match: Option<EntityTags>,
    /// `If-None-Match`: none of these may be current.
    pub if_none_match: Option<EntityTags>,
    /// `If-Modified-Since`.
    pub if_modified_since: Option<Micros>,
    /// `If-None-Exist`: the criteria of a conditional create.
    pub if_none_exist: Option<String>,
}

/// The value of `If-Match` or `If-None-Match`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntityTags {
    /// `*`: whatever there is.
    Any,
    /// The versions named. A tag that is no version of this server matches nothing, and is left out.
    Versions(Vec<u64>),
}

impl EntityTags {
    /// Reads `*`, `W/"1"`, `"1"` or a list of them.
    ///
    /// # Errors
    /// 400 where the header (named in the message) is malformed.
    pub fn parse(header: &'static str, text: &str) -> Result<Self> {
        if text.trim() == "*" {
            return Ok(Self::Any);
        }
        Self::parse_list(text)
            .map(Self::Versions)
            .ok_or_else(|| Error::invalid(format!("{header} must be * or a list of entity tags such as W/\"1\".")))
    }

    fn parse_list(text: &str) -> Option<Vec<u64>> {
        let mut versions = Vec::new();
        let mut rest = text.trim();
        loop {
            let open = rest.strip_prefix("W/").or_else(|| rest.strip_prefix("w/")).unwrap_or(rest);
            let (version, after) = open.strip_prefix('"')?.split_once('"')?;
            versions.extend(version.parse::<u64>().ok());
            rest = after.trim_start();
            if rest.is_empty() {
                return Some(versions);
            }
            rest = rest.strip_prefix(',')?.trim_start();
        }
    }

    /// Whether a current version (`None` where there is none) is among them.
    #[must_use]
    pub fn name(&self, current: Option<u64>) -> bool {
        match (self, current) {
            (_, None) => false,
            (Self::Any, Some(_)) => true,
            (Self::Versions(versions), Some(current)) => versions.contains(&current),
        }
    }
}

impl Conditions {
    /// Checks `If-Match` and `If-None-Match` of a change against the current version; a deleted one counts as none.
    ///
    /// # Errors
    /// 412, saying which does not hold.
    pub fn hold(&self, current: Option<&Version>) -> Result<()> {
        let current = current.filter(|version| version.body.is_some()).map(|version| version.version);
        if self.if_match.as_ref().is_some_and(|tags| !tags.name(current)) {
            return Err(precondition_failed("If-Match does not name the current version."));
        }
        if self.if_none_match.as_ref().is_some_and(|tags| tags.name(current)) {
            return Err(precondition_failed("If-None-Match names the current version."));
        }
        Ok(())
    }

    /// Whether the client requires something of the current version: then a change that comes too late is refused, and
    /// not decided again.
    #[must_use]
    pub const fn are_set(&self) -> bool {
        self.if_match.is_some() || self.if_none_match.is_some()
    }

    /// Whether a read answers with content, or 304 because the client has it already. `If-Modified-Since` has whole
    /// seconds, and counts only where there is no `If-None-Match` (RFC 9110 section 13.2.2).
    #[must_use]
    pub fn want_content(&self, version: &Version) -> bool {
        let seconds = |time: Micros| time.0.div_euclid(1_000_000);
        match (&self.if_none_match, self.if_modified_since) {
            (Some(tags), _) => !tags.name(Some(version.version)),
            (None, since) => since.is_none_or(|since| seconds(version.time) > seconds(since)),
        }
    }
}

/// What a commit must find: the version on which it was decided.
#[must_use]
pub fn expect(current: Option<&Version>) -> Expect {
    current.map_or(Expect::Absent, |version| Expect::Version(version.version))
}

/// Reads an HTTP date in any of its three forms (RFC 9110 section 5.6.7); `None` where it is none of them, which means that
/// the header is ignored.
#[must_use]
pub fn parse_http_date(text: &str) -> Option<Micros> {
    const FORMS: [&str; 3] = ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    let parse = |form: &&str| jiff::fmt::strtime::parse(form, text.trim()).and_then(|time| time.to_datetime()).ok();
    let time = FORMS.iter().find_map(parse)?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Micros(time.timestamp().as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entity_tags_in_their_forms() {
        let parse = |text| EntityTags::parse("If-Match", text).ok();
        assert_eq!(parse("W/\"1\""), Some(EntityTags::Versions(vec![1])));
        assert_eq!(parse("\"1\""), Some(EntityTags::Versions(vec![1])));
        assert_eq!(parse(" W/\"1\" , \"a,b\",W/\"3\""), Some(EntityTags::Versions(vec![1, 3])));
        assert_eq!(parse(" * "), Some(EntityTags::Any));
        for bad in ["", "1", "W/1", "\"1", "\"1\" \"2\"", "\"1\",", "*, \"1\""] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn dates_in_all_three_forms() {
        let expected = Some(Micros(784_111_777_000_000));
        assert_eq!(parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT"), expected);
        assert_eq!(parse_http_date("Sunday, 06-Nov-94 08:49:37 GMT"), expected);
        assert_eq!(parse_http_date("Sun Nov  6 08:49:37 1994"), expected);
        assert_eq!(parse_http_date(&Micros(784_111_777_000_000).to_http_date()), expected);
        for bad in ["", "yesterday", "1994-11-06T08:49:37Z", "Sun, 06 Nov 1994 08:49:37 CET"] {
            assert_eq!(parse_http_date(bad), None, "{bad}");
        }
    }
}
