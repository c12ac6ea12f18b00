//! What an import is asked for: a manifest in JSON, the same as Parameters, or a few parameters in the URL beside what is uploaded.

use crate::bulk::import::{Matching, Validation};
use crate::error::{Category, Error, Issue, Result};
use crate::fhir::definitions;
use crate::fhir::tree::{Object, Value};
use crate::interaction::{Context, LEDGER, Request, shown};
use crate::operation::parameters;
use std::sync::Arc;

/// What is asked for.
pub struct Wanted {
    /// Types, where they are named, and addresses, where it was not sent with the request.
    pub inputs: Vec<(Option<Box<str>>, Option<String>)>,
    /// What a resource has to be.
    pub validation: Validation,
    /// By what it is found whether a resource is there.
    pub matching: Matching,
    /// The address of a manifest of an export, whose files are the inputs.
    export_url: Option<String>,
    is_static: bool,
}

/// The value of a parameter.
enum Field {
    Text(String),
    /// Its parts, by name.
    Parts(Vec<(String, String)>),
}

impl Wanted {
    /// Reads a request.
    ///
    /// # Errors
    /// 400 naming what is wrong.
    pub fn read(context: &Context, request: &mut Request<'_>, is_upload: bool) -> Result<Self> {
        let (validation, matching) = (Validation::Structure, Matching::Id);
        let mut wanted = Self { inputs: Vec::new(), validation, matching, export_url: None, is_static: false };
        let query = request.query.drain(..).map(|(name, value)| (name, Field::Text(value)));
        let mut fields: Vec<_> = query.filter(|(name, _)| !matches!(name.as_str(), "_format" | "_pretty")).collect();
        if !is_upload {
            fields.extend(fields_of(&request.resource()?)?);
        }
        let mut type_name = None;
        for (name, field) in fields {
            match (name.as_str(), field) {
                ("type", Field::Text(text)) if is_upload => type_name = Some(known_type(&text, "type")?),
                ("input", Field::Parts(parts)) if !is_upload => {
                    let input = input(context, &parts, wanted.inputs.len())?;
                    wanted.inputs.push(input);
                }
                (name, field) => wanted.set(name, &field, is_upload)?,
            }
        }
        let most = context.exports.import_inputs();
        if is_upload {
            wanted.inputs.push((type_name, None));
        } else if wanted.export_url.is_some() {
            wanted.check_pull()?;
        } else if wanted.inputs.is_empty() {
            let text = "`input` must be there, with a type and a url, or `exportUrl`.";
            return Err(refused("input", "required", text));
        } else if wanted.inputs.len() > most {
            let text = format!("At most {most} inputs are taken (bulk.import_inputs).");
            return Err(refused("input", "too-long", text));
        }
        Ok(wanted)
    }

    fn check_pull(&self) -> Result<()> {
        if !self.inputs.is_empty() {
            return Err(refused("exportUrl", "value", "`exportUrl` and `input` exclude each other."));
        }
        if !self.is_static {
            let text = "`exportType` must be static: `exportUrl` is where the manifest of an export is.";
            return Err(refused("exportType", "not-supported", text));
        }
        Ok(())
    }

    /// Where the address of a manifest was given, reads it for the inputs. Answers what who asked should know.
    ///
    /// # Errors
    /// 400 where the manifest can't be had or names what can't be imported; 503 where that may go better.
    pub async fn pull(&mut self, context: &Context) -> Result<Option<Issue>> {
        let Some(url) = self.export_url.take() else { return Ok(None) };
        let (sources, tenant) = (Arc::clone(context.exports.sources()), context.grant.tenant());
        let most = context.exports.import_inputs();
        let pulled = tokio::task::spawn_blocking(move || sources.manifest(tenant, &url, most)).await;
        let pulled = pulled.map_err(Error::internal)?.map_err(|why| {
            let text = format!("The manifest can't be read. {}", why.text);
            if why.is_passing {
                Error::unavailable(text, "an export's manifest")
            } else {
                refused("exportUrl", "value", text)
            }
        })?;
        for (nth, (type_name, url)) in pulled.inputs.into_iter().enumerate() {
            let parts = [("type".to_owned(), type_name), ("url".to_owned(), url)];
            self.inputs.push(input(context, &parts, nth)?);
        }
        let text = "The manifest has files of deleted resources, too: they are passed over, because an import deletes nothing.";
        Ok((pulled.deleted > 0).then(|| Issue::warning("not-supported", text)))
    }

