//! The parameters of a request to an OAuth endpoint: RFC 6749 section 3.

use super::error::OAuthError;

/// The most bytes of a form: far above what a signed assertion and a long list of scopes need.
pub const FORM_BYTES: usize = 64 << 10;

/// Parameters of `application/x-www-form-urlencoded`, each there once. One without a value counts as absent.
#[derive(Default)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Reads a form, or the query of a URL.
    ///
    /// # Errors
    /// `invalid_request` where a parameter is there twice, or the text is not in UTF-8.
    pub fn parse(bytes: &[u8]) -> Result<Self, OAuthError> {
        let decoded = percent_encoding::percent_decode(bytes).decode_utf8();
        decoded.map_err(|_| OAuthError::request("The parameters are not in UTF-8."))?;
        let mut form = Self::default();
        for (name, value) in form_urlencoded::parse(bytes) {
            if form.0.iter().any(|(known, _)| *known == name) {
                return Err(OAuthError::request("A parameter is there twice."));
            }
            form.0.push((name.into_owned(), value.into_owned()));
        }
        Ok(form)
    }

    /// A parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        found.filter(|value| !value.is_empty())
    }

    /// A parameter that has to be there.
    ///
    /// # Errors
    /// `invalid_request` that names it.
    pub fn required(&self, name: &'static str) -> Result<&str, OAuthError> {
        self.get(name).ok_or_else(|| OAuthError::request(format!("{name} is missing.")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_there_once_or_not() {
        let form = Form::parse(b"a=1&b=&c=x%20y+z").ok().unwrap();
        assert_eq!((form.get("a"), form.get("b"), form.get("c")), (Some("1"), None, Some("x y z")));
        assert_eq!(form.required("b").unwrap_err().code, "invalid_request");
        for twice in ["a=1&a=1", "a=&a=2", "a=%ff"] {
            assert_eq!(Form::parse(twice.as_bytes()).err().unwrap().code, "invalid_request", "{twice}");
        }
    }
}
