//! The settings of Bulk Data.

use super::keys::is_address;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use url::Url;

/// Bulk Data.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bulk {
    /// The folder for the files of exports; `PATH-exports` beside the store's folder where it is not set.
    pub folder: Option<PathBuf>,
    /// A bucket for them instead: `s3://BUCKET/PREFIX`.
    pub files: Option<String>,
    /// How the bucket is reached.
    pub s3: S3,
    /// For how long the files of an export can be had, in seconds.
    pub lifetime_s: u64,
    /// The length of one file, about, in bytes.
    pub file_bytes: u64,
    /// The files on one page of the manifest, where a client takes several pages.
    pub manifest_files: usize,
    /// The exports of a tenant whose files are kept at a time, those that are under way included.
    pub kept_exports: usize,
    /// The answers to deferred requests that are kept for one client and user at a time, those that are under way included.
    pub kept_answers: usize,
    /// The free space below which exports wait, in MiB: the store may live on the same disk.
    pub free_floor_mib: u64,
    /// How often what is over is removed, in seconds; never when 0.
    pub sweep_interval_s: u64,
    /// The hosts from which imports may read: names, or `*.` and a domain. None when empty: then only what is sent with the request is
    /// imported.
    pub import_hosts: Vec<String>,
    /// Whether such hosts may have private or loopback addresses, and plain `http`. For tests and closed networks.
    pub import_private: bool,
    /// The most of one input of an import, decompressed, in bytes.
    pub import_bytes: u64,
    /// The time for reading one input, in seconds.
    pub import_timeout_s: u64,
    /// For how long a source may send nothing, in milliseconds.
    pub import_stall_ms: u64,
    /// The time for the manifest of an import, with all its pages, in milliseconds.
    pub import_manifest_timeout_ms: u64,
    /// The inputs of one import.
    pub import_inputs: usize,
    /// The sources that want an access token.
    pub import_sources: Vec<ImportSource>,
}

/// A source of imports that wants an access token, which it gives by SMART Backend Services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportSource {
    /// Where it is: for a FHIR server its base. What is at this address and below it is asked for with the token, nothing else.
    pub url: String,
    /// The number of the tenant whose imports may use it.
    #[serde(default)]
    pub tenant: u32,
    /// The id of this server there.
    pub client_id: String,
    /// The scopes to ask for.
    #[serde(default = "all_of_the_system")]
    pub scopes: Vec<String>,
    /// A file with the private key, in PEM (PKCS #8): EC on the curve P-384, or RSA.
    pub key_file: PathBuf,
    /// The name of the key there (`kid`); its thumbprint (RFC 7638) where it is not set.
    #[serde(default)]
    pub key_id: Option<String>,
    /// Where tokens are had; found by `.well-known/smart-configuration` below `url` where it is not set.
    #[serde(default)]
    pub token_endpoint: Option<String>,
}

fn all_of_the_system() -> Vec<String> {
    vec!["system/*.rs".to_owned()]
}

impl Bulk {
    /// The first setting that can't be used, and what would be right.
    pub(super) fn fault(&self) -> Option<(&'static str, &'static str)> {
        let is_plain = |text: &str| {
            let url = Url::parse(text).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
            url.is_some_and(|url| url.query().is_none() && url.fragment().is_none() && url.username().is_empty())
        };
        let addresses =
            |source: &ImportSource| is_plain(&source.url) && source.token_endpoint.as_deref().is_none_or(is_plain);
        if !self.import_sources.iter().all(addresses) {
            return Some(("bulk.import_sources", "each address must be http or https, without a query"));
        }
        if self.files.is_some() && self.bucket().is_none() {
            let reason = "must be s3://BUCKET or s3://BUCKET/PREFIX, of letters, digits, dots, hyphens and underscores";
            return Some(("bulk.files", reason));
        }
        let is_base = |text: &str| Url::parse(text).is_ok_and(|url| url.path() == "/") && is_plain(text);
        let is_usable = |text: &str| is_address(text) && is_base(text);
        let reason = "must be an https address without a path, or one of the own machine";
        (!self.s3.endpoint.as_deref().is_none_or(is_usable)).then_some(("bulk.s3.endpoint", reason))
    }
}

impl Default for Bulk {
    fn default() -> Self {
        Self {
            folder: None,
            files: None,
            s3: S3::default(),
            lifetime_s: 86_400,
            file_bytes: 256 << 20,
            manifest_files: 100,
            kept_exports: 50,
            kept_answers: 50,
            free_floor_mib: 1024,
            sweep_interval_s: 60,
            import_hosts: Vec::new(),
            import_private: false,
            import_bytes: 64 << 30,
            import_timeout_s: 6 * 3600,
            import_stall_ms: 60_000,
            import_manifest_timeout_ms: 20_000,
            import_inputs: 1000,
            import_sources: Vec::new(),
        }
    }
}

/// A server that understands the calls of Amazon S3.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct S3 {
    /// Its address; that of the region at AWS where it is not set.
    pub endpoint: Option<String>,
    /// The region.
    pub region: String,
    /// A file with `aws_access_key_id`, `aws_secret_access_key` and perhaps `aws_session_token`, a line each, which is read anew for each
    /// request; without it the variables of these names in upper case.
    pub credentials: Option<PathBuf>,
    /// The time for one request, in milliseconds.
    pub timeout_ms: u64,
}

impl Default for S3 {
    fn default() -> Self {
        Self { endpoint: None, region: "us-east-1".to_owned(), credentials: None, timeout_ms: 10_000 }
    }
}

/// What `bulk.files` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketPlace {
    /// The bucket.
    pub bucket: String,
    /// What all keys begin with; may be empty.
    pub prefix: String,
}

impl Bulk {
    /// The bucket for the files, where they are in one.
    #[must_use]
    pub fn bucket(&self) -> Option<BucketPlace> {
        let place = self.files.as_deref()?.strip_prefix("s3://")?;
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let prefix = prefix.trim_end_matches('/');
        let is_name = |name: &str| {
            let allowed = |letter: u8| letter.is_ascii_alphanumeric() || b"-._".contains(&letter);
            !name.is_empty() && name != "." && name != ".." && name.bytes().all(allowed)
        };
        let is_known = is_name(bucket) && (prefix.is_empty() || prefix.split('/').all(is_name));
        is_known.then(|| BucketPlace { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_has_a_name_and_perhaps_a_prefix() {
        let place = |files: &str| Bulk { files: Some(files.to_owned()), ..Bulk::default() }.bucket();
        let is = |bucket: &str, prefix: &str| Some(BucketPlace { bucket: bucket.into(), prefix: prefix.into() });
        assert_eq!((place("s3://b-1"), place("s3://b/")), (is("b-1", ""), is("b", "")));
        assert_eq!(place("s3://b.c/of/pharos/"), is("b.c", "of/pharos"));
        for bad in ["", "s3://", "s3:///a", "b/c", "s3://b//c", "s3://b/../c", "s3://b/a b", "s3://b?x", "file:b"] {
            assert_eq!(place(bad), None, "{bad}");
        }
        assert_eq!(Bulk::default().fault(), None);
        let at =
            |endpoint: &str| Bulk { s3: S3 { endpoint: Some(endpoint.into()), ..S3::default() }, ..Bulk::default() };
        for good in ["https://minio.example.org:9000", "http://127.0.0.1:9000/"] {
            assert_eq!(at(good).fault(), None, "{good}");
        }
        for bad in ["http://minio.example.org", "https://x/path", "x"] {
            assert!(at(bad).fault().is_some(), "{bad}");
        }
    }
}
