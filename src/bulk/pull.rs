//! The manifests of exports elsewhere, whose files are to be imported.

use super::source::{MANIFEST_BYTES, Sources, Trouble, broken};
use crate::error::Result;
use crate::tenant::TenantId;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::io::Read;
use std::time::Instant;
use url::Url;

const ACCEPT: &str = "application/json";

/// What is read of a manifest.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    output: Vec<Output>,
    #[serde(default)]
    output_organized_by: Option<IgnoredAny>,
    #[serde(default)]
    deleted: Vec<IgnoredAny>,
    #[serde(default)]
    link: Vec<Link>,
}

#[derive(Deserialize)]
struct Output {
    #[serde(rename = "type", default)]
    type_name: String,
    url: String,
}

#[derive(Deserialize)]
struct Link {
    relation: String,
    url: String,
}

/// What a manifest names, and those that it goes on with (`link`).
#[derive(Debug, Default)]
pub struct Pulled {
    /// Types and addresses.
    pub inputs: Vec<(String, String)>,
    /// How many files tell of deleted resources.
    pub deleted: usize,
}

/// Why a manifest can't be read.
#[derive(Debug)]
pub struct Unread {
    /// A sentence.
    pub text: String,
    /// Whether it may go better.
    pub is_passing: bool,
}

impl From<Trouble> for Unread {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Passing(text) => Self { text, is_passing: true },
            Trouble::Lasting(text) => Self { text, is_passing: false },
            Trouble::Own(_) | Trouble::Unwanted => Self { text: "It was not read.".into(), is_passing: true },
        }
    }
}

impl Sources {
    /// The inputs that the manifest of an export names: <https://hl7.org/fhir/uv/bulkdata/export.html#response---complete-status>. It
    /// blocks.
    ///
    /// # Errors
    /// Why they can't be had.
    pub fn manifest(&self, tenant: TenantId, url: &str, most: usize) -> Result<Pulled, Unread> {
        let mut pulled = Pulled::default();
        let (mut next, mut pages) = (Some(url.to_owned()), 0);
        let until = Instant::now() + self.manifest_time;
        while let Some(url) = next.take() {
            if Instant::now() > until {
                let text = "All its pages take longer than bulk.import_manifest_timeout_ms allows.";
                return Err(Trouble::Passing(text.into()).into());
            }
            pages += 1;
            let body = self.answer(&self.brief, tenant, &url, ACCEPT)?.into_body();
            let mut text = Vec::new();
            let read = body.into_reader().take(MANIFEST_BYTES as u64 + 1).read_to_end(&mut text);
            read.map_err(|error| broken(&error))?;
            let lasting = |why: &str| Trouble::Lasting(why.to_owned());
            if text.len() > MANIFEST_BYTES {
                return Err(lasting("It is too large for a manifest.").into());
            }
            let base = Url::parse(&url).map_err(|_| lasting("It has no address."))?;
            let page: Manifest =
                serde_json::from_slice(&text).map_err(|_| lasting("It is no manifest of an export."))?;
            let whole =
                |url: &str| base.join(url).map(String::from).map_err(|_| lasting("It names what is no address."));
            if page.output_organized_by.is_some() {
                return Err(lasting("It is organized by something else than the type (organizeOutputBy).").into());
            }
            for output in page.output {
                pulled.inputs.push((output.type_name, whole(&output.url)?));
            }
            pulled.deleted += page.deleted.len();
            next = page.link.iter().find(|link| link.relation == "next").map(|link| whole(&link.url)).transpose()?;
            if pulled.inputs.len() > most || pages > most {
                return Err(lasting("It names more files than bulk.import_inputs allows.").into());
            }
        }
        Ok(pulled)
    }
}
