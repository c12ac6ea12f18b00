//! The headers that make a request conditional: `If-Match`, `If-None-Match`, `If-Modified-Since`.
//!
//! <https://hl7.org/fhir/R4/http.html#concurrency>, <https://hl7.org/fhir/R4/http.html#cread>; RFC 9110 sections 8.8.3 and 13.1.

use crate::clock::Micros;
use crate::error::{Error, Result};

/// The value of `If-Match` or `If-None-Match`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntityTags<'a> {
    /// `*`: whatever there is.
    Any,
    /// The tags, without quotes and without the mark of weakness: versions.
    Versions(Vec<&'a str>),
}

impl<'a> EntityTags<'a> {
    /// Reads `*`, `W/"1"`, `"1"` or a list of them.
    ///
    /// # Errors
    /// 400 where the header (named in the message) is malformed.
    pub fn parse(header: &'static str, text: &'a str) -> Result<Self> {
        if text.trim() == "*" {
            return Ok(Self::Any);
        }
        Self::parse_list(text)
            .map(Self::Versions)
            .ok_or_else(|| Error::invalid(format!("{header} must be * or a list of entity tags such as W/\"1\".")))
    }

    fn parse_list(text: &'a str) -> Option<Vec<&'a str>> {
        let mut versions = Vec::new();
        let mut rest = text.trim();
        loop {
            let open = rest.strip_prefix("W/").or_else(|| rest.strip_prefix("w/")).unwrap_or(rest);
            let (version, after) = open.strip_prefix('"')?.split_once('"')?;
            versions.push(version);
            rest = after.trim_start();
            if rest.is_empty() {
                return Some(versions);
            }
            rest = rest.strip_prefix(',')?.trim_start();
        }
    }

    /// Whether the current version of a resource is among them. Tags are compared weakly, as FHIR's are weak.
    #[must_use]
    pub fn names(&self, version: u64) -> bool {
        match self {
            Self::Any => true,
            Self::Versions(versions) => versions.iter().any(|tag| tag.parse() == Ok(version)),
        }
    }

    /// The version, where exactly one is named: what an update expects to replace. A tag that is no version of this server
    /// is [`None`] too, and matches nothing.
    #[must_use]
    pub fn single(&self) -> Option<u64> {
        match self {
            Self::Versions(versions) => match versions.as_slice() {
                [one] => one.parse().ok(),
                _ => None,
            },
            Self::Any => None,
        }
    }
}

/// The value of the header `ETag` for a version.
#[must_use]
pub fn entity_tag(version: u64) -> String {
    format!("W/\"{version}\"")
}

/// Reads an HTTP date in any of its three forms (RFC 9110 section 5.6.7); `None` where it is none of them.
#[must_use]
pub fn parse_http_date(text: &str) -> Option<Micros> {
    const FORMS: [&str; 3] = ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    let parse = |form: &&str| jiff::fmt::strtime::parse(form, text.trim()).and_then(|time| time.to_datetime()).ok();
    let time = FORMS.iter().find_map(parse)?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Micros(time.timestamp().as_microsecond()))
}

/// Whether a resource changed after the date of an `If-Modified-Since`. The header has whole seconds only; one that is not
/// a date is ignored, as RFC 9110 requires.
#[must_use]
pub fn modified_since(if_modified_since: &str, last_updated: Micros) -> bool {
    let whole_seconds = last_updated.0.div_euclid(1_000_000);
    parse_http_date(if_modified_since).is_none_or(|date| whole_seconds > date.0.div_euclid(1_000_000))
}

/// Whether a read answers 304: `If-None-Match` decides where it is given, else `If-Modified-Since`
/// (RFC 9110 section 13.2.2).
///
/// # Errors
/// 400 where `If-None-Match` is malformed.
pub fn not_modified(
    if_none_match: Option<&str>,
    if_modified_since: Option<&str>,
    version: u64,
    last_updated: Micros,
) -> Result<bool> {
    match (if_none_match, if_modified_since) {
        (Some(tags), _) => Ok(EntityTags::parse("If-None-Match", tags)?.names(version)),
        (None, Some(date)) => Ok(!modified_since(date, last_updated)),
        (None, None) => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entity_tags_in_their_forms() {
        let versions = |text| match EntityTags::parse("If-Match", text).unwrap() {
            EntityTags::Versions(versions) => versions,
            EntityTags::Any => panic!("not any"),
        };
        assert_eq!(versions("W/\"1\""), ["1"]);
        assert_eq!(versions("\"1\""), ["1"]);
        assert_eq!(versions(" W/\"1\" , \"a,b\",W/\"3\""), ["1", "a,b", "3"]);
        assert_eq!(EntityTags::parse("If-Match", " * ").unwrap(), EntityTags::Any);
        for bad in ["", "1", "W/1", "\"1", "\"1\" \"2\"", "\"1\",", "*, \"1\""] {
            assert!(EntityTags::parse("If-Match", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_version_is_named_or_not() {
        let tags = EntityTags::parse("If-Match", "W/\"3\"").unwrap();
        assert!(tags.names(3) && !tags.names(2));
        assert_eq!(tags.single(), Some(3));
        assert_eq!(EntityTags::parse("If-Match", "W/\"x\"").unwrap().single(), None);
        assert!(EntityTags::Any.names(9));
        assert_eq!(entity_tag(3), "W/\"3\"");
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

    #[test]
    fn a_conditional_read() {
        let time = Micros(784_111_777_900_000);
        let same = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        let earlier = Some("Sun, 06 Nov 1994 08:49:36 GMT");
        assert!(not_modified(None, same, 2, time).unwrap(), "fractions of a second do not count");
        assert!(!not_modified(None, earlier, 2, time).unwrap());
        assert!(!not_modified(None, Some("nonsense"), 2, time).unwrap());
        assert!(not_modified(Some("W/\"2\""), earlier, 2, time).unwrap(), "the tag decides");
        assert!(!not_modified(Some("W/\"1\""), same, 2, time).unwrap());
        assert!(!not_modified(None, None, 2, time).unwrap());
        assert!(not_modified(Some("2"), None, 2, time).is_err());
    }
}