    fn set(&mut self, name: &str, field: &Field, is_upload: bool) -> Result<()> {
        match (name, field) {
            ("validation", Field::Text(text)) => {
                self.validation = match text.as_str() {
                    "structure" => Validation::Structure,
                    "none" => Validation::None,
                    _ => return Err(refused("validation", "value", "`validation` must be structure or none.")),
                }
            }
            ("match", Field::Text(text)) => {
                self.matching = match text.as_str() {
                    "id" => Matching::Id,
                    "identifier" => Matching::Identifier,
                    _ => return Err(refused("match", "value", "`match` must be id or identifier.")),
                }
            }
            ("inputFormat", Field::Text(text)) if !is_upload => {
                if !["application/fhir+ndjson", "application/ndjson", "ndjson"].contains(&text.as_str()) {
                    return Err(refused("inputFormat", "value", "`inputFormat` must be application/fhir+ndjson."));
                }
            }
            ("exportUrl", Field::Text(url)) if !is_upload => self.export_url = Some(url.clone()),
            ("exportType", Field::Text(text)) if !is_upload => self.is_static = text == "static",
            // It names the source for people.
            ("inputSource", Field::Text(_)) if !is_upload => {}
            ("storageDetail", Field::Parts(parts)) if !is_upload => {
                let kind = |(name, value): &(String, String)| name != "type" || value == "https";
                if !parts.iter().all(kind) {
                    let text = "`storageDetail.type` must be https: there are no other sources.";
                    return Err(refused("storageDetail", "not-supported", text));
                }
            }
            (other, _) => return Err(parameters::unknown("$import", other).at(shown(other))),
        }
        Ok(())
    }
}

/// One input.
fn input(context: &Context, parts: &[(String, String)], nth: usize) -> Result<(Option<Box<str>>, Option<String>)> {
    let at = |part: &str| format!("input[{nth}].{part}");
    let (mut type_name, mut url) = (None, None);
    for (name, value) in parts {
        match name.as_str() {
            "type" => type_name = Some(known_type(value, &at("type"))?),
            "url" => url = Some(value.clone()),
            other => return Err(parameters::unknown("$import", other).at(at(shown(other)))),
        }
    }
    let Some(url) = url else { return Err(refused(&at("url"), "required", "An input must have a `url`.")) };
    if type_name.is_none() {
        return Err(refused(&at("type"), "required", "An input must have a `type`."));
    }
    if let Err(why) = context.exports.sources().check(&url) {
        return Err(refused(&at("url"), "value", format!("The source can't be read. {why}")));
    }
    Ok((type_name, Some(url)))
}

fn known_type(name: &str, place: &str) -> Result<Box<str>> {
    if !definitions::r4().is_resource_type(name) {
        return Err(refused(place, "not-supported", format!("R4 has no resource type {}.", shown(name))));
    }
    if name == LEDGER {
        let text = "AuditEvents are the server's own record: nobody imports them.";
        return Err(refused(place, "not-supported", text));
    }
    Ok(name.into())
}

/// The fields of a manifest, or of Parameters.
fn fields_of(body: &Object<'_>) -> Result<Vec<(String, Field)>> {
    match body.resource_type() {
        None => body.iter().try_fold(Vec::new(), |mut all, (name, value)| {
            match value {
                Value::Array(items) => {
                    for item in items {
                        all.push((name.to_owned(), field(item).ok_or_else(|| malformed(name))?));
                    }
                }
                value => all.push((name.to_owned(), field(value).ok_or_else(|| malformed(name))?)),
            }
            Ok(all)
        }),
        Some("Parameters") => {
            let parameters = body.get("parameter").map(Value::items).unwrap_or_default();
            let read = |parameter: &Value<'_>| {
                let parameter = parameter.as_object()?;
                let name = parameter.str("name")?.to_owned();
                match parameter.get("part") {
                    Some(parts) => {
                        let part = |part: &Value<'_>| {
                            let part = part.as_object()?;
                            Some((part.str("name")?.to_owned(), value_of(part)?))
                        };
                        Some((name, Field::Parts(parts.items().iter().map(part).collect::<Option<_>>()?)))
                    }
                    None => Some((name, Field::Text(value_of(parameter)?))),
                }
            };
            parameters.iter().map(|one| read(one).ok_or_else(|| malformed("parameter"))).collect()
        }
        Some(_) => Err(Error::invalid("The body must be a manifest in JSON, or a Parameters resource.")),
    }
}

/// The value of a member of a manifest.
fn field(value: &Value<'_>) -> Option<Field> {
    match value {
        Value::String(text) => Some(Field::Text(text.to_string())),
        Value::Object(object) => {
            let part = |(name, value): (&str, &Value<'_>)| Some((name.to_owned(), value.as_str()?.to_owned()));
            Some(Field::Parts(object.iter().map(part).collect::<Option<_>>()?))
        }
        _ => None,
    }
}

/// `value[x]`, where it is a text.
fn value_of(parameter: &Object<'_>) -> Option<String> {
    let (_, value) = parameter.iter().find(|(name, _)| name.starts_with("value"))?;
    value.as_str().map(str::to_owned)
}

fn malformed(name: &str) -> Error {
    let name = shown(name);
    refused(name, "structure", format!("`{name}` does not have the form that it has in a manifest of an import."))
}

fn refused(place: &str, code: &'static str, text: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::from_issues(Category::Invalid, vec![Issue::error(code, text).at(place)])
}
